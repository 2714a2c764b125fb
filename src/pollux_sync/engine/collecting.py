"""Deferred jobs, later: their state, and their answers as the envelope that run_many would have returned."""

from __future__ import annotations

import logging
import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.data.events import DeferredChanged
from pollux_sync.data.jobs import DeferredSnapshot, JobItem, build_custom_id, is_terminal, read_custom_id
from pollux_sync.data.options import Options
from pollux_sync.data.reply import Failure, Reply
from pollux_sync.data.request import Call, Plan, Prepared, Request
from pollux_sync.engine.enveloping import build_envelope, build_error
from pollux_sync.engine.preparing import delete_uploads
from pollux_sync.engine.retrying import read_fault, request_with_retries
from pollux_sync.engine.telling import tell_progress
from pollux_sync.errors import APIError, ConfigurationError, DeferredNotReadyError, PolluxError, build_api_error
from pollux_sync.schemas import answer_format, schema_hash, schema_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from pollux_sync.data.envelope import DeferredItem, ResultEnvelope, UnmatchedRow
    from pollux_sync.data.handles import Asset
    from pollux_sync.data.jobs import DeferredHandle, DeferredJob, DeferredRow, DeferredStatus, ItemStatus, JobState
    from pollux_sync.data.provider import HttpResponse
    from pollux_sync.data.reply import Outcome
    from pollux_sync.hooks.relay import Hooks

#: The hint for a request that a later job may answer. Those of live calls are about concurrency and retries.
_AGAIN_HINT = "defer this prompt again"

log = logging.getLogger("pollux_sync")

#: What is added to the hint of damaged results.
_PARTIAL_HINT = "the error's partial_result has the answers that could be read"
#: How many rows that answer no request of a job are read, beside as many as it has requests.
_MAX_ODD_ROWS = 100
#: How long a look at a job may take at the least, where little is left of the time to wait.
_LEAST_LOOK_S = 1.0


def check_schema(handle: DeferredHandle, response_schema: Any) -> None:
    """Raise ConfigurationError when the job was submitted with another schema, or with none."""
    if response_schema is None:
        return
    if handle.response_schema is None:
        raise ConfigurationError(
            "the job was submitted without a response_schema", hint="leave response_schema out, and read the texts"
        )
    is_other_mode = (response_schema is dict) != (handle.answer_type is dict)
    if is_other_mode or schema_hash(schema_of(response_schema)) != handle.schema_hash:
        raise ConfigurationError(
            "the job was submitted with another response_schema",
            hint="pass the type that was submitted, or leave it out",
        )


def take_snapshot(handle: DeferredHandle, hooks: Hooks, deadline: float = math.inf) -> DeferredSnapshot:
    """Return the joint state of a handle's jobs, by the monotonic clock's ``deadline``.

    Raises APIError with phase "batch_inspect".
    """
    return _merge_states(handle, inspect_jobs(handle.jobs, hooks, deadline))


def inspect_jobs(jobs: Sequence[DeferredJob], hooks: Hooks, deadline: float = math.inf) -> list[JobState]:
    """Return the state of each job, by the monotonic clock's ``deadline``.

    Raises APIError with phase "batch_inspect".
    """

    def inspect(job: DeferredJob) -> JobState:
        left_s = max(deadline - time.monotonic(), _LEAST_LOOK_S)
        return hooks.inspect_deferred(job, min(hooks.config.timeout_s, left_s))

    return [
        request_with_retries(partial(inspect, job), hooks, phase="batch_inspect", deadline=deadline) for job in jobs
    ]


