"""The Messages API as it is streamed: deltas, and the message put together from its blocks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from pollux_anthropic.decoding import decode, decode_usage
from pollux_sync.data.streaming import ReasoningDelta, StreamStart, StreamUsage, TextDelta, ToolCallDelta
from pollux_sync.wire.faults import HttpError, ReplyError
from pollux_sync.wire.fields import as_text
from pollux_sync.wire.sse import read_until_complete

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.data.reply import Reply
    from pollux_sync.data.request import Call
    from pollux_sync.data.streaming import Delta, EventStream
    from pollux_sync.schemas import SchemaDialect

_BREAK = "\n\n"
#: The deltas that are pieces of a text, and the field of a delta that holds the piece.
_PIECES = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


def decode_stream(stream: EventStream, call: Call, dialect: SchemaDialect) -> Iterator[Delta | Reply]:
    """The deltas, then what `decode` makes of the whole message, but for one that was cut off.

    Raises as `decode` does.
    """
    whole = _Message()
    try:
        for kind, data in _events_of(stream, whole):
            if kind == "message_stop":
                whole.is_stopped = True
                break
            yield from whole.add(kind, data)
    except Exception:
        yield from whole.held()
        raise
    if whole.is_ended:
        reply = decode(attrs.evolve(stream.response, body=whole.body()), call, dialect)
        yield from whole.rest(reply)
        yield reply
    else:
        yield from whole.held()


def _events_of(stream: EventStream, whole: _Message) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each event's type and data. Raises HttpError for one that is an error."""
    for name, data in read_until_complete(stream, lambda: whole.is_ended):
        if not isinstance(data, dict):
            raise ReplyError(f"a piece of the answer is a JSON {type(data).__name__}, not an object")
        kind = as_text(data.get("type")) or name
        if kind == "error" or data.get("error"):
            raise HttpError(attrs.evolve(stream.response, body=data))
        yield kind, data


class _Message:
    """The events of an answer, put together to what the service would have said at once."""

    def __init__(self) -> None:
        self.is_stopped = False
        self._head: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._blocks: dict[int, _Block] = {}
        self._prose = _Prose()
        self._thinking: int | None = None
        self._n_calls = 0

    def add(self, kind: str, data: dict[str, Any]) -> Iterator[Delta]:
        """Take one event; gives what it says."""
        index = data.get("index")
        if kind == "message_start":
            message = _object(data.get("message"))
            self._update(message, message.get("usage"))
            yield StreamStart(model=as_text(message.get("model")), response_id=as_text(message.get("id")))
        elif kind == "message_delta":
            self._update(_object(data.get("delta")), data.get("usage"))
        elif kind == "content_block_start":
            position = index if isinstance(index, int) else len(self._blocks)
            yield from self._begun(position, _object(data.get("content_block")))
        elif kind == "content_block_delta":
            position = index if isinstance(index, int) else max(self._blocks, default=0)
            yield from self._grown(position, _object(data.get("delta")))

    @property
    def is_ended(self) -> bool:
        """Whether the service said that, or why, the message ended."""
        return self.is_stopped or self._head.get("stop_reason") is not None

    def rest(self, reply: Reply) -> Iterator[Delta]:
        """What of the whole text no delta has said: what was held back, or why the model refused."""
        said = "".join(self._prose.said)
        if reply.text.startswith(said) and reply.text != said:
            yield TextDelta(reply.text[len(said) :])

    def held(self) -> Iterator[Delta]:
        """What is held back of a message that will not become whole, and what it was billed so far."""
        yield from self._prose.end_run()
        yield StreamUsage(decode_usage(self._usage))

    def body(self) -> dict[str, Any]:
        """The whole message. What a later event counts stands in place of what an earlier one did."""
        blocks = [block.whole() for _, block in sorted(self._blocks.items())]
        return {**self._head, "content": blocks, "usage": self._usage}

    def _update(self, fields: dict[str, Any], usage: Any) -> None:
        self._head |= _told(fields)
        self._usage |= _told(_object(usage))

    def _begun(self, index: int, fields: dict[str, Any]) -> Iterator[Delta]:
        block = self._blocks[index] = _Block({**fields})
        kind = block.kind
        if kind != "text":
            yield from self._prose.end_run()
        if kind in {"text", "thinking"}:  # their text may begin here
            yield from self._grown(index, {"type": f"{kind}_delta", kind: fields.get(kind)})
        if kind == "text" and fields.get("citations"):
            yield from self._prose.cited()
        name = as_text(fields.get("name"))
        if kind == "tool_use" and name is not None:
            block.call, self._n_calls = self._n_calls, self._n_calls + 1
            given = json.dumps(fields["input"], ensure_ascii=False) if fields.get("input") else ""
            yield ToolCallDelta(block.call, given, id=as_text(fields.get("id")), name=name)

    def _grown(self, index: int, delta: dict[str, Any]) -> Iterator[Delta]:
        kind = as_text(delta.get("type")) or ""
        block = self._blocks.setdefault(index, _Block({"type": kind.removesuffix("_delta")}))
        if kind in _PIECES:
            piece = as_text(delta.get(_PIECES[kind]))
            if piece:
                block.pieces.setdefault(_PIECES[kind], []).append(piece)
                yield from self._deltas(index, block, kind, piece)
        elif kind == "citations_delta" and delta.get("citation"):
            block.cite(delta["citation"])
            yield from self._prose.cited()
        else:
            block.fields |= {**_told(delta), "type": block.kind}

    def _deltas(self, index: int, block: _Block, kind: str, piece: str) -> Iterator[Delta]:
        if kind == "input_json_delta" and block.call is not None:
            yield ToolCallDelta(block.call, piece)
        elif kind == "text_delta" and block.kind == "text":
            yield from self._prose.add(index, piece)
        elif kind == "thinking_delta" and block.kind == "thinking":
            is_next = self._thinking not in {None, index}
            self._thinking = index
            yield ReasoningDelta(_BREAK + piece if is_next else piece)


