"""Streamed answers of the Messages API: deltas, and the complete message built from its blocks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from pollux_anthropic.decoding import decode, decode_usage
from pollux_sync.plugin import (
    HttpError,
    ReasoningDelta,
    ReplyError,
    StreamStart,
    StreamUsage,
    TextDelta,
    ToolCallDelta,
    as_text,
    find_error,
    read_until_complete,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.plugin import Call, Delta, EventStream, Reply, SchemaDialect

_SEPARATOR = "\n\n"
#: How the types of the events begin that are parts of the message. Any other event may be an error.
_KNOWN_KINDS = ("message_", "content_block_")
#: The types of deltas that carry text, and the field that holds it.
_TEXT_FIELDS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


def decode_stream(stream: EventStream, call: Call, dialect: SchemaDialect) -> Iterator[Delta | Reply]:
    """Yield the deltas of a stream, then the reply, unless the answer was cut off. Raises as `decode` does."""
    accumulator = _MessageAccumulator()
    try:
        for kind, data in _iter_events(stream, accumulator):
            if kind == "message_stop":
                accumulator.has_stopped = True
                break
            yield from accumulator.add_event(kind, data)
    except Exception:
        # The caller keeps the text and pays the tokens so far, so both come before the error.
        yield from accumulator.flush()
        raise
    if accumulator.is_complete:
        # The body goes through the decoder of direct calls, so that both ways return the same reply.
        reply = decode(stream.join(accumulator.build_body()), call, dialect)
        yield from accumulator.iter_missing(reply)
        yield reply
    else:
        yield from accumulator.flush()


def _iter_events(stream: EventStream, accumulator: _MessageAccumulator) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the type and the data of each event. Raises HttpError for an error event."""
    # A message with a stop reason is complete. What follows is not worth a long wait, nor an error.
    for name, data in read_until_complete(stream, lambda: accumulator.is_complete):
        kind = (as_text(data.get("type")) if isinstance(data, dict) else None) or name
        if not kind.startswith(_KNOWN_KINDS) and (error := find_error(data, name)):
            raise HttpError(attrs.evolve(stream.response, body=error))
        if not isinstance(data, dict):
            raise ReplyError(f"an event of the stream is a JSON {type(data).__name__}, not an object")
        yield kind, data


class _MessageAccumulator:
    """The events of one answer so far, from which the message is built that a direct call would have received."""

    def __init__(self) -> None:
        self.has_stopped = False
        self._head: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._blocks: dict[int, _BlockAccumulator] = {}
        self._last_index = 0
        self._text = _TextJoiner()
        #: The index of the thinking block that the last reasoning delta was in.
        self._thinking: int | None = None
        self._n_calls = 0

    def add_event(self, kind: str, data: dict[str, Any]) -> Iterator[Delta]:
        """Add one event and yield its deltas; an event of unknown type has none."""
        index = data.get("index")
        if kind == "message_start":
            message = _as_object(data.get("message"))
            self._update(message, message.get("usage"))
            yield StreamStart(model=as_text(message.get("model")), response_id=as_text(message.get("id")))
        elif kind == "message_delta":
            self._update(_as_object(data.get("delta")), data.get("usage"))
        elif kind == "content_block_start":
            position = index if isinstance(index, int) else len(self._blocks)
            yield from self._start_block(position, _as_object(data.get("content_block")))
        elif kind == "content_block_delta":
            # Without an index the delta belongs to the latest block.
            position = index if isinstance(index, int) else self._last_index
            yield from self._extend_block(position, _as_object(data.get("delta")))

    @property
    def is_complete(self) -> bool:
        """True once the service has ended the message, or given the reason for its end."""
        return self.has_stopped or self._head.get("stop_reason") is not None

    def iter_missing(self, reply: Reply) -> Iterator[Delta]:
        """Yield the reply's text beyond the deltas so far: text that was held back, or a refusal's explanation."""
        known = "".join(self._text.released)
        if reply.text.startswith(known) and reply.text != known:
            yield TextDelta(reply.text[len(known) :])

    def flush(self) -> Iterator[Delta]:
        """Yield the text that was held back and the usage so far, of a message that will not be complete."""
        yield from self._text.end_run()
        yield StreamUsage(decode_usage(self._usage))

    def build_body(self) -> dict[str, Any]:
        """Return the message as a direct call would have received it."""
        blocks = [block.build_block() for _, block in sorted(self._blocks.items())]
        return {**self._head, "content": blocks, "usage": self._usage}

    def _update(self, fields: dict[str, Any], usage: Any) -> None:
        # The counts of a later event are totals, not increments, so they replace earlier ones.
        self._head |= _remove_nulls(fields)
        self._usage |= _remove_nulls(_as_object(usage))

    def _start_block(self, index: int, fields: dict[str, Any]) -> Iterator[Delta]:
        # Copied, since later events change the fields while the event belongs to its stream.
        block = self._blocks[index] = _BlockAccumulator({**fields})
        self._last_index = max(self._last_index, index)
        kind = block.kind
        if kind != "text":
            yield from self._text.end_run()
        # A server may put the first text into the start of its block.
        if kind in {"text", "thinking"}:
            yield from self._extend_block(index, {"type": f"{kind}_delta", kind: fields.get(kind)})
        if kind == "text" and fields.get("citations"):
            yield from self._text.mark_cited()
        name = as_text(fields.get("name"))
        if kind == "tool_use" and name is not None:
            block.call_index, self._n_calls = self._n_calls, self._n_calls + 1
            arguments = json.dumps(fields["input"], ensure_ascii=False) if fields.get("input") else ""
            yield ToolCallDelta(block.call_index, arguments, id=as_text(fields.get("id")), name=name)

    def _extend_block(self, index: int, delta: dict[str, Any]) -> Iterator[Delta]:
        kind = as_text(delta.get("type")) or ""
        # A block whose start was not sent has the type of its first delta.
        block = self._blocks.setdefault(index, _BlockAccumulator({"type": kind.removesuffix("_delta")}))
        self._last_index = max(self._last_index, index)
        if kind in _TEXT_FIELDS:
            text = as_text(delta.get(_TEXT_FIELDS[kind]))
            if text:
                block.texts.setdefault(_TEXT_FIELDS[kind], []).append(text)
                yield from self._iter_deltas(index, block, kind, text)
        elif kind == "citations_delta" and delta.get("citation"):
            block.citations.append(delta["citation"])
            yield from self._text.mark_cited()
        else:
            # Signatures, and deltas of types that are not known: their fields become the block's.
            block.fields |= {**_remove_nulls(delta), "type": block.kind}

    def _iter_deltas(self, index: int, block: _BlockAccumulator, kind: str, text: str) -> Iterator[Delta]:
        if kind == "input_json_delta" and block.call_index is not None:
            yield ToolCallDelta(block.call_index, text)
        elif kind == "text_delta" and block.kind == "text":
            yield from self._text.add(index, text)
        elif kind == "thinking_delta" and block.kind == "thinking":
            # The decoder joins thinking blocks by blank lines, and the deltas together must be the same text.
            is_next = self._thinking not in {None, index}
            self._thinking = index
            yield ReasoningDelta(_SEPARATOR + text if is_next else text)


