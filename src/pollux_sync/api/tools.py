"""Tools: run the loop of a model and Python functions, or continue by hand after a tool call."""

from __future__ import annotations

import copy
import logging
import math
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

from pollux_sync.api.asking import run, run_many
from pollux_sync.data.checks import check_int
from pollux_sync.data.hosted import HostedTool, refuse_class
from pollux_sync.data.options import NO_OPTIONS, Options
from pollux_sync.data.reply import ToolCall
from pollux_sync.data.streaming import StreamToolResult
from pollux_sync.data.tool import Tool, ToolResult
from pollux_sync.engine.conversing import STATE_KEY, check_tool_results, read_state, read_turns
from pollux_sync.engine.threads import map_threads
from pollux_sync.errors import STOPS, ConfigurationError, build_stop
from pollux_sync.process import clients

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from pollux_sync._typed import T
    from pollux_sync.data.envelope import ResultEnvelope, ToolCallDict, ToolRun, ToolStep
    from pollux_sync.data.options import ToolChoice
    from pollux_sync.data.source import Source
    from pollux_sync.data.streaming import StreamEvent
    from pollux_sync.hooks.config import Config
    from pollux_sync.hooks.relay import Hooks

#: What happens when a tool raises: the model gets the error as the tool's result, or the loop ends with it.
OnToolError: TypeAlias = Literal["tell", "raise"]

#: A tool of the loop: one that runs here, or at the provider.
LoopTool: TypeAlias = "Tool | HostedTool | Callable[..., Any]"

#: One request of the loop: the events of its answer, and its result.
Round: TypeAlias = "Generator[StreamEvent, None, ResultEnvelope]"

log = logging.getLogger("pollux_sync")


def continue_tool(
    continue_from: ResultEnvelope | dict[str, Any],
    tool_results: Sequence[Mapping[str, Any]],
    *,
    config: Config,
    options: Options[T] | None = None,
) -> ResultEnvelope[T]:
    """Continue after a tool-calling answer with the results ``{"role": "tool", "tool_call_id", "content"}``.

    Every call needs one result, with ``"is_error": True`` for a tool that failed. The conversation holds the turns
    so far; pass tools, instruction and schema of ``options`` again. ``history`` and ``continue_from`` of
    ``options`` are not used. The arguments are not changed. Raises ConfigurationError when ``continue_from``
    carries no conversation or the results do not fit its calls, and what `run` raises.
    """
    return run(config=config, options=build_continue_options(continue_from, tool_results, options))


def build_continue_options(
    continue_from: ResultEnvelope | dict[str, Any],
    tool_results: Sequence[Mapping[str, Any]],
    options: Options[T] | None,
) -> Options[T]:
    """Return the options that `continue_tool` runs with. Raises ConfigurationError as it does."""
    # The caller keeps the envelope and may continue from it twice.
    state = copy.deepcopy(read_state(continue_from))
    turns = read_turns(state)
    state["history"] = [*turns, *check_tool_results(tool_results, turns)]
    return attrs.evolve(options or NO_OPTIONS, history=None, continue_from={STATE_KEY: state})


def run_tools(
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
) -> ResultEnvelope[T]:
    """Ask, run the tools that the model calls, and repeat until it answers; ``result["answers"][0]`` is the answer.

    ``tools`` are typed functions, `Tool`, and tools that the provider runs, such as `WebSearch`.
    After ``max_steps`` rounds of tool calls the model is asked to answer
    without tools, so at most ``max_steps + 1`` requests are made. At most ``tool_concurrency`` tools run at a time,
    each in a thread when it is more than 1. When a tool raises, or its arguments do not fit, the model gets the
    error as the tool's result; with ``on_tool_error="raise"`` the loop ends with it. A `ToolFailure` that a tool
    returns is an error for the model in either case. ``tool_choice`` applies to the first request.

    ``usage``, the counts of ``metrics``, ``hosted_calls`` and ``files`` are those of all requests, ``citations`` those
    of the answer; ``diagnostics["steps"]`` has each request with the tools that ran after it. Raises what `run` raises,
    with all of that as ``partial_result``.
    """
    loop = build_tool_loop(
        partial(clients.lease, config),
        tools,
        max_steps=max_steps,
        tool_concurrency=tool_concurrency,
        on_tool_error=on_tool_error,
    )
    return run_loop(loop, partial(run_many, config=config), prompt, sources, loop.add_tools(options, tool_choice))


def run_loop(
    loop: ToolLoop,
    ask: Callable[..., ResultEnvelope],
    prompt: str | None,
    sources: Iterable[Source],
    options: Options,
) -> ResultEnvelope:
    """Run the loop to its end. ``ask`` is `run_many` with all bound except prompt, ``sources`` and ``options``."""
    rounds = loop.iterate(
        partial(_ask_at_once, ask), _ask_at_once(ask, prompt, sources=sources, options=options), options
    )
    while True:
        try:
            next(rounds)
        except StopIteration as end:
            result: ResultEnvelope = end.value
            return result


