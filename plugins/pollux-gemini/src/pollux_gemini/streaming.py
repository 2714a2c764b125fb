"""Answers as they are streamed: deltas, and the whole answer put together from its pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pollux_gemini.decoding import block_reason, decode, object_in, tool_call, usage_of
from pollux_gemini.parts import function_calls_in, objects_in
from pollux_sync.data.streaming import ReasoningDelta, StreamStart, StreamUsage, TextDelta, ToolCallDelta
from pollux_sync.wire.faults import HttpError, ReplyError
from pollux_sync.wire.fields import as_text, read_count
from pollux_sync.wire.sse import read_until_complete

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_gemini.parts import Json
    from pollux_sync.data.provider import HttpRequest, HttpResponse
    from pollux_sync.data.reply import Reply
    from pollux_sync.data.streaming import Delta, EventStream

#: A part of nothing else may go on in the next piece; a signature belongs to the part it came with.
_MERE_TEXT = frozenset({"text", "thought"})
#: What pieces add to, or repeat with more; of all else the last word counts.
_GROWING = frozenset({"citationMetadata", "groundingMetadata", "urlContextMetadata", "logprobsResult"})


def encode_stream(request: HttpRequest) -> HttpRequest:
    """The request, to the method that answers in server-sent events."""
    return attrs.evolve(request, path=f"{request.path.rpartition(':')[0]}:streamGenerateContent?alt=sse")


def decode_stream(stream: EventStream) -> Iterator[Delta | Reply]:
    """The deltas, then the Reply, but for an answer that was cut off. Raises as `decode` does.

    No event says that it is the last: what the answer was billed may come after its end.
    """
    whole = _Whole()
    try:
        for _, piece in read_until_complete(stream, lambda: whole.is_ended):
            yield from whole.add(piece, stream.response)
    except Exception:
        yield whole.usage
        raise
    yield decode(whole.told_by(stream.response)) if whole.is_ended else whole.usage


def joined(response: HttpResponse) -> HttpResponse:
    """The whole of an answer that is a list of pieces, which Gemini gives where ``alt=sse`` got lost on the way."""
    whole = _Whole()
    for piece in response.body:
        whole.add(piece, response)
    return whole.told_by(response)


class _Whole:
    """The pieces of an answer, put together to what Gemini would have said at once."""

    def __init__(self) -> None:
        self._is_begun = False
        self._head: Json = {}
        self._candidates: dict[int, _Candidate] = {}

    def add(self, piece: Any, response: HttpResponse) -> list[Delta]:
        """Take a piece; gives what it says. Raises HttpError for an error, ReplyError for what is no piece."""
        if not isinstance(piece, dict):
            raise ReplyError(f"a piece of the answer is a JSON {type(piece).__name__}, not an object")
        if piece.get("error"):
            raise HttpError(attrs.evolve(response, body=piece))
        self._head.update((name, value) for name, value in piece.items() if value is not None and name != "candidates")
        deltas = [] if self._is_begun else [_start(piece)]
        self._is_begun = True
        for told in objects_in(piece.get("candidates")):
            index = read_count(told, "index") or 0
            said = self._candidates.setdefault(index, _Candidate()).add(told)
            deltas += said if index == 0 else []  # only the first of several answers is read
        return deltas

    @property
    def usage(self) -> StreamUsage:
        """What the answer was billed so far."""
        return StreamUsage(usage_of(self._head.get("usageMetadata")))

    @property
    def is_ended(self) -> bool:
        """Whether Gemini said how the answer ended."""
        first = self._candidates.get(0)
        return block_reason(self._head) is not None or (first is not None and first.is_ended)

    def told_by(self, response: HttpResponse) -> HttpResponse:
        """The response with the whole as its body."""
        candidates = [candidate.whole() for _, candidate in sorted(self._candidates.items())]
        return attrs.evolve(response, body={**self._head, "candidates": candidates})


def _start(piece: Json) -> Delta:
    return StreamStart(model=as_text(piece.get("modelVersion")), response_id=as_text(piece.get("responseId")))


class _Candidate:
    """One of the answers, put together."""

    def __init__(self) -> None:
        self._fields: Json = {}
        self._content: Json = {}
        self._runs: list[_Run] = []
        self._call_count = 0
        self._has_reasoned = False

    @property
    def is_ended(self) -> bool:
        return "finishReason" in self._fields

    def add(self, piece: Json) -> list[Delta]:
        """Take a piece; gives what it says."""
        content = object_in(piece.get("content"))
        self._content.update((name, value) for name, value in content.items() if value is not None)
        for name, value in piece.items():
            if value is not None:
                self._fields[name] = _grown(self._fields.get(name), value) if name in _GROWING else value
        parts = [part for part in objects_in(content.get("parts")) if not _is_empty(part)]
        return [delta for place, part in enumerate(parts) for delta in self._deltas(part, may_go_on=place == 0)]

    def _deltas(self, part: Json, *, may_go_on: bool) -> Iterator[Delta]:
        text = as_text(part.get("text")) or ""
        goes_on = may_go_on and bool(self._runs) and self._runs[-1].goes_on_with(part)
        if goes_on:
            self._runs[-1].texts.append(text)
        else:
            self._runs.append(_Run(part, [text] if part.keys() <= _MERE_TEXT else []))
        if text and part.get("thought"):
            yield ReasoningDelta(text if goes_on or not self._has_reasoned else f"\n\n{text}")
            self._has_reasoned = True
        elif text:
            yield TextDelta(text)
        for call in function_calls_in([part]):
            made = tool_call(self._call_count, call)
            yield ToolCallDelta(self._call_count, made.arguments, id=made.id, name=made.name)
            self._call_count += 1

    def whole(self) -> Json:
        """The answer."""
        if "content" not in self._fields:
            return self._fields
        return {**self._fields, "content": {**self._content, "parts": [run.whole() for run in self._runs]}}


def _is_empty(part: Json) -> bool:
    """Whether the part says nothing, as one that comes with the end of an answer does; it may not be sent back."""
    return part.keys() <= _MERE_TEXT and not as_text(part.get("text"))


@attrs.define
class _Run:
    """A part; ``texts`` are those that it was cut into, if it is mere text."""

    part: Json
    texts: list[str]

    def goes_on_with(self, part: Json) -> bool:
        """Whether that part of the next piece belongs to this one."""
        is_like = bool(self.part.get("thought")) == bool(part.get("thought"))
        return is_like and bool(self.texts) and part.keys() <= _MERE_TEXT

    def whole(self) -> Json:
        """The part with all of its text."""
        return {**self.part, "text": "".join(self.texts)} if self.texts else self.part


def _grown(known: Any, more: Any) -> Any:
    """What two pieces say of one thing. The later either goes on or begins with all that was said before."""
    if isinstance(known, dict) and isinstance(more, dict):
        return known | {name: _grown(known.get(name), value) for name, value in more.items()}
    if isinstance(known, list) and isinstance(more, list):
        return more if more[: len(known)] == known else known + more
    return known if more is None else more
