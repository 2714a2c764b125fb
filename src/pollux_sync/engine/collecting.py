"""Deferred jobs, later: their state, and their answers as the envelope that run_many would have returned."""

from __future__ import annotations

import logging
import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.data.events import DeferredChanged
from pollux_sync.data.handles import DeferredSnapshot, build_custom_id, is_terminal
from pollux_sync.data.options import Options
from pollux_sync.data.reply import Failure, Reply
from pollux_sync.data.request import Call, Plan, Prepared, Request
from pollux_sync.engine.enveloping import build_envelope, build_error
from pollux_sync.engine.preparing import delete_uploads
from pollux_sync.engine.retrying import read_fault, request_with_retries
from pollux_sync.errors import APIError, ConfigurationError, DeferredNotReadyError, PolluxError, build_api_error
from pollux_sync.schemas import answer_format, schema_hash, schema_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_sync.data.envelope import DeferredItem, ResultEnvelope, UnmatchedRow
    from pollux_sync.data.handles import DeferredHandle, DeferredJob, DeferredStatus, ItemStatus, JobState
    from pollux_sync.data.reply import Outcome
    from pollux_sync.data.request import DeferredRow
    from pollux_sync.hooks.relay import Hooks

#: The hint for a request that a later job may answer. Those of live calls are about concurrency and retries.
_AGAIN_HINT = "defer this prompt again"

log = logging.getLogger("pollux_sync")

#: How many rows that answer no request of a job are read, beside as many as it has requests.
_MAX_ODD_ROWS = 100
#: How long a look at a job may take at the least, where little is left of the time to wait.
_LEAST_LOOK_S = 1.0


@attrs.frozen(kw_only=True)
class _Item:
    """One request of a job: its outcome, and what the provider says about it.

    ``is_answer`` means that the provider sent an answer, whether or not it could be decoded.
    """

    outcome: Outcome
    status: ItemStatus
    is_answer: bool = False
    error: str | None = None
    provider_status: str | None = None


def check_schema(handle: DeferredHandle, response_schema: Any) -> None:
    """Raise ConfigurationError when the job was submitted with another schema, or with none."""
    if response_schema is None:
        return
    if handle.response_schema is None:
        raise ConfigurationError(
            "the job was submitted without a response_schema", hint="leave response_schema out, and read the texts"
        )
    if schema_hash(schema_of(response_schema)) != handle.schema_hash:
        raise ConfigurationError(
            "the job was submitted with another response_schema",
            hint="pass the type that was submitted, or leave it out",
        )


def take_snapshot(handle: DeferredHandle, hooks: Hooks, deadline: float = math.inf) -> DeferredSnapshot:
    """Return the joint state of a handle's jobs, by the monotonic clock's ``deadline``.

    Raises APIError with phase "batch_inspect".
    """
    return _merge_states(handle, _inspect_jobs(handle, hooks, deadline))


def _inspect_jobs(handle: DeferredHandle, hooks: Hooks, deadline: float = math.inf) -> list[JobState]:
    def inspect(job: DeferredJob) -> JobState:
        left_s = max(deadline - time.monotonic(), _LEAST_LOOK_S)
        return hooks.inspect_deferred(job, min(hooks.config.timeout_s, left_s))

    return [
        request_with_retries(partial(inspect, job), hooks, phase="batch_inspect", deadline=deadline)
        for job in handle.jobs
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
    states = _inspect_jobs(handle, hooks)
    snapshot = _merge_states(handle, states)
    if not snapshot.is_terminal:
        raise DeferredNotReadyError(
            f"the job is {snapshot.status}: {snapshot.pending} of {snapshot.request_count} are pending",
            hint="wait_deferred(...) waits for its end",
            snapshot=snapshot,
        )
    prepared = _rebuild_plan(handle, response_schema, hooks)
    items: list[_Item] = []
    jobs = [_read_job(job, state, prepared, hooks) for job, state in zip(handle.jobs, states, strict=True)]
    for job, state, rows in zip(handle.jobs, states, jobs, strict=True):
        indexes = range(job.first, job.first + job.request_count)
        # Rows come in any order, and some not at all: the prompts decide what is accounted for.
        items += [rows.items.get(build_custom_id(index)) or _build_unanswered(state, index, hooks) for index in indexes]
    # Two clocks are subtracted, the provider's and ours: the result may be negative.
    duration_s = max(0.0, (snapshot.completed_at or time.time()) - (snapshot.submitted_at or 0.0))
    envelope = build_envelope(prepared, [item.outcome for item in items], duration_s=duration_s)
    _add_diagnostics(envelope, items, snapshot, jobs)
    for rows in jobs:
        if rows.damage is not None:
            rows.damage.partial_result = envelope
            raise rows.damage
    # Last: what was stored may go only when every answer is in the envelope.
    release_jobs(handle, hooks)
    return envelope


def _rebuild_plan(handle: DeferredHandle, response_schema: Any, hooks: Hooks) -> Prepared:
    """Return the plan that was carried out, as far as reading its answers needs it."""
    schema = response_schema if response_schema is not None else handle.response_schema
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
            response_schema=answers.lowered.schema if answers else None,
            capabilities=hooks.config.capabilities,
        )
        for index in range(handle.request_count)
    )
    plan = Plan(request=request, calls=calls, answer_format=answers, is_deferred=True)
    return Prepared(plan=plan, provider=hooks.info.name, calls=calls, blocked={})


