"""The error of one answer that does not fit its schema, and how places in JSON are written."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_PLAIN_NAME = re.compile(r"[A-Za-z_$][\w$-]*")
_MESSAGE_LIMIT = 300


class AnswerMismatch(ValueError):  # noqa: N818  (it names what happened to one answer; a batch goes on)
    """A JSON value does not fit its schema or type; ``path`` says where, as ``$.items[2].price``."""

    def __init__(self, message: str, *, path: str = "$") -> None:
        super().__init__(shortened(message))
        self.path = path

    @property
    def message(self) -> str:
        """What is wrong, without the path."""
        return str(self.args[0])

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"

    def under(self, step: str | int) -> AnswerMismatch:
        """The same mismatch seen from one level further out."""
        return AnswerMismatch(self.message, path=f"${path_step(step)}{self.path[1:]}")


def json_path(steps: Iterable[str | int]) -> str:
    """``$.items[2].price`` for ``("items", 2, "price")``."""
    return "$" + "".join(path_step(step) for step in steps)


def path_step(step: str | int) -> str:
    """``.price``, ``[2]`` or, for names which need quotes, ``["unit price"]``."""
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if _PLAIN_NAME.fullmatch(step) else f"[{json.dumps(step)}]"


def shortened(text: str) -> str:
    """The text, cut in the middle when it is long: messages quote answers, and answers can be huge."""
    if len(text) <= _MESSAGE_LIMIT:
        return text
    half = _MESSAGE_LIMIT // 2
    return f"{text[:half]} ... {text[-half:]}"
