"""Streamed answers of the Responses API: deltas, then the complete answer, which the last event carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pollux_openai.items import iter_tool_calls
from pollux_sync.plugin import (
    HttpError,
    ReasoningDelta,
    StreamStart,
    StreamUsage,
    TextDelta,
    ToolCallDelta,
    as_text,
    find_error,
    read_usage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pollux_openai.items import Item
    from pollux_sync.plugin import Delta, EventStream, HttpResponse, Reply

_FINAL_EVENTS = frozenset({"response.completed", "response.incomplete", "response.failed"})


def decode_stream(stream: EventStream, decode: Callable[[HttpResponse], Reply]) -> Iterator[Delta | Reply]:
    """Yield the deltas of a stream, then the reply, unless the answer was cut off.

    ``decode`` decodes the complete answer. Raises what it raises, and HttpError for an error event.
    """
    accumulator = _ResponseAccumulator()
    for name, data in stream:
        kind = (as_text(data.get("type")) if isinstance(data, dict) else None) or name
        # An event "response.failed" holds its error inside the response, where the decoder finds it.
        if not kind.startswith("response.") and (error := find_error(data, name)):
            raise HttpError(attrs.evolve(stream.response, body=error))
        # Tolerate events of a form that is not known: the answer is complete without them.
        if not isinstance(data, dict):
            continue
        if kind in _FINAL_EVENTS:
            # The body goes through the decoder of direct calls, so that both ways return the same reply.
            body = accumulator.build_body(_read_response(data))
            try:
                reply = decode(stream.join(body))
            except HttpError:
                # A failed answer is billed too: report its usage before the error.
                yield StreamUsage(read_usage(body.get("usage")))
                raise
            yield from accumulator.start(body)
            yield from accumulator.iter_missing(reply, body["output"])
            yield reply
            return
        yield from accumulator.add_event(kind, data)


def _read_response(data: dict[str, Any]) -> dict[str, Any]:
    response = data.get("response")
    return response if isinstance(response, dict) else {}


class _ResponseAccumulator:
    """The events of one answer so far. Each method that takes an event returns its deltas."""

    def __init__(self) -> None:
        self._has_started = False
        self._text: list[str] = []
        self._has_answer = False
        self._reasoning: list[str] = []
        self._has_summary = False
        self._parts: set[tuple[Any, ...]] = set()
        #: The arguments of each tool call, in the order in which the calls started.
        self._arguments: list[list[str]] = []
        #: The index of a tool call by each of its keys: the item's id and its place in the output.
        self._call_indexes: dict[Any, int] = {}
        self._items: dict[int, Item] = {}

    def start(self, response: dict[str, Any]) -> Iterable[Delta]:
        """Return the start of the answer, the first time only: several events carry the response."""
        if self._has_started:
            return ()
        self._has_started = True
        return (StreamStart(model=as_text(response.get("model")), response_id=as_text(response.get("id"))),)

    def add_event(self, kind: str, data: dict[str, Any]) -> Iterator[Delta]:
        """Add one event and yield its deltas; an event of unknown type has none."""
        handler = _HANDLERS.get(kind)
        if handler is not None or "response" in data:
            yield from self.start(_read_response(data))
        if handler is not None:
            yield from handler(self, data)

    def add_text(self, data: dict[str, Any]) -> Iterable[Delta]:
        """Add a delta of the answer's text."""
        self._has_answer = True
        return self._append_text(data)

    def add_refusal(self, data: dict[str, Any]) -> Iterable[Delta]:
        """Add a delta of a refusal. It counts as the answer's text unless there is other text, as in the decoder."""
        return () if self._has_answer else self._append_text(data)

    def _append_text(self, data: dict[str, Any]) -> Iterable[Delta]:
        text = as_text(data.get("delta"))
        if not text:
            return ()
        self._text.append(text)
        return (TextDelta(text),)

    def add_summary(self, data: dict[str, Any]) -> Iterable[Delta]:
        """Add a delta of a summary of the reasoning."""
        self._has_summary = True
        return self._append_reasoning(data, "summary_index")

    def add_reasoning(self, data: dict[str, Any]) -> Iterable[Delta]:
        """Add a delta of the reasoning itself. It is passed on unless there is a summary, as in the decoder."""
        return () if self._has_summary else self._append_reasoning(data, "content_index")

    def _append_reasoning(self, data: dict[str, Any], index: str) -> Iterable[Delta]:
        text = as_text(data.get("delta"))
        if not text:
            return ()
        part = _read_keys(data, "output_index", "item_id", index)
        # The decoder joins parts by blank lines, and the deltas together must be the same text.
        is_next = bool(self._parts) and part not in self._parts
        self._parts.add(part)
        self._reasoning.append(f"\n\n{text}" if is_next else text)
        return (ReasoningDelta(self._reasoning[-1]),)

    def start_item(self, data: dict[str, Any]) -> Iterable[Delta]:
        """Add the start of an output item; that of a tool call has a delta."""
        item = data.get("item")
        if not isinstance(item, dict) or item.get("type") != "function_call" or not as_text(item.get("name")):
            return ()
        index = len(self._arguments)
        self._arguments.append([])
        keys = (*_read_keys(item, "id"), *_read_keys(data, "output_index"))
        self._call_indexes |= dict.fromkeys(keys, index)
        call_id = as_text(item.get("call_id")) or as_text(item.get("id"))
        return (ToolCallDelta(index, id=call_id, name=item["name"]),)

    def add_arguments(self, data: dict[str, Any]) -> Iterable[Delta]:
        """Add a delta of a tool call's arguments."""
        # Some servers change an item's id within a stream, others send no index. Either key leads to the call.
        keys = _read_keys(data, "item_id", "output_index")
        index = next((self._call_indexes[key] for key in keys if key in self._call_indexes), None)
        text = as_text(data.get("delta"))
        if index is None or not text:
            return ()
        self._arguments[index].append(text)
        return (ToolCallDelta(index, text),)

    def end_item(self, data: dict[str, Any]) -> Iterable[Delta]:
        """Add a complete output item, which has no delta."""
        item, index = data.get("item"), data.get("output_index")
        if isinstance(item, dict):
            self._items[index if isinstance(index, int) else len(self._items)] = item
        return ()

    def build_body(self, response: dict[str, Any]) -> dict[str, Any]:
        """Return the answer as a direct call would have received it."""
        # Some servers leave the output out of the last event. Then it is built from the items that came before.
        if response.get("output") or not self._items:
            return response
        return {**response, "output": [item for _, item in sorted(self._items.items())]}

    def iter_missing(self, reply: Reply, output: list[Any]) -> Iterator[Delta]:
        """Yield what the reply has beyond the deltas so far: some servers send it in the last event only."""
        if text := _remove_known(reply.reasoning or "", self._reasoning):
            yield ReasoningDelta(text)
        if text := _remove_known(reply.text, self._text):
            yield TextDelta(text)
        # Not the reply's calls: their arguments are lifted, while the deltas so far are as the model wrote them.
        for index, call in enumerate(iter_tool_calls([item for item in output if isinstance(item, dict)])):
            if index >= len(self._arguments):
                yield ToolCallDelta(index, call.arguments, id=call.id, name=call.name)
            elif text := _remove_known(call.arguments, self._arguments[index]):
                yield ToolCallDelta(index, text)


def _read_keys(data: dict[str, Any], *names: str) -> tuple[str | int, ...]:
    """Return those of an event's ids and indexes that it has."""
    return tuple(value for name in names if isinstance(value := data.get(name), str | int))


def _remove_known(text: str, deltas: list[str]) -> str:
    """Return the part of a text after its deltas; empty if they were another text, which cannot be taken back."""
    known = "".join(deltas)
    return text[len(known) :] if text.startswith(known) else ""


_HANDLERS: dict[str, Callable[[_ResponseAccumulator, dict[str, Any]], Iterable[Delta]]] = {
    "response.output_text.delta": _ResponseAccumulator.add_text,
    "response.refusal.delta": _ResponseAccumulator.add_refusal,
    "response.reasoning_summary_text.delta": _ResponseAccumulator.add_summary,
    "response.reasoning_text.delta": _ResponseAccumulator.add_reasoning,
    "response.output_item.added": _ResponseAccumulator.start_item,
    "response.output_item.done": _ResponseAccumulator.end_item,
    "response.function_call_arguments.delta": _ResponseAccumulator.add_arguments,
}
