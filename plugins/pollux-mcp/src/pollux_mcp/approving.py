"""Who may be called: a tool that changes something is asked about first, and so is one that says nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from pollux_sync.plugin import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Decides about a call.
Approve: TypeAlias = "Callable[[ToolRequest], bool]"


@attrs.frozen(kw_only=True)
class ToolRequest:
    """A call that the model asks for: the server's name, the tool's own name there, and the arguments.

    ``is_read_only`` and ``is_destructive`` are what the server says of the tool, which need not be true.
    """

    server: str
    tool: str
    arguments: Mapping[str, Any]
    is_read_only: bool
    is_destructive: bool


def check_approval(approve: object, *, trust: object) -> None:
    """Raise ConfigurationError for settings of the approval that are none."""
    if not (approve is None or callable(approve)):
        raise ConfigurationError("approve must be a function of a ToolRequest", hint="def approve(request): return ...")
    if not isinstance(trust, bool):
        raise ConfigurationError(f"trust must be True or False, got {type(trust).__name__}")
    if trust and approve is not None:
        raise ConfigurationError("trust=True allows what approve is to decide", hint="leave one of them out")


def is_approved(request: ToolRequest, approve: Approve | None, *, trust: bool) -> bool:
    """Return whether a call may be made."""
    if trust:
        return True
    return bool(approve(request)) if approve is not None else request.is_read_only
