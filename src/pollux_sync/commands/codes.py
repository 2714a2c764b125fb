"""The exit codes that all commands have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# As shells have it: 130 is 128 + SIGINT. A reader that goes away would be 128 + SIGPIPE = 141, but Python ignores that
# signal and raises BrokenPipeError.
DONE, FAILED, REFUSED, PENDING, INTERRUPTED, READER_GONE = 0, 1, 2, 3, 130, 141


def describe_exit_codes(meanings: Mapping[int, str]) -> str:
    """Return the end of a command's help: each exit code with its meaning."""
    return "\n".join(["exit codes:", *(f"  {code:<3}  {meaning}" for code, meaning in meanings.items())])