@attrs.define
class _Block:
    """A block so far: its fields, the pieces of its texts, and which of the answer's tool calls it is."""

    fields: dict[str, Any]
    pieces: dict[str, list[str]] = attrs.field(factory=dict)
    call: int | None = None

    @property
    def kind(self) -> str:
        return as_text(self.fields.get("type")) or ""

    def cite(self, citation: Any) -> None:
        known = self.fields.get("citations")
        self.fields["citations"] = [*(known if isinstance(known, list) else ()), citation]

    def whole(self) -> dict[str, Any]:
        """The block as it would have come at once; input that is no JSON, e.g. cut off, stays a text."""
        texts = {field: "".join(pieces) for field, pieces in self.pieces.items()}
        written = texts.pop("partial_json", "")
        return self.fields | texts | ({"input": _parsed(written)} if written.strip() else {})


class _Prose:
    """The answer's text out of the pieces of its text blocks, joined as `decode` joins them.

    Neighbours are parted by a blank line, unless one of them is cited: then they are one sentence. So what follows
    the first of them is held back until a citation comes, or the last of them has ended.
    """

    def __init__(self) -> None:
        self.said: list[str] = []
        self._first: int | None = None
        self._is_cited = False
        self._held: dict[int, list[str]] = {}

    def add(self, index: int, piece: str) -> Iterator[Delta]:
        """More of this block."""
        if self._first is None:
            self._first = index
            yield self._say(_BREAK + piece if self.said else piece)
        elif self._is_cited or index == self._first:
            yield self._say(piece)
        else:
            self._held.setdefault(index, []).append(piece)

    def cited(self) -> Iterator[Delta]:
        """One of the neighbours is cited."""
        self._is_cited = True
        yield from self._released("")

    def end_run(self) -> Iterator[Delta]:
        """No text block follows the last one."""
        yield from self._released(_BREAK)
        self._first, self._is_cited = None, False

    def _released(self, separator: str) -> Iterator[Delta]:
        for pieces in self._held.values():
            yield self._say(separator + "".join(pieces))
        self._held.clear()

    def _say(self, text: str) -> TextDelta:
        self.said.append(text)
        return TextDelta(text)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _told(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that say something: null takes back nothing that an earlier event said."""
    return {name: value for name, value in fields.items() if value is not None}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
