"""When an agent stops, besides having nothing more to do."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pollux_durable.data.agents import AgentStep

_WITH_CONFIG = 2


@attrs.frozen(kw_only=True)
class StopContext:
    """The input of a stop condition: the steps so far, and the tokens of all of them."""

    steps: tuple[AgentStep, ...]
    agent_id: str
    usage: dict[str, int]


@attrs.frozen
class StopCondition:
    """A condition that stops an agent. ``is_pure`` says that it sees nothing but the steps: it needs no record."""

    name: str
    check: Callable[[StopContext], bool]
    is_pure: bool = False
    limits_steps: bool = False


StopLike: TypeAlias = "StopCondition | Callable[..., Any]"


def max_steps(count: int = 20) -> StopCondition:
    """Stop after so many steps. It takes the place of the default limit of 10."""
    if count < 1:
        raise ConfigurationError(f"max_steps is {count!r}", hint="use a whole number from 1 on")
    return StopCondition("max_steps", lambda seen: len(seen.steps) >= count, is_pure=True, limits_steps=True)


def executed_tool(name: str) -> StopCondition:
    """Stop once a tool was run."""
    return StopCondition(
        "executed_tool",
        lambda seen: any(result.tool_name == name for step in seen.steps for result in step.tool_results),
        is_pure=True,
    )


def max_tokens(limit: int) -> StopCondition:
    """Stop once the agent has used so many tokens."""
    return StopCondition("max_tokens", lambda seen: seen.usage.get("total_tokens", 0) >= limit, is_pure=True)


def has_text(texts: str | Sequence[str]) -> StopCondition:
    """Stop once the model has written one of these texts."""
    wanted = [texts] if isinstance(texts, str) else [*texts]
    return StopCondition(
        "has_text",
        lambda seen: any(text in step.content for step in seen.steps for text in wanted),
        is_pure=True,
    )


def stop_condition(function: Callable[..., Any]) -> Callable[..., StopCondition] | StopCondition:
    """Declare a function of ``(ctx)`` or ``(ctx, config)`` as a stop condition.

    One with a config is called with it: ``stop_conditions=[too_long({"limit": 5})]``. What it returns is recorded, so
    it may look at anything.
    """
    name = getattr(function, "__name__", "stop_condition")
    if len(inspect.signature(function).parameters) < _WITH_CONFIG:
        return StopCondition(name, function)
    return lambda config: StopCondition(name, lambda seen: function(seen, config))


def list_conditions(given: Sequence[StopLike] | None, default_steps: int) -> tuple[StopCondition, ...]:
    """Return conditions, with the default limit of steps unless one of them limits them."""
    conditions = tuple(
        one if isinstance(one, StopCondition) else StopCondition(getattr(one, "__name__", "stop"), one)
        for one in given or ()
    )
    if any(condition.limits_steps for condition in conditions):
        return conditions
    return (*conditions, max_steps(default_steps))
