"""The Responses API as it is streamed: deltas, and the whole answer, which the last event carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pollux_openai.decoding import usage_of
from pollux_openai.items import tool_calls_in
from pollux_sync.data.streaming import ReasoningDelta, StreamStart, StreamUsage, TextDelta, ToolCallDelta
from pollux_sync.wire.faults import HttpError
from pollux_sync.wire.fields import as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pollux_openai.items import Item
    from pollux_sync.data.provider import HttpResponse
    from pollux_sync.data.reply import Reply
    from pollux_sync.data.streaming import Delta, EventStream

_FINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})
_FACTS = ("code", "message", "param")


def decode_stream(stream: EventStream, decode: Callable[[HttpResponse], Reply]) -> Iterator[Delta | Reply]:
    """The deltas, then what ``decode`` makes of the whole, but for an answer that was cut off.

    Raises as ``decode`` does, and HttpError for an event that tells an error.
    """
    said = _Said()
    for name, data in stream:
        if not isinstance(data, dict):
            continue
        kind = as_text(data.get("type")) or name
        if _is_error(name, kind, data):
            raise HttpError(attrs.evolve(stream.response, body=_error_body(data)))
        if kind in _FINAL:
            body = said.whole(_response_in(data))
            try:
                reply = decode(attrs.evolve(stream.response, body=body))
            except HttpError:
                yield StreamUsage(usage_of(body.get("usage")))
                raise
            yield from said.start(body)
            yield from said.rest(reply, body["output"])
            yield reply
            return
        yield from said.read(kind, data)


def _response_in(data: dict[str, Any]) -> dict[str, Any]:
    response = data.get("response")
    return response if isinstance(response, dict) else {}


def _is_error(name: str, kind: str, data: dict[str, Any]) -> bool:
    return "error" in {name, kind} or (bool(data.get("error")) and not kind.startswith("response."))


def _error_body(data: dict[str, Any]) -> dict[str, Any]:
    """An error event as the body of an answer that is an error: its fields may stand beside its type."""
    return {"error": data.get("error") or {name: data[name] for name in _FACTS if data.get(name) is not None}}


class _Said:
    """What the events have told so far. Its readers give what one event tells."""

    def __init__(self) -> None:
        self._is_begun = False
        self._text: list[str] = []
        self._is_answer = False
        self._reasoning: list[str] = []
        self._is_summary = False
        self._parts: set[tuple[Any, ...]] = set()
        self._arguments: list[list[str]] = []
        self._positions: dict[Any, int] = {}
        self._items: dict[int, Item] = {}

    def start(self, response: dict[str, Any]) -> Iterable[Delta]:
        """The begin of the answer, unless it was told."""
        if self._is_begun:
            return ()
        self._is_begun = True
        return (StreamStart(model=as_text(response.get("model")), response_id=as_text(response.get("id"))),)

    def read(self, kind: str, data: dict[str, Any]) -> Iterator[Delta]:
        """What an event tells; nothing for one that is not known."""
        reader = _READERS.get(kind)
        if reader is not None or "response" in data:
            yield from self.start(_response_in(data))
        if reader is not None:
            yield from reader(self, data)

    def read_text(self, data: dict[str, Any]) -> Iterable[Delta]:
        self._is_answer = True
        return self._more_text(data)

    def read_refusal(self, data: dict[str, Any]) -> Iterable[Delta]:
        """It is the answer where there is no other."""
        return () if self._is_answer else self._more_text(data)

    def _more_text(self, data: dict[str, Any]) -> Iterable[Delta]:
        piece = as_text(data.get("delta"))
        if not piece:
            return ()
        self._text.append(piece)
        return (TextDelta(piece),)

    def read_summary(self, data: dict[str, Any]) -> Iterable[Delta]:
        self._is_summary = True
        return self._more_reasoning(data, "summary_index")

    def read_reasoning(self, data: dict[str, Any]) -> Iterable[Delta]:
        """The reasoning's own text is shown where there is no summary."""
        return () if self._is_summary else self._more_reasoning(data, "content_index")

    def _more_reasoning(self, data: dict[str, Any], index: str) -> Iterable[Delta]:
        """Between parts goes a blank line."""
        piece = as_text(data.get("delta"))
        if not piece:
            return ()
        part = _place(data, "output_index", "item_id", index)
        is_next = bool(self._parts) and part not in self._parts
        self._parts.add(part)
        self._reasoning.append(f"\n\n{piece}" if is_next else piece)
        return (ReasoningDelta(self._reasoning[-1]),)

    def read_item_begin(self, data: dict[str, Any]) -> Iterable[Delta]:
        item = data.get("item")
        if not isinstance(item, dict) or item.get("type") != "function_call" or not as_text(item.get("name")):
            return ()
        position = len(self._arguments)
        self._arguments.append([])
        self._positions |= dict.fromkeys((*_place(item, "id"), *_place(data, "output_index")), position)
        call_id = as_text(item.get("call_id")) or as_text(item.get("id"))
        return (ToolCallDelta(position, id=call_id, name=item["name"]),)

    def read_arguments(self, data: dict[str, Any]) -> Iterable[Delta]:
        """Some services change an item's id underway, others do not count items: either leads to the call."""
        places = _place(data, "item_id", "output_index")
        position = next((self._positions[place] for place in places if place in self._positions), None)
        piece = as_text(data.get("delta"))
        if position is None or not piece:
            return ()
        self._arguments[position].append(piece)
        return (ToolCallDelta(position, piece),)

    def read_item_end(self, data: dict[str, Any]) -> Iterable[Delta]:
        item, index = data.get("item"), data.get("output_index")
        if isinstance(item, dict):
            self._items[index if isinstance(index, int) else len(self._items)] = item
        return ()

    def whole(self, response: dict[str, Any]) -> dict[str, Any]:
        """The answer as it would have come at once; where its items are missing, those that came one by one."""
        if response.get("output") or not self._items:
            return response
        return {**response, "output": [item for _, item in sorted(self._items.items())]}

    def rest(self, reply: Reply, output: list[Any]) -> Iterator[Delta]:
        """What nothing but the whole answer has told."""
        if more := _after(self._reasoning, reply.reasoning or ""):
            yield ReasoningDelta(more)
        if more := _after(self._text, reply.text):
            yield TextDelta(more)
        for position, call in enumerate(tool_calls_in([item for item in output if isinstance(item, dict)])):
            if position >= len(self._arguments):
                yield ToolCallDelta(position, call.arguments, id=call.id, name=call.name)
            elif more := _after(self._arguments[position], call.arguments):
                yield ToolCallDelta(position, more)


def _place(data: dict[str, Any], *names: str) -> tuple[str | int, ...]:
    """Where an event belongs: what there is of these ids and indexes."""
    return tuple(value for name in names if isinstance(value := data.get(name), str | int))


def _after(said: list[str], whole: str) -> str:
    """What of the whole was not said; nothing where something else was."""
    known = "".join(said)
    return whole[len(known) :] if whole.startswith(known) else ""


_READERS: dict[str, Callable[[_Said, dict[str, Any]], Iterable[Delta]]] = {
    "response.output_text.delta": _Said.read_text,
    "response.refusal.delta": _Said.read_refusal,
    "response.reasoning_summary_text.delta": _Said.read_summary,
    "response.reasoning_text.delta": _Said.read_reasoning,
    "response.output_item.added": _Said.read_item_begin,
    "response.output_item.done": _Said.read_item_end,
    "response.function_call_arguments.delta": _Said.read_arguments,
}
