"""The error of an answer that does not match its schema, and the spelling of paths in JSON."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_PLAIN_NAME = re.compile(r"[A-Za-z_$][\w$-]*")
#: Characters of a message. It ends up in logs and in the repair request to the model.
_MESSAGE_LIMIT = 300


class AnswerMismatch(ValueError):  # noqa: N818  (it names what happened to one answer; a batch goes on)
    """A JSON value that does not match its schema or type; ``path`` is its place, such as ``$.items[2].price``."""

    def __init__(self, message: str, *, path: str = "$") -> None:
        super().__init__(shorten(message))
        self.path = path

    @property
    def message(self) -> str:
        """The message without the path."""
        return str(self.args[0])

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"

    def prefix_path(self, step: str | int) -> AnswerMismatch:
        """Return this mismatch as seen from the value around, with ``step`` at the start of its path."""
        return AnswerMismatch(self.message, path=f"${_format_step(step)}{self.path[1:]}")


def json_path(steps: Iterable[str | int]) -> str:
    """Return ``$.items[2].price`` for ``("items", 2, "price")``."""
    return "$" + "".join(_format_step(step) for step in steps)


def _format_step(step: str | int) -> str:
    """Return ``.price``, ``[2]`` or, for a name that needs quotes, ``["unit price"]``."""
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if _PLAIN_NAME.fullmatch(step) else f"[{json.dumps(step)}]"


def shorten(text: str) -> str:
    """Return the text, with its middle cut out if it is long: messages quote answers, and answers can be huge."""
    if len(text) <= _MESSAGE_LIMIT:
        return text
    half = _MESSAGE_LIMIT // 2
    return f"{text[:half]} ... {text[-half:]}"
