"""The progress line of a long run. It is an observer, like any plugin."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self, TextIO

from pollux_sync.data.reply import Failure
from pollux_sync.engine.threads import start_thread
from pollux_sync.hooks.specs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_sync.data.events import Event

#: A run that is shorter needs no progress line, which would only flicker.
_DELAY_S = 2.0
#: The line counts the seconds, so that a long wait for the first answer does not look like a hang.
_PERIOD_S = 1.0


def build_progress(stream: TextIO | None, *, is_quiet: bool) -> Progress | None:
    """Return a progress line on ``stream``, or None if it is unwanted or ``stream`` is not a terminal."""
    return None if is_quiet or stream is None or not stream.isatty() else Progress(stream)


class Progress:
    """A line ``3/20 answered, 12 s`` that is rewritten in place on ``stream`` each second, from ``delay_s`` on.

    Used as a context manager: at its end the line is erased, and calls that end later write nothing.
    """

    def __init__(
        self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic, delay_s: float = _DELAY_S
    ) -> None:
        # Imported here: without a terminal nothing is shown.
        from pollux_sync.commands import StatusLine

        self._line = StatusLine(stream)
        self._clock = clock
        self._delay_s = delay_s
        self._started = clock()
        self._lock = threading.Lock()
        self._total = self._answered = self._failed = 0
        self._over = threading.Event()

    def __enter__(self) -> Self:
        start_thread(self._tick)
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            # After Ctrl-C abandoned calls still end in their threads. They must not write into the answers.
            self._over.set()
            self._line.erase()

    @hookimpl
    def pollux_event(self, event: Event) -> None:
        """Count the calls that ended, and show the count."""
        # Imported here: without a terminal there is no progress line.
        from pollux_sync.data.events import CallFinished, PlanBuilt

        with self._lock:  # events of different calls come from different threads
            if isinstance(event, PlanBuilt):
                self._total = len(event.plan.calls)
            elif isinstance(event, CallFinished):
                self._count(has_failed=isinstance(event.outcome, Failure))

    def _tick(self) -> None:
        wait_s = self._delay_s
        while not self._over.wait(wait_s):
            with self._lock:
                self._show()
            wait_s = _PERIOD_S

    def _count(self, *, has_failed: bool) -> None:
        self._failed += has_failed
        self._answered += not has_failed
        self._show()

    def _show(self) -> None:
        duration_s = self._clock() - self._started
        # Before the plan is built there is nothing to count: files are read.
        if self._total and duration_s >= self._delay_s and not self._over.is_set():
            failed = f"{self._failed} failed, " if self._failed else ""
            self._line.write(f"{self._answered}/{self._total} answered, {failed}{duration_s:.0f} s")
