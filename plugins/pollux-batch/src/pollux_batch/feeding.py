"""Items -> works: read in chunks, planned together, known answers found, equal questions joined. Nothing is sent.

A chunk is planned as one: what its items share, such as options and sources, is checked and read once. An item that
cannot be asked does not keep the others of its chunk back.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from itertools import groupby
from typing import TYPE_CHECKING, Any

import attrs

from pollux_batch.answering import lacks_repair
from pollux_batch.budgeting import check_price
from pollux_batch.data.items import BatchItem, BrokenItem, read_item
from pollux_batch.data.rows import Entry, SampleRow
from pollux_batch.data.work import Follower, Refused, Work
from pollux_batch.drifting import check_drift
from pollux_sync import stages
from pollux_sync.data.provider import encode_json
from pollux_sync.data.source import convert_read_errors
from pollux_sync.errors import ConfigurationError, PolluxError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pollux_batch.data.items import Asked
    from pollux_batch.data.rows import StoredAnswer
    from pollux_batch.data.settings import BatchSettings
    from pollux_batch.journaling import Journal
    from pollux_batch.lanes import Lane, Lanes
    from pollux_batch.remembering import MemoryJournal
    from pollux_sync import Source
    from pollux_sync.data.request import Call, Plan

#: Planning costs 1.5 µs an item in chunks of this size, and eight times as much one by one.
_CHUNK = 200
_MAX_READ_S = 0.05
#: So many requests of a run are kept, to show what has changed if they are rendered otherwise one day.
_MAX_SAMPLES = 100


@attrs.frozen(weakref_slot=False)
class Known:
    """A work whose answer is in the journal."""

    work: Work
    stored: StoredAnswer


@attrs.frozen
class Chunk:
    """The items of one reading: to be asked, known already, or refused."""

    works: tuple[Work, ...] = ()
    known: tuple[Known, ...] = ()
    refused: tuple[Refused, ...] = ()


class Feeder:
    """Reads the input of a job. One thread at a time calls `read_chunk`.

    Without ``delivers`` the files of the works are left to whoever sends them.
    """

    def __init__(
        self,
        asked: Asked,
        settings: BatchSettings,
        lanes: Lanes,
        journal: Journal | MemoryJournal,
        *,
        delivers: bool = True,
    ) -> None:
        self._items = iter(asked.items)
        self._asked = asked
        self._settings = settings
        self._lanes = lanes
        self._journal = journal
        self._delivers = delivers
        self._count = 0
        #: Whether the end of the input was read.
        self.has_ended = False
        self._failure: Exception | None = None
        self._has_earlier = journal.has_questions
        self._n_samples = 0
        #: The works in flight by key, and how often each question was asked where equal ones are not joined.
        self._open: dict[bytes, Work] = {}
        self._occurrences: dict[bytes, int] = {}
        self._source_hashes: dict[int, str] = {}
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """The number of items read so far."""
        return self._count

    def read_chunk(self) -> Chunk | None:
        """Return the next items, planned; None at the end. Raises what the input raises, and DriftError."""
        planned = self.plan_chunk()
        return None if planned is None else self._look_up(*planned)

    def plan_chunk(self) -> tuple[list[Work], list[Refused]] | None:
        """Return the next items as works, and those that cannot be asked; None at the end."""
        given = self._read_rows()
        if not given:
            return None
        first, self._count = self._count, self._count + len(given)
        refused: list[Refused] = []
        entries: list[tuple[int, str, BatchItem]] = []
        for index, row in enumerate(given, first):
            try:
                item = read_item(row)
            except PolluxError as error:
                refused.append(_refuse(index, row, error))
            else:
                entries.append((index, item.id or f"item_{index}", item))
        works: list[Work] = []
        for entry in self._plan_groups(entries):
            if isinstance(entry, Refused):
                refused.append(entry)
            else:
                works.append(entry)
        return works, refused

    def _read_rows(self) -> list[object]:
        """Return the next rows of the input: a chunk, or what comes within a moment where the input is slow."""
        if self._failure is not None:
            raise self._failure
        rows: list[object] = []
        deadline = time.monotonic() + _MAX_READ_S
        try:
            for row in self._items:
                rows.append(row)
                if len(rows) == _CHUNK or time.monotonic() > deadline:
                    return rows
            self.has_ended = True
        except Exception as error:
            # What was read before is answered first.
            if not rows:
                raise
            self._failure = error
        return rows

    # Planning

    def _plan_groups(self, entries: Sequence[tuple[int, str, BatchItem]]) -> Iterator[Work | Refused]:
        def find_group(entry: tuple[int, str, BatchItem]) -> tuple[int, ...]:
            item = entry[2]
            return id(item.config), id(item.options), *map(id, item.sources)

        for _, group in groupby(entries, find_group):
            yield from self._plan_group([*group])

    def _plan_group(self, entries: Sequence[tuple[int, str, BatchItem]]) -> list[Work | Refused]:
        item = entries[0][2]
        try:
            lane = self._lanes.find(item.config or self._asked.config)
            if item.config is not None:
                # That of the job is checked with the first call, and ends the job.
                check_price(self._settings.budget, lane.config.model, lane.hooks)
            plan = self._plan([entry[2].prompt for entry in entries], item, lane)
            works = self._build_works(entries, plan, lane)
        except PolluxError as error:
            if len(entries) == 1:
                index, label, item = entries[0]
                return [Refused(index, label, item, error)]
            # One by one, so that only those fail that cannot be asked.
            return [planned for entry in entries for planned in self._plan_group([entry])]
        return [*works]

    def _plan(self, prompts: Sequence[str | None], item: BatchItem, lane: Lane) -> Plan:
        sources = (*self._asked.sources, *item.sources)
        request = stages.build_request(prompts, sources, lane.config, item.options or self._asked.options)
        return stages.plan_calls(request, lane.hooks)

    def _build_works(self, entries: Sequence[tuple[int, str, BatchItem]], plan: Plan, lane: Lane) -> list[Work]:
        hooks = lane.hooks
        shared = _hash_shared(plan, [self._hash_source(source) for source in plan.request.sources])
        prefix = shared[:16] if self._settings.warm_prefix and _has_prefix(plan) else b""
        # All of them before any is counted: where one raises, the others are planned again.
        calls = [hooks.rewrite_call(planned) for planned in plan.calls]
        requests = [stages.render_request(call, hooks) for call in calls]
        works = []
        for (index, label, item), call, request in zip(entries, calls, requests, strict=True):
            key = bytes.fromhex(stages.hash_request(request, hooks))
            number = 1 if self._joins(call) else self._number(index, key, item)
            facts = [item.prompt, item.salt, *([number] if number > 1 else [])]
            works.append(
                Work(
                    index=index,
                    label=label,
                    item=item,
                    lane=lane,
                    call=call,
                    answers=plan.answer_format,
                    key=_number_key(key, item.salt, number),
                    ask=hashlib.sha256(shared + json.dumps(facts).encode()).digest()[:16],
                    number=number,
                    prefix=prefix,
                    plan=plan,
                    # One with secrets is rendered without them, to hash it.
                    request=None if call.all_parts or call.options.secrets else request,
                )
            )
        return works

    def _number(self, index: int, key: bytes, item: BatchItem) -> int:
        """Return the number of this item among equal ones, which are to have an answer each."""
        if self._asked.numbers is not None:
            return self._asked.numbers[index]
        key = _number_key(key, item.salt, 1)
        number = self._occurrences[key] = self._occurrences.get(key, 0) + 1
        return number

    def _hash_source(self, source: Source) -> str:
        """Return the hash of a source's content; one of the job is read once."""
        digest = self._source_hashes.get(id(source))
        if digest is None:
            with convert_read_errors(source):
                digest = source.content_sha256()
            # Those of items come and go, and so do their ids.
            if any(source is shared for shared in self._asked.sources):
                self._source_hashes[id(source)] = digest
        return digest

    def _joins(self, call: Call) -> bool:
        mode = self._settings.dedupe
        return mode == "always" or (mode == "auto" and not call.options.temperature)

    # What is known

    def _look_up(self, works: list[Work], refused: list[Refused]) -> Chunk:
        # Joined first: a question that is in flight no more has its answer in the journal by now.
        works = self._join(works)
        stored = self._find_stored(works)
        missed = [work for work in works if work.key not in stored]
        if self._has_earlier and missed:
            stored |= check_drift(missed, self._journal, self._settings.on_drift)
        known = [Known(work, stored[work.key]) for work in works if work.key in stored]
        leaders = [work for work in works if work.key not in stored]
        for work in leaders:
            if self._n_samples < _MAX_SAMPLES:
                self._n_samples += 1
                request = stages.render_request(work.call, work.lane.hooks)
                sample = SampleRow(ask=work.ask, key=work.key, request=encode_json(_describe(request)))
                self._journal.write(Entry((sample,)))
        ready, failed = self._prepare(leaders) if self._delivers else (leaders, [])
        return Chunk(tuple(ready), tuple(known), (*refused, *failed))

    def _find_stored(self, works: Sequence[Work]) -> dict[bytes, StoredAnswer]:
        """Return the stored answers that will do, by key."""
        found = self._journal.find_answers([work.key for work in works])
        stored: dict[bytes, StoredAnswer] = {}
        for work in works:
            answer = found.get(work.key)
            if answer is None or not _suits(work, answer):
                continue
            # Jobs repair nothing.
            if self._delivers and lacks_repair(work, answer, self._journal):
                work.stored = answer
            else:
                stored[work.key] = answer
        return stored

    def _join(self, works: Sequence[Work]) -> list[Work]:
        """Return the works whose question is not in flight; the others follow the one that is."""
        leaders = []
        with self._lock:
            for work in works:
                leader = self._open.get(work.key)
                if leader is None:
                    self._open[work.key] = work
                    leaders.append(work)
                else:
                    leader.followers.append(Follower(work.index, work.label, work.item))
        return leaders

    def close(self, work: Work) -> list[Follower]:
        """Note that a work has its result; return the items that wait for the same."""
        with self._lock:
            self._open.pop(work.key, None)
            return [*work.followers]

    def _prepare(self, works: Sequence[Work]) -> tuple[list[Work], list[Refused]]:
        """Deliver the files of works, and estimate their tokens where these are limited."""
        ready: list[Work] = []
        failed: list[Refused] = []
        admissible: list[Work] = []
        for work in works:
            excess = self._estimate(work)
            if excess is None:
                admissible.append(work)
            else:
                failed += self.refuse(work, excess)
        for _, group in groupby(admissible, lambda work: id(work.plan)):
            some = [*group]
            first = some[0]
            if first.plan is None:  # it was prepared already
                continue
            plan = attrs.evolve(first.plan, calls=tuple(work.call for work in some))
            prepared = stages.prepare_plan(plan, first.lane.hooks, first.lane.uploads)
            for work, call in zip(some, prepared.calls, strict=True):
                error = prepared.blocked.get(call.index)
                if error is not None:
                    failed += self.refuse(work, error)
                    continue
                work.call, work.redelivery, work.plan = call, prepared.redelivery, None
                ready.append(work)
        return ready, failed

    def _estimate(self, work: Work) -> ConfigurationError | None:
        """Estimate the tokens of a work where they are limited; return an error if no minute has so many."""
        limit = self._settings.limits.tokens_per_minute
        if limit is None:
            return None
        estimate = work.lane.hooks.estimate_tokens(work.call)
        work.n_tokens = estimate.input_tokens + estimate.output_tokens
        if work.n_tokens <= limit:
            return None
        return ConfigurationError(
            f"the item may take {work.n_tokens} tokens, but tokens_per_minute={limit:g} allows no more in a minute",
            hint="shorten it, lower its max_tokens, or raise tokens_per_minute",
        )

    def refuse(self, work: Work, error: PolluxError) -> list[Refused]:
        """Return a work that cannot be asked, and the items that wait for the same, as refused."""
        ones: list[Work | Follower] = [work, *self.close(work)]
        return [Refused(one.index, one.label, one.item, error) for one in ones]


