"""The line that says how far a long run is: an observer like any other."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self, TextIO

from pollux_sync.data.events import CallFinished, PlanBuilt
from pollux_sync.data.reply import Failure
from pollux_sync.hooks.specs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_sync.data.events import Event

#: What ends sooner needs no progress.
_PATIENCE_S = 2.0


def progress_on(stream: TextIO | None, *, is_quiet: bool) -> Progress | None:
    """The progress line on ``stream``; None where it would be in the way: if asked to be quiet, or in a pipe."""
    return None if is_quiet or stream is None or not stream.isatty() else Progress(stream)


class Progress:
    """Rewrites ``3/20 answered, 12 s`` in place on ``stream`` while it is entered, from two seconds on.

    The line is gone when it is left, and calls that end later write nothing.
    """

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._started = clock()
        self._lock = threading.Lock()
        self._total = self._answered = self._failed = self._width = 0
        self._is_over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._is_over = True
            if self._width:
                self._rewrite("")

    @hookimpl
    def pollux_event(self, event: Event) -> None:
        """Count, and show the count."""
        with self._lock:
            if isinstance(event, PlanBuilt):
                self._total = len(event.plan.calls)
            elif isinstance(event, CallFinished):
                self._count(has_failed=isinstance(event.outcome, Failure))

    def _count(self, *, has_failed: bool) -> None:
        self._failed += has_failed
        self._answered += not has_failed
        duration_s = self._clock() - self._started
        if duration_s >= _PATIENCE_S and not self._is_over:
            failed = f"{self._failed} failed, " if self._failed else ""
            self._rewrite(f"{self._answered}/{self._total} answered, {failed}{duration_s:.0f} s")

    def _rewrite(self, line: str) -> None:
        end = "" if line else "\r"
        with suppress(OSError, ValueError):  # the terminal is gone: the answers still come
            self._stream.write(f"\r{line.ljust(self._width)}{end}")
            self._stream.flush()
        self._width = len(line)
