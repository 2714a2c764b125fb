"""The one owner of retries: physical attempts, the waits between them, and the ledger of both."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import attrs

from pollux_sync.data.checks import MAX_SECONDS
from pollux_sync.engine.delivering import refuses_size
from pollux_sync.engine.encoding import encode_request
from pollux_sync.engine.telling import tell_retry
from pollux_sync.engine.threads import wait_for
from pollux_sync.errors import APIError, Attempt, Fault, PolluxError, build_api_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pollux_sync.data.provider import HttpResponse
    from pollux_sync.data.reply import Reply
    from pollux_sync.data.request import Call, Redelivery
    from pollux_sync.data.retry import RetryPolicy
    from pollux_sync.errors import Phase
    from pollux_sync.hooks.relay import Hooks

T = TypeVar("T")

#: Decides about a retry, as `decide_wait` does: from the fault, the ledger and the seconds since the first attempt.
DecideRetry: TypeAlias = "Callable[[Fault, list[Attempt], float], float | str | None]"
#: Waits before a retry, about as long as was decided; returns the seconds it took, None if it was stopped.
WaitForRetry: TypeAlias = "Callable[[Fault, float], float | None]"

#: From this status on an answer says that something went wrong. For an upload or a cache that is reason enough to retry
#: where the status is retryable: unlike a job, a second one costs little and is deleted or expires.
_FIRST_ERROR_STATUS = 300


def request_reply(call: Call, hooks: Hooks, stop: Event) -> Reply:
    """Return the reply to one call, after as many attempts as the policy allows, with its ledger in ``attempts``.

    Raises APIError with the ledger, and whatever else of our tree a hook raised. ``stop`` ends the waits.
    """
    request = encode_request(call, hooks)

    def attempt() -> tuple[Reply, HttpResponse | None]:
        response = hooks.send(request, hooks.config.timeout_s)
        return decode_reply(response, call, hooks), response

    reply, attempts = call_with_retries(attempt, hooks, stop, phase="generate", call=call)
    return reply.with_attempts(attempts)


def decode_reply(response: HttpResponse, call: Call, hooks: Hooks) -> Reply:
    """Return the reply in an answer, also if the server sent a stream unasked. Raises what the decoders raise."""
    # Every answer has a body, except one that came as events.
    reply = hooks.decode(response, call) if response.body is not None else _decode_bare(response, call, hooks)
    return attrs.evolve(reply, response=response) if hooks.keeps_responses else reply


def _decode_bare(response: HttpResponse, call: Call, hooks: Hooks) -> Reply:
    """Return the reply in the events of an answer. It was paid for, so it is read like one that was asked for."""
    # Imported here: a plain call needs neither.
    from pollux_sync.data.reply import Reply
    from pollux_sync.data.streaming import EventStream, StreamedResponse

    if not (isinstance(response, StreamedResponse) and hooks.can_stream):
        return hooks.decode(response, call)
    stream = EventStream(response, response.events)
    stream.is_done = response.is_done
    for item in hooks.decode_stream(stream, call):
        if isinstance(item, Reply):
            return item.replace_surrogates()
    raise build_cut_off(unread_answer=response.content)


def build_cut_off(*, unread_answer: bytes | None = None) -> APIError:
    """Return the error of an answer that ended too early."""
    return APIError(
        "the answer was cut off", kind="malformed", retryable=True, hint="ask again", unread_answer=unread_answer
    )


def request_delivered(call: Call, redelivery: Redelivery | None, stop: Event, ask: Callable[[Call], Reply]) -> Reply:
    """Return the reply of ``ask``; where the service refuses the size of a call's inline files, these are stored, once.

    Raises what ``ask`` raises, and APIError of phase "upload" with the attempts before it.
    """
    if redelivery is None:
        return ask(call)
    call = redelivery.use_stored_parts(call)
    try:
        return ask(call)
    except APIError as error:
        refusal = error
    # Outside of the handler: a failure in there would have the refusal among its causes, and be classified by it.
    stored = redeliver(call, refusal, redelivery, stop)
    if stored is None:
        raise refusal
    with extend_ledger(refusal.attempts):
        reply = ask(stored)
    return reply.with_attempts((*refusal.attempts, *reply.attempts))


def redeliver(call: Call, error: APIError, redelivery: Redelivery, stop: Event) -> Call | None:
    """Return the call to send in place of one that was refused for its size, None if it is not about that."""
    if not refuses_size(error):
        return None
    with extend_ledger(error.attempts):
        return redelivery.store_inline_parts(call, stop)


@contextmanager
def extend_ledger(attempts: tuple[Attempt, ...]) -> Iterator[None]:
    """Put earlier attempts before those of an error of the block."""
    try:
        yield
    except PolluxError as failure:
        failure.attempts = (*attempts, *failure.attempts)
        raise


def request_with_retries(
    ask: Callable[[], T],
    hooks: Hooks,
    *,
    phase: Phase,
    is_repeatable: bool = True,
    stop: Event | None = None,
    deadline: float = math.inf,
) -> T:
    """Return what ``ask`` returns, retried by the same policy as a call. Raises APIError of that phase.

    For requests other than calls: uploads, caches, jobs, lists of models. No retry begins after ``deadline``, a reading
    of the monotonic clock.
    """
    answer, _ = call_with_retries(
        lambda: (ask(), None),
        hooks,
        stop or Event(),
        phase=phase,
        is_repeatable=is_repeatable,
        deadline=deadline,
    )
    return answer


def call_with_retries(
    attempt: Callable[[], tuple[T, HttpResponse | None]],
    hooks: Hooks,
    stop: Event,
    *,
    phase: Phase,
    call: Call | None = None,
    is_repeatable: bool = True,
    deadline: float = math.inf,
    decide: DecideRetry | None = None,
    wait: WaitForRetry | None = None,
) -> tuple[T, tuple[Attempt, ...]]:
    """Return what ``attempt`` returns in the end, and the ledger. ``attempt`` raises what the hooks can classify.

    What is not ``is_repeatable`` is retried only after an answer that allows it: after a bare network error the
    file or cache may exist already, and a second one would be paid for. ``decide`` and ``wait`` take the place of the
    configuration's policy and of a plain wait.
    """
    policy = hooks.config.retry
    decide = decide or partial(decide_wait, policy)
    ledger: list[Attempt] = []
    started = time.monotonic()
    wait_s = 0.0
    _check_not_stopped(stop, phase, call)
    while True:
        # Wall time for the ledger that people read, monotonic time for durations.
        attempt_started_at, attempt_started = time.time(), time.monotonic()
        try:
            value, response = attempt()
        except Exception as error:  # noqa: BLE001 - read_fault raises what is no fault
            cause = error
        else:
            ledger.append(_record_success(attempt_started_at, attempt_started, wait_s, hooks, response))
            return value, tuple(ledger)
        timing = {"started_at": attempt_started_at, "started": attempt_started, "wait_s": wait_s}
        fault = _read_and_record(cause, hooks, ledger, **timing)
        _emit_failure(hooks, call, ledger[-1])
        is_safe = _is_safe(fault, policy, phase, is_repeatable=is_repeatable)
        decision = decide(fault, ledger, time.monotonic() - started) if is_safe else None
        waited_s = None
        if isinstance(decision, int | float) and time.monotonic() + decision < deadline:
            waited_s = _wait(decision, fault, hooks, stop, call, wait=wait)
        if waited_s is None:
            failure = _build_failure(fault, decision, hooks, phase=phase, attempts=tuple(ledger), call=call)
            raise failure from hooks.scrub_cause(cause, hides_frames=True)
        wait_s = waited_s


def _check_not_stopped(stop: Event, phase: Phase, call: Call | None) -> None:
    if stop.is_set():
        raise APIError("interrupted before it was sent", phase=phase, call_idx=call.index if call else None)


def _wait(
    wait_s: float, fault: Fault, hooks: Hooks, stop: Event, call: Call | None, *, wait: WaitForRetry | None
) -> float | None:
    """Wait before the next attempt, and return how long in seconds; None once ``stop`` is set."""
    # Looked at first: a stop while the attempt ran must not announce a retry.
    if stop.is_set():
        return None
    tell_retry(fault, wait_s, hooks)
    if call is not None and hooks.has_observers:
        from pollux_sync.data.events import RetryScheduled

        hooks.emit(RetryScheduled(call, wait_s))
    if wait is not None:
        return wait(fault, wait_s)
    # Waiting on the event instead of sleeping, so that a stop elsewhere ends the wait at once.
    return None if wait_for(stop.wait, wait_s) else wait_s


def _is_safe(fault: Fault, policy: RetryPolicy, phase: Phase, *, is_repeatable: bool) -> bool:
    """Return whether another attempt cannot be paid for twice."""
    # What arrived is paid for, and a second answer would be paid for too.
    if phase == "generate" and fault.unread_answer is not None and not policy.retry_unreadable:
        return False
    return is_repeatable or (fault.status_code or 0) >= _FIRST_ERROR_STATUS


def _read_and_record(
    cause: Exception, hooks: Hooks, ledger: list[Attempt], *, started_at: float, started: float, wait_s: float
) -> Fault:
    """Return the fault of a failed attempt, and add it to the ledger.

    Raises the PolluxError of a plugin that cannot read the failure, with the ledger as its attempts.
    """
    try:
        fault = read_fault(cause, hooks)
    except PolluxError as defect:
        ledger.append(_record_failure(started_at, started, wait_s, Fault(kind="unknown", message=defect.message)))
        defect.attempts = tuple(ledger)
        raise
    ledger.append(_record_failure(started_at, started, wait_s, fault))
    return fault


def build_stream_failure(error: Exception, attempts: tuple[Attempt, ...], hooks: Hooks, call: Call) -> PolluxError:
    """Return the error of a stream that failed after its beginning. Such a stream is not retried."""
    try:
        fault = read_fault(error, hooks)
    except PolluxError as defect:
        defect.attempts = attempts
        return defect
    if fault.kind in {"connection", "timeout", "malformed"}:
        hint = "the text so far is the error's partial_text; a stream that has begun is not retried"
        fault = attrs.evolve(fault, message=f"the answer broke off: {fault.message}", hint=hint)
    # The attempt was recorded as a success when its first event came; now it has failed.
    *before, last = attempts
    failed = attrs.evolve(last, kind=fault.kind, reason=fault.message, status_code=fault.status_code)
    _emit_failure(hooks, call, failed)
    failure = _build_failure(fault, None, hooks, phase="generate", attempts=(*before, failed), call=call)
    failure.__cause__ = hooks.scrub_cause(error, hides_frames=True)
    return failure


def decide_wait(policy: RetryPolicy, fault: Fault, ledger: list[Attempt], elapsed_s: float) -> float | str | None:
    """Return the seconds to wait before the next attempt, None for no further attempt, or a text that says why not.

    A server's Retry-After is never shortened: to ask earlier is to be refused again. The time of the first attempt
    does not count, so that a first attempt that ran long may still be retried once.
    """
    if not fault.retryable or len(ledger) >= policy.max_attempts:
        return None
    limit_s = MAX_SECONDS if policy.max_elapsed_s is None else policy.max_elapsed_s
    # max_elapsed_s bounds waiting. A reasoning model may take minutes to fail: it still deserves its one retry.
    left_s = limit_s - (elapsed_s if len(ledger) > 1 else 0.0)
    if fault.retry_after_s is not None and fault.retry_after_s > left_s:
        return f"the server asks to wait {fault.retry_after_s:g} s, more than max_elapsed_s={limit_s:g} leaves"
    if left_s <= 0:
        return f"max_elapsed_s={limit_s:g} is used up"
    # The last wait is cut to what is left, so that the last attempt comes within the limit.
    return min(max(policy.backoff_s(len(ledger)), fault.retry_after_s or 0.0), left_s)


def read_fault(error: Exception, hooks: Hooks) -> Fault:
    """Return the facts of a failed attempt. Raises errors of our tree that are not about the provider."""
    if isinstance(error, APIError):
        fault = Fault(
            kind=error.kind,
            message=error.message,
            retryable=error.retryable,
            status_code=error.status_code,
            retry_after_s=error.retry_after_s,
            request_id=error.request_id,
            hint=error.hint,
            unread_answer=error.unread_answer,
            n_tokens=getattr(error, "n_tokens", None),
            n_ctx=getattr(error, "n_ctx", None),
            provider_code=error.provider_code,
        )
        # A plugin may raise APIError itself; what it says goes through the same scrubbing as every fault.
        return hooks.scrub_fault(fault)
    if isinstance(error, PolluxError):
        hooks.scrub_cause(error)
        raise error
    return hooks.classify(error)


def _record_success(
    started_at: float, started: float, wait_s: float, hooks: Hooks, response: HttpResponse | None
) -> Attempt:
    request_id = response.request_id if response else None
    return Attempt(
        started_at=started_at,
        duration_s=time.monotonic() - started,
        wait_s=wait_s,
        status_code=response.status if response else None,
        request_id=request_id and hooks.scrub(request_id),
    )


def _record_failure(started_at: float, started: float, wait_s: float, fault: Fault) -> Attempt:
    return Attempt(
        started_at=started_at,
        duration_s=time.monotonic() - started,
        wait_s=wait_s,
        status_code=fault.status_code,
        kind=fault.kind,
        reason=fault.message,
        request_id=fault.request_id,
    )


def _emit_failure(hooks: Hooks, call: Call | None, attempt: Attempt) -> None:
    if call is not None and hooks.has_observers:
        from pollux_sync.data.events import AttemptFailed

        hooks.emit(AttemptFailed(call, attempt))


def _build_failure(
    fault: Fault, decision: object, hooks: Hooks, *, phase: Phase, attempts: tuple[Attempt, ...], call: Call | None
) -> APIError:
    if hooks.is_aborted and fault.kind == "connection":
        # Its connection was closed on this side.
        fault = Fault(kind="unknown", message="the session was aborted before the answer arrived")
    if isinstance(decision, str):
        fault = attrs.evolve(fault, message=f"{fault.message}; not retried: {decision}")
    index = call.index if call else None
    return build_api_error(fault, provider=hooks.info.name, phase=phase, attempts=attempts, call_idx=index)