def _merge_states(handle: DeferredHandle, states: Sequence[JobState]) -> DeferredSnapshot:
    # The counts of several jobs add up; the times do not: the handle is done when its last job is, and the first
    # expiry is the one to act on.
    succeeded = sum(state.succeeded for state in states)
    failed = sum(_count_failed(job, state) for job, state in zip(handle.jobs, states, strict=True))
    completed_at = [state.completed_at for state in states if state.completed_at is not None]
    expires_at = [state.expires_at for state in states if state.expires_at is not None]
    status = _merge_status(states)
    return DeferredSnapshot(
        job_id=handle.job_id,
        provider=handle.provider,
        model=handle.model,
        status=status,
        provider_status=",".join(dict.fromkeys(state.provider_status for state in states)),
        request_count=handle.request_count,
        succeeded=succeeded,
        failed=failed,
        pending=0 if is_terminal(status) else max(0, handle.request_count - succeeded - failed),
        submitted_at=handle.submitted_at,
        completed_at=max(completed_at, default=None) if is_terminal(status) else None,
        expires_at=min(expires_at, default=None),
    )


def _count_failed(job: DeferredJob, state: JobState) -> int:
    """Return how many requests of a job failed: once it has ended early or in part, all that have no answer."""
    if is_terminal(state.status) and state.status != "completed":
        return max(state.failed, job.request_count - state.succeeded)
    return state.failed


def _merge_status(states: Sequence[JobState]) -> DeferredStatus:
    statuses = {state.status for state in states}
    # Jobs that agree need no rule, and keep words such as "queued".
    if len(statuses) == 1:
        return states[0].status
    if all(is_terminal(status) for status in statuses):
        return "partial" if any(state.succeeded for state in states) else "failed"
    return "cancelling" if "cancelling" in statuses else "running"


def collect_envelope(handle: DeferredHandle, response_schema: Any, hooks: Hooks) -> ResultEnvelope:
    """Return the envelope of a job that has ended, and delete what was stored for it, except its answers.

    Raises DeferredNotReadyError before it has ended, APIError with phase "batch_collect".
    """
    # Looked at once: the same states decide readiness here and the fate of missing rows below.
    states = inspect_jobs(handle.jobs, hooks)
    snapshot = _merge_states(handle, states)
    if not snapshot.is_terminal:
        raise DeferredNotReadyError(
            f"the job is {snapshot.status}: {snapshot.pending} of {snapshot.request_count} are pending",
            hint="wait_deferred(...) waits for its end",
            snapshot=snapshot,
        )
    prepared = _rebuild_plan(handle, response_schema, hooks)
    jobs = [_read_job(job, state, prepared.calls, hooks) for job, state in zip(handle.jobs, states, strict=True)]
    # Two clocks are subtracted, the provider's and ours: the result may be negative.
    duration_s = max(0.0, (snapshot.completed_at or time.time()) - (snapshot.submitted_at or 0.0))
    envelope = build_envelope(prepared, [outcome for job in jobs for outcome, _ in job.answers], duration_s=duration_s)
    _add_diagnostics(envelope, snapshot, jobs)
    for job in jobs:
        if job.damage is not None:
            job.damage.partial_result = envelope
            job.damage.hint = "; ".join(filter(None, (job.damage.hint, _PARTIAL_HINT)))
            raise job.damage
    # Last: what was stored may go only when every answer is in the envelope.
    release_jobs(handle.jobs, hooks, files=handle.files)
    return envelope


def _rebuild_plan(handle: DeferredHandle, response_schema: Any, hooks: Hooks) -> Prepared:
    """Return the plan that was carried out, as far as reading its answers needs it."""
    schema = response_schema if response_schema is not None else handle.answer_type
    options = Options(response_schema=schema)
    answers = None if schema is None else answer_format(schema, hooks.info.schema_dialect)
    request = Request(prompts=(None,) * handle.request_count, sources=(), config=hooks.config, options=options)
    # The prompts are not stored with the handle; decoders need the call only for its options and its schema.
    calls = tuple(
        Call(
            index=index,
            model=handle.model,
            prompt=None,
            options=options,
            response_schema=answers.sent_schema if answers else None,
            capabilities=hooks.config.capabilities,
        )
        for index in range(handle.request_count)
    )
    plan = Plan(request=request, calls=calls, answer_format=answers, is_deferred=True)
    return Prepared(plan=plan, provider=hooks.info.name, calls=calls, blocked={})


@attrs.frozen(kw_only=True)
class _JobAnswers:
    """All that the results of one job hold: an outcome and its description for each request, in order.

    ``damage`` is the error of results that are not all there.
    """

    answers: Sequence[tuple[Outcome, DeferredItem]]
    counts: _RowCounts
    damage: APIError | None