def _ask_at_once(ask: Callable[..., ResultEnvelope], *prompt: str | None, **settings: Any) -> Round:
    """Ask without a stream: no events, and the result."""
    yield from ()
    return ask(*prompt, **settings)


def build_tool_loop(
    lease: Callable[[], AbstractContextManager[Hooks]],
    tools: Sequence[LoopTool],
    *,
    max_steps: int,
    tool_concurrency: int,
    on_tool_error: OnToolError,
) -> ToolLoop:
    """Build the loop; ``lease`` returns a context manager over the hooks, in which the tools run.

    Raises ConfigurationError for settings that cannot work.
    """
    built = _build_tools(tools)
    hosted = tuple(tool for tool in tools if isinstance(tool, HostedTool))
    check_int("max_steps", max_steps, minimum=1)
    check_int("tool_concurrency", tool_concurrency, minimum=1)
    if on_tool_error not in ("tell", "raise"):
        raise ConfigurationError(f"on_tool_error {on_tool_error!r} is not known", hint="use 'tell' or 'raise'")
    return ToolLoop(
        lease=lease,
        tools=built,
        hosted_tools=hosted,
        max_steps=max_steps,
        tool_concurrency=tool_concurrency,
        on_tool_error=on_tool_error,
    )


def _build_tools(tools: Sequence[LoopTool]) -> tuple[Tool, ...]:
    """Return the tools that run here."""
    if not isinstance(tools, list | tuple) or not any(not isinstance(tool, HostedTool) for tool in tools):
        raise ConfigurationError("tools must be a list of at least one function", hint="tools=[get_weather]")
    for index, tool in enumerate(tools):
        refuse_class(f"tools[{index}]", tool)
    given = [tool for tool in tools if not isinstance(tool, HostedTool)]
    built = tuple(tool if isinstance(tool, Tool) else Tool.from_function(tool) for tool in given)
    for tool in built:
        if tool.skip:
            raise ConfigurationError(
                f"the tool {tool.name!r} takes {tool.skip} values that neither the model nor run_tools has",
                hint="pass functools.partial(function, value) with a name: Tool.from_function(..., name=...)",
            )
    return built


