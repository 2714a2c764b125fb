"""The standard streams: results go to stdout, remarks and errors to stderr; stdin is text for prompts and sources."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, TextIO

from pollux_sync.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


#: Characters that a terminal obeys instead of showing them: C0 without tab and line feed, DEL, C1, the line ends of
#: Unicode, and what turns the direction of writing. Names and messages come from packages and servers.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

#: From when on a wait without a word would look like a hang.
_SLOW_S = 2.0


def escape_controls(text: str) -> str:
    r"""Return the text with an escape such as ``\x1b`` in place of each character that a terminal would obey."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def write(text: str) -> None:
    """Write lines about something to stdout, without control characters. Raises OSError when the reader has gone."""
    write_answer(escape_controls(text))


def write_answer(text: str) -> None:
    """Write an answer to stdout as it came, with a line end. Raises OSError when the reader has gone."""
    _write_text(sys.stdout, text if text.endswith("\n") else f"{text}\n")


def write_delta(text: str) -> None:
    """Write the next part of a streamed answer to stdout, at once. Raises OSError when the reader has gone."""
    _write_text(sys.stdout, text)
    flush()


def write_json(value: Any) -> None:
    """Write ``value`` as JSON to stdout, in ASCII where stdout cannot encode its characters."""
    # JSON has escapes of its own: with those of `_write_text` the output would not be JSON any more.
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    text = _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    write_answer(text if _can_encode(sys.stdout, text) else json.dumps(value, indent=2, default=str))


def write_remark(text: str) -> None:
    """Write a line to stderr without control characters, after flushing stdout. Never raises because of a stream."""
    # Both streams often lead to one terminal: without the flush the remark would overtake the answers.
    with suppress(OSError, ValueError):  # `run_command` flushes again and reports it
        flush()
    with suppress(OSError, ValueError):  # a remark that cannot be written must not end the command
        _write_text(sys.stderr, f"{escape_controls(text)}\n")


def flush() -> None:
    """Flush stdout. Raises OSError when the reader has gone."""
    if sys.stdout is not None:
        sys.stdout.flush()


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
    # In the locale "C" Python would pass on bytes that are no text as lone surrogates.
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="strict")
    try:
        return sys.stdin.read() if sys.stdin is not None else ""
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


def write_table(rows: Sequence[Sequence[str]]) -> None:
    """Write rows to stdout, with aligned columns. A line end in a cell would break its row, and is escaped too."""
    shown = [[escape_controls(cell).replace("\n", r"\n") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _write_text(stream: TextIO | None, text: str) -> None:
    if stream is None:  # Python sets a standard stream to None when the parent process closed it
        return
    # Characters that the stream cannot encode become escapes: an answer that was paid for must not be lost.
    encoding = _read_encoding(stream)
    stream.write(text if _can_encode(stream, text) else text.encode(encoding, "backslashreplace").decode(encoding))


def _can_encode(stream: TextIO | None, text: str) -> bool:
    try:
        text.encode(_read_encoding(stream))
    except UnicodeEncodeError:
        return False
    return True


def _read_encoding(stream: TextIO | None) -> str:
    return getattr(stream, "encoding", None) or "utf-8"  # a StringIO has no encoding
