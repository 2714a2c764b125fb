"""The thinking settings of a call, encoded and checked. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_gemini.models import BUDGETS, find_call_facts
from pollux_sync.plugin import Problem

if TYPE_CHECKING:
    from pollux_gemini.models import ModelFacts
    from pollux_sync.plugin import Call


def encode_thinking(call: Call) -> dict[str, Any] | None:
    """Encode ``thinkingConfig``, or return None if nothing is to be set. The call must have no thinking problem."""
    budget, effort = call.options.reasoning_budget_tokens, _read_effort(call)
    facts, summary = find_call_facts(call), call.options.reasoning_summary
    # A model that cannot think refuses any setting, even a budget of 0.
    if facts.thinking == "none":
        return None
    is_shown = summary != "none"
    if budget is None and effort is None:
        return None if summary is None else {"includeThoughts": is_shown}
    if effort is not None and facts.thinking == "level":
        return {"includeThoughts": is_shown, "thinkingLevel": effort.upper()}
    # A model that takes only budgets gets the budget that stands for the effort.
    tokens = BUDGETS[effort] if effort is not None else budget
    return {"includeThoughts": is_shown and tokens != 0, "thinkingBudget": tokens}


def _read_effort(call: Call) -> str | None:
    effort = call.options.reasoning_effort
    return effort and effort.lower()


def find_thinking_problem(call: Call) -> Problem | None:
    """Return the problem with the call's reasoning options, or None."""
    budget, effort = call.options.reasoning_budget_tokens, _read_effort(call)
    facts, summary = find_call_facts(call), call.options.reasoning_summary
    if summary in {"concise", "detailed"}:
        return Problem(f"Gemini takes no reasoning_summary {summary!r}", "use 'auto' or 'none'")
    if facts.thinking == "none" and (budget or effort or summary == "auto"):
        return Problem(f"{call.model} cannot think", "leave the reasoning options out, or take a newer model")
    if effort is not None and effort not in facts.efforts:
        return Problem(
            f"{call.model} takes no reasoning_effort {call.options.reasoning_effort!r}",
            f"use one of: {', '.join(facts.efforts)}",
        )
    return None if budget is None else _find_budget_problem(budget, call.model, facts)


def _find_budget_problem(budget: int, model: str, facts: ModelFacts) -> Problem | None:
    if budget == 0:
        return (
            None
            if facts.can_stop
            else Problem(f"{model} always thinks", f"set reasoning_budget_tokens to {facts.min_budget} or more")
        )
    if facts.min_budget <= budget <= (facts.max_budget or budget):
        return None
    return Problem(
        f"{model} does not accept reasoning_budget_tokens {budget}",
        f"use from {facts.min_budget} to {facts.max_budget}" + (", or 0 for no thinking" if facts.can_stop else ""),
    )
