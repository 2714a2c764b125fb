"""Calls -> the order in which they start: one goes ahead of those that share its prefix, so that it is cached."""

from __future__ import annotations

import threading
from collections import Counter, deque
from contextlib import suppress
from itertools import groupby
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.data.reply import Failure
from pollux_sync.engine.threads import STRETCH_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pollux_sync.data.reply import Outcome
    from pollux_sync.data.request import Call

#: After so many calls that failed it is hardly their prompts that are at fault. Each may have taken as long as a call
#: can: the others wait no longer.
_MAX_FAILURES = 3


def number_prefixes(calls: Sequence[Call]) -> Sequence[Call]:
    """Return the calls, with `Call.shared_prefix` where neighbours that ask for implicit caching begin alike."""
    if not any(call.options.implicit_caching for call in calls):
        return calls
    groups = [[*group] for _, group in groupby(calls, _find_prefix)]
    return [
        attrs.evolve(call, shared_prefix=number) if len(group) > 1 and _has_prefix(call) else call
        for number, group in enumerate(groups)
        for call in group
    ]


def _find_prefix(call: Call) -> tuple[Any, ...]:
    """Return what a call begins with, and what else must be equal for a service to know it again."""
    options = call.options
    prefix = (options.tools, options.system_instruction, call.conversation, call.parts)
    return (call.model, options.implicit_caching, *prefix)


def _has_prefix(call: Call) -> bool:
    options = call.options
    return bool(options.implicit_caching and (call.parts or options.system_instruction or options.tools))


class StartOrder:
    """The numbered calls, in the order in which they may start: an iterator that waits, for one thread at a time.

    Of the calls of one prefix the first goes ahead. The others follow when it is answered; if it fails, the next one
    goes ahead in its place, up to three times. The other methods may be called in any thread.
    """

    def __init__(self, calls: Sequence[Call], stop: threading.Event) -> None:
        self._calls = calls
        self._stop = stop
        self._lock = threading.Lock()
        self._ready: SimpleQueue[Call] = SimpleQueue()
        self._held: dict[int | None, deque[Call]] = {}
        self._failures: Counter[int | None] = Counter()
        for call in calls:
            self._add(call)

    def __iter__(self) -> Iterator[tuple[int, Call]]:
        for _ in self._calls:
            call = self._wait_for_call()
            if call is None:
                return
            yield call.index, call

    def carry_out(self, send: Callable[[Call], Outcome], call: Call) -> Outcome:
        """Return the outcome of ``send``, which must `release` the call's prefix when it is cached."""
        outcome = send(call)
        if call.shared_prefix is not None:
            self._failures[call.shared_prefix] += isinstance(outcome, Failure)
            end = self._pass_on if self._failures[call.shared_prefix] < _MAX_FAILURES else self.release
            end(call)
        return outcome

    def release(self, call: Call) -> None:
        """Let all calls start that wait for the prefix of this one."""
        with self._lock:
            held = self._held.pop(call.shared_prefix, ())
        for waiting in held:
            self._ready.put(waiting)

    def _add(self, call: Call) -> None:
        if call.shared_prefix in self._held:
            self._held[call.shared_prefix].append(call)
            return
        if call.shared_prefix is not None:
            self._held[call.shared_prefix] = deque()
        self._ready.put(call)

    def _pass_on(self, call: Call) -> None:
        """Let the next call go ahead. It does nothing if the prefix was released."""
        with self._lock:
            held = self._held.get(call.shared_prefix)
            if held:
                self._ready.put(held.popleft())

    def _wait_for_call(self) -> Call | None:
        """Return the next call that may start, None after a stop."""
        while not self._stop.is_set():
            with suppress(Empty):
                return self._ready.get(timeout=STRETCH_S)
        return None
