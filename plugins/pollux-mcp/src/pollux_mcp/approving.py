"""Decide whether a call may run."""

from __future__ import annotations

import threading
from copy import deepcopy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pollux_mcp.settings import Approval

_UNASKED = (
    "the call of {tool!r} was not made: the server does not declare it as read-only, and nobody approves calls here"
)
_REFUSED = "the call of {tool!r} was not approved"


class Approver:
    """The rule by which calls of one server run: a function, all, or those alone that are declared as read-only."""

    def __init__(self, approve: Approval, server: str) -> None:
        self._approve = approve
        self._server = server
        # One question at a time: a function that asks a person cannot ask two at once.
        self._lock = threading.Lock()

    def find_objection(self, tool: str, arguments: Mapping[str, Any], *, is_read_only: bool) -> str | None:
        """Return why a call must not run, as a text for the model, or None."""
        if self._approve == "all" or (self._approve is None and is_read_only):
            return None
        if self._approve is None:
            return _UNASKED.format(tool=tool)
        with self._lock:
            # A copy: what was approved is what runs.
            is_approved = self._approve(self._server, tool, deepcopy(dict(arguments)))
        return None if is_approved is True else _REFUSED.format(tool=tool)
