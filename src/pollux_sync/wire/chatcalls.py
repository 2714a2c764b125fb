"""The tool calls of a streamed Chat Completions answer, joined from their pieces.

By the format, a piece has the index of its call, and the first one its id and name. Servers differ: they leave the
index out or repeat 0, repeat id and name or invent a new id with each piece, send whole calls, or the whole call again
at its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.data.streaming import ToolCallDelta
from pollux_sync.wire.chat import read_arguments
from pollux_sync.wire.fields import as_text

if TYPE_CHECKING:
    from collections.abc import Sequence


class ChatCalls:
    """The tool calls so far."""

    def __init__(self) -> None:
        self._calls: list[_CallAccumulator] = []
        #: The position of the latest call with each index, and with each id.
        self._by_index: dict[int, int] = {}
        self._by_id: dict[str, int] = {}

    def add(self, pieces: Sequence[Any]) -> list[ToolCallDelta]:
        """Add the pieces of one chunk; return their deltas."""
        return [self._add_piece(_Piece.read(piece)) for piece in pieces if isinstance(piece, dict)]

    def build_calls(self) -> list[dict[str, Any]]:
        """Return the calls as they would have been sent at once."""
        return [call.build_call() for call in self._calls]

    def _add_piece(self, piece: _Piece) -> ToolCallDelta:
        position = self._find_position(piece)
        is_new = position == len(self._calls)
        if is_new:
            self._calls.append(_CallAccumulator())
        if piece.index is not None:
            self._by_index[piece.index] = position
        if piece.id is not None:
            self._by_id.setdefault(piece.id, position)
        return self._calls[position].add(position, piece)

    def _find_position(self, piece: _Piece) -> int:
        """Return the position of the call that a piece belongs to; one past the last for a new call."""
        position, new = self._find_candidate(piece), len(self._calls)
        if position is None:
            return new
        if piece.id and piece.id != self._calls[position].id:
            position = self._by_id.get(piece.id, position)
        return new if self._calls[position].is_followed(piece) else position

    def _find_candidate(self, piece: _Piece) -> int | None:
        """Return the position of the call that a piece may go on with, by its index; None for a new call."""
        latest = len(self._calls) - 1 if self._calls else None
        if piece.index is None:
            return latest
        known = self._by_index.get(piece.index)
        # A call begins with its name. A nameless piece of an unknown index goes on with one that came without index.
        return latest if known is None and not piece.name and piece.id in {None, *self._by_id} else known


@attrs.frozen
class _Piece:
    """One piece of a tool call."""

    index: int | None
    id: str | None
    name: str
    #: None without any; "" is an empty piece.
    arguments: str | None
    fields: dict[str, Any]

    @classmethod
    def read(cls, data: dict[str, Any]) -> _Piece:
        """Return the piece in an entry of ``tool_calls``."""
        function = data.get("function")
        function = function if isinstance(function, dict) else {}
        index, arguments = data.get("index"), function.get("arguments")
        return cls(
            index=index if isinstance(index, int) else None,
            id=as_text(data.get("id")) or None,
            name=as_text(function.get("name")) or "",
            arguments=read_arguments(arguments) if arguments or arguments == "" else None,
            fields={name: value for name, value in data.items() if value and name != "function"},
        )


@attrs.define
class _CallAccumulator:
    """A tool call so far: its fields, and its function's name and arguments."""

    fields: dict[str, Any] = attrs.field(factory=dict)
    name: str = ""
    arguments: list[str] = attrs.field(factory=list)
    size: int = 0

    @property
    def id(self) -> str | None:
        """The id of the call; None if no piece had one."""
        return self.fields.get("id")

    def is_followed(self, piece: _Piece) -> bool:
        """Return whether a piece that may be one of this call begins another call."""
        if piece.id and self.id and piece.id != self.id:
            # vLLM gives each piece an id of its own, but the name to the first alone.
            return bool(piece.name) or not piece.arguments
        if not piece.name or not self.name or piece.id:
            return False
        is_whole = self._is_whole and (piece.arguments or "").startswith("{") and not self._is_repeated(piece)
        return piece.name != self.name or not piece.arguments or is_whole

    @property
    def _is_whole(self) -> bool:
        """True if the arguments may be complete. To parse them with each piece would take quadratic time."""
        return bool(self.arguments) and self.arguments[-1].endswith("}")

    def _is_repeated(self, piece: _Piece) -> bool:
        """Return whether a piece has all arguments so far again. No JSON goes on with the text that it had so far."""
        text = piece.arguments or ""
        return self._is_whole and len(text) == self.size and text == "".join(self.arguments)

    def add(self, position: int, piece: _Piece) -> ToolCallDelta:
        """Add a piece; return its delta."""
        call_id = piece.id if self.id is None else None
        name = piece.name if not self.name else None
        self.fields = piece.fields | self.fields
        self.name = self.name or piece.name
        arguments = None if self._is_repeated(piece) else piece.arguments
        if arguments is not None:
            self.arguments.append(arguments)
            self.size += len(arguments)
        return ToolCallDelta(position, arguments or "", id=call_id, name=name or None)

    def build_call(self) -> dict[str, Any]:
        """Return the call as it would have been sent at once."""
        arguments = {"arguments": "".join(self.arguments)} if self.arguments else {}
        return {**self.fields, "function": {"name": self.name} | arguments}