@attrs.define
class _BlockAccumulator:
    """A block so far: its fields, the parts of its texts by field, and its index among the answer's tool calls.

    ``citations`` are those that came after the start of the block.
    """

    fields: dict[str, Any]
    texts: dict[str, list[str]] = attrs.field(factory=dict)
    citations: list[Any] = attrs.field(factory=list)
    call_index: int | None = None

    @property
    def kind(self) -> str:
        """The type of the block."""
        return as_text(self.fields.get("type")) or ""

    def build_block(self) -> dict[str, Any]:
        """Return the block as a direct call would have received it."""
        texts = {field: "".join(parts) for field, parts in self.texts.items()}
        tool_input = texts.pop("partial_json", "")
        built = self.fields | texts | ({"input": _parse_input(tool_input)} if tool_input.strip() else {})
        if self.citations:
            known = self.fields.get("citations")
            built["citations"] = [*(known if isinstance(known, list) else ()), *self.citations]
        return built


class _TextJoiner:
    """Joins the deltas of text blocks to the text that `decode` makes of the complete message.

    Neighbouring text blocks are separated by a blank line, unless one of them has a citation: then they are parts of
    one sentence. The citation may come last, so text after the first block of a run is held back until a citation
    comes or the run ends.
    """

    def __init__(self) -> None:
        self.released: list[str] = []
        self._first: int | None = None
        self._is_cited = False
        self._held: dict[int, list[str]] = {}

    def add(self, index: int, text: str) -> Iterator[Delta]:
        """Add text of the block at ``index``; yield it unless it must be held back."""
        if self._first is None:
            self._first = index
            yield self._release(_SEPARATOR + text if self.released else text)
        elif self._is_cited or index == self._first:
            yield self._release(text)
        else:
            self._held.setdefault(index, []).append(text)

    def mark_cited(self) -> Iterator[Delta]:
        """Record that a block of this run has a citation; yield the text that was held back."""
        self._is_cited = True
        yield from self._release_held("")

    def end_run(self) -> Iterator[Delta]:
        """End the run of neighbouring text blocks; yield the text that was held back."""
        yield from self._release_held(_SEPARATOR)
        self._first, self._is_cited = None, False

    def _release_held(self, separator: str) -> Iterator[Delta]:
        for texts in self._held.values():
            yield self._release(separator + "".join(texts))
        self._held.clear()

    def _release(self, text: str) -> TextDelta:
        self.released.append(text)
        return TextDelta(text)


def _as_object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _remove_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    # Events repeat fields as null that an earlier event has set.
    return {name: value for name, value in fields.items() if value is not None}


def _parse_input(text: str) -> Any:
    """Parse the input of a tool call; return text that is not JSON, such as one that was cut off, unchanged."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