def _read_job(job: DeferredJob, state: JobState, calls: Sequence[Call], hooks: Hooks) -> _JobAnswers:
    """Read the results of a job, by the retry policy. Raises APIError for results that cannot be read to their end."""
    reader = _JobReader(job, state, calls, hooks, keeps_unmatched=True)
    damage = None
    # Outcomes and descriptions instead of items, which also hold the answers as they came.
    found: dict[int, tuple[Outcome, DeferredItem]] = {}
    try:
        for item in reader.iter_items():
            found[item.index] = item.outcome, _describe_item(item)
    except APIError as error:
        # Raised later, with all answers that could be read: they are paid for.
        if error.kind != "malformed" or reader.counts is None:
            raise
        damage = error
    # Rows come in any order, and some not at all: the prompts decide what is accounted for.
    for index in reader.list_unanswered():
        item = _build_unanswered(state, index, hooks)
        found[index] = item.outcome, _describe_item(item)
    answers = [found[index] for index in sorted(found)]
    return _JobAnswers(answers=answers, counts=reader.counts or _RowCounts(), damage=damage)


def iter_job_items(job: DeferredJob, state: JobState, calls: Sequence[Call], hooks: Hooks) -> Iterator[JobItem]:
    """Yield the item of each request of a job that has ended, as its row arrives; those without a row come last.

    ``calls`` are those that were submitted with `submit_calls`, all of them, and ``state`` is the job's from
    `inspect_jobs`. Only one row at a time is held in memory. An item comes a second time where a row with an answer
    follows one with a failure: then the later item counts. Rows of other jobs are passed over.

    A reading that fails begins again, by the retry policy, and goes on with what is new. Raises APIError with phase
    "batch_collect" in the end; of kind "malformed" for results that are damaged. Then all that could be read was
    yielded, and nothing for the other requests: their answers may still be there.
    """
    reader = _JobReader(job, state, calls, hooks)
    yield from reader.iter_items()
    for index in reader.list_unanswered():
        yield _build_unanswered(state, index, hooks)


#: How much is known of a request: no row, a failure, an answer that cannot be decoded, a reply.
_NO_ROW, _FAILURE, _ANSWER, _REPLY = range(4)


@attrs.define
class _RowCounts:
    """The counts of one reading of a job's results.

    ``ranks`` says by index how much is known of its requests. ``unmatched`` are the rows that belong to none of them,
    if they are kept.
    """

    ranks: dict[int, int] = attrs.field(factory=dict)
    n_unmatched: int = 0
    unmatched: list[UnmatchedRow] = attrs.field(factory=list)
    duplicates: int = 0
    unreadable: int = 0

    @property
    def n_odd(self) -> int:
        """The number of rows that say nothing about a request."""
        return self.n_unmatched + self.unreadable + self.duplicates

    def count_missing(self, job: DeferredJob, state: JobState) -> int:
        """Return how many answers are missing without a reason that the job's state gives."""
        # Rows may have lost their keys; but if no row has one of this job's, they are another job's.
        lost_keys = self.n_unmatched if self.ranks else 0
        absent = job.request_count - len(self.ranks) - lost_keys
        n_answers = sum(rank >= _ANSWER for rank in self.ranks.values())
        failed_rows = len(self.ranks) - n_answers
        # The provider counts failures for which it may write no row. A job that ended early answers for all others.
        is_whole = state.decide_unanswered() == "missing"
        unexplained = absent - max(0, state.failed - failed_rows) if is_whole else 0
        # Whatever became of the job: what the provider says it has must be there.
        promised = max(state.succeeded - n_answers, (state.row_count or 0) - len(self.ranks))
        return max(0, min(absent, max(unexplained, promised)))


