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
#: The fields of an entry in a list, such as a piece of reasoning, whose texts arrive in parts.
_ENTRY_TEXTS = frozenset({"text", "summary"})


def encode_chat_stream(request: HttpRequest) -> HttpRequest:
    """Return the request for a stream that ends with the usage, unless its ``stream_options`` are null."""
    # Null is for a server that refuses the field. Without it most servers report no usage for a stream.
    body = request.fields or {}
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
        self._lists: dict[str, list[Any]] = {}
        self._calls: list[_CallAccumulator] = []
        #: The position of the latest call with each index.
        self._positions: dict[int, int] = {}

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
                _extend_entries(self._lists.setdefault(name, []), value)
            else:
                self._message[name] = value

    def _add_tool_call(self, fragment: dict[str, Any]) -> ToolCallDelta:
        position = self._find_position(fragment)
        if position == len(self._calls):
            index = fragment.get("index")
            self._calls.append(_CallAccumulator({"index": index}))
            if isinstance(index, int):
                self._positions[index] = position
        call = self._calls[position]
        call.fields.update((name, value) for name, value in fragment.items() if value and name != "function")
        function = fragment.get("function")
        name, arguments = _read_function(function if isinstance(function, dict) else {})
        # Some servers repeat the name with every fragment; the format sends it once.
        is_named = bool(name) and not call.name
        call.name = call.name or name
        call.arguments.append(arguments)
        return ToolCallDelta(position, arguments, id=as_text(fragment.get("id")), name=name if is_named else None)

    def _find_position(self, fragment: dict[str, Any]) -> int:
        """Return the position of the call that a fragment belongs to; one past the last for a new call.

        Servers that send whole calls may leave the index out, or repeat 0: then another id begins another call.
        """
        index, call_id = fragment.get("index"), fragment.get("id")
        known = self._positions.get(index) if isinstance(index, int) else None
        if known is None or (call_id and self._calls[known].fields.get("id") not in {None, call_id}):
            return len(self._calls)
        return known

    def build_body(self) -> dict[str, Any]:
        """Return the whole answer."""
        message = self._message | {name: [*map(_build_entry, entries)] for name, entries in self._lists.items()}
        message |= {name: "".join(texts) for name, texts in self._texts.items()}
        if self._calls:
            message["tool_calls"] = [call.build_call() for call in self._calls]
        return {**self.head, "choices": [{**self._choice, "message": message}]}


# Texts are joined once, at the end: adding to a text with each piece would copy it each time, which takes quadratic
# time over an answer.
@attrs.define
class _CallAccumulator:
    """A tool call so far: its fields, and its function's name and arguments."""

    fields: dict[str, Any]
    name: str = ""
    arguments: list[str] = attrs.field(factory=list)

    def build_call(self) -> dict[str, Any]:
        """Return the call as it would have been sent at once."""
        return {**self.fields, "function": {"name": self.name, "arguments": "".join(self.arguments)}}


def _read_function(function: Mapping[str, Any]) -> tuple[str, str]:
    arguments = function.get("arguments")
    text = json.dumps(arguments) if isinstance(arguments, dict) else as_text(arguments) or ""
    return as_text(function.get("name")) or "", text


def _extend_entries(known: list[Any], entries: list[Any]) -> None:
    """Add entries to a list. Fragments that share index and type become one entry.

    An entry with "data" is encrypted and arrives whole, so it is never joined.
    """
    for entry in entries:
        if not isinstance(entry, dict):
            known.append(entry)
            continue
        last = known[-1] if known else None
        if not (isinstance(last, _EntryAccumulator) and last.is_continued(entry)):
            last = _EntryAccumulator()
            known.append(last)
        last.add(entry)


@attrs.define
class _EntryAccumulator:
    """An entry of a list so far: its fields, and the parts of its texts."""

    fields: dict[str, Any] = attrs.field(factory=dict)
    texts: dict[str, list[str]] = attrs.field(factory=dict)

    def is_continued(self, entry: dict[str, Any]) -> bool:
        """Return whether an entry is a further fragment of this one."""
        is_fragment = "index" in entry and "data" not in entry
        return is_fragment and all(self.fields.get(name) == entry.get(name) for name in ("index", "type"))

    def add(self, entry: dict[str, Any]) -> None:
        """Add a fragment: texts go on, of other fields the last value that is not empty counts."""
        for name, value in entry.items():
            if name in _ENTRY_TEXTS and isinstance(value, str):
                self.texts.setdefault(name, []).append(value)
            else:
                self.fields[name] = value or self.fields.get(name, value)


def _build_entry(entry: Any) -> Any:
    if not isinstance(entry, _EntryAccumulator):
        return entry
    return entry.fields | {name: "".join(texts) for name, texts in entry.texts.items()}
