"""Prepared -> events, and at their end Outcomes: answers while they arrive.

One call is read in the caller's own thread; several are read by threads of their own, their events interleaved. Where
the system has no threads, they are read one after the other.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias, cast

import attrs

from pollux_sync.data.events import CallFinished, CallStarted
from pollux_sync.data.reply import Failure, Outcome, Reply, Usage
from pollux_sync.data.streaming import (
    ReasoningDelta,
    StreamFinish,
    StreamStart,
    StreamToolCall,
    StreamUsage,
    TextDelta,
    split_into_deltas,
)
from pollux_sync.data.texts import replace_surrogates, split_half_character
from pollux_sync.engine.encoding import encode_request
from pollux_sync.engine.retrying import build_cut_off, build_stream_failure, call_with_retries, extend_ledger, redeliver
from pollux_sync.engine.sending import CallGate, complete_outcomes
from pollux_sync.engine.telling import read_clock, tell_outcome
from pollux_sync.engine.threads import STRETCH_S, map_threads, start_thread
from pollux_sync.errors import STOPS, APIError, ConfigurationError, PolluxError, build_stop

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from pollux_sync.data.provider import HttpRequest, HttpResponse
    from pollux_sync.data.request import Call, Prepared, Redelivery, Request
    from pollux_sync.data.streaming import Delta, EventStream, StreamEvent
    from pollux_sync.errors import Attempt
    from pollux_sync.hooks.relay import Hooks

    CallEvents: TypeAlias = Generator[StreamEvent, None, Outcome]

#: Events that may wait for the caller; a reader with more to say waits, so that memory stays bounded.
_MAX_WAITING_EVENTS = 1000
#: How long a caller who leaves early waits for threads that are still opening a stream.
_GRACE_S = 1.0
_DRAIN_POLL_S = 0.02


def check_streamable(request: Request, hooks: Hooks) -> None:
    """Raise ConfigurationError for a request that cannot be streamed."""
    if not hooks.can_stream:
        raise ConfigurationError(f"provider {hooks.info.name!r} does not stream", hint="call run() or run_many()")
    for traits in request.options.iter_set():
        if "stream" in traits.refused_by:
            raise ConfigurationError(
                f"{traits.name} cannot be combined with a stream, which is never requested twice",
                hint="call run(), or leave it out",
            )


def stream_calls(
    prepared: Prepared, hooks: Hooks, active: ActiveStreams
) -> Generator[StreamEvent, None, list[Outcome]]:
    """Yield the events of every call, those of one call in order; return the outcomes in call order.

    At most ``request_concurrency`` are read at a time. Closing the generator, or ending ``active``, breaks them
    off. On Ctrl-C or sys.exit Interrupted or Terminated is raised with the outcomes so far.
    """
    hooks.link_stop(active.stop)
    streamer = CallStreamer(hooks=hooks, gate=CallGate(prepared.blocked), active=active, redelivery=prepared.redelivery)
    # One call is read in the caller's thread: no queue, and leaving it closes the socket at once.
    read = interleave_calls if len(prepared.calls) > 1 else read_in_turn
    return (yield from read(prepared.calls, streamer))


def read_in_turn(calls: tuple[Call, ...], streamer: CallStreamer) -> Generator[StreamEvent, None, list[Outcome]]:
    """Yield the events of one call after the other, read in this thread; return the outcomes in call order."""
    outcomes: list[Outcome] = []
    try:
        for call in calls:
            outcomes.append((yield from streamer.stream_call(call)))  # noqa: PERF401 - kept for a stop
    except STOPS as cause:
        begun: tuple[Outcome, ...] = getattr(cause, "outcomes", ())
        found = (*outcomes, *begun)
        unread = (Failure(_build_abandoned(call)) for call in calls[len(found) :])
        raise build_stop(cause, (*found, *unread)) from cause
    return outcomes


def stream_call(
    call: Call,
    hooks: Hooks,
    active: ActiveStreams,
    *,
    keep: Callable[[HttpResponse], None] | None = None,
    redelivery: Redelivery | None = None,
) -> CallEvents:
    """Yield the events of one call, and return its outcome.

    ``keep`` gets the answer as the call without a stream would have got it, once it is complete and before its last
    events: `decode_reply` makes the same reply of it. It is not called for an answer that broke off, nor where a plugin
    decodes its streams without `EventStream.join`. What it raises ends the generator: a PolluxError as the outcome.
    Ending ``active``, or closing the generator, breaks the answer off.
    """
    hooks.link_stop(active.stop)
    streamer = CallStreamer(hooks=hooks, gate=CallGate(), active=active, redelivery=redelivery, keep=keep)
    return streamer.stream_call(call)


class ActiveStreams:
    """The streams that are being read now, and whether reading shall go on. A forked child leaves them alone.

    Whoever sets a ``stop`` of his own ends reading with the next event; only `end` wakes a reader that waits.
    """

    def __init__(self, stop: threading.Event | None = None) -> None:
        self.stop = stop or threading.Event()
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._streams: set[EventStream] = set()

    def add(self, stream: EventStream) -> None:
        """Add a stream that is read from now on."""
        with self._lock:
            self._streams.add(stream)
        # close() may have come between the first event and this line: it found no stream to wake.
        if self.stop.is_set():
            stream.wake()

    def remove(self, stream: EventStream) -> None:
        """Remove a stream whose reading has ended."""
        with self._lock:
            self._streams.discard(stream)

    @property
    def is_own_process(self) -> bool:
        """True in the process that opened the streams, False in its forked children."""
        return self._process == os.getpid()

    def end(self) -> None:
        """Wake every reader that waits for an event, and let nothing new begin."""
        if not self.is_own_process:
            return
        self.stop.set()
        with self._lock:
            for stream in self._streams:
                stream.wake()


def interleave_calls(calls: tuple[Call, ...], streamer: CallStreamer) -> Generator[StreamEvent, None, list[Outcome]]:
    """Yield the events of several calls as threads read them; return the outcomes in call order.

    The readers hand their events over through one bounded queue. None in it marks the end.
    """
    hooks, active = streamer.hooks, streamer.active
    outcomes: list[Outcome | None] = [None] * len(calls)
    arriving: queue.Queue[StreamEvent | None] = queue.Queue(_MAX_WAITING_EVENTS)
    defects: list[BaseException] = []

    def read_calls() -> None:
        read = partial(_hand_over_events, streamer, arriving)
        try:
            map_threads(read, calls, hooks.config.request_concurrency, active.stop, outcomes)
        except BaseException as defect:  # noqa: BLE001 - raised again in the caller's thread
            defects.append(defect)
        # In any case, or the caller would wait for ever.
        arriving.put(None)

    # A thread of its own, since map_threads blocks until all is read while this generator must yield.
    reader = start_thread(read_calls)
    if reader is None:
        return (yield from read_in_turn(calls, streamer))
    try:
        while (event := _take_event(arriving)) is not None:
            yield event
        if defects:
            raise defects[0]
    except STOPS as cause:
        raise build_stop(cause, tuple(complete_outcomes(outcomes, calls, _build_abandoned))) from cause
    finally:
        # After the last event this does nothing; after an early exit it breaks the streams off.
        active.end()
        _drain(arriving, reader)
    return complete_outcomes(outcomes, calls, _build_abandoned)


def _take_event(arriving: queue.Queue[StreamEvent | None]) -> StreamEvent | None:
    """Return the next event, None after the last one."""
    while True:
        with suppress(queue.Empty):
            return arriving.get(timeout=STRETCH_S)


def _hand_over_events(streamer: CallStreamer, arriving: queue.Queue[StreamEvent | None], call: Call) -> Outcome:
    """Put the events of one call into the queue; return its outcome."""
    events = streamer.stream_call(call)
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return cast("Outcome", end.value)
        # Blocks when the caller is slow: then the server is slowed down too, instead of filling memory.
        arriving.put(event)
        if streamer.active.stop.is_set():
            events.close()
            return Failure(_build_abandoned(call))


def _drain(arriving: queue.Queue[StreamEvent | None], reader: threading.Thread) -> None:
    """Take events until the readers have ended: one that waits at a full queue would never end.

    A reader whose request is still on its way is left behind after a moment; it ends with its answer.
    """
    deadline = time.monotonic() + _GRACE_S
    while reader.is_alive() and time.monotonic() < deadline:
        with suppress(queue.Empty):
            arriving.get(timeout=_DRAIN_POLL_S)


@attrs.frozen(kw_only=True)
class CallStreamer:
    """Streams calls, one at a time per thread, over one set of hooks. ``keep`` gets the whole answer of each."""

    hooks: Hooks
    gate: CallGate
    active: ActiveStreams
    redelivery: Redelivery | None = None
    keep: Callable[[HttpResponse], None] | None = None

    def stream_call(self, call: Call) -> CallEvents:
        """Yield the events of one call and return its outcome. Observers see its start and its end."""
        if self.active.stop.is_set():
            return Failure(_build_abandoned(call))
        refusal = self.gate.check(call)
        if refusal is not None:
            yield StreamFinish(finish_reason="error", error=refusal.error, call_idx=call.index)
            return refusal
        hooks = self.hooks
        if hooks.has_observers:
            hooks.emit(CallStarted(call))
        started = read_clock()
        # Stays so when the caller closes the generator, which then raises GeneratorExit below.
        outcome: Outcome = Failure(_build_abandoned(call))
        try:
            outcome = yield from self._stream_answer(call)
        finally:
            if hooks.has_observers:
                hooks.emit(CallFinished(call, outcome))
            tell_outcome(call, outcome, hooks, started)
        self.gate.record(outcome)
        return outcome

    def _stream_answer(self, call: Call) -> CallEvents:
        progress = _Progress()
        index = call.index
        try:
            request = partial(self._request_items, progress=progress)
            items = self.hooks.call_stream(self.hooks.rewrite_call(call), request, self.active.stop)
            reply = yield from _pass_on(items, progress, index)
        except STOPS as cause:
            raise build_stop(cause, (progress.fail(_build_abandoned(call)),)) from cause
        except PolluxError as error:
            error.call_idx = index
            yield StreamFinish(finish_reason="error", error=error, call_idx=index)
            return progress.fail(error)
        for tool_call in reply.tool_calls:
            yield StreamToolCall(tool_call, call_idx=index)
        yield StreamUsage(reply.usage, call_idx=index)
        yield StreamFinish(finish_reason=reply.finish_reason, call_idx=index)
        return reply

    def _request_items(self, call: Call, progress: _Progress) -> Iterator[Delta | Reply]:
        """Yield the deltas and then the reply, whose stream has ended by then. Raises errors of our tree."""
        yield (yield from self._stream_reply(call, progress))

    def _stream_reply(self, call: Call, progress: _Progress) -> Generator[Delta, None, Reply]:
        """Yield the deltas and return the reply. Raises errors of our tree.

        Retries end with the first output: what the caller has seen cannot be taken back.
        """
        hooks, active = self.hooks, self.active
        started = time.monotonic()
        opened, attempts = self._open_delivered(call, progress)
        reply = None
        try:
            items = opened.iter_items()
            while True:
                item = next(items)
                if isinstance(item, Reply):
                    reply = item
                    self._keep_answer(opened.stream)
                    if hooks.keeps_responses:
                        reply = attrs.evolve(reply, response=opened.stream.whole)
                    return reply.with_attempts(_extend_last(attempts, time.monotonic() - started))
                if isinstance(item, StreamUsage):
                    # Kept for the case that the answer breaks off: it is billed nevertheless.
                    progress.usage = item.usage
                    continue
                yield item
        except Exception as error:  # build_stream_failure says what it is
            if reply is not None:  # from `keep`
                raise
            # Closing shuts the socket down, so that reading fails; that failure is not the provider's.
            if active.stop.is_set():
                raise _build_abandoned(call) from None
            cause, attempts = error, _extend_last(attempts, time.monotonic() - started)
        finally:
            active.remove(opened.stream)
            opened.end(is_complete=reply is not None)
        # Outside of the handler, as `call_with_retries` does: the classifier sees there what the caller is handling.
        raise build_stream_failure(cause, attempts, hooks, call)

    def _keep_answer(self, stream: EventStream) -> None:
        # A decoder that does not join the events to an answer has none to keep.
        if self.keep is not None and stream.whole is not None:
            self.keep(stream.whole)

    def _open_delivered(self, call: Call, progress: _Progress) -> tuple[_OpenedStream, tuple[Attempt, ...]]:
        """Open the stream of a call; inline files that the service refuses for their size are stored, once."""
        redelivery = self.redelivery
        if redelivery is None:
            return self._open_stream(call, progress)
        call = redelivery.use_stored_parts(call)
        try:
            return self._open_stream(call, progress)
        except APIError as error:
            refusal = error
        # Outside of the handler: a failure in there would have the refusal among its causes, and be classified by it.
        stored = redeliver(call, refusal, redelivery, self.active.stop)
        if stored is None:
            raise refusal
        with extend_ledger(refusal.attempts):
            opened, attempts = self._open_stream(stored, progress)
        return opened, (*refusal.attempts, *attempts)

    def _open_stream(self, call: Call, progress: _Progress) -> tuple[_OpenedStream, tuple[Attempt, ...]]:
        hooks, active = self.hooks, self.active
        # Outside the retry loop: encoding the same call again gives the same request.
        request = hooks.encode_stream(encode_request(call, hooks))
        attempt = partial(attempt_stream, request, call, hooks, active, progress)
        try:
            return call_with_retries(attempt, hooks, active.stop, phase="generate", call=call)
        except APIError:
            # Closing shuts the socket down, so that reading fails; that failure is not the provider's.
            if active.stop.is_set():
                raise _build_abandoned(call) from None
            raise


def _pass_on(items: Iterator[Delta | Reply], progress: _Progress, index: int) -> Generator[StreamEvent, None, Reply]:
    """Yield the deltas of a call with its index, and return its reply."""
    for item in items:
        # By far the commonest item; an exact type check is the fastest way to it.
        if type(item) is TextDelta:
            progress.texts.append(item.text)
        elif isinstance(item, Reply):
            return item.without_response()
        yield attrs.evolve(item, call_idx=index) if index else item
    # Of middleware: the engine's own items end with a Reply or an error.
    raise build_cut_off()


def _build_abandoned(call: Call) -> APIError:
    return APIError("the stream was left before the answer was complete", phase="generate", call_idx=call.index)


@attrs.define
class _Progress:
    """The text and the usage of an answer so far."""

    texts: list[str] = attrs.field(factory=list)
    usage: Usage = attrs.field(factory=Usage)

    def fail(self, error: PolluxError) -> Failure:
        """Return the failure of this answer, with the text and the usage so far."""
        error.partial_text = "".join(self.texts)
        return Failure(error, usage=self.usage)


@attrs.frozen
class _OpenedStream:
    """A stream whose first output has arrived."""

    stream: EventStream
    start: StreamStart
    first: Delta | Reply
    rest: Iterator[Delta | Reply]

    def iter_items(self) -> Iterator[Delta | Reply]:
        """Yield the start, then all items. Raises APIError where the stream ends without a Reply."""
        yield self.start
        yield self.first
        yield from self.rest
        raise build_cut_off()

    def end(self, *, is_complete: bool) -> None:
        """End the stream. A complete answer leaves a connection that can be used again, a broken one does not."""
        if is_complete:
            self.stream.finish()
        else:
            self.stream.close()


def attempt_stream(
    request: HttpRequest, call: Call, hooks: Hooks, active: ActiveStreams, progress: _Progress
) -> tuple[_OpenedStream, HttpResponse]:
    """Make one physical attempt: send the request and read up to the first output. The stream is ``active`` then."""
    config = hooks.config
    stream = hooks.stream(request, min(config.timeout_s, config.stream_timeout_s))
    # Before its first output, for which a model that reasons may take minutes: closing must not wait for it.
    active.add(stream)
    try:
        stream.limit(config.stream_timeout_s)
        items = _decode_items(stream, call, hooks)
        opened = _OpenedStream(stream, *_read_first(items, progress), items)
    except BaseException:
        active.remove(stream)
        stream.close()
        raise
    return opened, stream.response


def _decode_items(stream: EventStream, call: Call, hooks: Hooks) -> Iterator[Delta | Reply]:
    """Decode the stream, or the whole answer of a server that does not stream although it was asked to."""
    whole = stream.whole = stream.read_whole()
    if whole is None:
        return _replace_surrogates(hooks.decode_stream(stream, call))
    reply = hooks.decode(whole, call)
    return chain(split_into_deltas(reply), (reply,))


def _replace_surrogates(items: Iterator[Delta | Reply]) -> Iterator[Delta | Reply]:
    """Yield the items without lone surrogates. Half a character waits for the delta with its other half."""
    halves: dict[type[TextDelta | ReasoningDelta], str] = {}
    for item in items:
        if isinstance(item, Reply):
            # What is still waiting is half a character for good: the answer was cut off in it.
            yield from (kind(replace_surrogates(half)) for kind, half in halves.items() if half)
            yield item.replace_surrogates()
        elif isinstance(item, TextDelta | ReasoningDelta) and (halves or not item.text.isascii()):
            kind = type(item)
            text, halves[kind] = split_half_character(halves.get(kind, "") + item.text)
            if text:
                yield kind(replace_surrogates(text))
        else:
            yield item


def _read_first(items: Iterator[Delta | Reply], progress: _Progress) -> tuple[StreamStart, Delta | Reply]:
    """Return the start and the first output. Up to there the caller has seen nothing, so that a retry is possible."""
    start = StreamStart()
    for item in items:
        if isinstance(item, StreamStart):
            start = item
        elif isinstance(item, StreamUsage):
            progress.usage = item.usage
        else:
            return start, item
    raise build_cut_off()


def _extend_last(attempts: tuple[Attempt, ...], elapsed_s: float) -> tuple[Attempt, ...]:
    """Return the ledger with a last attempt that lasts until now, since its answer arrived over that time."""
    *before, last = attempts
    earlier_s = sum(attempt.wait_s + attempt.duration_s for attempt in before) + last.wait_s
    return (*before, attrs.evolve(last, duration_s=max(last.duration_s, elapsed_s - earlier_s)))