def _refuse(index: int, given: object, error: PolluxError) -> Refused:
    broken = given if isinstance(given, BrokenItem) else None
    return Refused(index, (broken and broken.id) or f"item_{index}", broken, error)


def _suits(work: Work, stored: StoredAnswer) -> bool:
    """Return whether a stored answer will do. One that cannot be read is asked for again only if the caller says so."""
    return stored.format != "unread" or not work.lane.config.retry.retry_unreadable


def _number_key(key: bytes, salt: str, number: int) -> bytes:
    """Return the key of an item's answer: that of its request, where equal requests are to have one answer."""
    if salt:
        key = hashlib.sha256(key + salt.encode()).digest()
    return key if number == 1 else hashlib.sha256(key + number.to_bytes(8, "big")).digest()


def _has_prefix(plan: Plan) -> bool:
    """Return whether anything comes before the prompts of a plan."""
    return bool(plan.request.sources or plan.request.options.system_instruction)


def _hash_shared(plan: Plan, source_hashes: Sequence[str]) -> bytes:
    """Return a hash of the parts that all items of a plan share, as the caller wrote them, before they are rendered."""
    request = plan.request
    config, options = request.config, request.options
    names = {traits.name for traits in options.iter_set()}
    settings: dict[str, Any] = attrs.asdict(options, filter=lambda field, _: field.name in names)
    settings.pop("response_schema", None)
    # The filter has left nothing of the provider's own tools.
    settings |= {"tools": options.dump_tools()} if options.tools else {}
    facts = [
        config.provider,
        config.model,
        config.base_url,
        config.use_mock,
        settings,
        options.response_schema_hash(),
        [[source.source_type, source.mime_type, source.identifier] for source in request.sources],
        source_hashes,
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).digest()


def _describe(request: Any) -> dict[str, Any]:
    return {"method": request.method, "path": request.path, "body": request.body}
