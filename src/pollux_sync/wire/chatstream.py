"""Streamed Chat Completions: deltas, and the whole answer joined from its chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.data.reply import Usage
from pollux_sync.data.streaming import ReasoningDelta, StreamStart, StreamUsage, TextDelta
from pollux_sync.wire.chat import find_usage
from pollux_sync.wire.chatcalls import ChatCalls
from pollux_sync.wire.chatcontent import REASONING_DETAILS, REASONING_FIELDS, read_part, read_text, read_thought
from pollux_sync.wire.errorbodies import find_error
from pollux_sync.wire.faults import HttpError, ReplyError
from pollux_sync.wire.fields import as_text, read_count
from pollux_sync.wire.sse import read_until_complete
from pollux_sync.wire.thoughts import ThoughtSplitter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pollux_sync.data.provider import HttpRequest, HttpResponse
    from pollux_sync.data.reply import Reply
    from pollux_sync.data.streaming import Delta, EventStream

#: The fields of an entry in a list, such as a piece of reasoning, or of a spoken answer, whose texts arrive in parts.
_ENTRY_TEXTS = frozenset({"text", "summary", "transcript", "data"})


def encode_chat_stream(request: HttpRequest, *, asks_usage: bool = True) -> HttpRequest:
    """Return the request for a stream that ends with the usage, unless its ``stream_options`` are null.

    Without ``asks_usage`` it has none: some servers always report the usage, and refuse the field.
    """
    # Null is for a server that refuses the field. Without it most servers report no usage for a stream.
    body = request.fields or {}
    options = body.get("stream_options", {} if asks_usage else None)
    extra = {} if options is None else {"stream_options": {"include_usage": True} | options}
    rest = {name: value for name, value in body.items() if name != "stream_options"}
    return attrs.evolve(request, body={**rest, "stream": True, **extra})


def decode_chat_stream(stream: EventStream, decode: Callable[[HttpResponse], Reply]) -> Iterator[Delta | Reply]:
    """Yield the deltas, then the reply that ``decode`` returns for the whole answer; no reply if it was cut off.

    Raises as `chat.decode_chat` does, after the usage so far.
    """
    # Decoded as a whole at the end, so that streamed and plain answers become the same reply.
    answer = AnswerAccumulator()
    try:
        for name, data in read_until_complete(stream, lambda: answer.is_complete):
            if not isinstance(data, dict) or data.get("error") or not data.get("choices"):
                _check_chunk(name, data, stream.response)
            if not answer.has_started:
                yield StreamStart(model=as_text(data.get("model")), response_id=as_text(data.get("id")))
            yield from answer.add(data)
    except Exception as error:
        yield from answer.flush()
        # Of several answers the first was asked for. Once it is complete, it is not lost with the others.
        if not (answer.is_answered and isinstance(error, OSError | ReplyError)):
            raise
    if answer.is_answered or (stream.is_done and answer.has_started):
        yield from answer.end()
        yield decode(stream.join(answer.build_body()))
    else:
        yield from answer.flush()


def _check_chunk(name: str, data: Any, response: HttpResponse) -> None:
    """Raise HttpError for an error in place of a chunk, ReplyError for anything but an object."""
    if error := find_error(data, name):
        raise HttpError(attrs.evolve(response, body=error))
    if not isinstance(data, dict):
        raise ReplyError(f"a chunk of the answer is a JSON {type(data).__name__}, not an object")


class AnswerAccumulator:
    """Joins the chunks of a stream to the answer that the server would have sent at once."""

    def __init__(self) -> None:
        self.has_started = False
        #: True once all choices that have begun have ended.
        self.is_complete = False
        self._head: dict[str, Any] = {}
        self._answer = _ChoiceAccumulator()
        #: All choices by index. With ``n`` there are several, which become artifacts of the reply.
        self._choices = {0: self._answer}

    @property
    def is_answered(self) -> bool:
        """True once the first choice has ended."""
        return self._answer.is_ended

    def add(self, data: dict[str, Any]) -> list[Delta]:
        """Add one chunk; return its deltas."""
        self.has_started = True
        self._head.update((name, value) for name, value in data.items() if value and name != "choices")
        choices = data.get("choices")
        deltas: list[Delta] = []
        # The last chunk has the usage and no choices.
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                deltas += self._add_choice(choice)
        return deltas

    def _add_choice(self, choice: dict[str, Any]) -> list[Delta]:
        index = read_count(choice, "index") or 0
        if index not in self._choices:
            self._choices[index] = _ChoiceAccumulator()
        known = self._choices[index]
        deltas = known.add(choice)
        self.is_complete = known.is_ended and all(one.is_ended for one in self._choices.values())
        return [] if index else deltas

    def end(self) -> list[Delta]:
        """Return what the answer has beyond the deltas so far."""
        deltas = [choice.end() for _, choice in sorted(self._choices.items())]
        return deltas[0]

    def flush(self) -> list[Delta]:
        """Return what was held back, and the usage so far, of an answer that will not be complete."""
        deltas = self.end()
        usage = find_usage(self._head, self._answer.fields)
        return [*deltas, StreamUsage(usage)] if usage != Usage() else deltas

    def build_body(self) -> dict[str, Any]:
        """Return the whole answer."""
        choices = [choice.build_choice() for _, choice in sorted(self._choices.items())]
        return {**self._head, "choices": choices}


class _ChoiceAccumulator:
    """One choice so far. Texts are joined once, at the end: to add each piece to a text takes quadratic time."""

    def __init__(self) -> None:
        self.is_ended = False
        self.fields: dict[str, Any] = {}
        self._message: dict[str, Any] = {}
        #: The texts and parts of the content, in order.
        self._content: list[Any] = []
        self._texts: dict[str, list[str]] = {}
        self._lists: dict[str, list[Any]] = {}
        self._audio: _EntryAccumulator | None = None
        self._calls = ChatCalls()
        self._splitter = ThoughtSplitter()
        #: The field whose reasoning is passed on. Servers that fill two alike would have it read twice.
        self._reasoning_field: str | None = None

    def add(self, choice: dict[str, Any]) -> list[Delta]:
        """Add the choice of one chunk; return its deltas."""
        deltas: list[Delta] = []
        for name, value in choice.items():
            if name == "delta":
                self._add_fields(value if isinstance(value, dict) else {}, deltas)
            elif value is not None:
                self.fields[name] = _merge(self.fields.get(name), value) if name == "logprobs" else value
        self.is_ended = self.fields.get("finish_reason") is not None or "error" in self.fields
        return deltas

    def _add_fields(self, fields: dict[str, Any], deltas: list[Delta]) -> None:
        for name, value in fields.items():
            if not value:
                continue
            if name == "content":
                self._add_content(value, deltas)
            elif name in REASONING_FIELDS:
                self._texts.setdefault(name, []).append(read_text(value))
                self._add_thought(name, read_text(value), deltas, fields)
            elif name == "refusal" and isinstance(value, str):
                self._texts.setdefault(name, []).append(value)
                self._add_stand_in(value, deltas)
            elif name == "audio" and isinstance(value, dict):
                self._audio = self._audio or _EntryAccumulator()
                self._audio.add(value)
                self._add_stand_in(as_text(value.get("transcript")) or "", deltas)
            elif name in {"tool_calls", "function_call"}:
                deltas += self._calls.add(value if isinstance(value, list) else [{"function": value}])
            elif isinstance(value, list):
                _extend_entries(self._lists.setdefault(name, []), value)
                if name == REASONING_DETAILS:
                    self._add_thought(name, "".join(map(read_thought, value)), deltas, fields)
            else:
                self._message[name] = _merge(self._message.get(name), value)

    def _add_content(self, value: Any, deltas: list[Delta]) -> None:
        if isinstance(value, str):
            self._content.append(value)
            # By far the commonest: an answer without thoughts, or after them.
            if self._splitter.is_answer:
                deltas.append(TextDelta(value))
            else:
                self._split_text(value, deltas)
        elif isinstance(value, list):
            parts = [part for part in value if isinstance(part, dict)]
            self._content += parts
            for thought, text in map(read_part, parts):
                self._add_thought("content", thought, deltas)
                self._split_text(text, deltas)

    def _split_text(self, piece: str, deltas: list[Delta]) -> None:
        thought, text = self._splitter.split(piece)
        self._add_thought("content", thought, deltas)
        if text:
            deltas.append(TextDelta(text))

    def _add_thought(self, name: str, text: str, deltas: list[Delta], fields: Mapping[str, Any] | None = None) -> None:
        """Pass on reasoning of the field ``name``, unless another field of these ``fields``, or before, has it too."""
        if not text:
            return
        if self._reasoning_field is None:
            # The decoder's order of preference.
            self._reasoning_field = next((other for other in REASONING_FIELDS if fields and fields.get(other)), name)
        if name == self._reasoning_field:
            deltas.append(ReasoningDelta(text))

    def _add_stand_in(self, text: str, deltas: list[Delta]) -> None:
        """Pass on a refusal or the words of a spoken answer, which are its text if it has no other."""
        if text and not self._content:
            deltas.append(TextDelta(text))

    def end(self) -> list[Delta]:
        """Return what the choice has beyond the deltas so far."""
        deltas: list[Delta] = []
        # Some servers send the whole message too, with the last chunk or with each.
        whole = self.fields.pop("message", None)
        if isinstance(whole, dict):
            known = self._build_message()
            self._add_fields({name: value for name, value in whole.items() if name not in known}, deltas)
        thought, text = self._splitter.end()
        self._add_thought("content", thought, deltas)
        return [*deltas, TextDelta(text)] if text else deltas

    def build_choice(self) -> dict[str, Any]:
        """Return the choice as it would have been sent at once."""
        return {**self.fields, "message": self._build_message()}

    def _build_message(self) -> dict[str, Any]:
        message = self._message | {name: [*map(_build_entry, entries)] for name, entries in self._lists.items()}
        message |= {name: "".join(texts) for name, texts in self._texts.items()}
        if self._content:
            message["content"] = _join_content(self._content)
        if self._audio:
            message["audio"] = _build_entry(self._audio)
        calls = self._calls.build_calls()
        return message | ({"tool_calls": calls} if calls else {})


def _join_content(pieces: list[Any]) -> str | list[Any]:
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces)
    return [{"type": "text", "text": piece} if isinstance(piece, str) else piece for piece in pieces]


def _merge(known: Any, more: Any) -> Any:
    """Return two values of a field as one: objects are merged, lists go on, of others the last counts."""
    if isinstance(more, dict):
        known = known if isinstance(known, dict) else {}
        for name, value in more.items():
            if value is not None:
                known[name] = _merge(known.get(name), value)
        return known
    if isinstance(more, list):
        # Extended in place: a copy with each chunk would take quadratic time.
        known = known if isinstance(known, list) else []
        known += more
        return known
    return more


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
