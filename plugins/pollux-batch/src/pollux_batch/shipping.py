"""Works -> chunks of a fleet -> answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pollux_batch.answering import lacks_repair, read_known
from pollux_batch.data.chunks import ChunkCall, FleetChunk
from pollux_batch.data.rows import StoredAnswer
from pollux_batch.submitting import Submitter
from pollux_sync import stages
from pollux_sync.data.headers import is_secret
from pollux_sync.data.jobs import JobItem, build_custom_id
from pollux_sync.data.reply import Failure
from pollux_sync.data.request import AssetPart, UploadPart
from pollux_sync.errors import APIError, ConfigurationError, PolluxError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_batch.data.chunks import ChunkState, FleetAnswer
    from pollux_batch.data.settings import BatchSettings
    from pollux_batch.data.work import Work
    from pollux_batch.fleets import Fleet
    from pollux_batch.journaling import Journal
    from pollux_batch.submissions import Submission
    from pollux_batch.submitting import Collected, Pending
    from pollux_sync import Config
    from pollux_sync.data.jobs import ItemStatus
    from pollux_sync.data.provider import HttpRequest
    from pollux_sync.data.reply import Outcome

#: The fields of a configuration that a worker needs. What it must not have, such as the key, it has of its own.
_SHARED_FIELDS = ("provider", "model", "base_url", "timeout_s", "use_mock")
#: Fields that have a part in sending, and that no worker can be given.
_OWN_FIELDS = {"headers": "headers", "proxy": "a proxy", "client": "a client", "ca_bundle": "certificates"}


class FleetSubmitter(Submitter):
    """Ships works to a fleet. What it cannot take, and what it does not answer, is left to live calls."""

    #: A worker that is lost loses no more time than these take. With files inside, a thousand requests would not fit
    #: into its memory.
    max_items = 1_000
    max_bytes = 32_000_000
    #: Machines of one's own take seconds for a chunk, where a provider takes hours for a job.
    look_s = (0.5, 10.0)

    def __init__(self, fleet: Fleet, account: str | None, settings: BatchSettings, journal: Journal) -> None:
        super().__init__(journal, fleet=fleet.name, reuses_drifted=settings.on_drift == "reuse")
        self._service = fleet
        self._account = account
        self._settings = settings

    def takes(self, work: Work) -> bool:
        """Return whether a work can be shipped.

        Not one with files that are stored at the provider, with a key of its own or with a secret in its headers or
        tools, since workers have one account, and not one that takes more tokens than a minute has.
        """
        if any(isinstance(part, UploadPart | AssetPart) for part in work.call.all_parts):
            return False
        if work.call.options.secrets or any(map(is_secret, work.extra_headers)):
            return False
        config, limit = work.lane.config, self._settings.limits.tokens_per_minute
        if limit is not None:
            estimate = work.lane.hooks.estimate_tokens(work.call)
            work.n_tokens = estimate.input_tokens + estimate.output_tokens
        return not _list_own(config) and config.account == self._account and (limit is None or work.n_tokens <= limit)

    def measure(self, work: Work) -> int:
        """Return the bytes of a work's request."""
        return sum(map(len, _find_request(work).split_content()))

    def submit(self) -> None:
        """Submit all that was taken. A chunk of an earlier run whose answers are all there is forgotten."""
        for submission, members in zip(self._earlier, self._members, strict=True):
            keys = {member.key for member in members}
            if keys <= self._journal.find_answers([*keys]).keys():
                self._forget(submission)
        super().submit()

    def _forget(self, submission: Submission) -> None:
        self._service.release(submission.mark)
        submission.record_end()

    def _submit(self, pending: Pending) -> None:
        config = pending.lane.config
        works = [work for work in pending.works if work is not None]
        chunk = FleetChunk(
            mark=pending.submission.mark,
            scope=pending.submission.scope,
            settings={name: value for name in _SHARED_FIELDS if (value := getattr(config, name)) is not None},
            limits=self._settings.limits,
            retries=self._settings.retries,
            calls=tuple(_build_call(work) for work in works),
        )
        self._service.submit(chunk)

    def _finish_earlier(self, pending: Pending) -> None:
        self._inspect(pending)

    def _has_ended(self, pending: Pending) -> bool:
        return self._inspect(pending) == "ended"

    def _inspect(self, pending: Pending) -> ChunkState:
        mark = pending.submission.mark
        state = self._service.inspect([mark]).get(mark)
        if state is None:
            # It was never taken, is on its way, or was lost: by its mark it is taken once. Items that have left the
            # input stay its members, since they may be answered all the same.
            self._submit(pending)
        return state or "waiting"

    def _collect(self, pending: Pending) -> Iterator[Collected]:
        positions = {member.key.hex(): position for position, member in enumerate(pending.members)}
        for answer in self._service.collect(pending.submission.mark):
            if answer.key not in positions:
                raise PolluxError(
                    f"the fleet {self._service.name!r} has answered what chunk {pending.submission.mark} does not ask, "
                    "or has answered it twice",
                    hint="this is a fault of the fleet; nothing was deleted there",
                )
            yield self._read_answer(pending, positions.pop(answer.key), answer)
        self._pending.remove(pending)
        self._journal.flush()
        self._forget(pending.submission)
        for position in positions.values():
            error = APIError("the fleet gave no answer", phase="batch_collect", call_idx=position)
            yield pending.build_collected(_build_item(position, Failure(error), "missing"), [])

    def _read_answer(self, pending: Pending, position: int, answer: FleetAnswer) -> Collected:
        member, work = pending.members[position], pending.works[position]
        row = answer.to_row(ask=member.ask, label=member.label)
        stored = StoredAnswer(key=row.key, label=row.label, format=row.format, body=row.body, request_id=row.request_id)
        if work is None:
            outcome: Outcome = Failure(PolluxError("the input does not hold the item"))
            return pending.build_collected(_build_item(position, outcome, "succeeded"), [row])
        item = _build_item(position, read_known(work, stored, self._journal), "succeeded")
        needs_repair = lacks_repair(work, stored, self._journal)
        return attrs.evolve(pending.build_collected(item, [row]), needs_repair=needs_repair)


def check_shippable(config: Config) -> None:
    """Raise ConfigurationError if a configuration holds what no worker can be given."""
    for field in _list_own(config):
        raise ConfigurationError(
            f"a fleet cannot be given Config({field}=...)",
            hint=f"leave it out here, and give the workers {_OWN_FIELDS[field]} of their own",
        )


def _list_own(config: Config) -> list[str]:
    return [field for field in _OWN_FIELDS if getattr(config, field)]


def _build_call(work: Work) -> ChunkCall:
    request = _find_request(work)
    return ChunkCall(
        key=work.key.hex(),
        label=work.label,
        path=request.path,
        body=request.body or {},
        method=request.method,
        headers=dict(request.headers),
        n_tokens=work.n_tokens,
    )


def _find_request(work: Work) -> HttpRequest:
    return work.request or stages.encode_request(work.call, work.lane.hooks)


def _build_item(position: int, outcome: Outcome, status: ItemStatus) -> JobItem:
    return JobItem(index=position, custom_id=build_custom_id(position), outcome=outcome, status=status)
