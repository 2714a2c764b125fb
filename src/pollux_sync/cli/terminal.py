"""The standard streams: answers go to stdout as they came; stdin is text for prompts and sources."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING, TextIO

from pollux_sync.commands import escape_controls, flush_output, write_remark, write_text
from pollux_sync.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Programs on Windows begin a text with a byte order mark.
_ENCODING = "utf-8-sig"
#: From when on a wait without a word would look like a hang.
_SLOW_S = 2.0


def write(text: str) -> None:
    """Write lines about something to stdout, without control characters. Raises OSError when the reader has gone."""
    write_answer(escape_controls(text))


def write_answer(text: str) -> None:
    """Write an answer to stdout as it came, with a line end. Raises OSError when the reader has gone."""
    write_text(sys.stdout, text if text.endswith("\n") else f"{text}\n")


def write_delta(text: str) -> None:
    """Write the next part of a streamed answer to stdout, at once. Raises OSError when the reader has gone."""
    write_text(sys.stdout, text)
    flush_output()


def discard_output() -> None:
    """Send the rest of stdout to the null device."""
    # Python flushes stdout at exit once more. On a broken pipe it would print an error and exit with 120.
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_stdin_piped() -> bool:
    """Return True if stdin is a pipe or a file, not a keyboard."""
    return sys.stdin is not None and not sys.stdin.isatty()


def read_stdin() -> str:
    """Return all text of stdin, in UTF-8 whatever the locale. Raises SourceError when it is not that."""
    return _read_text(lambda stream: stream.read())


def read_stdin_line(_prompt: str = "") -> str | None:
    """Return the next line of stdin without its end, None after the last. Raises SourceError as `read_stdin`.

    It can take the place of `input`, but shows no prompt.
    """
    line = _read_text(lambda stream: stream.readline())
    return line.rstrip("\r\n") if line else None


def _read_text(read: Callable[[TextIO], str]) -> str:
    # In the locale "C" Python would pass on bytes that are no text as lone surrogates.
    if isinstance(sys.stdin, TextIOWrapper) and sys.stdin.encoding != _ENCODING:
        sys.stdin.reconfigure(encoding=_ENCODING, errors="strict")
    try:
        return read(sys.stdin) if sys.stdin is not None else ""
    except UnicodeDecodeError as error:
        raise SourceError(
            f"standard input is not text in UTF-8: {error}",
            hint="convert a text (iconv -f latin1 -t utf-8), and pass any other content as a file: -s FILE",
        ) from error


@contextmanager
def remark_if_slow(text: str) -> Iterator[None]:
    """Write a remark to stderr once the block has taken two seconds."""
    timer = threading.Timer(_SLOW_S, write_remark, [text])
    timer.daemon = True
    # A system without more threads gets no remark.
    with suppress(RuntimeError):
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
