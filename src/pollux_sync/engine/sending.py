"""Prepared -> Outcomes: every call sent, one outcome a call, in call order whatever the timing."""

from __future__ import annotations

import copy
import threading
from functools import partial
from typing import TYPE_CHECKING

from pollux_sync.data.reply import Failure, Outcome
from pollux_sync.engine.repairing import ask_until_fitting
from pollux_sync.engine.retrying import request_delivered, request_reply
from pollux_sync.engine.telling import read_clock, tell_outcome
from pollux_sync.engine.threads import map_threads
from pollux_sync.errors import STOPS, APIError, PolluxError, build_stop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pollux_sync.data.reply import Reply
    from pollux_sync.data.request import Call, Prepared
    from pollux_sync.engine.warming import StartOrder
    from pollux_sync.hooks.relay import Hooks

_FORBIDDEN = 403


def send_calls(
    prepared: Prepared,
    hooks: Hooks,
    stop: threading.Event | None = None,
    note: Callable[[Outcome], object] | None = None,
) -> list[Outcome]:
    """Send every call; return the outcomes in call order.

    At most ``request_concurrency`` are in flight. Of calls that share a prefix to be cached, one goes ahead. When the
    key is refused or the quota used up, calls that have not started are not sent. On Ctrl-C or sys.exit nothing more
    starts and calls in flight are abandoned; Interrupted or Terminated is raised with the outcomes so far. ``stop``
    ends them too. ``note`` is called with each outcome, in the thread of its call.
    """
    # One event for all calls: it ends their waits between attempts.
    stop = stop or threading.Event()
    hooks.link_stop(stop)
    calls, order = _choose_order(prepared.calls, stop)
    send_call = _build_sender(prepared, hooks, stop, order, note)
    outcomes: list[Outcome | None] = [None] * len(calls)
    work = send_call if order is None else partial(order.carry_out, send_call)
    try:
        map_threads(work, calls, hooks.config.request_concurrency, stop, outcomes, order=order)
    # Answers that arrived are paid for; without this they would be lost with the local list.
    except STOPS as cause:
        raise build_stop(cause, tuple(complete_outcomes(outcomes, calls, _build_interrupted))) from cause
    return complete_outcomes(outcomes, calls, _build_interrupted)


def _choose_order(calls: Sequence[Call], stop: threading.Event) -> tuple[Sequence[Call], StartOrder | None]:
    """Return the calls, and in which order they start; None for their own."""
    if not any(call.options.implicit_caching for call in calls):
        return calls, None
    from pollux_sync.engine.warming import StartOrder, number_prefixes  # for the few runs that warm a cache

    numbered = number_prefixes(calls)
    return numbered, StartOrder(numbered, stop)


def _build_sender(
    prepared: Prepared,
    hooks: Hooks,
    stop: threading.Event,
    order: StartOrder | None,
    note: Callable[[Outcome], object] | None,
) -> Callable[[Call], Outcome]:
    """Return the function that sends one call, in any thread."""
    gate = CallGate(prepared.blocked)

    def request(call: Call) -> Reply:
        reply = request_reply(call, hooks, stop)
        if order is not None:
            order.release(call)
        return reply

    deliver = partial(request_delivered, redelivery=prepared.redelivery, stop=stop, ask=request)

    def ask(call: Call) -> Reply:
        return ask_until_fitting(call, prepared.plan.answer_format, deliver)

    def send_call(call: Call) -> Outcome:
        # Checked in the worker, at the last moment: with a bad key 40 prompts make a few requests, not 40.
        outcome: Outcome | None = gate.check(call)
        if outcome is None:
            outcome = execute_call(call, hooks, ask, stop=stop)
            gate.record(outcome)
        if note is not None:
            note(outcome)
        return outcome

    return send_call


class CallGate:
    """Decides whether a call can be sent: not without its files, nor after a failure that every call would meet.

    That is a refused key, a quota that is used up, or an address or a place that is refused. After a successful answer
    a 403 or a refusal is about that prompt alone.
    """

    def __init__(self, blocked: Mapping[int, PolluxError] | None = None) -> None:
        self._blocked = blocked or {}
        self._rejection: APIError | None = None
        self._has_answer = False

    def check(self, call: Call) -> Failure | None:
        """Return the failure of a call that cannot be sent, None for one that can."""
        if call.index in self._blocked:
            return Failure(self._blocked[call.index])
        return Failure(_build_unsent(call, self._rejection), is_follow_up=True) if self._rejection else None

    def record(self, outcome: Outcome) -> None:
        """Learn from the outcome of a call that was sent."""
        if not isinstance(outcome, Failure):
            self._has_answer = True
            return
        error = outcome.error
        if isinstance(error, APIError) and self._is_shared(error):
            self._rejection = error

    def _is_shared(self, error: APIError) -> bool:
        """Return whether every other call would fail in the same way."""
        # Some services answer 403 to a single prompt that breaks their rules.
        is_certain = error.kind == "quota" or (error.kind == "auth" and error.status_code != _FORBIDDEN)
        return is_certain or (error.kind in {"auth", "refused"} and not self._has_answer)


def execute_call(
    call: Call,
    hooks: Hooks,
    ask: Callable[[Call], Reply],
    *,
    is_rewritten: bool = False,
    stop: threading.Event | None = None,
) -> Outcome:
    """Carry out one logical call by ``ask``, inside of rewriting, middleware and events for observers.

    ``ask`` may be called several times, or not at all: that is up to the middleware. Its PolluxError is the outcome.
    ``is_rewritten`` says that the call has been through `pollux_rewrite_call` already. ``stop`` ends the waits of the
    middleware.
    """
    started = read_clock()
    # Events are built, and their classes loaded, only for listeners.
    if hooks.has_observers:
        from pollux_sync.data.events import CallStarted

        hooks.emit(CallStarted(call))
    outcome: Outcome
    try:
        rewritten = call if is_rewritten else hooks.rewrite_call(call)
        outcome = hooks.call(rewritten, ask, stop or threading.Event()).without_response()
    except PolluxError as error:
        error.call_idx = call.index
        outcome = Failure(error)
    if hooks.has_observers:
        from pollux_sync.data.events import CallFinished

        hooks.emit(CallFinished(call, outcome))
    tell_outcome(call, outcome, hooks, started)
    return outcome


def _build_unsent(call: Call, rejection: APIError) -> APIError:
    # A copy keeps kind, status and hint, so that the caller can handle both alike.
    error = copy.copy(rejection)
    error.args = (f"not sent, because call {rejection.call_idx} was refused: {rejection.message}",)
    error.call_idx = call.index
    error.attempts = ()
    return error


def complete_outcomes(
    outcomes: Sequence[Outcome | None], calls: Sequence[Call], build_error: Callable[[Call], APIError]
) -> list[Outcome]:
    """Return the outcomes with a failure in place of each that is missing: after a stop, calls may not have begun."""
    return [outcome or Failure(build_error(call)) for outcome, call in zip(outcomes, calls, strict=True)]


def _build_interrupted(call: Call) -> APIError:
    return APIError("interrupted before the answer arrived", kind="unknown", phase="generate", call_idx=call.index)
