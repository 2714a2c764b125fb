"""How a call lets the model think, and what is wrong with how it wants to. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_anthropic.models import BUDGETS, MIN_BUDGET, find_call_facts
from pollux_sync.data.provider import Problem

if TYPE_CHECKING:
    from pollux_sync.data.request import Call


def choose_max_tokens(call: Call) -> int:
    """The limit that goes with the call: the API wants one always."""
    return call.options.max_tokens or find_call_facts(call).default_max_tokens


def encode_thinking(call: Call) -> dict[str, Any] | None:
    """The field ``thinking``, None where the caller says nothing. Give it calls without a `thinking_problem`."""
    budget, effort = call.options.reasoning_budget_tokens, read_effort(call)
    if budget is None and effort is None:
        return None
    if budget == 0:
        return {"type": "disabled"}
    facts = find_call_facts(call)
    if budget is None and facts.thinking == "adaptive":
        return {"type": "adaptive", "display": "summarized"}
    return {"type": "enabled", "budget_tokens": budget or BUDGETS[effort or "low"]}


def encode_effort(call: Call) -> str | None:
    """The effort that is sent as such; None for models that take a budget in its place."""
    return read_effort(call) if find_call_facts(call).thinking == "adaptive" else None


def read_effort(call: Call) -> str | None:
    """What the caller asked for, in lower case."""
    effort = call.options.reasoning_effort
    return effort and effort.lower()


def find_thinking_problem(call: Call) -> Problem | None:
    """Why the model cannot think as asked."""
    effort, budget = read_effort(call), call.options.reasoning_budget_tokens
    facts = find_call_facts(call)
    if effort is None and not budget:
        return None
    if facts.thinking == "none":
        return Problem(f"{call.model} cannot think", "leave the reasoning options out, or take a newer model")
    if effort is not None and effort not in facts.efforts:
        return Problem(
            f"{call.model} takes no reasoning_effort {call.options.reasoning_effort!r}",
            f"use one of: {', '.join(facts.efforts)}",
        )
    return _budget_problem(call)


def _budget_problem(call: Call) -> Problem | None:
    budget, limit = (encode_thinking(call) or {}).get("budget_tokens"), choose_max_tokens(call)
    if budget is None:
        return None
    if budget < MIN_BUDGET:
        return Problem(
            f"reasoning_budget_tokens must be 0 or at least {MIN_BUDGET}, got {budget}", "0 switches thinking off"
        )
    if budget >= limit:
        return Problem(
            f"thinking with {budget} tokens leaves nothing of max_tokens {limit} for the answer",
            f"raise max_tokens above {budget}, or think less",
        )
    return None
