"""Read answers as they arrive, as plain iterators: `stream`, `stream_many`."""

from __future__ import annotations

import atexit
import time
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

from pollux_sync._typed import T, Typed
from pollux_sync.api.asking import require_one_source
from pollux_sync.data.streaming import StreamDone, TextDelta
from pollux_sync.engine.enveloping import build_envelope, seal_envelope
from pollux_sync.engine.planning import plan_calls
from pollux_sync.engine.preparing import connect_for_files, prepare_plan
from pollux_sync.engine.requesting import build_request
from pollux_sync.engine.streaming import ActiveStreams, check_streamable, stream_calls
from pollux_sync.errors import STOPS, ConfigurationError, Interrupted, Terminated
from pollux_sync.process import open_call_context

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Self

    from pollux_sync.data.envelope import ResultEnvelope
    from pollux_sync.data.options import Options
    from pollux_sync.data.request import Plan, Request
    from pollux_sync.data.source import Source
    from pollux_sync.data.streaming import StreamEvent
    from pollux_sync.hooks.config import Config
    from pollux_sync.process import CallContext


def stream(
    prompt: str | None = None,
    *,
    source: Source | None = None,
    config: Config,
    options: Options[T] | None = None,
) -> Stream[T]:
    """Ask one question and return its answer as a stream of events; ``text_chunks`` of it are the text alone.

    The events are `StreamStart`, then `TextDelta`, `ReasoningDelta` and `ToolCallDelta` in any order, each
    `StreamToolCall`, `StreamUsage`, `StreamFinish`, and `StreamDone` with what `run` would have returned.
    ``config.timeout_s`` bounds the wait for each next event. A failure before the first event is retried like
    that of any call; a later one raises, with the text so far as the error's ``partial_text``.
    Middleware's `pollux_call_stream` is called in place of `pollux_call`. Raises what `run` raises, partly before the
    first event is requested.
    """
    return stream_many(prompt, sources=require_one_source(prompt, source), config=config, options=options)


def stream_many(
    prompts: str | Sequence[str | None] | None = None,
    *,
    sources: Iterable[Source] = (),
    config: Config,
    options: Options[T] | None = None,
    per_source: bool = False,
) -> Stream[T]:
    """Ask several questions like `run_many`, and return the events of all answers in one stream as they arrive.

    ``event.call_idx`` says which answer an event belongs to. A prompt that fails ends in a `StreamFinish` with its
    ``error``; the others continue, and what `run_many` would raise is raised at the end.
    """
    started = time.monotonic()
    request = build_request(prompts, sources, config, options, per_source=per_source)
    return open_stream(request, open_call_context(request.config), started)


def open_stream(
    request: Request,
    context: AbstractContextManager[CallContext],
    started: float,
    check_open: Callable[[], None] = lambda: None,
    active: ActiveStreams | None = None,
) -> Stream:
    """Plan the request and return its stream, not read yet. The context is held until the stream ends.

    ``check_open`` raises when the stream may no longer be begun. ``active`` is that of several streams that are one to
    their reader.
    """
    # Shared by the generator, which reads, and by close(), which another thread may call.
    active = active or ActiveStreams()
    events = _generate_events(request, context, started, active, check_open)
    plan = next(events)  # what is wrong with the request was raised before anything was sent
    stream = Stream(cast("Generator[StreamEvent, None, None]", events), active, cast("Plan", plan))
    _open_streams.add(stream)
    return stream


def _generate_events(
    request: Request,
    context: AbstractContextManager[CallContext],
    started: float,
    active: ActiveStreams,
    check_open: Callable[[], None],
) -> Generator[StreamEvent | Plan, None, None]:
    """Run the stages of `stream_many` after the request: yield the plan, then the events."""
    with context as (hooks, uploads):
        check_streamable(request, hooks)
        plan = plan_calls(request, hooks)
        # The caller gets the stream here. Nothing was sent, but the client is leased and the plan is final.
        yield plan
        # The first event may be requested long after the stream was made, when its session is closed.
        check_open()
        connect_for_files(request, hooks)
        prepared = prepare_plan(plan, hooks, uploads)
        try:
            outcomes = yield from stream_calls(prepared, hooks, active)
        # As in `answer_request`: the envelope is built before the context closes.
        except (Interrupted, Terminated) as stop:
            duration_s = time.monotonic() - started
            stop.partial_result = build_envelope(prepared, stop.outcomes, duration_s=duration_s)
            raise
    if request.options.cache is not None:
        from pollux_sync.api.caching import caches

        caches.forget_missing(request.options.cache, outcomes)
    yield StreamDone(seal_envelope(prepared, outcomes, duration_s=time.monotonic() - started))