class _JobReader:
    """The rows of one job as items, read from the beginning again after a failure, and when they are damaged."""

    def __init__(
        self, job: DeferredJob, state: JobState, calls: Sequence[Call], hooks: Hooks, *, keeps_unmatched: bool = False
    ) -> None:
        self._job, self._state, self._calls, self._hooks = job, state, calls, hooks
        self._keeps_unmatched = keeps_unmatched
        self._indexes = range(job.first, job.first + job.request_count)
        #: How much was returned of each request, over all readings.
        self._ranks: dict[int, int] = {}
        #: What the latest reading that came to the end of the results has found, None before that.
        self.counts: _RowCounts | None = None
        self._reading = self._read_rows()

    def iter_items(self) -> Iterator[JobItem]:
        """Yield each item when its row arrives. Raises what `iter_job_items` raises."""
        try:
            while (item := self._read_next_with_retries()) is not None:
                yield item
        finally:
            # Reader and reading refer to each other: without this an abandoned response stays open for a while.
            self._reading.close()

    def list_unanswered(self) -> list[int]:
        """Return the indexes of the requests of which no row was found."""
        return [index for index in self._indexes if index not in self._ranks]

    def _read_next_with_retries(self) -> JobItem | None:
        """Return the next item, None at the end. Each item that is new begins with all attempts of the policy."""
        try:
            return self._read_next()
        except Exception as error:  # noqa: BLE001 - raised again below
            failures = [error]

        # Only after a failure: the ledger of attempts costs some 7 us, a third of what a row takes.
        def attempt() -> JobItem | None:
            if failures:
                raise failures.pop()
            return self._read_next()

        return request_with_retries(attempt, self._hooks, phase="batch_collect")

    def _read_next(self) -> JobItem | None:
        """Return the next item that says more than was known, None at the end. After an error the reading is new."""
        try:
            for item, rank in self._reading:
                if rank > self._ranks.get(item.index, _NO_ROW):
                    self._ranks[item.index] = rank
                    return item
        except BaseException:
            self._reading = self._read_rows()
            raise
        return None

    def _read_rows(self) -> Generator[tuple[JobItem, int], None, None]:
        """Read the results once, and yield each item with its rank. Raises APIError when they are damaged."""
        counts = _RowCounts()
        for row in self._hooks.collect_deferred(self._job, self._hooks.config.timeout_s):
            index = self._count_row(row, counts)
            if index is not None:
                item = _read_row(row, self._calls[index].with_index(index), self._job, self._hooks)
                counts.ranks[index] = rank = _rank_item(item, row)
                yield item, rank
            # A file of another job, or one without end, must not fill the memory.
            if counts.n_odd > self._job.request_count + _MAX_ODD_ROWS:
                counts.unreadable = max(counts.unreadable, 1)
                break
        self.counts = counts
        missing = counts.count_missing(self._job, self._state)
        if missing or counts.unreadable:
            raise _build_damage(self._job, counts, missing, self._hooks)

    def _count_row(self, row: DeferredRow, counts: _RowCounts) -> int | None:
        """Return the index of the request that the row answers, None for a row that says nothing new of any."""
        # Counted, not raised: an odd row must not cost the answers beside it, which are paid for.
        if not row.is_readable:
            counts.unreadable += 1
            return None
        index = read_custom_id(row.custom_id)
        if index is None or index not in self._indexes:
            self._count_unmatched(row, counts)
            return None
        known = counts.ranks.get(index, _NO_ROW)
        counts.duplicates += known != _NO_ROW
        # The first row counts, except that an answer counts more than a failure.
        is_new = known == _NO_ROW or (row.status == "succeeded" and known < _REPLY)
        return index if is_new else None

    def _count_unmatched(self, row: DeferredRow, counts: _RowCounts) -> None:
        counts.n_unmatched += 1
        if self._keeps_unmatched:
            counts.unmatched.append(_describe_unmatched(row, self._calls[self._job.first], self._job, self._hooks))


def _rank_item(item: JobItem, row: DeferredRow) -> int:
    if isinstance(item.outcome, Reply):
        return _REPLY
    return _ANSWER if row.status == "succeeded" else _FAILURE


