"""Answers as they come, as plain iterators."""

from __future__ import annotations

import atexit
import time
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakSet

from pollux_sync.api import caches, line_for, one_source
from pollux_sync.data.streaming import StreamDone
from pollux_sync.engine.enveloping import keep_partial, seal_envelope
from pollux_sync.engine.preparing import prepare_plan
from pollux_sync.engine.requesting import build_request
from pollux_sync.engine.streaming import Live, Stream, plan_stream, stream_calls

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from contextlib import AbstractContextManager

    from pollux_sync.api import Line
    from pollux_sync.data.options import Options
    from pollux_sync.data.request import Plan, Request
    from pollux_sync.data.source import Source
    from pollux_sync.data.streaming import StreamEvent
    from pollux_sync.hooks.config import Config


def stream(
    prompt: str | None = None,
    *,
    source: Source | None = None,
    config: Config,
    options: Options | None = None,
) -> Stream:
    """Ask one question and get the answer as it comes; the stream's ``text_chunks`` are the text alone.

    The events are `StreamStart`, then `TextDelta`, `ReasoningDelta` and `ToolCallDelta` in any order, each
    `StreamToolCall`, `StreamUsage`, `StreamFinish`, and `StreamDone` with what `run` would have given.
    ``config.timeout_s`` bounds the wait for each next event. What fails before the first event is tried again
    like any call; what fails later raises, with the text so far as the error's ``partial_text``.
    Middleware's `pollux_call` is not asked, observers are told. Raises what `run` raises, partly before the first
    event is asked for.
    """
    return stream_many(prompt, sources=one_source(prompt, source), config=config, options=options)


def stream_many(
    prompts: str | Sequence[str | None] | None = None,
    *,
    sources: Iterable[Source] = (),
    config: Config,
    options: Options | None = None,
    per_source: bool = False,
) -> Stream:
    """Ask several questions like `run_many`, and get the events of all answers as they come, in one iterator.

    ``event.call_idx`` says which answer an event belongs to. A prompt that fails ends in a `StreamFinish` with its
    ``error``; the others go on, and what `run_many` would raise is raised at the end.
    """
    started = time.monotonic()
    request = build_request(prompts, sources, config, options, per_source=per_source)
    return streamed(request, partial(line_for, request.config), started)


def streamed(request: Request, line: Callable[[], AbstractContextManager[Line]], started: float) -> Stream:
    """The stages of `stream_many` from the request on; the line is held until the stream ends."""
    with line() as (hooks, _):
        plan = plan_stream(request, hooks)
    live = Live()
    stream = Stream(_events(plan, line, started, live), live)
    _open.add(stream)
    return stream


def _events(
    plan: Plan, line: Callable[[], AbstractContextManager[Line]], started: float, live: Live
) -> Generator[StreamEvent, None, None]:
    with line() as (hooks, uploads):
        prepared = prepare_plan(plan, hooks, uploads)
        try:
            outcomes = yield from stream_calls(prepared, hooks, live)
        except KeyboardInterrupt as interrupt:
            keep_partial(interrupt, prepared, duration_s=time.monotonic() - started)
            raise
    caches.notice(plan.request.options.cache, outcomes)
    yield StreamDone(seal_envelope(prepared, outcomes, duration_s=time.monotonic() - started))


def _close_open() -> None:
    """At the end of the process: what nobody closed is closed, and its files are deleted."""
    for stream in list(_open):
        stream.close()


#: Streams that may not have come to their end.
_open: WeakSet[Stream] = WeakSet()
atexit.register(_close_open)
