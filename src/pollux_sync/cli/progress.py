"""The progress line of a long run. It is an observer, like any plugin."""

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

#: A run that is shorter needs no progress line, which would only flicker.
_DELAY_S = 2.0


def build_progress(stream: TextIO | None, *, is_quiet: bool) -> Progress | None:
    """Return a progress line on ``stream``, or None if it is unwanted or ``stream`` is not a terminal."""
    return None if is_quiet or stream is None or not stream.isatty() else Progress(stream)


class Progress:
    """A line ``3/20 answered, 12 s`` that is rewritten in place on ``stream``, from two seconds on.

    Used as a context manager: at its end the line is erased, and calls that end later write nothing.
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
            # After Ctrl-C abandoned calls still end in their threads. They must not write into the answers.
            self._is_over = True
            if self._width:
                self._rewrite("")

    @hookimpl
    def pollux_event(self, event: Event) -> None:
        """Count the calls that ended, and show the count."""
        with self._lock:  # events of different calls come from different threads
            if isinstance(event, PlanBuilt):
                self._total = len(event.plan.calls)
            elif isinstance(event, CallFinished):
                self._count(has_failed=isinstance(event.outcome, Failure))

    def _count(self, *, has_failed: bool) -> None:
        self._failed += has_failed
        self._answered += not has_failed
        duration_s = self._clock() - self._started
        if duration_s >= _DELAY_S and not self._is_over:
            failed = f"{self._failed} failed, " if self._failed else ""
            self._rewrite(f"{self._answered}/{self._total} answered, {failed}{duration_s:.0f} s")

    def _rewrite(self, line: str) -> None:
        # Pad with blanks to cover a longer line before. An empty line leaves the cursor at the start.
        end = "" if line else "\r"
        with suppress(OSError, ValueError):  # a terminal that is gone must not cost the answers
            self._stream.write(f"\r{line.ljust(self._width)}{end}")
            self._stream.flush()
        self._width = len(line)