def _build_damage(job: DeferredJob, counts: _RowCounts, missing: int, hooks: Hooks) -> APIError:
    return APIError(
        f"the results of job {job.job_id} are damaged: {missing} of {job.request_count} answers are missing, "
        f"{counts.unreadable} rows cannot be read",
        kind="malformed",
        retryable=True,
        provider=hooks.info.name,
        phase="batch_collect",
        hint="collect again, since nothing was deleted",
    )


def _describe_unmatched(row: DeferredRow, call: Call, job: DeferredJob, hooks: Hooks) -> UnmatchedRow:
    item = _read_row(row, call, job, hooks)
    text = item.outcome.text if isinstance(item.outcome, Reply) else ""
    return {
        "custom_id": hooks.scrub(row.custom_id),
        "status": item.status,
        "text": text,
        "error": _describe_error(item),
    }


def _read_row(row: DeferredRow, call: Call, job: DeferredJob, hooks: Hooks) -> JobItem:
    outcome: Outcome
    status = row.status
    try:
        outcome = hooks.call_deferred(call, partial(_read_reply, row, hooks=hooks), job).without_response()
    except PolluxError as error:  # one unreadable row must not cost the others
        error.call_idx = call.index
        outcome, status = Failure(error), "failed" if status == "succeeded" else status
    return JobItem(
        index=call.index,
        custom_id=row.custom_id,
        outcome=outcome,
        status=status,
        provider_status=row.provider_status and hooks.scrub(row.provider_status),
        response=_find_response(row),
    )


def _find_response(row: DeferredRow) -> HttpResponse | None:
    # A row that failed may still carry a body; only a success is decoded.
    return row.response if row.status == "succeeded" else None


def _read_reply(row: DeferredRow, call: Call, hooks: Hooks) -> Reply:
    """Return the reply in a row. Raises its error, or that of an answer that cannot be decoded."""
    response = _find_response(row)
    if response is None:
        raise _read_row_error(row, call, hooks)
    try:
        reply = hooks.decode(response, call)
    except Exception as error:  # noqa: BLE001 - raised below
        problem = error
    else:
        return attrs.evolve(reply, response=response) if hooks.keeps_responses else reply
    raise _read_decoding_error(problem, call, hooks)


def _describe_error(item: JobItem) -> str | None:
    return item.outcome.error.message if isinstance(item.outcome, Failure) else None


def _read_row_error(row: DeferredRow, call: Call, hooks: Hooks) -> PolluxError:
    """Return the error of a row that failed: as a direct call would have raised it, where the provider says enough."""
    if row.error_response is None:
        return _build_error(row.status, row.error, call.index, hooks)
    try:
        fault = hooks.classify_response(row.error_response)
    except PolluxError as defect:  # one row must not cost the others
        defect.call_idx = call.index
        return defect
    if row.status != "failed":  # it was not tried, so nothing is known about the request
        return _build_error(row.status, row.error, call.index, hooks, provider_code=fault.provider_code)
    fault = attrs.evolve(fault, hint=_AGAIN_HINT if fault.retryable else fault.hint)
    return build_api_error(fault, provider=hooks.info.name, phase="batch_collect", call_idx=call.index)


def _read_decoding_error(problem: Exception, call: Call, hooks: Hooks) -> PolluxError:
    """Return the error of an answer that was paid but cannot be decoded: the provider's fault, or the plugin's."""
    try:
        fault = hooks.classify(problem)
    except PolluxError as defect:
        defect.call_idx = call.index
        return defect
    return build_api_error(fault, provider=hooks.info.name, phase="batch_collect", call_idx=call.index)


def _build_error(
    status: ItemStatus, error: str | None, index: int | None, hooks: Hooks, *, provider_code: str | None = None
) -> APIError:
    return APIError(
        hooks.scrub_message(error or f"the request was not answered: {status}"),
        kind="unknown",
        provider=hooks.info.name,
        provider_code=provider_code and hooks.scrub(provider_code),
        phase="batch_collect",
        call_idx=index,
    )


