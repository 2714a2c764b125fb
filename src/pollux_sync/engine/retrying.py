"""The one owner of retries: physical attempts, the waits between them, and the ledger of both."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, TypeVar

import attrs

from pollux_sync.data.checks import MAX_SECONDS
from pollux_sync.data.events import AttemptFailed, RetryScheduled
from pollux_sync.data.reply import Attempt
from pollux_sync.errors import APIError, Fault, PolluxError, api_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from pollux_sync.data.provider import HttpRequest, HttpResponse
    from pollux_sync.data.reply import Reply
    from pollux_sync.data.request import Call
    from pollux_sync.data.retry import RetryPolicy
    from pollux_sync.errors import Phase
    from pollux_sync.hooks.relay import Hooks

T = TypeVar("T")

#: From here on a status says that the provider did not do what was asked.
_FIRST_REFUSAL = 300

log = logging.getLogger("pollux_sync")


def reply_to(call: Call, hooks: Hooks, stop: Event) -> Reply:
    """The reply to one call, after as many attempts as the policy allows, its ledger in ``attempts``.

    Raises APIError with the ledger, and whatever else of our tree a hook raised. ``stop`` ends the waits.
    """
    request = request_of(call, hooks)

    def attempt() -> tuple[Reply, HttpResponse | None]:
        response = hooks.send(request, hooks.config.timeout_s)
        return hooks.decode(response, call), response

    reply, attempts = with_retries(attempt, hooks, stop, phase="generate", call=call)
    return reply.settled(attempts)


def request_of(call: Call, hooks: Hooks) -> HttpRequest:
    """The call as a request, with the caller's raw fields; those of an object go beside what is written there."""
    request = hooks.encode(call)
    raw = (call.options.provider_options or {}).get(hooks.info.name)
    if not raw:
        return request
    body = dict(request.body or {})
    for name, value in raw.items():
        written = body.get(name)
        body[name] = {**written, **value} if isinstance(written, dict) and isinstance(value, dict) else value
    return attrs.evolve(request, body=body)


def with_retries(
    attempt: Callable[[], tuple[T, HttpResponse | None]],
    hooks: Hooks,
    stop: Event,
    *,
    phase: Phase,
    call: Call | None = None,
    is_repeatable: bool = True,
) -> tuple[T, tuple[Attempt, ...]]:
    """What ``attempt`` gives at last, and the ledger. ``attempt`` raises what the hooks can classify.

    What is not ``is_repeatable`` is tried again only after an answer that says so: after a bare network error the
    file or the cache may already exist.
    """
    ledger: list[Attempt] = []
    started = time.monotonic()
    wait_s = 0.0
    while True:
        started_at, began = time.time(), time.monotonic()
        try:
            value, response = attempt()
        except Exception as error:  # noqa: BLE001 - fault_of raises what is no fault
            cause = error
        else:
            ledger.append(_succeeded(started_at, began, wait_s, hooks, response))
            return value, tuple(ledger)
        try:
            fault = fault_of(cause, hooks)
        except PolluxError as defect:
            ledger.append(_failed(started_at, began, wait_s, Fault(kind="unknown", message=defect.message)))
            defect.attempts = tuple(ledger)
            raise
        ledger.append(_failed(started_at, began, wait_s, fault))
        _tell(hooks, call, AttemptFailed, ledger[-1])
        is_safe = is_repeatable or (fault.status_code or 0) >= _FIRST_REFUSAL
        decided = next_wait_s(hooks.config.retry, fault, ledger, time.monotonic() - started) if is_safe else None
        if decided is None or isinstance(decided, str) or stop.is_set():
            failure = _api_error(fault, decided, hooks, phase=phase, attempts=tuple(ledger), call=call)
            raise failure from hooks.presentable_cause(cause)
        wait_s = decided
        log.debug("%s: %s; trying again in %.2f s", hooks.info.name, fault.message, wait_s)
        _tell(hooks, call, RetryScheduled, wait_s)
        stop.wait(wait_s)


