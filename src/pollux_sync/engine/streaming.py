"""Prepared -> events, and at their end Outcomes: answers as they come.

One call is read in the caller's own thread; several are read by threads of their own, their events interleaved.
"""

from __future__ import annotations

import contextvars
import os
import queue
import threading
import time
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs

from pollux_sync.data.events import CallFinished, CallStarted
from pollux_sync.data.reply import Failure, Outcome, Reply, Usage
from pollux_sync.data.streaming import (
    StreamDone,
    StreamFinish,
    StreamStart,
    StreamToolCall,
    StreamUsage,
    TextDelta,
    deltas_of,
)
from pollux_sync.engine.planning import plan_calls
from pollux_sync.engine.retrying import broken_off, request_of, with_retries
from pollux_sync.engine.sending import Gate, map_threads
from pollux_sync.errors import APIError, ConfigurationError, PolluxError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from types import TracebackType
    from typing import Self

    from pollux_sync.data.envelope import ResultEnvelope
    from pollux_sync.data.provider import HttpRequest, HttpResponse
    from pollux_sync.data.reply import Attempt
    from pollux_sync.data.request import Call, Plan, Prepared, Request
    from pollux_sync.data.streaming import Delta, EventStream, StreamEvent
    from pollux_sync.hooks.relay import Hooks

Events: TypeAlias = "Generator[StreamEvent, None, Outcome]"

#: Events that wait for the caller to take them.
_BACKLOG = 1000
#: Who leaves early does not wait longer for threads that ask for an answer just now.
_GRACE_S = 1.0
_LOOK_S = 0.02


class Stream:
    """The events of an answer, as an iterator. Leave it early by ``close()``, or at the end of a ``with`` block.

    Nothing is sent before the first event is asked for. To be used by one thread at a time.
    """

    def __init__(self, events: Generator[StreamEvent, None, None], live: Live) -> None:
        self._events: Any = events  # a generator that knows whether it runs
        self._live = live
        self._result: ResultEnvelope | None = None
        self._failure: BaseException | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamEvent:
        if not self._live.is_here:
            raise ConfigurationError("the stream is another process's", hint="begin one in each process")
        if self._events.gi_running:
            raise ConfigurationError("another thread is reading the stream", hint="let one thread read it")
        try:
            event: StreamEvent = next(self._events)
        except (Exception, KeyboardInterrupt) as error:
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
        """The text alone, piece by piece; of several prompts the pieces come as they come."""
        return (event.text for event in self if isinstance(event, TextDelta))

    def result(self) -> ResultEnvelope:
        """What `run_many` would have given; reads the events that are left. Raises what reading them raises, or did.

        Raises ConfigurationError when the stream was closed before its end.
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
        self._live.end()
        if not self._events.gi_running:
            self._events.close()


def plan_stream(request: Request, hooks: Hooks) -> Plan:
    """The plan of what can be streamed. Raises as `plan_calls` does, before any side effect."""
    if not hooks.can_stream:
        raise ConfigurationError(f"provider {hooks.info.name!r} does not stream", hint="call run() or run_many()")
    if request.options.schema_repairs:
        raise ConfigurationError(
            "schema_repairs cannot go with a stream, which is not asked for twice", hint="call run(), or leave it out"
        )
    return plan_calls(request, hooks)


def stream_calls(prepared: Prepared, hooks: Hooks, live: Live) -> Generator[StreamEvent, None, list[Outcome]]:
    """The events of every call, those of one in order; the outcomes come back in call order.

    At most ``request_concurrency`` are read at a time. Closing the generator, or the end of ``live``, breaks them off.
    On Ctrl-C the KeyboardInterrupt carries the ``outcomes`` that are there.
    """
    gate = Gate(prepared)
    if len(prepared.calls) != 1:
        return (yield from _interleaved(prepared, gate, hooks, live))
    try:
        return [(yield from _events_of(prepared.calls[0], gate, hooks, live))]
    except KeyboardInterrupt as interrupt:
        interrupt.outcomes = [getattr(interrupt, "outcome", Failure(_left(prepared.calls[0])))]  # type: ignore[attr-defined]
        raise


class Live:
    """The streams that are being read, and whether they still are to be. A forked child leaves them alone."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._streams: set[EventStream] = set()

    def add(self, stream: EventStream) -> None:
        """A stream is being read from now on."""
        with self._lock:
            self._streams.add(stream)
        if self.stop.is_set():
            stream.wake()

    def remove(self, stream: EventStream) -> None:
        """It is not any more."""
        with self._lock:
            self._streams.discard(stream)

    @property
    def is_here(self) -> bool:
        """Whether this is the process that reads."""
        return self._process == os.getpid()

    def end(self) -> None:
        """Wake whoever waits for an event, and begin nothing new."""
        if not self.is_here:
            return
        self.stop.set()
        with self._lock:
            for stream in self._streams:
                stream.wake()


