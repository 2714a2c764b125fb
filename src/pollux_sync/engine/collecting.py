"""Deferred jobs, later: how far they are, and their answers as the envelope that run_many would have given."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from pollux_sync.data.events import DeferredChanged
from pollux_sync.data.handles import DeferredSnapshot, is_terminal, request_id
from pollux_sync.data.options import Options
from pollux_sync.data.reply import Failure, Reply
from pollux_sync.data.request import Call, Plan, Prepared, Request
from pollux_sync.engine.enveloping import build_envelope
from pollux_sync.engine.preparing import delete_uploads
from pollux_sync.engine.retrying import with_retries
from pollux_sync.errors import APIError, ConfigurationError, DeferredNotReadyError, PolluxError, api_error
from pollux_sync.schemas import answer_format, schema_hash, schema_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pollux_sync.data.envelope import ResultEnvelope
    from pollux_sync.data.handles import DeferredHandle, DeferredJob, DeferredStatus, ItemStatus, JobState
    from pollux_sync.data.reply import Outcome
    from pollux_sync.data.request import DeferredRow
    from pollux_sync.errors import Phase
    from pollux_sync.hooks.relay import Hooks

T = TypeVar("T")

log = logging.getLogger("pollux_sync")


@attrs.frozen(kw_only=True)
class _Item:
    """One row, read: its outcome, and what the provider says of it."""

    outcome: Outcome
    status: ItemStatus
    error: str | None = None
    provider_status: str | None = None


def check_schema(handle: DeferredHandle, response_schema: Any) -> None:
    """Raises ConfigurationError when the answers were asked for with another schema, or with none."""
    if response_schema is None:
        return
    if handle.response_schema is None:
        raise ConfigurationError(
            "the job was submitted without a response_schema", hint="leave response_schema out, and read the texts"
        )
    if schema_hash(schema_of(response_schema)) != handle.schema_hash:
        raise ConfigurationError(
            "the job was submitted with another response_schema", hint="pass the type as it was, or leave it out"
        )


def snapshot_of(handle: DeferredHandle, hooks: Hooks) -> DeferredSnapshot:
    """How far the jobs of a handle are, together. Raises APIError with phase "batch_inspect"."""
    return _joined(handle, _states(handle, hooks))


def _states(handle: DeferredHandle, hooks: Hooks) -> list[JobState]:
    timeout_s = hooks.config.timeout_s
    return [_asked(partial(hooks.inspect_deferred, job, timeout_s), hooks, "batch_inspect") for job in handle.jobs]


def _joined(handle: DeferredHandle, states: Sequence[JobState]) -> DeferredSnapshot:
    succeeded, failed = (sum(getattr(state, name) for state in states) for name in ("succeeded", "failed"))
    finished = [state.completed_at for state in states if state.completed_at is not None]
    expiring = [state.expires_at for state in states if state.expires_at is not None]
    status = _joint_status(states)
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
        completed_at=max(finished, default=None) if is_terminal(status) else None,
        expires_at=min(expiring, default=None),
    )


def _joint_status(states: Sequence[JobState]) -> DeferredStatus:
    found = {state.status for state in states}
    if len(found) == 1:
        return states[0].status
    if all(is_terminal(status) for status in found):
        return "partial" if any(state.succeeded for state in states) else "failed"
    return "cancelling" if "cancelling" in found else "running"


def collected(handle: DeferredHandle, response_schema: Any, hooks: Hooks) -> ResultEnvelope:
    """The envelope of a job that has ended; what was stored for it is deleted, but for its answers.

    Raises DeferredNotReadyError before it has ended, APIError with phase "batch_collect".
    """
    states = _states(handle, hooks)
    snapshot = _joined(handle, states)
    if not snapshot.is_terminal:
        raise DeferredNotReadyError(
            f"the job is {snapshot.status}: {snapshot.pending} of {snapshot.request_count} are pending",
            hint="wait_deferred(...) waits for its end",
            snapshot=snapshot,
        )
    prepared = _prepared(handle, response_schema, hooks)
    ordered: list[_Item] = []
    extra: Counter[str] = Counter()
    for job, state in zip(handle.jobs, states, strict=True):
        found, surplus = _asked(partial(_read, job, prepared, hooks), hooks, "batch_collect")
        extra += surplus
        indexes = range(job.first, job.first + job.request_count)
        ordered += [found.get(request_id(index)) or _missing(state, index, hooks) for index in indexes]
    envelope = build_envelope(prepared, [item.outcome for item in ordered], duration_s=_took_s(snapshot))
    _add_deferred(envelope, ordered, snapshot, extra)
    release(handle, hooks)
    return envelope


def _prepared(handle: DeferredHandle, response_schema: Any, hooks: Hooks) -> Prepared:
    """The plan that was carried out, as far as reading its answers needs it."""
    schema = response_schema if response_schema is not None else handle.response_schema
    options = Options(response_schema=schema)
    answers = None if schema is None else answer_format(schema, hooks.info.schema_dialect)
    request = Request(prompts=(None,) * handle.request_count, sources=(), config=hooks.config, options=options)
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


def _read(job: DeferredJob, prepared: Prepared, hooks: Hooks) -> tuple[dict[str, _Item], Counter[str]]:
    """The rows of one job by request id, and how many were twice there or not asked for."""
    calls = prepared.calls[job.first : job.first + job.request_count]
    wanted = {request_id(call.index): call for call in calls}
    items: dict[str, _Item] = {}
    extra: Counter[str] = Counter()
    for row in hooks.collect_deferred(job, hooks.config.timeout_s):
        if row.request_id not in wanted:
            extra["unknown_rows"] += 1
        elif row.request_id in items:
            extra["duplicate_rows"] += 1
        else:
            items[row.request_id] = _item(row, wanted[row.request_id], hooks)
    return items, extra


def _item(row: DeferredRow, call: Call, hooks: Hooks) -> _Item:
    outcome: Outcome
    status, error = row.status, row.error
    if row.response is not None and row.status == "succeeded":
        try:
            outcome = hooks.decode(row.response, call)
        except Exception as problem:  # noqa: BLE001 - one row that cannot be read must not cost the others
            failure = _misread(problem, call, hooks)
            outcome, status, error = Failure(failure), "failed", failure.message
    else:
        failed = _failure(row.status, row.error, call.index, hooks)
        outcome, error = Failure(failed), failed.message
    return _Item(outcome=outcome, status=status, error=error, provider_status=row.provider_status)


def _misread(problem: Exception, call: Call, hooks: Hooks) -> PolluxError:
    """The error of an answer that was paid, but cannot be read: the provider's fault, or the plugin's."""
    try:
        fault = hooks.classify(problem)
    except PolluxError as defect:
        defect.call_idx = call.index
        return defect
    return api_error(fault, provider=hooks.info.name, phase="batch_collect", call_idx=call.index)


def _failure(status: ItemStatus, error: str | None, index: int | None, hooks: Hooks) -> APIError:
    return APIError(
        hooks.scrub(error or f"the request was not answered: {status}"),
        kind="unknown",
        provider=hooks.info.name,
        phase="batch_collect",
        call_idx=index,
    )


def _missing(state: JobState, index: int, hooks: Hooks) -> _Item:
    """A request of which the provider says nothing: it shares the fate of its job."""
    fates: dict[str, ItemStatus] = {"cancelled": "cancelled", "expired": "expired", "failed": "failed"}
    status = fates.get(state.status, "missing")
    told = state.error or f"there is no answer; the job is {state.provider_status}"
    failure = _failure(status, told, index, hooks)
    return _Item(outcome=Failure(failure), status=status, error=failure.message)


def _took_s(snapshot: DeferredSnapshot) -> float:
    return max(0.0, (snapshot.completed_at or time.time()) - (snapshot.submitted_at or 0.0))


def _add_deferred(
    envelope: ResultEnvelope, items: Sequence[_Item], snapshot: DeferredSnapshot, extra: Counter[str]
) -> None:
    envelope["metrics"]["deferred"] = True
    envelope["diagnostics"]["deferred"] = {
        "job_id": snapshot.job_id,
        "status": snapshot.status,
        "submitted_at": snapshot.submitted_at,
        "completed_at": snapshot.completed_at,
        "elapsed_s": envelope["metrics"]["duration_s"],
        "items": [
            {
                "request_id": request_id(index),
                "status": item.status,
                "error": item.error,
                "provider_status": item.provider_status,
                "finish_reason": item.outcome.finish_reason if isinstance(item.outcome, Reply) else None,
            }
            for index, item in enumerate(items)
        ],
        "unknown_rows": extra["unknown_rows"],
        "duplicate_rows": extra["duplicate_rows"],
    }


def release(handle: DeferredHandle, hooks: Hooks) -> None:
    """Delete what was stored for jobs that have ended; a failure changes nothing."""
    for job in handle.jobs:
        try:
            hooks.release_deferred(job, hooks.config.timeout_s)
        except Exception as error:  # noqa: BLE001 - cleaning up must not mask the result
            log.debug("releasing %s failed: %s", job.job_id, hooks.scrub(f"{type(error).__name__}: {error}"))
    if handle.files:
        delete_uploads(handle.files, hooks)


def cancel(handle: DeferredHandle, hooks: Hooks) -> None:
    """Ask for every job to be cancelled. Raises APIError with phase "batch_cancel"."""
    for job in handle.jobs:
        _asked(partial(hooks.cancel_deferred, job, hooks.config.timeout_s), hooks, "batch_cancel")


def _asked(ask: Callable[[], T], hooks: Hooks, phase: Phase) -> T:
    answer, _ = with_retries(lambda: (ask(), None), hooks, threading.Event(), phase=phase)
    return answer


def tell_change(before: DeferredSnapshot | None, now: DeferredSnapshot, hooks: Hooks) -> bool:
    """Tell observers of a job that is further than before; gives whether it is."""
    is_new = before is None or (before.status, before.succeeded, before.failed) != (
        now.status,
        now.succeeded,
        now.failed,
    )
    if is_new:
        hooks.emit(DeferredChanged(now))
    return is_new