def _build_unanswered(state: JobState, index: int, hooks: Hooks) -> JobItem:
    """Return the item of a request for which the provider has no row. This is the one place that decides its fate."""
    status = state.decide_unanswered()
    missing = f"there is no answer; the job is {state.provider_status}" if status == "missing" else None
    failure = _build_error(status, state.error or missing, index, hooks, provider_code=state.provider_code)
    return JobItem(
        index=index,
        custom_id=build_custom_id(index),
        outcome=Failure(failure),
        status=status,
        provider_status=None if status == "missing" else state.provider_status,
    )


def _add_diagnostics(envelope: ResultEnvelope, snapshot: DeferredSnapshot, jobs: Sequence[_JobAnswers]) -> None:
    envelope["metrics"]["deferred"] = True
    envelope["diagnostics"]["deferred"] = {
        "job_id": snapshot.job_id,
        "status": snapshot.status,
        "submitted_at": snapshot.submitted_at,
        "completed_at": snapshot.completed_at,
        "elapsed_s": envelope["metrics"]["duration_s"],
        "items": [item for job in jobs for _, item in job.answers],
        "unknown_rows": sum(job.counts.n_unmatched for job in jobs),
        "duplicate_rows": sum(job.counts.duplicates for job in jobs),
        "unreadable_rows": sum(job.counts.unreadable for job in jobs),
        "unmatched": [row for job in jobs for row in job.counts.unmatched],
    }


def _describe_item(item: JobItem) -> DeferredItem:
    error = build_error(item.outcome.error) if isinstance(item.outcome, Failure) else None
    return {
        "custom_id": item.custom_id,
        "status": item.status,
        "error": _describe_error(item),
        "kind": error and error["kind"],
        "status_code": error and error["status_code"],
        "retryable": bool(error and error["retryable"]),
        "provider_code": error and error["provider_code"],
        "provider_status": item.provider_status,
        "finish_reason": item.outcome.finish_reason if isinstance(item.outcome, Reply) else None,
    }


def release_jobs(jobs: Sequence[DeferredJob], hooks: Hooks, *, files: Sequence[Asset] = ()) -> None:
    """Delete what was stored for jobs that have ended, and ``files``; their answers stay. A failure changes nothing."""
    # Every job is tried: one that cannot be released must not keep the files of the others.
    for job in jobs:
        try:
            hooks.release_deferred(job, hooks.config.timeout_s)
        except Exception as error:  # noqa: BLE001 - cleaning up must not mask the result
            log.debug("releasing %s failed: %s", job.job_id, hooks.scrub(f"{type(error).__name__}: {error}"))
    if files:
        delete_uploads(files, hooks)


def cancel_jobs(jobs: Sequence[DeferredJob], hooks: Hooks) -> None:
    """Ask the provider to cancel every job, without waiting. Raises APIError with phase "batch_cancel"."""
    for job in jobs:
        request_with_retries(partial(_cancel_job, job, hooks), hooks, phase="batch_cancel")


def _cancel_job(job: DeferredJob, hooks: Hooks) -> None:
    failure: Exception | None = None
    try:
        hooks.cancel_deferred(job, hooks.config.timeout_s)
    except Exception as error:  # noqa: BLE001 - raised again below
        failure = error
    # A service refuses to cancel a job that has ended, and an answer that cannot be read does not say whether it was
    # asked. The state of the job does. Without any answer it would not be seen either.
    if failure and (read_fault(failure, hooks).status_code is None or not _is_ending(job, hooks)):
        raise failure


def _is_ending(job: DeferredJob, hooks: Hooks) -> bool:
    """Return whether a job has ended or is being cancelled; False if that cannot be seen."""
    try:
        status = hooks.inspect_deferred(job, hooks.config.timeout_s).status
    except Exception:  # noqa: BLE001 - the failed cancellation is what is reported
        return False
    return status == "cancelling" or is_terminal(status)


def emit_change(before: DeferredSnapshot | None, now: DeferredSnapshot, hooks: Hooks) -> bool:
    """Send observers an event when a job has progressed; return whether it has."""
    # Observers hear of progress, not of every look.
    is_new = before is None or (before.status, before.succeeded, before.failed) != (
        now.status,
        now.succeeded,
        now.failed,
    )
    if is_new:
        hooks.emit(DeferredChanged(now))
        tell_progress(now)
    return is_new
