"""Streamed answers: deltas as events arrive, then the answer merged from the events.

Each event is a whole GenerateContentResponse of its own, with the next part of the content in it. The events are
merged to the body that ``generateContent`` would have answered, so that one decoder serves both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pollux_gemini.decoding import decode, decode_tool_call, decode_usage, read_block_reason
from pollux_gemini.parts import as_object, read_function_calls, read_objects
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
    read_count,
    read_until_complete,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_gemini.parts import Json
    from pollux_sync.plugin import Delta, EventStream, HttpRequest, HttpResponse, Reply

#: The keys of a part that is nothing but text, and may go on in the next event. A part with any other key is complete:
#: a thought signature, for one, belongs to the part it came with and must be sent back with exactly that part.
_TEXT_KEYS = frozenset({"text", "thought"})
#: The fields of a candidate that are merged, since later events add to them or repeat them with more. Of every other
#: field the last value counts.
_MERGED_FIELDS = frozenset({"citationMetadata", "groundingMetadata", "urlContextMetadata", "logprobsResult"})


def encode_stream(request: HttpRequest) -> HttpRequest:
    """Return the same request to the method that answers with server-sent events; the body is unchanged."""
    # Without alt=sse the method answers with one JSON list of all events; see `merge_events`.
    return attrs.evolve(request, path=f"{request.path.rpartition(':')[0]}:streamGenerateContent?alt=sse")


def decode_stream(stream: EventStream) -> Iterator[Delta | Reply]:
    """Yield the deltas, then the Reply. An answer that was cut off ends with its usage and without a Reply.

    Raises what `decode` raises, after the usage so far.
    """
    answer = _AnswerAccumulator()
    try:
        # No event says that it is the last: the usage may come in an event after the one with the finish reason.
        for name, event in read_until_complete(stream, lambda: answer.is_complete):
            yield from answer.add(event, stream.response, name)
    except Exception:
        # What was billed before the stream broke off must be counted.
        yield answer.usage
        raise
    yield decode(stream.join(answer.build_body())) if answer.is_complete else answer.usage


def merge_events(response: HttpResponse) -> HttpResponse:
    """Merge an answer that is a JSON list of events, as Gemini sends where a proxy dropped ``alt=sse``."""
    answer = _AnswerAccumulator()
    for event in response.body:
        answer.add(event, response)
    return attrs.evolve(response, body=answer.build_body())


class _AnswerAccumulator:
    """Merges events to the body that Gemini would have answered at once."""

    def __init__(self) -> None:
        self._has_started = False
        self._fields: Json = {}
        self._candidates: dict[int, _CandidateAccumulator] = {}

    def add(self, event: Any, response: HttpResponse, name: str = "") -> list[Delta]:
        """Add an event, which may have a name, and return its deltas.

        Raises HttpError for an event that is an error, ReplyError for one that is not an object.
        """
        is_part = isinstance(event, dict) and event.get("candidates") and not event.get("error")
        if not is_part and (error := find_error(event, name)):
            raise HttpError(attrs.evolve(response, body=error))
        if not isinstance(event, dict):
            raise ReplyError(f"an event of the stream is a JSON {type(event).__name__}, not an object")
        self._fields.update((name, value) for name, value in event.items() if value is not None)
        deltas = [] if self._has_started else [_build_start(event)]
        self._has_started = True
        for candidate in read_objects(event.get("candidates")):
            index = read_count(candidate, "index") or 0
            added = self._candidates.setdefault(index, _CandidateAccumulator()).add(candidate)
            # Further candidates become artifacts of the reply; only the first is its text.
            deltas += added if index == 0 else []
        return deltas

    @property
    def usage(self) -> StreamUsage:
        """The usage so far, as the last event with a usage has it."""
        return StreamUsage(decode_usage(self._fields.get("usageMetadata")))

    @property
    def is_complete(self) -> bool:
        """True once an event had a finish reason or a block reason."""
        first = self._candidates.get(0)
        return read_block_reason(self._fields) is not None or (first is not None and first.is_complete)

    def build_body(self) -> Json:
        """Return the merged answer."""
        candidates = [candidate.build_candidate() for _, candidate in sorted(self._candidates.items())]
        return {**self._fields, "candidates": candidates}


def _build_start(event: Json) -> Delta:
    return StreamStart(model=as_text(event.get("modelVersion")), response_id=as_text(event.get("responseId")))


class _CandidateAccumulator:
    """Merges the fields and parts of one candidate."""

    def __init__(self) -> None:
        self._fields: Json = {}
        self._content: Json = {}
        self._parts: list[_PartAccumulator] = []
        self._call_count = 0
        self._has_reasoned = False

    @property
    def is_complete(self) -> bool:
        return "finishReason" in self._fields

    def add(self, candidate: Json) -> list[Delta]:
        """Add the candidate of an event and return its deltas."""
        content = as_object(candidate.get("content"))
        self._content.update((name, value) for name, value in content.items() if value is not None)
        for name, value in candidate.items():
            if value is not None:
                self._fields[name] = _merge_metadata(self._fields.get(name), value) if name in _MERGED_FIELDS else value
        parts = [part for part in read_objects(content.get("parts")) if not _is_empty(part)]
        # Only the first part of an event goes on with the last one before: parts of one event are parts of their own.
        return [delta for place, part in enumerate(parts) for delta in self._add_part(part, can_go_on=place == 0)]

    def _add_part(self, part: Json, *, can_go_on: bool) -> Iterator[Delta]:
        text = as_text(part.get("text")) or ""
        goes_on = can_go_on and bool(self._parts) and self._parts[-1].is_continued(part)
        if goes_on:
            self._parts[-1].texts.append(text)
        else:
            self._parts.append(_PartAccumulator(part, [text] if part.keys() <= _TEXT_KEYS else []))
        if text and part.get("thought"):
            # The decoder separates thoughts by a blank line, and the deltas must add up to its text.
            yield ReasoningDelta(text if goes_on or not self._has_reasoned else f"\n\n{text}")
            self._has_reasoned = True
        elif text:
            yield TextDelta(text)
        # Gemini never cuts a function call: it arrives in one event, with all of its arguments.
        for function_call in read_function_calls([part]):
            call = decode_tool_call(self._call_count, function_call)
            yield ToolCallDelta(self._call_count, call.arguments, id=call.id, name=call.name)
            self._call_count += 1

    def build_candidate(self) -> Json:
        """Return the merged candidate."""
        if "content" not in self._fields:
            return self._fields
        parts = [part.build_part() for part in self._parts]
        return {**self._fields, "content": {**self._content, "parts": parts}}


def _is_empty(part: Json) -> bool:
    # The last event often has a part with an empty text, which the API refuses when it is sent back. An empty text
    # with a signature is not empty in this sense: it must be kept and sent back.
    return part.keys() <= _TEXT_KEYS and not as_text(part.get("text"))


@attrs.define
class _PartAccumulator:
    """A part and, if it is nothing but text, the texts it arrived in."""

    part: Json
    texts: list[str]

    def is_continued(self, part: Json) -> bool:
        """Return whether the first part of the next event goes on with this part."""
        is_same_kind = bool(self.part.get("thought")) == bool(part.get("thought"))
        return is_same_kind and bool(self.texts) and part.keys() <= _TEXT_KEYS

    def build_part(self) -> Json:
        """Return the part with all of its text."""
        return {**self.part, "text": "".join(self.texts)} if self.texts else self.part


def _merge_metadata(known: Any, more: Any) -> Any:
    """Return the merged metadata of two events. A later list either goes on or begins with the earlier one.

    Changes ``known``, which would have to be copied with each event otherwise, and never ``more``.
    """
    if isinstance(known, dict) and isinstance(more, dict):
        for name, value in more.items():
            known[name] = _merge_metadata(known.get(name), value)
        return known
    if isinstance(known, list) and isinstance(more, list) and more[: len(known)] != known:
        known += more
        return known
    return known if more is None else _copy_containers(more)


def _copy_containers(value: Any) -> Any:
    """Return a copy into which more can be merged. Both share the entries of lists."""
    if isinstance(value, dict):
        return {name: _copy_containers(item) for name, item in value.items()}
    return [*value] if isinstance(value, list) else value
