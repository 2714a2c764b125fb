"""Works -> submissions -> answers: by a provider's deferred jobs, at half the price where it says so, or by a fleet.

The input is read to its end first. What is neither answered nor submitted goes into submissions of its own; those of an
earlier run are looked at again, and never submitted twice.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from itertools import groupby
from math import inf
from typing import TYPE_CHECKING, ClassVar

import attrs

from pollux_batch.data.rows import AnswerRow, FailureRow
from pollux_batch.delivering import name_category
from pollux_batch.submissions import Submission, begin_submission, list_members
from pollux_sync import stages
from pollux_sync.data.jobs import JobItem, build_custom_id, is_terminal
from pollux_sync.data.provider import encode_json
from pollux_sync.data.reply import Failure
from pollux_sync.errors import APIError, ConfigurationError, PlanningError, copy_error
from pollux_sync.plugin import Problem

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from pollux_batch.data.rows import Member
    from pollux_batch.data.work import Work
    from pollux_batch.journaling import Journal
    from pollux_batch.lanes import Lane
    from pollux_batch.waiting import Latch
    from pollux_sync import Options
    from pollux_sync.data.request import Call
    from pollux_sync.errors import PolluxError

#: Options that pollux-batch honours itself: headers are looked at call by call, and later live calls mend answers.
_HANDLED = frozenset({"provider_headers", "schema_repairs"})
_UNANSWERED = frozenset({"missing", "expired", "cancelled"})


@attrs.define(eq=False)
class Pending:
    """A submission with its members, and its works by position; None where the input of this run does not hold one."""

    submission: Submission
    lane: Lane
    members: Sequence[Member]
    works: list[Work | None]

    def leave_out(self, positions: Container[int]) -> None:
        """Leave items out. Neither they nor any after them may have been sent."""
        kept = [position for position in range(len(self.works)) if position not in positions]
        self.members = [self.members[position] for position in kept]
        self.works = [self.works[position] for position in kept]
        self.submission.record_members(self.members)

    def build_collected(self, item: JobItem, rows: Sequence[AnswerRow | FailureRow]) -> Collected:
        """Return an item with its member and its work."""
        return Collected(self.members[item.index], self.works[item.index], item, rows)


@attrs.frozen(eq=False)
class Collected:
    """An item of a submission that has ended, with its work if the input of this run holds it.

    ``rows`` are what is to be kept of it: its answer as it came, and its failure. One that ``needs_repair`` has an
    answer that does not fit its schema, and a live call may have it mended.
    """

    member: Member
    work: Work | None
    item: JobItem
    rows: Sequence[AnswerRow | FailureRow]
    needs_repair: bool = False

    @property
    def is_unanswered(self) -> bool:
        """True if nothing came back, and a live call may be answered. Damaged results may be whole the next time."""
        outcome = self.item.outcome
        if not isinstance(outcome, Failure) or not isinstance(outcome.error, APIError):
            return False
        error = outcome.error
        return error.kind != "malformed" and (self.item.status in _UNANSWERED or error.retryable)


class Submitter(ABC):
    """Submits works, and collects their answers.

    ``fleet`` is the name of the fleet that gets them, empty for the provider itself: a journal may hold submissions of
    both. With ``reuses_drifted`` a work that an earlier run has submitted is the same, however it is rendered now.
    ``refused`` are works that no submission can have, with the reason.
    """

    #: How many items one submission has at most, and how many bytes of requests. The last one may go beyond these.
    max_items: ClassVar[int]
    max_bytes: ClassVar[float] = inf
    #: The first and the longest wait between two looks, in seconds.
    look_s: ClassVar[tuple[float, float]] = (5.0, 300.0)

    def __init__(self, journal: Journal, *, reuses_drifted: bool, fleet: str = "") -> None:
        self._journal = journal
        self._fleet = fleet
        self.refused: list[tuple[Work, PolluxError]] = []
        self._pending: list[Pending] = []
        self._new: dict[Lane, list[Work]] = {}
        self._new_bytes: Counter[Lane] = Counter()
        self._earlier = [Submission(journal, row) for row in journal.list_submissions(fleet)]
        self._members = [journal.list_members(submission.id) for submission in self._earlier]
        #: The places of items in earlier submissions, as index and position, by key, and by question if wanted.
        self._places: dict[bytes, tuple[int, int]] = {}
        for index, members in enumerate(self._members):
            for position, member in enumerate(members):
                if reuses_drifted:
                    self._places[member.ask] = index, position
                self._places[member.key] = index, position
        self._resumed: dict[int, Pending] = {}

    @property
    def n_pending(self) -> int:
        """The number of items that wait for their answers."""
        works = (work for pending in self._pending for work in pending.works)
        return sum(work is not None for work in works)

    @abstractmethod
    def takes(self, work: Work) -> bool:
        """Return whether a work can be submitted."""

    def add(self, work: Work) -> None:
        """Take a work: one that an earlier run has submitted goes back to its place."""
        place = self._places.get(work.key) or self._places.get(work.ask)
        if place is None:
            self._add_new(work)
            return
        index, position = place
        if index not in self._resumed:
            members = self._members[index]
            self._resumed[index] = Pending(self._earlier[index], work.lane, members, [None] * len(members))
        self._resumed[index].works[position] = work

    def _add_new(self, work: Work) -> None:
        works = self._new.setdefault(work.lane, [])
        works.append(work)
        self._new_bytes[work.lane] += self.measure(work)
        if len(works) == self.max_items or self._new_bytes[work.lane] >= self.max_bytes:
            self._submit_new(work.lane)

    def measure(self, work: Work) -> int:
        """Return the bytes of a work that count for ``max_bytes``."""
        return 0

    def submit(self) -> None:
        """Submit all that was taken and is not submitted yet. Raises APIError, and what else the service raises."""
        for pending in self._resumed.values():
            self._pending.append(pending)
            self._finish_earlier(pending)
        for lane in [*self._new]:
            self._submit_new(lane)

    def _submit_new(self, lane: Lane) -> None:
        works = self._new.pop(lane, [])
        del self._new_bytes[lane]
        if not works:
            return
        submission = begin_submission(self._journal, self._fleet, lane.scope.name, works)
        pending = Pending(submission, lane, list_members(works), [*works])
        self._pending.append(pending)
        self._submit(pending)

    def iter_items(self, stop: Latch, *, until: float) -> Iterator[Collected | None]:
        """Yield each item of the jobs that have ended, until all have or the monotonic clock reads ``until``.

        Yields None before it waits for further ones. An item may come twice, a failure before an answer. What was
        stored is deleted when all items of a submission were yielded and the iterator is asked for the next.
        """
        look_s, max_look_s = self.look_s
        open_ones = [*self._pending]
        while open_ones and not stop.is_set():
            ended = [pending for pending in open_ones if self._has_ended(pending)]
            for pending in ended:
                yield from self._collect(pending)
                open_ones.remove(pending)
            left_s = until - time.monotonic()
            if left_s <= 0:
                return
            if open_ones and not ended:
                yield None
                stop.wait(min(look_s, left_s))
                look_s = min(look_s * 1.5, max_look_s)

    @abstractmethod
    def _submit(self, pending: Pending) -> None:
        """Submit what the journal has as a new submission."""

    @abstractmethod
    def _finish_earlier(self, pending: Pending) -> None:
        """Go on with a submission of an earlier run, which may have been interrupted."""

    @abstractmethod
    def _has_ended(self, pending: Pending) -> bool:
        """Return whether nothing more comes of a submission than is there."""

    @abstractmethod
    def _collect(self, pending: Pending) -> Iterator[Collected]:
        """Yield the items of a submission that has ended; those whose answers are missing come last, as failures."""


class JobSubmitter(Submitter):
    """Submits works to their provider, which carries them out within a day."""

    #: The provider's limits may cut a submission into several jobs.
    max_items = 20_000

    def takes(self, work: Work) -> bool:
        """Return whether a work can be submitted: the rows of a job have no headers, and a file would keep secrets."""
        return _find_work_problem(work) is None

    def add(self, work: Work) -> None:
        """Take a work. Raises ConfigurationError for what no job can have, such as headers of its own, and secrets."""
        _refuse_problem(_find_work_problem(work))
        super().add(work)

    def _submit(self, pending: Pending) -> None:
        hooks = pending.lane.hooks
        uploads = stages.JobUploads(pending.submission, hooks)
        try:
            self._deliver(pending, uploads)
            while pending.works and not self._submit_calls(pending):
                pass
        except BaseException:
            uploads.end()
            raise

    def _deliver(self, pending: Pending, uploads: stages.JobUploads) -> None:
        """Deliver the files of a submission, without the items whose files cannot be delivered."""
        blocked = _deliver_files(pending.works, pending.lane.hooks, uploads)
        if blocked and pending.submission.may_exist:
            # What may exist can only be found again as a whole.
            raise blocked[min(blocked)]
        if blocked:
            self._refuse(pending, blocked)

    def _submit_calls(self, pending: Pending) -> bool:
        """Submit all calls, or leave one out that no job has room for; return whether all are submitted."""
        try:
            stages.submit_calls(_list_calls(pending), pending.lane.hooks, pending.submission)
        except PlanningError as error:
            # Jobs are filled in order: none that exists has this call, or one after it.
            if error.call_idx is None or pending.submission.is_open:
                raise
            self._refuse(pending, {error.call_idx: error})
            return False
        return True

    def _refuse(self, pending: Pending, errors: Mapping[int, PolluxError]) -> None:
        """Leave works out of a submission, by position."""
        self.refused += [(work, error) for position, error in errors.items() if (work := pending.works[position])]
        pending.leave_out(errors)

    def _finish_earlier(self, pending: Pending) -> None:
        """Go on with a submission that was interrupted: its jobs exist, may exist, or are to be submitted."""
        submission = pending.submission
        covered = sum(job.request_count for job in submission.jobs)
        if covered >= len(pending.works):
            return
        missing = {position for position, work in enumerate(pending.works) if work is None}
        if missing and submission.may_exist:
            raise ConfigurationError(
                f"a submission of {len(pending.works)} items was interrupted, and {len(missing)} of them are not in "
                "the input any more",
                hint="run once with the same input, so that it can be looked for and finished",
            )
        if missing:
            pending.leave_out(missing)
        self._submit(pending)

    def _has_ended(self, pending: Pending) -> bool:
        states = stages.inspect_jobs(pending.submission.jobs, pending.lane.hooks)
        return all(is_terminal(state.status) for state in states)

    def _collect(self, pending: Pending) -> Iterator[Collected]:
        """Yield the items of jobs that have ended; those whose answers are missing come last, as failures."""
        hooks, jobs = pending.lane.hooks, pending.submission.jobs
        seen: set[int] = set()
        damage: APIError | None = None
        for job, state in zip(jobs, stages.inspect_jobs(jobs, hooks), strict=True):
            try:
                for item in stages.iter_job_items(job, state, _list_calls(pending), hooks):
                    seen.add(item.index)
                    yield pending.build_collected(item, _build_rows(pending, item))
            except APIError as error:
                if error.kind != "malformed":
                    raise
                damage = error
        self._pending.remove(pending)
        if damage is None:
            # What the provider deletes now must be on disk.
            self._journal.flush()
            pending.submission.record_end()
            stages.release_jobs(jobs, hooks, files=pending.submission.files)
            return
        # Nothing is released, so that the next run can look for them again.
        for index in sorted({*range(len(pending.works))} - seen):
            failure = Failure(copy_error(damage, call_idx=index))
            custom_id = build_custom_id(index)
            item = JobItem(index=index, custom_id=custom_id, outcome=failure, status="missing")
            yield pending.build_collected(item, _build_rows(pending, item))


def check_deferrable(options: Options, hooks: stages.Hooks) -> None:
    """Raise ConfigurationError for options that no job of the provider can have."""
    _refuse_problem(_find_problem(options, hooks))


def _refuse_problem(problem: Problem | None) -> None:
    if problem is not None:
        raise ConfigurationError(problem.message, hint="leave it out, or take route='live' or 'auto'")


def _find_work_problem(work: Work) -> Problem | None:
    if work.extra_headers:
        return Problem(f"provider_headers cannot be deferred: {', '.join(work.extra_headers)}")
    # As the caller has written them: with a plan of one call, a provider's own default is implicit caching.
    options = work.plan.request.options if work.plan else work.call.options
    return _find_problem(options, work.lane.hooks)


def _find_problem(options: Options, hooks: stages.Hooks) -> Problem | None:
    return stages.find_deferral_problem(options, hooks.info, handled=_HANDLED)


def _list_calls(pending: Pending) -> Sequence[Call]:
    """Return the calls of a submission; one that the input does not hold is read like its neighbours."""
    known = next(work.call for work in pending.works if work is not None)
    return [known if work is None else work.call for work in pending.works]


def _deliver_files(
    works: Sequence[Work | None], hooks: stages.Hooks, uploads: stages.JobUploads
) -> dict[int, PolluxError]:
    """Deliver the files of works, stored under the mark of their submission or in their requests.

    Returns why files cannot be delivered, by the positions of the works.
    """
    blocked: dict[int, PolluxError] = {}
    for _, group in groupby(enumerate(works), lambda place: id(place[1] and place[1].plan)):
        some = [(position, work) for position, work in group if work is not None]
        plan = some[0][1].plan if some else None
        if plan is None:  # it was delivered already
            continue
        plan = attrs.evolve(plan, calls=tuple(work.call for _, work in some))
        prepared = stages.prepare_plan(plan, hooks, uploads)
        for (position, work), call in zip(some, prepared.calls, strict=True):
            error = prepared.blocked.get(call.index)
            if error is not None:
                blocked[position] = error
            work.call, work.plan = call, None
    return blocked


def _build_rows(pending: Pending, item: JobItem) -> list[AnswerRow | FailureRow]:
    """Return what is to be kept of an item: its answer as it came, and its failure."""
    member, outcome, now = pending.members[item.index], item.outcome, time.time()
    rows: list[AnswerRow | FailureRow] = []
    if item.response is not None:
        response, usage, hooks = item.response, outcome.usage, pending.lane.hooks
        cost = hooks.price(hooks.config.model, usage, tier="batch") if hooks.can_price else None
        rows.append(
            AnswerRow(
                key=member.key,
                ask=member.ask,
                label=member.label,
                format="response",
                body=response.content if response.content is not None else encode_json(response.body),
                request_id=response.request_id,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                total_tokens=usage.total_tokens,
                cached_tokens=usage.cached_tokens,
                cost=None if cost is None else str(cost),
                at=now,
            )
        )
    if isinstance(outcome, Failure):
        error = outcome.error
        text = f"{type(error).__name__}: {error.message}"
        rows.append(FailureRow(label=member.label, key=member.key, error=text, category=name_category(error), at=now))
    return rows
