"""Read the loop of a model and its tools as it runs: `stream_tools`."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from pollux_sync.api.streaming import Stream, open_stream
from pollux_sync.api.tools import build_tool_loop
from pollux_sync.data.streaming import StreamDone
from pollux_sync.engine.requesting import build_request
from pollux_sync.engine.streaming import ActiveStreams
from pollux_sync.process import clients, open_call_context

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from pollux_sync._typed import T
    from pollux_sync.api.tools import LoopTool, OnToolError, Round, ToolLoop
    from pollux_sync.data.options import Options, ToolChoice
    from pollux_sync.data.source import Source
    from pollux_sync.data.streaming import StreamEvent
    from pollux_sync.hooks.config import Config


def stream_tools(
    prompt: str | None = None,
    *,
    tools: Sequence[LoopTool],
    sources: Iterable[Source] = (),
    config: Config,
    options: Options[T] | None = None,
    tool_choice: ToolChoice | None = None,
    max_steps: int = 10,
    tool_concurrency: int = 1,
    on_tool_error: OnToolError = "tell",
) -> Stream[T]:
    """Do what `run_tools` does, and return the events of all rounds in one stream.

    Each round begins with a `StreamStart`, and each tool that ran after it has a `StreamToolResult`. The stream ends
    with one `StreamDone`, whose result is the one of `run_tools`. Tools run in the thread that reads.
    """

    def ask(
        active: ActiveStreams,
        prompt: str | None = None,
        *,
        sources: Iterable[Source] = (),
        options: Options | None = None,
    ) -> Stream:
        request = build_request(prompt, sources, config, options)
        return open_stream(request, open_call_context(request.config), time.monotonic(), active=active)

    loop = build_tool_loop(
        partial(clients.lease, config),
        tools,
        max_steps=max_steps,
        tool_concurrency=tool_concurrency,
        on_tool_error=on_tool_error,
    )
    return open_loop(loop, ask, prompt, sources, loop.add_tools(options, tool_choice))


def open_loop(
    loop: ToolLoop, ask: Callable[..., Stream], prompt: str | None, sources: Iterable[Source], options: Options
) -> Stream:
    """Plan the first round and return the stream of all. ``ask`` opens the stream of one round."""
    active = ActiveStreams()
    opening = ask(active, prompt, sources=sources, options=options)
    events = _iterate(loop, partial(ask, active), opening, options)
    return Stream(events, active, opening.plan)


def _iterate(
    loop: ToolLoop, ask: Callable[..., Stream], opening: Stream, options: Options
) -> Generator[StreamEvent, None, None]:
    result = yield from loop.iterate(lambda **settings: _read(ask(**settings)), _read(opening), options)
    yield StreamDone(result)


def _read(stream: Stream) -> Round:
    try:
        yield from (event for event in stream if not isinstance(event, StreamDone))
    # Not at the end of every round: what closes one stream ends the rounds after it, too.
    except GeneratorExit:
        stream.close()
        raise
    return stream.result()