class Stream(Typed[T]):
    """The events of an answer, as an iterator. Leave it early with ``close()``, or at the end of a ``with`` block.

    Nothing is sent before the first event is requested. One thread may read it at a time.
    """

    def __init__(self, events: Generator[StreamEvent, None, None], active: ActiveStreams, plan: Plan) -> None:
        self._events: Any = events  # typed as Any: a generator has gi_running, its protocol has not
        self._active = active
        #: What is asked.
        self.plan = plan
        self._result: ResultEnvelope | None = None
        self._failure: BaseException | None = None

    def __repr__(self) -> str:
        config, count = self.plan.request.config, len(self.plan.calls)
        asked = "1 prompt" if count == 1 else f"{count} prompts"
        return f"Stream({asked} to {config.provider}, model {config.model}: {self._describe_state()})"

    def _describe_state(self) -> str:
        if self._failure is not None:
            return "failed"
        if self._result is not None:
            return "read"
        return "closed" if self._active.stop.is_set() else "open"

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamEvent:
        # A forked child has copies of the sockets: it would take bytes out of the answer that its parent reads.
        if not self._active.is_own_process:
            raise ConfigurationError("the stream belongs to another process", hint="open one in each process")
        # Python would raise "generator already executing", which says nothing about threads.
        if self._events.gi_running:
            raise ConfigurationError("another thread is reading the stream", hint="let one thread read it")
        try:
            event: StreamEvent = next(self._events)
        except (Exception, *STOPS) as error:
            # Kept for result(): reading on after an error would give an empty stream and hide it.
            self._failure = None if isinstance(error, StopIteration) else error
            raise
        if isinstance(event, StreamDone):
            self._result = event.result
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def text_chunks(self) -> Iterator[str]:
        """The text alone, piece by piece; of several prompts the pieces come in the order of arrival."""
        return (event.text for event in self if isinstance(event, TextDelta))

    @property
    def partials(self) -> Iterator[Any]:
        """A structured answer while it grows, as plain data: each time the dict or list as far as it has come.

        A text shows the part that has arrived, a number only when it is complete. Of an answer beyond 16,000 characters
        not every piece is shown. Nothing is checked before the end:
        ``result()["structured"][0]`` is the instance of the schema's class. Raises ConfigurationError without a schema,
        or for several prompts.
        """
        from pollux_sync.schemas.partial import PartialAnswers

        answers = self.plan.answer_format
        if answers is None or len(self.plan.calls) != 1:
            raise ConfigurationError(
                "partials are those of one prompt with a response_schema",
                hint="stream(prompt, options=Options(response_schema=...)), or read text_chunks",
            )
        growing = PartialAnswers(answers)
        values = (growing.add(text) for text in self.text_chunks)
        return (value for value in values if value is not None)

    def result(self) -> ResultEnvelope[T]:
        """Read the events that are left and return what `run_many` would have returned.

        Raises what reading the stream raises, or has raised before. Raises ConfigurationError when the stream was
        closed before its end.
        """
        if self._failure is not None:
            raise self._failure
        for _ in self:
            pass
        if self._result is None:
            raise ConfigurationError("the stream was closed and has no result", hint="read it to its end first")
        return self._result

    def close(self) -> None:
        """Close the connection at once, delete uploaded files, and end the threads. No more events come.

        May be called from another thread than the one that reads, which then gets an APIError.
        """
        # Wake the reader first: it may block in a socket, and a running generator cannot be closed.
        self._active.end()
        if not self._events.gi_running:
            self._events.close()


def _close_open_streams() -> None:
    """Close what nobody closed, at the end of the process: uploaded files must be deleted."""
    # A copy, since streams may leave the set while it is iterated.
    for stream in list(_open_streams):
        stream.close()


#: Streams that may not have been read to their end.
#: Weak references, so that the set does not keep a stream alive that its reader has dropped.
_open_streams: WeakSet[Stream] = WeakSet()
atexit.register(_close_open_streams)
