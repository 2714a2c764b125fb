"""Results on stdout, remarks and errors on stderr."""

from __future__ import annotations

import json
import re
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Characters that a terminal obeys instead of showing them: C0 without tab and line feed, DEL, C1, the line ends of
#: Unicode, and what turns the direction of writing. Names and messages come from files, packages and servers.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def escape_controls(text: str) -> str:
    r"""Return the text with an escape such as ``\x1b`` in place of each character that a terminal would obey."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def escape_line(text: str) -> str:
    """Return the text as `escape_controls` does, with its line ends and tabs escaped too: it stays one line."""
    return escape_controls(text).replace("\n", r"\n").replace("\t", r"\t")


def write_line(text: str) -> None:
    """Write one line to stdout, without control characters. Raises OSError when the reader has gone."""
    write_text(sys.stdout, f"{escape_line(text)}\n")


def write_table(rows: Iterable[Sequence[str]], *, indent: str = "") -> None:
    """Write each row as a line to stdout, with aligned columns and ``indent`` before the first."""
    shown = [[escape_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        write_line(f"{indent}{cells}".rstrip())


def write_json(value: Any, *, indent: int | None = 2) -> None:
    """Write ``value`` as JSON to stdout, in ASCII where stdout cannot encode its characters.

    Without an ``indent`` it is one line. What JSON does not know is written as `str` returns it.
    """
    text = _dump_json(value, indent, ensure_ascii=False)
    shown = text if _can_encode(sys.stdout, text) else _dump_json(value, indent, ensure_ascii=True)
    write_text(sys.stdout, f"{shown}\n")


def write_remark(text: str) -> None:
    """Write one line to stderr, as `write_error` does."""
    write_error(escape_line(text))


def write_error(text: str) -> None:
    """Write lines to stderr without control characters, after flushing stdout. Never raises because of a stream."""
    # Both streams often lead to one terminal: without the flush the lines would overtake the results.
    with suppress(OSError, ValueError):  # the program flushes again at the end, and reports it
        flush_output()
    with suppress(OSError, ValueError):  # lines that cannot be written must not end the command
        write_text(sys.stderr, f"{escape_controls(text)}\n")


def flush_output() -> None:
    """Flush stdout. Raises OSError when the reader has gone."""
    if sys.stdout is not None:
        sys.stdout.flush()


def write_text(stream: TextIO | None, text: str) -> None:
    """Write a text to a standard stream, unchanged but for escapes of characters that the stream cannot encode."""
    if stream is None:  # Python sets a standard stream to None when the parent process closed it
        return
    # An answer that was paid for must not be lost over a character.
    encoding = _read_encoding(stream)
    stream.write(text if _can_encode(stream, text) else text.encode(encoding, "backslashreplace").decode(encoding))


def _dump_json(value: Any, indent: int | None, *, ensure_ascii: bool) -> str:
    text = json.dumps(value, indent=indent, ensure_ascii=ensure_ascii, default=str)
    # JSON has escapes of its own: with those of `escape_controls` it would not be JSON any more.
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _can_encode(stream: TextIO | None, text: str) -> bool:
    try:
        text.encode(_read_encoding(stream))
    except UnicodeEncodeError:
        return False
    return True


def _read_encoding(stream: TextIO | None) -> str:
    return getattr(stream, "encoding", None) or "utf-8"  # a StringIO has no encoding