@attrs.frozen(kw_only=True)
class ToolLoop:
    """The loop of a model and its tools: ask, run what it calls, send the results, until it answers."""

    lease: Callable[[], AbstractContextManager[Hooks]]
    tools: tuple[Tool, ...]
    hosted_tools: tuple[HostedTool, ...]
    max_steps: int
    tool_concurrency: int
    on_tool_error: OnToolError

    def iterate(self, ask: Callable[..., Round], opening: Round, first: Options) -> Round:
        """Yield the events of all rounds; return the last result with the sums of all steps. See `run_tools`.

        ``opening`` asks the first time, with the options ``first``; ``ask`` later, with ``options`` alone.
        """
        started = time.monotonic()
        result = yield from opening
        steps = [_build_step(result)]
        # A forced tool_choice on every round would never let the model answer.
        later = attrs.evolve(first, tool_choice=None, history=None, continue_from=None)
        try:
            while (calls := _read_calls(result)) and len(steps) <= self.max_steps:
                results = self._run_tools(calls, steps[-1]["tool_runs"])
                yield from map(StreamToolResult, steps[-1]["tool_runs"])
                # The last round forbids calls but keeps the tools declared: providers refuse tool turns without them.
                choice = attrs.evolve(later, tool_choice="none") if len(steps) == self.max_steps else later
                result = yield from ask(options=build_continue_options(result, results, choice))
                steps.append(_build_step(result))
        # Also that of a round in flight, which knows its outcomes: its own partial result lacks the rounds before it.
        except STOPS as cause:
            raise build_stop(cause, (), _sum_steps(result, steps, started)) from cause
        except Exception as error:
            # With on_tool_error="raise" the caller asked for the tool's own exception, of whatever class; it is
            # the only thing that can carry the rounds that were paid for. Some exceptions take no attributes.
            with suppress(AttributeError):
                error.partial_result = _sum_steps(result, steps, started)  # type: ignore[attr-defined]
            raise
        return _sum_steps(result, steps, started)

    def add_tools(self, options: Options | None, tool_choice: ToolChoice | None) -> Options:
        """Return the options of the first round. Raises ConfigurationError if they have tools of their own."""
        options = options or NO_OPTIONS
        # A declaration without a function cannot be run, so the model must not see one.
        if options.tools:
            raise ConfigurationError(
                "options hold tools of their own", hint="pass all of them as run_tools(tools=[...])"
            )
        declared: list[dict[str, Any] | HostedTool] = [tool.declaration for tool in self.tools]
        declared += self.hosted_tools
        return attrs.evolve(options, tools=declared, tool_choice=tool_choice)

    def _run_tools(self, calls: list[ToolCallDict], ledger: list[ToolRun]) -> list[dict[str, Any]]:
        """Run the tools that were called; return the results for the model.

        What ran is added to ``ledger`` also when a tool ends the loop.
        """
        runs: list[ToolRun | None] = [None] * len(calls)
        try:
            with self.lease() as hooks:
                work = partial(self._run_tool, hooks)
                map_threads(work, calls, self.tool_concurrency, threading.Event(), runs)
        finally:
            ledger += [run for run in runs if run is not None]
        return [_build_result(run) for run in ledger]

    def _run_tool(self, hooks: Hooks, call: ToolCallDict) -> ToolRun:
        started = time.monotonic()
        errors: list[Exception] = []
        asked = ToolCall(call["id"], call["name"], call["arguments"])
        result = hooks.call_tool(asked, partial(self._invoke_tool, errors))
        if errors and self.on_tool_error == "raise":
            raise errors[-1]
        run: ToolRun = {
            "id": call["id"],
            "name": call["name"],
            "arguments": call["arguments"],
            "content": result.content,
            "is_error": result.is_error,
            "duration_s": time.monotonic() - started,
        }
        if result.sources:
            run["sources"] = [*result.sources]
        return run

    def _invoke_tool(self, errors: list[Exception], call: ToolCall) -> ToolResult:
        """Return the result of a tool, also of one that fails: the middleware sees no exceptions. Keep its error."""
        try:
            value = self._find_tool(call.name).invoke(call.exact_arguments_dict())
            return ToolResult.from_value(call, value)
        except Exception as error:  # noqa: BLE001 - it is the tool's result
            errors.append(error)
            # Only the class is logged: the message may contain what the tool works on.
            log.debug("tool %s failed: %s", call.name, type(error).__name__)
            return ToolResult(call.id, f"{type(error).__name__}: {error}", is_error=True)

    def _find_tool(self, name: str) -> Tool:
        named = {tool.name: tool for tool in self.tools}
        # Models invent names. The error becomes the tool's result, and names the tools that exist.
        if name not in named:
            raise LookupError(f"there is no tool {name!r}; the tools are {', '.join(named)}")
        return named[name]


def _read_calls(result: ResultEnvelope) -> list[ToolCallDict]:
    (calls,) = result.get("tool_calls") or [[]]
    return calls


def _build_result(run: ToolRun) -> dict[str, Any]:
    result: dict[str, Any] = {"role": "tool", "tool_call_id": run["id"], "content": run["content"]}
    result |= {"sources": run["sources"]} if "sources" in run else {}
    return result | ({"is_error": True} if run["is_error"] else {})


def _build_step(result: ResultEnvelope) -> ToolStep:
    diagnostics = result["diagnostics"]
    step: ToolStep = {
        "usage": result["usage"],
        "raw_response": diagnostics["raw_responses"][0],
        "attempts": diagnostics["attempts"][0],
        "tool_runs": [],
    }
    metrics = result["metrics"]
    if "cost_usd" in metrics:
        step["cost_usd"] = metrics["cost_usd"]
    return step


def _sum_steps(result: ResultEnvelope, steps: list[ToolStep], started: float) -> ResultEnvelope:
    """Return the last result with usage, counts, duration, and what the provider's own tools did, of all steps."""
    usage: dict[str, int] = {}
    for step in steps:
        for name, count in step["usage"].items():
            usage[name] = usage.get(name, 0) + count
    metrics = result["metrics"].copy()
    costs = [step["cost_usd"] for step in steps if "cost_usd" in step]
    if costs:
        metrics["cost_usd"] = math.fsum(costs)
        metrics["costs_usd"] = [metrics["cost_usd"]]
    metrics["duration_s"] = time.monotonic() - started
    metrics["n_calls"] = len(steps)
    metrics["n_attempts"] = sum(len(step["attempts"]) for step in steps)
    diagnostics = result["diagnostics"].copy()
    diagnostics["steps"] = steps
    total = result.copy()
    total["usage"], total["metrics"], total["diagnostics"] = usage, metrics, diagnostics
    if calls := _join_records(steps, "hosted_calls"):
        total["hosted_calls"] = [calls]
    if files := _join_records(steps, "files"):
        total["files"] = [files]
    return total


def _join_records(steps: Sequence[ToolStep], name: str) -> list[Any]:
    return [record for step in steps for record in (step["raw_response"] or {}).get(name, ())]