def _interleaved(
    prepared: Prepared, gate: Gate, hooks: Hooks, live: Live
) -> Generator[StreamEvent, None, list[Outcome]]:
    outcomes: list[Outcome | None] = [None] * len(prepared.calls)
    arriving: queue.Queue[StreamEvent | None] = queue.Queue(_BACKLOG)
    defects: list[BaseException] = []

    def read(call: Call) -> Outcome:
        events = _events_of(call, gate, hooks, live)
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                return cast("Outcome", end.value)
            arriving.put(event)
            if live.stop.is_set():
                events.close()
                return Failure(_left(call))

    def read_all() -> None:
        try:
            map_threads(read, prepared.calls, hooks.config.request_concurrency, live.stop, outcomes)
        except BaseException as defect:  # noqa: BLE001 - raised again in the caller's thread
            defects.append(defect)
        arriving.put(None)

    reader = threading.Thread(target=contextvars.copy_context().run, args=(read_all,), name="pollux-sync", daemon=True)
    reader.start()
    try:
        while (event := arriving.get()) is not None:
            yield event
    except KeyboardInterrupt as interrupt:
        pairs = zip(outcomes, prepared.calls, strict=True)
        interrupt.outcomes = [outcome or Failure(_left(call)) for outcome, call in pairs]  # type: ignore[attr-defined]
        raise
    finally:
        live.end()
        _drain(arriving, reader)
    if defects:
        raise defects[0]
    return cast("list[Outcome]", outcomes)


def _drain(arriving: queue.Queue[StreamEvent | None], reader: threading.Thread) -> None:
    """Take what threads still put, so that they end. Those that wait for an answer to begin end with it."""
    deadline = time.monotonic() + _GRACE_S
    while reader.is_alive() and time.monotonic() < deadline:
        with suppress(queue.Empty):
            arriving.get(timeout=_LOOK_S)


def _events_of(call: Call, gate: Gate, hooks: Hooks, live: Live) -> Events:
    if live.stop.is_set():
        return Failure(_left(call))
    refusal = gate.refusal(call)
    if refusal is not None:
        yield StreamFinish(finish_reason="error", error=refusal.error, call_idx=call.index)
        return refusal
    if hooks.has_observers:
        hooks.emit(CallStarted(call))
    outcome: Outcome = Failure(_left(call))
    try:
        outcome = yield from _answer(call, hooks, live)
    finally:
        if hooks.has_observers:
            hooks.emit(CallFinished(call, outcome))
    gate.learn(outcome)
    return outcome


def _left(call: Call) -> APIError:
    return APIError("the stream was left before the answer was whole", phase="generate", call_idx=call.index)


