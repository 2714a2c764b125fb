"""Streamed answers: the events that a caller reads, and the stream that a provider opens.

Every event has a ``type`` and a ``call_idx``, the index of its prompt; it is None for `StreamDone`, which ends all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeAlias

import attrs

from pollux_sync._values import Value
from pollux_sync.data.provider import HttpResponse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pollux_sync.data.envelope import ResultEnvelope, ToolRun
    from pollux_sync.data.output import Output
    from pollux_sync.data.reply import FinishReason, Reply, ToolCall, Usage
    from pollux_sync.errors import PolluxError


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StreamStart(Value):
    """The provider has begun to answer, and its first output has arrived; from here on the call is not retried.

    ``model`` and ``response_id`` are None if the provider did not name them.
    """

    type: ClassVar[Literal["start"]] = "start"
    model: str | None = None
    response_id: str | None = None
    call_idx: int = 0


@attrs.frozen(eq=False, repr=False)
class TextDelta(Value):
    """The next part of the answer's text."""

    type: ClassVar[Literal["text_delta"]] = "text_delta"
    text: str
    call_idx: int = attrs.field(default=0, kw_only=True)


@attrs.frozen(eq=False, repr=False)
class ReasoningDelta(Value):
    """The next part of the model's reasoning, or of its summary."""

    type: ClassVar[Literal["reasoning_delta"]] = "reasoning_delta"
    text: str
    call_idx: int = attrs.field(default=0, kw_only=True)


@attrs.frozen(eq=False, repr=False)
class ToolCallDelta(Value):
    """The next part of a tool call. ``index`` counts the tool calls of the answer.

    ``id`` and ``name`` come with the first part of a call. ``arguments`` is the next part of its JSON text, as the
    provider writes it. The complete call follows as a `StreamToolCall`.
    """

    type: ClassVar[Literal["tool_call_delta"]] = "tool_call_delta"
    index: int
    arguments: str = ""
    id: str | None = attrs.field(default=None, kw_only=True)
    name: str | None = attrs.field(default=None, kw_only=True)
    call_idx: int = attrs.field(default=0, kw_only=True)


@attrs.frozen(eq=False, repr=False)
class StreamToolCall(Value):
    """A complete tool call."""

    type: ClassVar[Literal["tool_call"]] = "tool_call"
    call: ToolCall
    call_idx: int = attrs.field(default=0, kw_only=True)


@attrs.frozen(eq=False, repr=False)
class StreamToolResult(Value):
    """A tool has run, in the streams of `stream_tools`; the next round of the model follows."""

    type: ClassVar[Literal["tool_result"]] = "tool_result"
    run: ToolRun
    call_idx: int = attrs.field(default=0, kw_only=True)


@attrs.frozen(eq=False, repr=False)
class StreamUsage(Value):
    """The tokens billed for the answer."""

    type: ClassVar[Literal["usage"]] = "usage"
    usage: Usage
    call_idx: int = attrs.field(default=0, kw_only=True)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StreamFinish(Value):
    """The end of one prompt's answer; ``error`` is None if the answer is complete."""

    type: ClassVar[Literal["finish"]] = "finish"
    finish_reason: FinishReason | None = None
    error: PolluxError | None = None
    call_idx: int = 0


@attrs.frozen(eq=False, repr=False)
class StreamDone(Value):
    """The end of the stream; ``result`` is the envelope that `run_many` would have returned."""

    type: ClassVar[Literal["done"]] = "done"
    call_idx: ClassVar[None] = None
    result: ResultEnvelope = attrs.field(repr=False)

    @property
    def output(self) -> Output:
        """The result as an object. Raises ConfigurationError if it is the result of several prompts."""
        from pollux_sync.data.output import Output

        return Output(self.result)


#: The events that a provider's decoder yields. A usage that comes before the Reply is not passed on to the caller; it
#: is kept in case the answer breaks off.
Delta: TypeAlias = StreamStart | TextDelta | ReasoningDelta | ToolCallDelta | StreamUsage
#: The events that a caller reads.
StreamEvent: TypeAlias = Delta | StreamToolCall | StreamToolResult | StreamFinish | StreamDone


class ServerEvent(NamedTuple):
    """One server-sent event: its name, "" without one, and its data decoded from JSON."""

    name: str
    data: Any


@attrs.frozen(kw_only=True)
class StreamedResponse(HttpResponse):
    """The answer of a server that sent ``events`` although it was not asked for a stream.

    It has no body. As for every body that is not JSON, ``content`` is the beginning of the bytes that arrived.
    ``is_done`` is True if the server has said that nothing more follows.
    """

    events: tuple[ServerEvent, ...]
    is_done: bool


class EventStream:
    """A streamed answer that has begun. Iterate once over its events, each a `ServerEvent`.

    ``response`` has the status and the headers. If a server ignores the request for a stream and answers at once,
    ``response.body`` is the answer and the stream is empty. ``whole`` is the answer as a call without a stream would
    have got it, once its decoder has put it together.
    """

    def __init__(self, response: HttpResponse, events: Iterable[ServerEvent] = ()) -> None:
        self.response = response
        #: True once the server has said that nothing more follows.
        self.is_done = False
        self.whole: HttpResponse | None = None
        self._events = events

    def __iter__(self) -> Iterator[ServerEvent]:
        return iter(self._events)

    def join(self, body: Any) -> HttpResponse:
        """Return the whole answer, with the body that its decoder has put together from the events."""
        self.whole = attrs.evolve(self.response, body=body)
        return self.whole

    def read_whole(self) -> HttpResponse | None:
        """Return the answer of a server that answered at once although it was asked for a stream; None for events."""
        return None if self.response.body is None else self.response

    def limit(self, limit_s: float) -> None:
        """Limit the whole answer to ``limit_s`` seconds from now, however many events come.

        Reading later raises TimeoutError. Does nothing for a stream that is not read from a network.
        """

    def hurry(self) -> None:
        """Limit the wait to a few seconds, because the answer is complete and only extras such as the usage may follow.

        The answer is paid for: it must not fail, or hang until ``timeout_s``, for the sake of an extra.
        """

    def finish(self) -> None:
        """End the stream after a complete answer; the connection may be kept for reuse."""
        self.close()

    def close(self) -> None:
        """Break off at once and give up the connection."""

    def wake(self) -> None:
        """Make a reader that waits for the next event fail at once. May be called from any thread."""


def split_into_deltas(reply: Reply) -> Iterator[Delta]:
    """Yield a complete answer as the deltas in which it could have arrived."""
    yield StreamStart(model=reply.model, response_id=reply.response_id)
    if reply.reasoning:
        yield ReasoningDelta(reply.reasoning)
    if reply.text:
        yield TextDelta(reply.text)
    for index, call in enumerate(reply.tool_calls):
        yield ToolCallDelta(index, call.arguments, id=call.id, name=call.name)
