"""Hooks around workflows, agents and tools: each is a step, may change what goes on, and may end the run."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from pollux_durable.data.values import convert_to_json
from pollux_durable.errors import StepExecutionError
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pollux_durable.contexts import WorkflowContext
    from pollux_durable.data.runs import JsonObject

    Hook: TypeAlias = Callable[[WorkflowContext, "HookContext"], "HookResult | None"]


class HookAction(StrEnum):
    """The decision of a hook."""

    CONTINUE = "continue"
    FAIL = "fail"


@attrs.frozen(kw_only=True)
class HookResult:
    """The decision of a hook: `continue_with` or `fail`."""

    action: HookAction = HookAction.CONTINUE
    modified_payload: Any = None
    modified_output: Any = None
    error_message: str | None = None

    @classmethod
    def continue_with(cls, *, modified_payload: Any = None, modified_output: Any = None) -> HookResult:
        """Go on, with another payload or output if one is given."""
        return cls(modified_payload=modified_payload, modified_output=modified_output)

    @classmethod
    def fail(cls, message: str) -> HookResult:
        """End the run as failed."""
        return cls(action=HookAction.FAIL, error_message=message)


@attrs.frozen(kw_only=True)
class HookContext:
    """The input of a hook. ``current_payload`` and ``current_output`` are as the hooks before it left them."""

    workflow_id: str
    session_id: str | None = None
    user_id: str | None = None
    agent_config: Any = None
    steps: Sequence[Any] = ()
    current_tool: str | None = None
    current_payload: Any = None
    current_output: Any = None


def hook(function: Hook) -> Hook:
    """Mark a function as a hook. It takes the context of the run and a `HookContext`."""
    return function


def list_hooks(given: Hook | Sequence[Hook] | None) -> tuple[Hook, ...]:
    """Return one hook or many as a tuple. Raises ConfigurationError if one cannot be called."""
    if given is None:
        return ()
    hooks = (given,) if callable(given) else tuple(given)
    for one in hooks:
        if not callable(one):
            raise ConfigurationError(f"a hook is {one!r}", hint="pass functions marked with @hook")
    return hooks


def run_hooks(context: WorkflowContext, phase: str, hooks: Sequence[Hook], seen: HookContext) -> HookContext:
    """Call hooks one after the other, each as a step; return what the last one saw, with its changes.

    Raises StepExecutionError if one of them decides so.
    """
    for number, one in enumerate(hooks):
        decided = context.step.run(f"{phase}:{number}", partial(_call, one, context, seen), max_retries=0)
        if decided["action"] == HookAction.FAIL:
            raise StepExecutionError(decided["message"], step_key=f"{phase}:{number}", error_type="HookFailure")
        seen = attrs.evolve(seen, **decided["changes"])
    return seen


def _call(one: Hook, context: WorkflowContext, seen: HookContext) -> JsonObject:
    result = one(context, seen) or HookResult()
    changes = {
        "current_payload": result.modified_payload,
        "current_output": result.modified_output,
    }
    return {
        "action": str(result.action),
        "message": result.error_message or "a hook ended the run",
        "changes": {
            name: convert_to_json(value, f"the {name} of a hook")
            for name, value in changes.items()
            if value is not None
        },
    }