@attrs.define
class _JobRows:
    """The rows of one job: items by custom id, and rows that belong to none of its requests.

    ``damage`` is the error of results that are not all there.
    """

    items: dict[str, _Item] = attrs.field(factory=dict)
    unmatched: list[UnmatchedRow] = attrs.field(factory=list)
    duplicates: int = 0
    unreadable: int = 0
    damage: APIError | None = None

    def add(self, row: DeferredRow, call: Call, hooks: Hooks) -> None:
        """Add the row of a request. The first one counts, except that an answer counts more than a failure."""
        known = self.items.get(row.custom_id)
        self.duplicates += known is not None
        if known is None or (row.status == "succeeded" and isinstance(known.outcome, Failure)):
            self.items[row.custom_id] = _read_row(row, call, hooks)

    def count_missing(self, job: DeferredJob, state: JobState) -> int:
        """Return how many answers are missing without a reason that the job's state gives."""
        # Rows may have lost their keys; but if no row has one of this job's, they are another job's.
        lost_keys = len(self.unmatched) if self.items else 0
        absent = job.request_count - len(self.items) - lost_keys
        n_answers = sum(item.is_answer for item in self.items.values())
        failed_rows = len(self.items) - n_answers
        # The provider counts failures for which it may write no row. A job that ended early answers for all others.
        is_whole = state.decide_unanswered() == "missing"
        unexplained = absent - max(0, state.failed - failed_rows) if is_whole else 0
        # Whatever became of the job: what the provider says it has must be there.
        promised = max(state.succeeded - n_answers, (state.row_count or 0) - len(self.items))
        return max(0, min(absent, max(unexplained, promised)))


def _read_job(job: DeferredJob, state: JobState, prepared: Prepared, hooks: Hooks) -> _JobRows:
    """Read the rows of a job, again by the retry policy if they are damaged. Raises APIError for a failed request."""
    latest: list[_JobRows] = []

    def read() -> _JobRows:
        rows = _read_rows(job, prepared, hooks)
        latest.append(rows)
        missing = rows.count_missing(job, state)
        if missing or rows.unreadable:
            raise _build_damage(job, rows, missing, hooks)
        return rows

    try:
        return request_with_retries(read, hooks, phase="batch_collect")
    except APIError as error:
        # Raised later, with all answers that could be read: they are paid for.
        if error.kind != "malformed" or not latest:
            raise
        latest[-1].damage = error
        return latest[-1]


def _build_damage(job: DeferredJob, rows: _JobRows, missing: int, hooks: Hooks) -> APIError:
    return APIError(
        f"the results of job {job.job_id} are damaged: {missing} of {job.request_count} answers are missing, "
        f"{rows.unreadable} rows cannot be read",
        kind="malformed",
        retryable=True,
        provider=hooks.info.name,
        phase="batch_collect",
        hint="collect again, since nothing was deleted; the error's partial_result has the answers that could be read",
    )


def _read_rows(job: DeferredJob, prepared: Prepared, hooks: Hooks) -> _JobRows:
    """Return what the rows of one job hold."""
    calls = prepared.calls[job.first : job.first + job.request_count]
    calls_by_id = {build_custom_id(call.index): call for call in calls}
    rows = _JobRows()
    for row in hooks.collect_deferred(job, hooks.config.timeout_s):
        # Counted, not raised: an odd row must not cost the answers beside it, which are paid for.
        if not row.is_readable:
            rows.unreadable += 1
        elif row.custom_id not in calls_by_id:
            rows.unmatched.append(_describe_unmatched(row, calls[0], hooks))
        else:
            rows.add(row, calls_by_id[row.custom_id], hooks)
        # A file of another job, or one without end, must not fill the memory.
        if len(rows.unmatched) + rows.unreadable + rows.duplicates > job.request_count + _MAX_ODD_ROWS:
            rows.unreadable = max(rows.unreadable, 1)
            break
    return rows


