"""Progress for people: a bar in a notebook or a terminal where a library for it is installed, else lines of text.

It is written to stderr, where the answers of a script are not.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from pollux_sync.data.progress import Progress
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pollux_sync.data.progress import ProgressOption

log = logging.getLogger("pollux_sync")

#: Where lines cannot be rewritten, such as in a log file, one is written after so many seconds.
_LINE_PERIOD_S = 10.0
#: A line in a terminal is rewritten no more often.
_REWRITE_PERIOD_S = 0.1


class Display(Protocol):
    """A bar or line that shows the progress of one run."""

    def show(self, progress: Progress) -> object:
        """Show how far it has come. Called by one thread at a time."""

    def close(self) -> object:
        """Leave the last state where it is."""


class ProgressCounter:
    """Counts calls that end, in any thread, and hands each count to one function.

    An exception of that function is logged, and ends the reports alone: it must cost no answer.
    """

    def __init__(self, total: int, report: Callable[[Progress], object]) -> None:
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._total = total
        self._done = self._failed = 0
        self._report: Callable[[Progress], object] | None = report
        self._hand_over()

    def count(self, *, has_failed: bool) -> None:
        """Count one call."""
        with self._lock:
            self._done += 1
            self._failed += has_failed
            self._hand_over()

    def replace(self, done: int, failed: int) -> None:
        """Set the counts, where somebody else has counted."""
        with self._lock:
            self._done, self._failed = done, failed
            self._hand_over()

    def _hand_over(self) -> None:
        duration_s = time.monotonic() - self._started
        progress = Progress(total=self._total, done=self._done, failed=self._failed, duration_s=duration_s)
        try:
            if self._report is not None:
                self._report(progress)
        except Exception as error:  # noqa: BLE001 - of the caller's function, or of a terminal that is gone
            self._report = None
            log.warning("progress is no longer reported: %s", type(error).__name__)


def check_progress(wanted: object) -> None:
    """Raise ConfigurationError for a ``progress`` that is neither a bool nor a function."""
    if not (isinstance(wanted, bool) or callable(wanted)):
        raise ConfigurationError(
            f"progress must be True, False or a function, got {type(wanted).__name__}",
            hint="progress=True shows it; a function is called with each Progress",
        )


@contextmanager
def follow(wanted: ProgressOption, total: int) -> Iterator[ProgressCounter]:
    """Report the progress of ``total`` calls, which the counter counts, until the block ends."""
    if not isinstance(wanted, bool):
        yield ProgressCounter(total, wanted)
        return
    display = _choose_display(total)
    try:
        yield ProgressCounter(total, display.show)
    finally:
        with suppress(Exception):
            display.close()


def _choose_display(total: int) -> Display:
    if "ipykernel" in sys.modules and find_spec("tqdm"):
        return _NotebookBar(total)
    if _is_terminal(sys.stderr) and find_spec("rich"):
        return _TerminalBar(total)
    return _Lines(sys.stderr)


class StatusLine:
    """A line that is rewritten in its place in a terminal; elsewhere each text becomes a line of its own.

    A terminal that is gone is no error: it must not cost the answers.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.is_terminal = _is_terminal(stream)
        self._stream = stream
        self._width = 0

    def write(self, line: str) -> None:
        """Write the line, over the one before."""
        self._write(f"\r{self._fit(line)}" if self.is_terminal else f"{line}\n")

    def erase(self) -> None:
        """Take the line out of the terminal."""
        self._end("", "\r")

    def keep(self) -> None:
        """End the line, which stays."""
        self._end(None, "\n")

    def _fit(self, line: str) -> str:
        from shutil import get_terminal_size  # slow to import, and for terminals alone

        # A line that wraps could not be rewritten. Blanks cover a longer one before.
        line = line[: get_terminal_size().columns - 1]
        before, self._width = self._width, len(line)
        return line.ljust(before)

    def _end(self, line: str | None, end: str) -> None:
        if not (self.is_terminal and self._width):
            return
        if line is not None:
            self.write(line)
        self._write(end)

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.write(text)
                self._stream.flush()


def _is_terminal(stream: TextIO | None) -> bool:
    # There is none in a program without a console, and a closed one raises ValueError when it is asked.
    try:
        return stream is not None and stream.isatty()
    except (OSError, ValueError):
        return False


class _Lines:
    """A line in a terminal; elsewhere one from time to time."""

    def __init__(self, stream: TextIO | None) -> None:
        self._line = StatusLine(stream)
        self._period_s = _REWRITE_PERIOD_S if self._line.is_terminal else _LINE_PERIOD_S
        self._shown_s = 0.0

    def show(self, progress: Progress) -> None:
        is_over = progress.done == progress.total
        if progress.duration_s - self._shown_s < self._period_s and not is_over:
            return
        self._shown_s = progress.duration_s
        self._line.write(str(progress))

    def close(self) -> None:
        self._line.keep()


class _TerminalBar:
    """A bar by rich."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        columns = (BarColumn(), TextColumn("{task.description}"))
        self._bar = RichProgress(*columns, console=Console(stderr=True))
        self._task = self._bar.add_task("", total=total)
        self._bar.start()

    def show(self, progress: Progress) -> None:
        self._bar.update(self._task, completed=progress.done, description=str(progress))

    def close(self) -> None:
        self._bar.stop()


class _NotebookBar:
    """A bar by tqdm."""

    def __init__(self, total: int) -> None:
        from tqdm.auto import tqdm

        self._bar: Any = tqdm(total=total, unit="call")

    def show(self, progress: Progress) -> None:
        if progress.failed:
            self._bar.set_postfix(failed=progress.failed, refresh=False)
        self._bar.update(progress.done - self._bar.n)

    def close(self) -> None:
        self._bar.close()
