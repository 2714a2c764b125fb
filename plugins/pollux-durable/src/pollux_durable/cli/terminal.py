"""The standard streams: results go to stdout, remarks to stderr."""

from __future__ import annotations

import json
import re
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Characters that a terminal obeys instead of showing them. Labels and messages come from files and servers.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def escape_controls(text: str) -> str:
    r"""Return the text with an escape such as ``\x1b`` in place of each character that a terminal would obey."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def write(text: str) -> None:
    """Write a line to stdout, without control characters. Raises OSError when the reader has gone."""
    print(_fit(escape_controls(text), sys.stdout))  # noqa: T201 - what the command is for


def write_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Write lines of a name and a value to stdout, with aligned values."""
    rows = [*pairs]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        write(f"{name.ljust(width)}  {value}")


def write_json(value: Any) -> None:
    """Write ``value`` as JSON in ASCII to stdout."""
    print(json.dumps(value, indent=2, default=str))  # noqa: T201 - what the command is for


def write_line(value: Any) -> None:
    """Write ``value`` as one line of JSON in ASCII to stdout."""
    print(json.dumps(value, default=str))  # noqa: T201 - what the command is for


def write_part(text: str) -> None:
    """Write a piece of a text to stdout, whose end is not known yet. Its lines stay lines."""
    shown = "\n".join(map(escape_controls, text.split("\n")))
    print(_fit(shown, sys.stdout), end="")  # noqa: T201 - what the command is for


def write_remark(text: str) -> None:
    """Write a line to stderr, without control characters. Never raises because of the stream."""
    with suppress(OSError, ValueError):  # a remark that cannot be written must not end the command
        print(_fit(escape_controls(text), sys.stderr), file=sys.stderr, flush=True)  # noqa: T201


def _fit(text: str, stream: Any) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
