"""An answer that comes bit by bit: the events a caller sees, and what a provider sends.

Every event has a ``type`` and the ``call_idx`` of the prompt it belongs to, None for the end of all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pollux_sync.data.envelope import ResultEnvelope
    from pollux_sync.data.output import Output
    from pollux_sync.data.provider import HttpResponse
    from pollux_sync.data.reply import FinishReason, Reply, ToolCall, Usage
    from pollux_sync.errors import PolluxError


@attrs.frozen(kw_only=True)
class StreamStart:
    """The provider has begun to answer; from here on nothing is tried again. What it did not name is None."""

    type: ClassVar[Literal["start"]] = "start"
    model: str | None = None
    response_id: str | None = None
    call_idx: int = 0


@attrs.frozen
class TextDelta:
    """More of the answer's text."""

    type: ClassVar[Literal["text_delta"]] = "text_delta"
    text: str
    call_idx: int = attrs.field(default=0, kw_only=True)


@attrs.frozen
class ReasoningDelta:
    """More of the model's reasoning, or of its summary."""

    type: ClassVar[Literal["reasoning_delta"]] = "reasoning_delta"
    text: str
    call_idx: int = attrs.field(default=0, kw_only=True)


@attrs.frozen
class ToolCallDelta:
    """More of a tool call: ``index`` counts the answer's calls, ``id`` and ``name`` come with its first piece.

    ``arguments`` is a piece of the JSON text as the provider writes it; the whole call comes as `StreamToolCall`.
    """

    type: ClassVar[Literal["tool_call_delta"]] = "tool_call_delta"
    index: int
    arguments: str = ""
    id: str | None = attrs.field(default=None, kw_only=True)
    name: str | None = attrs.field(default=None, kw_only=True)
    call_idx: int = attrs.field(default=0, kw_only=True)


@attrs.frozen
class StreamToolCall:
    """A tool call, whole."""

    type: ClassVar[Literal["tool_call"]] = "tool_call"
    call: ToolCall
    call_idx: int = attrs.field(default=0, kw_only=True)


@attrs.frozen
class StreamUsage:
    """What the answer was billed."""

    type: ClassVar[Literal["usage"]] = "usage"
    usage: Usage
    call_idx: int = attrs.field(default=0, kw_only=True)


@attrs.frozen(kw_only=True)
class StreamFinish:
    """One prompt's answer has ended; ``error`` says why it is not whole, None when it is."""

    type: ClassVar[Literal["finish"]] = "finish"
    finish_reason: FinishReason | None = None
    error: PolluxError | None = None
    call_idx: int = 0


@attrs.frozen
class StreamDone:
    """Everything is there: ``result`` is what `run_many` would have given."""

    type: ClassVar[Literal["done"]] = "done"
    call_idx: ClassVar[None] = None
    result: ResultEnvelope = attrs.field(repr=False)

    @property
    def output(self) -> Output:
        """The result of one prompt as an object. Raises ConfigurationError for that of several."""
        from pollux_sync.data.output import Output

        return Output(self.result)


#: What a provider tells while it answers. A usage before the Reply is that of an answer that may yet break off: it is
#: kept for that case, and not passed on.
Delta: TypeAlias = StreamStart | TextDelta | ReasoningDelta | ToolCallDelta | StreamUsage
#: What a caller is told.
StreamEvent: TypeAlias = Delta | StreamToolCall | StreamFinish | StreamDone


class ServerEvent(NamedTuple):
    """One server-sent event: its name, "" for none, and its data decoded from JSON."""

    name: str
    data: Any


class EventStream:
    """A streamed answer that has begun: iterate over its `ServerEvent` s, once.

    ``response`` is its status and headers. A server that answers all at once, although it was asked for a stream,
    leaves its answer in ``response.body``, and no events.
    """

    def __init__(self, response: HttpResponse, events: Iterable[ServerEvent] = ()) -> None:
        self.response = response
        #: Whether the server said that nothing more comes.
        self.is_done = False
        self._events = events

    def __iter__(self) -> Iterator[ServerEvent]:
        return iter(self._events)

    def hurry(self) -> None:
        """The answer is whole but for what may follow it, such as the usage: wait a few seconds for that at most."""

    def finish(self) -> None:
        """The answer is whole: let go of what carried it, which may be used again."""
        self.close()

    def close(self) -> None:
        """Break off at once, whatever has come."""

    def wake(self) -> None:
        """Let whoever waits for the next event fail at once; may be called from any thread."""


def split_into_deltas(reply: Reply) -> Iterator[Delta]:
    """Yield a whole answer as the deltas in which it could have arrived."""
    yield StreamStart(model=reply.model, response_id=reply.response_id)
    if reply.reasoning:
        yield ReasoningDelta(reply.reasoning)
    if reply.text:
        yield TextDelta(reply.text)
    for index, call in enumerate(reply.tool_calls):
        yield ToolCallDelta(index, call.arguments, id=call.id, name=call.name)