def _describe_unmatched(row: DeferredRow, call: Call, hooks: Hooks) -> UnmatchedRow:
    item = _read_row(row, call, hooks)
    text = item.outcome.text if isinstance(item.outcome, Reply) else ""
    return {"custom_id": hooks.scrub(row.custom_id), "status": item.status, "text": text, "error": item.error}


def _read_row(row: DeferredRow, call: Call, hooks: Hooks) -> _Item:
    outcome: Outcome
    status, error = row.status, row.error
    # A row that failed may still carry a body; only a success is decoded.
    if row.response is not None and row.status == "succeeded":
        try:
            outcome = hooks.decode(row.response, call)
        except Exception as problem:  # noqa: BLE001 - one unreadable row must not cost the others
            failure = _read_decoding_error(problem, call, hooks)
            outcome, status, error = Failure(failure), "failed", failure.message
    else:
        failed = _read_row_error(row, call, hooks)
        outcome, error = Failure(failed), failed.message
    return _Item(
        outcome=outcome,
        status=status,
        is_answer=row.status == "succeeded",
        error=error,
        provider_status=row.provider_status and hooks.scrub(row.provider_status),
    )


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


def _build_unanswered(state: JobState, index: int, hooks: Hooks) -> _Item:
    """Return the item of a request for which the provider has no row. This is the one place that decides its fate."""
    status = state.decide_unanswered()
    missing = f"there is no answer; the job is {state.provider_status}" if status == "missing" else None
    failure = _build_error(status, state.error or missing, index, hooks, provider_code=state.provider_code)
    return _Item(
        outcome=Failure(failure),
        status=status,
        error=failure.message,
        provider_status=None if status == "missing" else state.provider_status,
    )


def _add_diagnostics(
    envelope: ResultEnvelope, items: Sequence[_Item], snapshot: DeferredSnapshot, jobs: Sequence[_JobRows]
) -> None:
    envelope["metrics"]["deferred"] = True
    envelope["diagnostics"]["deferred"] = {
        "job_id": snapshot.job_id,
        "status": snapshot.status,
        "submitted_at": snapshot.submitted_at,
        "completed_at": snapshot.completed_at,
        "elapsed_s": envelope["metrics"]["duration_s"],
        "items": [_describe_item(index, item) for index, item in enumerate(items)],
        "unknown_rows": sum(len(rows.unmatched) for rows in jobs),
        "duplicate_rows": sum(rows.duplicates for rows in jobs),
        "unreadable_rows": sum(rows.unreadable for rows in jobs),
        "unmatched": [row for rows in jobs for row in rows.unmatched],
    }


def _describe_item(index: int, item: _Item) -> DeferredItem:
    error = build_error(item.outcome.error) if isinstance(item.outcome, Failure) else None
    return {
        "custom_id": build_custom_id(index),
        "status": item.status,
        "error": item.error,
        "kind": error and error["kind"],
        "status_code": error and error["status_code"],
        "retryable": bool(error and error["retryable"]),
        "provider_code": error and error["provider_code"],
        "provider_status": item.provider_status,
        "finish_reason": item.outcome.finish_reason if isinstance(item.outcome, Reply) else None,
    }


def release_jobs(handle: DeferredHandle, hooks: Hooks) -> None:
    """Delete what was stored for jobs that have ended. A failure is logged and changes nothing."""
    # Every job is tried: one that cannot be released must not keep the files of the others.
    for job in handle.jobs:
        try:
            hooks.release_deferred(job, hooks.config.timeout_s)
        except Exception as error:  # noqa: BLE001 - cleaning up must not mask the result
            log.debug("releasing %s failed: %s", job.job_id, hooks.scrub(f"{type(error).__name__}: {error}"))
    if handle.files:
        delete_uploads(handle.files, hooks)


def cancel_jobs(handle: DeferredHandle, hooks: Hooks) -> None:
    """Ask the provider to cancel every job. Raises APIError with phase "batch_cancel"."""
    for job in handle.jobs:
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
    return is_new
