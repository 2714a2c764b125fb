"""Streamed Chat Completions: deltas, and the whole answer joined from its chunks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.data.streaming import ReasoningDelta, StreamStart, TextDelta, ToolCallDelta
from pollux_sync.wire.chat import REASONING_FIELDS
from pollux_sync.wire.faults import HttpError, ReplyError
from pollux_sync.wire.fields import as_text
from pollux_sync.wire.sse import read_until_complete

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pollux_sync.data.provider import HttpRequest, HttpResponse
    from pollux_sync.data.reply import Reply
    from pollux_sync.data.streaming import Delta, EventStream

#: The fields whose texts arrive in parts.
_TEXT_FIELDS = ("content", "refusal", *REASONING_FIELDS)


def encode_chat_stream(request: HttpRequest) -> HttpRequest:
    """Return the request for a stream that ends with the usage, unless its ``stream_options`` are null."""
    # Null is for a server that refuses the field. Without it most servers report no usage for a stream.
    body = request.body or {}
    options = body.get("stream_options", {})
    extra = {} if options is None else {"stream_options": {"include_usage": True} | options}
    rest = {name: value for name, value in body.items() if name != "stream_options"}
    return attrs.evolve(request, body={**rest, "stream": True, **extra})


def decode_chat_stream(stream: EventStream, decode: Callable[[HttpResponse], Reply]) -> Iterator[Delta | Reply]:
    """Yield the deltas, then the reply that ``decode`` returns for the whole answer; no reply if it was cut off.

    Raises as `chat.decode_chat` does.
    """
    # Decoded as a whole at the end, so that streamed and plain answers become the same reply.
    answer = AnswerAccumulator()
    for name, data in read_until_complete(stream, lambda: answer.is_ended):
        if name == "error" or (isinstance(data, dict) and data.get("error")):
            is_wrapped = isinstance(data, dict) and "error" in data
            raise HttpError(attrs.evolve(stream.response, body=data if is_wrapped else {"error": data}))
        if not isinstance(data, dict):
            raise ReplyError(f"a chunk of the answer is a JSON {type(data).__name__}, not an object")
        if not answer.head:
            yield StreamStart(model=as_text(data.get("model")), response_id=as_text(data.get("id")))
        yield from answer.add(data)
    if answer.is_ended or (stream.is_done and answer.head):
        yield decode(attrs.evolve(stream.response, body=answer.build_body()))


class AnswerAccumulator:
    """Joins the chunks of a stream to the answer that the server would have sent at once."""

    def __init__(self) -> None:
        self.head: dict[str, Any] = {}
        self.is_ended = False
        self._choice: dict[str, Any] = {}
        self._texts: dict[str, list[str]] = {}
        self._message: dict[str, Any] = {}
        self._calls: list[dict[str, Any]] = []

    def add(self, data: dict[str, Any]) -> Iterator[Delta]:
        """Add one chunk; yield its deltas."""
        self.head.update((name, value) for name, value in data.items() if value is not None and name != "choices")
        choices = data.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        # The last chunk has the usage and no choices. With n > 1 only the first answer is read, as without a stream.
        if not isinstance(choice, dict) or choice.get("index"):
            return
        delta = choice.get("delta")
        if isinstance(delta, dict):
            yield from self._read_deltas(delta)
        self._choice.update((name, value) for name, value in choice.items() if value is not None and name != "delta")
        self.is_ended = self._choice.get("finish_reason") is not None or "error" in self._choice

    def _read_deltas(self, delta: dict[str, Any]) -> Iterator[Delta]:
        for name, value in delta.items():
            if not value:
                continue
            if name in _TEXT_FIELDS and isinstance(value, str):
                known = self._texts.setdefault(name, [])
                known.append(value)
                if name in {"content", "refusal"}:
                    yield TextDelta(value)
                # Servers that send reasoning in two fields would have it read twice: the preferred field wins.
                elif not any(other in self._texts for other in REASONING_FIELDS[: REASONING_FIELDS.index(name)]):
                    yield ReasoningDelta(value)
            elif name == "tool_calls" and isinstance(value, list):
                yield from map(self._add_tool_call, (fragment for fragment in value if isinstance(fragment, dict)))
            elif isinstance(value, list):
                _join_lists(self._message.setdefault(name, []), value)
            else:
                self._message[name] = value

    def _add_tool_call(self, fragment: dict[str, Any]) -> ToolCallDelta:
        position = self._find_position(fragment)
        if position == len(self._calls):
            self._calls.append({"index": fragment.get("index"), "function": {"name": "", "arguments": ""}})
        call = self._calls[position]
        call.update((name, value) for name, value in fragment.items() if value and name != "function")
        function = fragment.get("function")
        name, arguments = _read_function(function if isinstance(function, dict) else {})
        # Some servers repeat the name with every fragment; the format sends it once.
        is_named = bool(name) and not call["function"]["name"]
        if is_named:
            call["function"]["name"] = name
        call["function"]["arguments"] += arguments
        return ToolCallDelta(position, arguments, id=as_text(fragment.get("id")), name=name if is_named else None)

    def _find_position(self, fragment: dict[str, Any]) -> int:
        """Return the position of the call that a fragment belongs to; one past the last for a new call.

        Servers that send whole calls may leave the index out, or repeat 0: then another id begins another call.
        """
        index, call_id = fragment.get("index"), fragment.get("id")
        known = [n for n, call in enumerate(self._calls) if isinstance(index, int) and call.get("index") == index]
        if not known or (call_id and self._calls[known[-1]].get("id") not in {None, call_id}):
            return len(self._calls)
        return known[-1]

    def build_body(self) -> dict[str, Any]:
        """Return the whole answer."""
        message = {**self._message, **{name: "".join(texts) for name, texts in self._texts.items()}}
        if self._calls:
            message["tool_calls"] = self._calls
        return {**self.head, "choices": [{**self._choice, "message": message}]}


def _read_function(function: Mapping[str, Any]) -> tuple[str, str]:
    arguments = function.get("arguments")
    text = json.dumps(arguments) if isinstance(arguments, dict) else as_text(arguments) or ""
    return as_text(function.get("name")) or "", text


def _join_lists(known: list[Any], entries: list[Any]) -> None:
    """Add entries to a list, joining the texts of fragments that share index and type.

    An entry with "data" is encrypted and arrives whole, so it is never joined.
    """
    for entry in entries:
        last = known[-1] if known else None
        if not (isinstance(entry, dict) and isinstance(last, dict) and _is_same_entry(last, entry)):
            known.append(entry)
            continue
        known[-1] = {**last, **{name: _merge_field(name, last.get(name), value) for name, value in entry.items()}}


def _is_same_entry(last: dict[str, Any], entry: dict[str, Any]) -> bool:
    return (
        "index" in entry
        and "data" not in entry
        and all(last.get(name) == entry.get(name) for name in ("index", "type"))
    )


def _merge_field(name: str, known: Any, more: Any) -> Any:
    if name in {"text", "summary"} and isinstance(known, str) and isinstance(more, str):
        return known + more
    return more or known
