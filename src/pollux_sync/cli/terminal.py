"""What goes in and out: stdout for what was asked for, stderr for remarks, stdin for piped text."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from pollux_sync.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence


def write(text: str) -> None:
    """One piece of the result and a line's end, on stdout. Raises OSError when nobody reads it."""
    _put(sys.stdout, text if text.endswith("\n") else f"{text}\n")


def write_piece(text: str) -> None:
    """Part of a line of the result, shown at once. Raises OSError when nobody reads it."""
    _put(sys.stdout, text)
    flush()


def write_json(value: Any) -> None:
    """``value`` as JSON on stdout, in plain ASCII where stdout cannot show its characters."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    write(text if _fits(sys.stdout, text) else json.dumps(value, indent=2, default=str))


def say(remark: str) -> None:
    """A line on stderr, after what went to stdout so far."""
    with suppress(OSError, ValueError):  # `finish` meets it again
        flush()
    with suppress(OSError, ValueError):  # a remark that nobody hears must not end the command
        _put(sys.stderr, f"{remark}\n")


def flush() -> None:
    """Hand over what was written. Raises OSError when nobody reads it."""
    if sys.stdout is not None:
        sys.stdout.flush()


def abandon_output() -> None:
    """Let the rest of stdout go nowhere, so that Python does not stumble over it at exit."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_piped() -> bool:
    """Whether stdin is something other than a keyboard."""
    return sys.stdin is not None and not sys.stdin.isatty()


def read_piped() -> str:
    """All of stdin. Raises SourceError when it is not text."""
    try:
        return sys.stdin.read() if sys.stdin is not None else ""
    except UnicodeDecodeError as error:
        raise SourceError(
            f"standard input is not text: {error}", hint="save it to a file and pass the file: -s FILE"
        ) from error


def write_table(rows: Sequence[Sequence[str]]) -> None:
    """Rows on stdout, their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _put(stream: TextIO | None, text: str) -> None:
    """Write ``text``, what the stream cannot show as escapes: an answer that was paid for is not lost."""
    if stream is not None:  # Python has none where the shell closed it
        encoding = _encoding(stream)
        stream.write(text if _fits(stream, text) else text.encode(encoding, "backslashreplace").decode(encoding))


def _fits(stream: TextIO | None, text: str) -> bool:
    try:
        text.encode(_encoding(stream))
    except UnicodeEncodeError:
        return False
    return True


def _encoding(stream: TextIO | None) -> str:
    return getattr(stream, "encoding", None) or "utf-8"  # a StringIO has none
