"""The entries of a user in a chat: one line each, or several between two marker lines."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

from pollux_sync.cli.terminal import is_stdin_piped, read_stdin_line
from pollux_sync.commands import write_error, write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: The line before and the line after a text of several lines.
MARKER = '"""'
_PROMPT = "> "
_CONTINUATION = ". "


@attrs.frozen
class Entry:
    """A question, or a command with its arguments."""

    text: str
    is_command: bool = False


def iter_entries() -> Iterator[Entry]:
    """Yield what is entered on stdin until its end. Blank lines are left out."""
    has_keyboard = sys.stdin is not None and not is_stdin_piped()
    read = _prepare_keyboard() if has_keyboard else read_stdin_line
    while (line := read(_PROMPT)) is not None:
        entry = _read_block(read) if line.strip() == MARKER else _parse_line(line.strip())
        if entry.text.strip():
            yield entry


def _parse_line(line: str) -> Entry:
    # Two slashes are one that begins a question.
    return Entry(line.removeprefix("/"), is_command=line.startswith("/") and not line.startswith("//"))


def _read_block(read: Callable[[str], str | None]) -> Entry:
    lines = []
    while (line := read(_CONTINUATION)) is not None and line.strip() != MARKER:
        lines.append(line)
    return Entry("\n".join(lines))


def _prepare_keyboard() -> Callable[[str], str | None]:
    # Editing of lines, and earlier lines by the arrow keys. Windows has both without it.
    with suppress(ImportError):
        import readline  # noqa: F401
    return _read_typed_line


def _read_typed_line(prompt: str) -> str | None:
    if not sys.stdout.isatty():  # the answers go to a file, where the prompt has no place
        write_text(sys.stderr, prompt)
        prompt = ""
    try:
        return input(prompt)
    except EOFError:
        write_error("")  # Ctrl-D leaves the cursor behind the prompt, as Ctrl-C does
        return None
    except KeyboardInterrupt:
        write_error("")
        raise
