"""Prepared -> Outcomes: bounded threads, one outcome a call, in call order whatever the timing."""

from __future__ import annotations

import contextvars
import copy
import threading
from typing import TYPE_CHECKING, TypeVar, cast

from pollux_sync.data.events import CallFinished, CallStarted
from pollux_sync.data.reply import Failure, Outcome
from pollux_sync.engine.repairing import fitting_reply
from pollux_sync.engine.retrying import reply_to
from pollux_sync.errors import APIError, PolluxError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pollux_sync.data.reply import Reply
    from pollux_sync.data.request import Call, Prepared
    from pollux_sync.hooks.relay import Hooks
    from pollux_sync.schemas import AnswerFormat

_FORBIDDEN = 403

T = TypeVar("T")
R = TypeVar("R")


def send_calls(prepared: Prepared, hooks: Hooks) -> list[Outcome]:
    """Send every call; outcomes come back in call order.

    At most ``request_concurrency`` are in flight. A failure of authentication stops what has not started.
    On Ctrl-C nothing more starts, calls in flight are left behind, and the KeyboardInterrupt carries the
    ``outcomes`` that are there.
    """
    stop = threading.Event()
    gate = Gate(prepared)

    def outcome_of(call: Call) -> Outcome:
        refusal = gate.refusal(call)
        if refusal is not None:
            return refusal
        outcome = _outcome(call, prepared.plan.answer_format, hooks, stop)
        gate.learn(outcome)
        return outcome

    outcomes: list[Outcome | None] = [None] * len(prepared.calls)
    try:
        map_threads(outcome_of, prepared.calls, hooks.config.request_concurrency, stop, outcomes)
    except KeyboardInterrupt as interrupt:
        interrupt.outcomes = [  # type: ignore[attr-defined]
            outcome or _interrupted(call) for outcome, call in zip(outcomes, prepared.calls, strict=True)
        ]
        raise
    return cast("list[Outcome]", outcomes)


class Gate:
    """Whether a call can be sent: not without its files, nor once the provider has refused the key.

    A 403 after an answer is about that prompt, not about the key.
    """

    def __init__(self, prepared: Prepared) -> None:
        self._blocked = prepared.blocked
        self._rejection: APIError | None = None
        self._was_answered = False

    def refusal(self, call: Call) -> Failure | None:
        """Why the call is not sent; None when it can be."""
        if call.index in self._blocked:
            return Failure(self._blocked[call.index])
        return Failure(_not_sent(call, self._rejection), is_follow_up=True) if self._rejection else None

    def learn(self, outcome: Outcome) -> None:
        """Look at what came of a call that was sent."""
        if not isinstance(outcome, Failure):
            self._was_answered = True
            return
        error = outcome.error
        if (
            isinstance(error, APIError)
            and error.kind == "auth"
            and not (error.status_code == _FORBIDDEN and self._was_answered)
        ):
            self._rejection = error


def _outcome(call: Call, answers: AnswerFormat | None, hooks: Hooks, stop: threading.Event) -> Outcome:
    def proceed(call: Call) -> Reply:
        return fitting_reply(call, answers, lambda call: reply_to(call, hooks, stop))

    if hooks.has_observers:
        hooks.emit(CallStarted(call))
    outcome: Outcome
    try:
        outcome = hooks.call(hooks.rewrite_call(call), proceed)
    except PolluxError as error:
        error.call_idx = call.index
        outcome = Failure(error)
    if hooks.has_observers:
        hooks.emit(CallFinished(call, outcome))
    return outcome


def _not_sent(call: Call, rejection: APIError) -> APIError:
    error = copy.copy(rejection)
    error.args = (f"not sent, since call {rejection.call_idx} was not let in: {rejection.message}",)
    error.call_idx = call.index
    error.attempts = ()
    return error


def _interrupted(call: Call) -> Failure:
    return Failure(
        APIError("interrupted before the answer came", kind="unknown", phase="generate", call_idx=call.index)
    )


def map_threads(
    work: Callable[[T], R], items: Sequence[T], concurrency: int, stop: threading.Event, results: list[R | None]
) -> None:
    """Fill ``results``, as long as ``items``, with ``work(item)`` each, on at most ``concurrency`` threads.

    Nothing is begun once ``stop`` is set, which threads find it to be when this ends. Context variables of the
    caller are seen by ``work``. On Ctrl-C no further item is begun, and KeyboardInterrupt goes on without waiting
    for those that are: the threads are daemons. An exception out of ``work`` is a defect and is raised likewise.
    """
    if len(items) == 1 or concurrency == 1:
        for position, item in enumerate(items):
            if stop.is_set():
                return
            results[position] = work(item)
        return
    try:
        _Crew(work, items, stop, results).run(min(concurrency, len(items)))
    finally:
        stop.set()


class _Crew:
    """Threads that take items off one list until it is done or ``stop`` is set."""

    def __init__(
        self, work: Callable[[T], R], items: Sequence[T], stop: threading.Event, results: list[R | None]
    ) -> None:
        self._work = work
        self._items = enumerate(items)
        self._stop = stop
        self._results = results
        self._lock = threading.Lock()
        self._finished = threading.Semaphore(0)
        self._defects: list[BaseException] = []

    def run(self, size: int) -> None:
        for _ in range(self._started(size)):
            self._finished.acquire()
        if self._defects:
            raise self._defects[0]

    def _started(self, size: int) -> int:
        """How many threads could be started: fewer than asked for still do the work."""
        for count in range(size):
            context = contextvars.copy_context()
            thread = threading.Thread(target=context.run, args=(self._take_all,), name="pollux-sync", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no more
                if count:
                    return count
                raise
        return size

    def _take_all(self) -> None:
        try:
            while not self._stop.is_set():
                with self._lock:
                    numbered = next(self._items, None)
                if numbered is None:
                    return
                position, item = numbered
                self._results[position] = self._work(item)
        except BaseException as defect:  # noqa: BLE001 - raised again in the calling thread
            self._defects.append(defect)
            self._stop.set()
        finally:
            self._finished.release()
