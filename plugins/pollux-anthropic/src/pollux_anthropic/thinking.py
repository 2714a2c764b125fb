"""Reasoning options -> the fields "thinking" and "output_config", and the problems of options. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_anthropic.models import BUDGETS, MIN_BUDGET, find_call_facts
from pollux_sync.plugin import Problem

if TYPE_CHECKING:
    from pollux_sync.plugin import Call


#: How thoughts are shown, by the published contract: as summaries, or not at all.
_DISPLAYS = {"auto": "summarized", "none": "omitted"}


def choose_max_tokens(call: Call) -> int:
    """Return the limit that is sent with a call: the caller's, or the default of its model."""
    # The API refuses a request without a limit.
    return call.options.max_tokens or find_call_facts(call).default_max_tokens


def encode_thinking(call: Call) -> dict[str, Any] | None:
    """Return the field "thinking"; None if the caller sets no reasoning option.

    Only for calls without a problem by `find_thinking_problem`.
    """
    budget, effort = call.options.reasoning_budget_tokens, read_effort(call)
    if budget is None and effort is None:
        return None
    if budget == 0:
        return {"type": "disabled"}
    facts, summary = find_call_facts(call), call.options.reasoning_summary
    if budget is None and facts.thinking == "adaptive":
        # The summaries are what `Reply.reasoning` shows.
        return {"type": "adaptive", "display": _DISPLAYS[summary or "auto"]}
    thinking = {"type": "enabled", "budget_tokens": budget or BUDGETS[effort or "low"]}
    return thinking | ({"display": _DISPLAYS[summary]} if summary else {})


def encode_effort(call: Call) -> str | None:
    """Return the effort that is sent by name; None for models that take a budget of tokens in its place."""
    return read_effort(call) if find_call_facts(call).thinking == "adaptive" else None


def read_effort(call: Call) -> str | None:
    """Return the option ``reasoning_effort`` in lower case, as the API spells it."""
    effort = call.options.reasoning_effort
    return effort and effort.lower()


def find_thinking_problem(call: Call) -> Problem | None:
    """Find the reason why a call's model cannot think as the options say; None if it can."""
    effort, budget = read_effort(call), call.options.reasoning_budget_tokens
    facts = find_call_facts(call)
    if problem := _find_summary_problem(call):
        return problem
    # A budget of 0 switches thinking off, which every model can do.
    if effort is None and not budget:
        return None
    if facts.thinking == "none":
        return Problem(f"{call.model} cannot think", "leave the reasoning options out, or use a newer model")
    if effort is not None and effort not in facts.efforts:
        return Problem(
            f"{call.model} takes no reasoning_effort {call.options.reasoning_effort!r}",
            f"use one of: {', '.join(facts.efforts)}",
        )
    return _find_budget_problem(call)


def _find_summary_problem(call: Call) -> Problem | None:
    options = call.options
    summary, is_thinking = options.reasoning_summary, bool(options.reasoning_effort or options.reasoning_budget_tokens)
    # Where there are no thoughts, none are shown.
    if summary is None or (summary == "none" and not is_thinking):
        return None
    if summary not in _DISPLAYS:
        return Problem(f"Anthropic takes no reasoning_summary {summary!r}", "use 'auto' or 'none'")
    if is_thinking:
        return None
    return Problem(
        "reasoning_summary asks for thoughts of a call that does not think",
        "set reasoning_effort or reasoning_budget_tokens too, or leave reasoning_summary out",
    )


def _find_budget_problem(call: Call) -> Problem | None:
    budget, limit = (encode_thinking(call) or {}).get("budget_tokens"), choose_max_tokens(call)
    if budget is None:
        return None
    if budget < MIN_BUDGET:
        return Problem(
            f"reasoning_budget_tokens must be 0 or at least {MIN_BUDGET}, got {budget}", "0 switches thinking off"
        )
    # The limit covers thinking and answer together.
    if budget >= limit:
        return Problem(
            f"thinking with {budget} tokens leaves nothing of max_tokens {limit} for the answer",
            f"raise max_tokens above {budget}, or lower the reasoning option",
        )
    return None