def broken_off(error: Exception, attempts: tuple[Attempt, ...], hooks: Hooks, call: Call) -> PolluxError:
    """The error of an answer that failed after it had begun, which is not tried again."""
    try:
        fault = fault_of(error, hooks)
    except PolluxError as defect:
        defect.attempts = attempts
        return defect
    if fault.kind in {"connection", "timeout", "malformed"}:
        hint = "what had come is the error's partial_text; a stream that has begun is not asked for again"
        fault = attrs.evolve(fault, message=f"the answer broke off: {fault.message}", hint=hint)
    *before, last = attempts
    failed = attrs.evolve(last, kind=fault.kind, reason=fault.message, status_code=fault.status_code)
    _tell(hooks, call, AttemptFailed, failed)
    failure = _api_error(fault, None, hooks, phase="generate", attempts=(*before, failed), call=call)
    failure.__cause__ = hooks.presentable_cause(error)
    return failure


def next_wait_s(policy: RetryPolicy, fault: Fault, ledger: list[Attempt], elapsed_s: float) -> float | str | None:
    """Seconds to wait before the next attempt; None for no next attempt, or a text why there is none.

    A server's wish is never shortened. Time that a first attempt itself took does not count, so a long first
    attempt may be retried once.
    """
    if not fault.retryable or len(ledger) >= policy.max_attempts:
        return None
    limit_s = MAX_SECONDS if policy.max_elapsed_s is None else policy.max_elapsed_s
    left_s = limit_s - (elapsed_s if len(ledger) > 1 else 0.0)
    if fault.retry_after_s is not None and fault.retry_after_s > left_s:
        return f"the server asks to wait {fault.retry_after_s:g} s, more than max_elapsed_s={limit_s:g} leaves"
    if left_s <= 0:
        return f"max_elapsed_s={limit_s:g} is used up"
    return min(max(policy.backoff_s(len(ledger)), fault.retry_after_s or 0.0), left_s)


def fault_of(error: Exception, hooks: Hooks) -> Fault:
    """The facts of a failed attempt. Raises errors of our tree that are not about the provider."""
    if isinstance(error, APIError):
        fault = Fault(
            kind=error.kind,
            message=error.message,
            retryable=error.retryable,
            status_code=error.status_code,
            retry_after_s=error.retry_after_s,
            request_id=error.request_id,
            hint=error.hint,
            n_tokens=getattr(error, "n_tokens", None),
            n_ctx=getattr(error, "n_ctx", None),
        )
        return hooks.presentable(fault)
    if isinstance(error, PolluxError):
        hooks.presentable_cause(error)
        raise error
    return hooks.classify(error)


def _succeeded(started_at: float, began: float, wait_s: float, hooks: Hooks, response: HttpResponse | None) -> Attempt:
    request_id = response.request_id if response else None
    return Attempt(
        started_at=started_at,
        duration_s=time.monotonic() - began,
        wait_s=wait_s,
        status_code=response.status if response else None,
        request_id=request_id and hooks.scrub(request_id),
    )


def _failed(started_at: float, began: float, wait_s: float, fault: Fault) -> Attempt:
    return Attempt(
        started_at=started_at,
        duration_s=time.monotonic() - began,
        wait_s=wait_s,
        status_code=fault.status_code,
        kind=fault.kind,
        reason=fault.message,
        request_id=fault.request_id,
    )


def _tell(hooks: Hooks, call: Call | None, event: Callable[..., AttemptFailed | RetryScheduled], fact: object) -> None:
    if call is not None and hooks.has_observers:
        hooks.emit(event(call, fact))


def _api_error(
    fault: Fault, decided: object, hooks: Hooks, *, phase: Phase, attempts: tuple[Attempt, ...], call: Call | None
) -> APIError:
    if isinstance(decided, str):
        fault = attrs.evolve(fault, message=f"{fault.message}; not tried again: {decided}")
    index = call.index if call else None
    return api_error(fault, provider=hooks.info.name, phase=phase, attempts=attempts, call_idx=index)