def _answer(call: Call, hooks: Hooks, live: Live) -> Events:
    told = _Told()
    index = call.index
    try:
        reply = yield from _reply(hooks.rewrite_call(call), hooks, live, told)
    except KeyboardInterrupt as interrupt:
        interrupt.outcome = told.failure(_left(call))  # type: ignore[attr-defined]
        raise
    except PolluxError as error:
        error.call_idx = index
        yield StreamFinish(finish_reason="error", error=error, call_idx=index)
        return told.failure(error)
    for tool_call in reply.tool_calls:
        yield StreamToolCall(tool_call, call_idx=index)
    yield StreamUsage(reply.usage, call_idx=index)
    yield StreamFinish(finish_reason=reply.finish_reason, call_idx=index)
    return reply


@attrs.define
class _Told:
    """What of an answer has come."""

    texts: list[str] = attrs.field(factory=list)
    usage: Usage = attrs.field(factory=Usage)

    def failure(self, error: PolluxError) -> Failure:
        """That it broke off."""
        error.partial_text = "".join(self.texts)
        return Failure(error, usage=self.usage)


def _reply(call: Call, hooks: Hooks, live: Live, told: _Told) -> Generator[StreamEvent, None, Reply]:
    """The deltas, then the reply. Raises errors of our tree."""
    request = hooks.encode_stream(request_of(call, hooks))
    began = time.monotonic()
    begun, attempts = with_retries(lambda: _begun(request, call, hooks), hooks, live.stop, phase="generate", call=call)
    live.add(begun.stream)
    reply = None
    try:
        items = begun.items()
        while True:
            item = next(items)
            if isinstance(item, Reply):
                reply = item
                return reply.settled(_lasted(attempts, time.monotonic() - began))
            if type(item) is TextDelta:
                told.texts.append(item.text)
            elif isinstance(item, StreamUsage):
                told.usage = item.usage
                continue
            yield attrs.evolve(item, call_idx=call.index) if call.index else item
    except Exception as error:  # noqa: BLE001 - it is told what it is
        if live.stop.is_set():
            raise _left(call) from None
        raise broken_off(error, _lasted(attempts, time.monotonic() - began), hooks, call) from None
    finally:
        live.remove(begun.stream)
        if reply is None:
            begun.stream.close()
        else:
            begun.stream.finish()


@attrs.frozen
class _Begun:
    """A stream whose first item is there."""

    stream: EventStream
    first: Delta | Reply
    rest: Iterator[Delta | Reply]

    def items(self) -> Iterator[Delta | Reply]:
        """A start, then all there is. Raises APIError where it ends without a Reply."""
        if not isinstance(self.first, StreamStart):
            yield StreamStart()
        yield self.first
        yield from self.rest
        raise _cut_off()


def _begun(request: HttpRequest, call: Call, hooks: Hooks) -> tuple[_Begun, HttpResponse]:
    """One physical attempt, up to the first item."""
    stream = hooks.stream(request, hooks.config.timeout_s)
    try:
        items = _items(stream, call, hooks)
        first = _first_of(items)
    except BaseException:
        stream.close()
        raise
    return _Begun(stream, first, items), stream.response


def _items(stream: EventStream, call: Call, hooks: Hooks) -> Iterator[Delta | Reply]:
    if stream.response.body is None:
        return hooks.decode_stream(stream, call)
    reply = hooks.decode(stream.response, call)
    return chain(deltas_of(reply), (reply,))


def _first_of(items: Iterator[Delta | Reply]) -> Delta | Reply:
    for item in items:
        if not isinstance(item, StreamUsage):
            return item
    raise _cut_off()


def _cut_off() -> APIError:
    return APIError("the answer was cut off", kind="malformed", retryable=True, hint="ask again")


def _lasted(attempts: tuple[Attempt, ...], elapsed_s: float) -> tuple[Attempt, ...]:
    """The ledger, its last attempt lasting until now."""
    *before, last = attempts
    earlier_s = sum(attempt.wait_s + attempt.duration_s for attempt in before) + last.wait_s
    return (*before, attrs.evolve(last, duration_s=max(last.duration_s, elapsed_s - earlier_s)))
