"""Guardrails: checks of a model's answer, before its tools run and before anybody sees it."""

from __future__ import annotations

import inspect
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from pollux_durable.data.agents import ToolCallRequest
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pollux_durable.contexts import AgentContext
    from pollux_durable.data.agents import AgentStep
    from pollux_durable.data.runs import JsonObject

#: A guardrail in words is judged by the agent's own model, with this answer.
VERDICT_SCHEMA = {
    "type": "object",
    "properties": {"passed": {"type": "boolean"}, "reason": {"type": "string"}},
    "required": ["passed", "reason"],
    "additionalProperties": False,
}
Guardrail: TypeAlias = "str | Callable[..., Any]"


class GuardrailAction(StrEnum):
    """The decision of a guardrail."""

    CONTINUE = "continue"
    FAIL = "fail"


@attrs.frozen(kw_only=True)
class GuardrailResult:
    """The decision of a guardrail: `continue_with` or `fail`."""

    action: GuardrailAction = GuardrailAction.CONTINUE
    modified_content: str | None = None
    modified_tool_calls: tuple[ToolCallRequest, ...] | None = None
    error_message: str | None = None

    @classmethod
    def continue_with(
        cls,
        *,
        modified_content: str | None = None,
        modified_tool_calls: Sequence[ToolCallRequest] | None = None,
    ) -> GuardrailResult:
        """Go on, with another text or other calls of tools if given; an empty list runs none."""
        calls = None if modified_tool_calls is None else tuple(modified_tool_calls)
        return cls(modified_content=modified_content, modified_tool_calls=calls)

    @classmethod
    def fail(cls, message: str) -> GuardrailResult:
        """Have the model answer again, with this message."""
        return cls(action=GuardrailAction.FAIL, error_message=message)

    def to_dict(self) -> JsonObject:
        """Return the JSON form. `from_dict` reads it."""
        calls = self.modified_tool_calls
        return {
            "action": str(self.action),
            "modified_content": self.modified_content,
            "modified_tool_calls": None if calls is None else [call.to_dict() for call in calls],
            "error_message": self.error_message,
        }

    @classmethod
    def from_dict(cls, data: JsonObject) -> GuardrailResult:
        """Return the result of a JSON form."""
        calls = data["modified_tool_calls"]
        return cls(
            action=GuardrailAction(data["action"]),
            modified_content=data["modified_content"],
            modified_tool_calls=None if calls is None else tuple(ToolCallRequest(**call) for call in calls),
            error_message=data["error_message"],
        )


@attrs.frozen(kw_only=True)
class GuardrailContext:
    """The input of a guardrail: the answer, as changed by the guardrails before it, and the steps so far."""

    content: str
    tool_calls: tuple[ToolCallRequest, ...] = ()
    steps: tuple[AgentStep, ...] = ()
    llm_config: dict[str, Any] = attrs.field(factory=dict)
    agent_id: str = ""
    session_id: str | None = None


def guardrail(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function of ``(guardrail_ctx)`` or ``(ctx, guardrail_ctx)`` as a guardrail."""
    return function


def list_guardrails(given: Guardrail | Sequence[Guardrail] | None) -> tuple[Guardrail, ...]:
    """Return guardrails as a tuple. Raises ConfigurationError if one is neither a function nor a text."""
    if given is None:
        return ()
    guardrails = (given,) if isinstance(given, str) or callable(given) else tuple(given)
    for one in guardrails:
        if not isinstance(one, str) and not callable(one):
            raise ConfigurationError(f"a guardrail is {one!r}", hint="pass functions marked with @guardrail, or texts")
    return guardrails


def call_guardrail(one: Callable[..., Any], context: AgentContext, seen: GuardrailContext) -> JsonObject:
    """Call a guardrail; return its decision in the JSON form."""
    arguments = (seen,) if len(inspect.signature(one).parameters) == 1 else (context, seen)
    result = one(*arguments) or GuardrailResult()
    return result.to_dict()


def build_verdict_prompt(rule: str, seen: GuardrailContext) -> str:
    """Return the question with which a model judges an answer by a rule in words."""
    calls = "\n".join(f"{call.name}({call.arguments})" for call in seen.tool_calls)
    answer = "\n\n".join(filter(None, [seen.content, calls and f"It calls these tools:\n{calls}"]))
    return f"Does this answer of an assistant keep the rule?\n\nRule: {rule}\n\nAnswer:\n{answer}"
