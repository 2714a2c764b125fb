"""The loop of a model and its tools: ask, run what it calls, tell it the results, until it answers."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

from pollux_sync.api import continuing, run_many
from pollux_sync.data.checks import require_int
from pollux_sync.data.options import Options
from pollux_sync.data.tool import Tool
from pollux_sync.engine.enveloping import tool_arguments
from pollux_sync.engine.sending import map_threads
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pollux_sync.data.envelope import ResultEnvelope, ToolCallDict, ToolRun, ToolStep
    from pollux_sync.data.options import ToolChoice
    from pollux_sync.data.source import Source
    from pollux_sync.hooks.config import Config

#: Whether a tool's error is told to the model, or ends the loop.
OnToolError: TypeAlias = Literal["tell", "raise"]

log = logging.getLogger("pollux_sync")


def run_tools(
    prompt: str | None = None,
    *,
    tools: Sequence[Tool | Callable[..., Any]],
    sources: Iterable[Source] = (),
    config: Config,
    options: Options | None = None,
    tool_choice: ToolChoice | None = None,
    max_steps: int = 10,
    tool_concurrency: int = 1,
    on_tool_error: OnToolError = "tell",
) -> ResultEnvelope:
    """Ask, run the tools that the model calls, and go on until it answers; ``result["answers"][0]`` is the answer.

    ``tools`` are typed functions or `Tool`. After ``max_steps`` rounds of calls the model is asked to answer
    without them, so at most ``max_steps + 1`` requests are made. ``tool_concurrency`` tools run at a time, each
    in a thread where it is more than 1. A tool that raises, and arguments that do not fit it, are told to the
    model as the tool's error; with ``on_tool_error="raise"`` they end the loop. ``tool_choice`` is for the first
    request.

    ``usage`` and the counts of ``metrics`` are those of all requests; ``diagnostics["steps"]`` has each of
    them with the tools that ran after it. Raises what `run` raises, with all of that as ``partial_result``.
    """
    return looped(
        partial(run_many, config=config),
        prompt,
        tools=tools,
        sources=sources,
        options=options,
        tool_choice=tool_choice,
        max_steps=max_steps,
        tool_concurrency=tool_concurrency,
        on_tool_error=on_tool_error,
    )


def looped(
    ask: Callable[..., ResultEnvelope],
    prompt: str | None,
    *,
    tools: Sequence[Tool | Callable[..., Any]],
    sources: Iterable[Source],
    options: Options | None,
    tool_choice: ToolChoice | None,
    max_steps: int,
    tool_concurrency: int,
    on_tool_error: OnToolError,
) -> ResultEnvelope:
    """`run_tools` over ``ask``, which is `run_many` with all but prompt, ``sources`` and ``options`` given."""
    made = _made(tools)
    asked = options or Options()
    if asked.tools:
        raise ConfigurationError("options hold tools of their own", hint="pass all of them as run_tools(tools=[...])")
    require_int("max_steps", max_steps, minimum=1)
    require_int("tool_concurrency", tool_concurrency, minimum=1)
    if on_tool_error not in ("tell", "raise"):
        raise ConfigurationError(f"on_tool_error {on_tool_error!r} is not known", hint="use 'tell' or 'raise'")
    started = time.monotonic()
    crew = _Crew({tool.name: tool for tool in made}, tool_concurrency, is_raising=on_tool_error == "raise")
    first = attrs.evolve(asked, tools=[tool.declaration for tool in made], tool_choice=tool_choice)
    later = attrs.evolve(first, tool_choice=None, history=None, continue_from=None)
    result = ask(prompt, sources=sources, options=first)
    steps = [_step(result)]
    try:
        while (calls := _calls_in(result)) and len(steps) <= max_steps:
            told = crew.run(calls, steps[-1]["tool_runs"])
            choice = attrs.evolve(later, tool_choice="none") if len(steps) == max_steps else later
            result = ask(options=continuing(result, told, choice))
            steps.append(_step(result))
    except (Exception, KeyboardInterrupt) as error:
        with suppress(AttributeError):  # an exception of a tool's may have no room
            error.partial_result = _whole(result, steps, started)  # type: ignore[union-attr]
        raise
    return _whole(result, steps, started)


def _made(tools: Sequence[Tool | Callable[..., Any]]) -> list[Tool]:
    if not isinstance(tools, list | tuple) or not tools:
        raise ConfigurationError("tools must be a list of at least one function", hint="tools=[get_weather]")
    return [tool if isinstance(tool, Tool) else Tool.from_function(tool) for tool in tools]


def _calls_in(result: ResultEnvelope) -> list[ToolCallDict]:
    (calls,) = result.get("tool_calls") or [[]]
    return calls


@attrs.frozen
class _Crew:
    """The tools by name, and how they are run."""

    tools: dict[str, Tool]
    concurrency: int
    is_raising: bool = attrs.field(kw_only=True)

    def run(self, calls: list[ToolCallDict], ledger: list[ToolRun]) -> list[dict[str, Any]]:
        """Run what is called; gives the results for the model, and adds to the ledger what ran, in any case."""
        runs: list[ToolRun | None] = [None] * len(calls)
        try:
            map_threads(self.run_one, calls, self.concurrency, threading.Event(), runs)
        finally:
            ledger += [run for run in runs if run is not None]
        return [_told(run) for run in ledger]

    def run_one(self, call: ToolCallDict) -> ToolRun:
        began, is_error = time.monotonic(), False
        try:
            content = self.named(call["name"])(tool_arguments(call))
        except Exception as error:
            if self.is_raising:
                raise
            log.debug("tool %s failed: %s", call["name"], type(error).__name__)
            content, is_error = f"{type(error).__name__}: {error}", True
        return {
            "id": call["id"],
            "name": call["name"],
            "arguments": call["arguments"],
            "content": content,
            "is_error": is_error,
            "duration_s": time.monotonic() - began,
        }

    def named(self, name: str) -> Tool:
        if name not in self.tools:
            raise LookupError(f"there is no tool {name!r}; there are {', '.join(self.tools)}")
        return self.tools[name]


def _told(run: ToolRun) -> dict[str, Any]:
    result = {"role": "tool", "tool_call_id": run["id"], "content": run["content"]}
    return result | ({"is_error": True} if run["is_error"] else {})


def _step(result: ResultEnvelope) -> ToolStep:
    diagnostics = result["diagnostics"]
    return {
        "usage": result["usage"],
        "raw_response": diagnostics["raw_responses"][0],
        "attempts": diagnostics["attempts"][0],
        "tool_runs": [],
    }


def _whole(result: ResultEnvelope, steps: list[ToolStep], started: float) -> ResultEnvelope:
    """The last result, with the sums of all steps."""
    usage: dict[str, int] = {}
    for step in steps:
        for name, count in step["usage"].items():
            usage[name] = usage.get(name, 0) + count
    metrics = result["metrics"].copy()
    metrics["duration_s"] = time.monotonic() - started
    metrics["n_calls"] = len(steps)
    metrics["n_attempts"] = sum(len(step["attempts"]) for step in steps)
    diagnostics = result["diagnostics"].copy()
    diagnostics["steps"] = steps
    whole = result.copy()
    whole["usage"], whole["metrics"], whole["diagnostics"] = usage, metrics, diagnostics
    return whole
