"""Answer -> verdict: the guardrails of an agent, one after the other, each a step."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import attrs

from pollux_durable.calling import Question
from pollux_durable.guardrails import (
    VERDICT_SCHEMA,
    GuardrailAction,
    GuardrailContext,
    GuardrailResult,
    build_verdict_prompt,
    call_guardrail,
)
from pollux_sync import Options
from pollux_sync.schemas import AnswerMismatch

if TYPE_CHECKING:
    from pollux_durable.agentrun import AgentRun
    from pollux_durable.data.agents import ToolCallRequest
    from pollux_durable.data.runs import JsonObject
    from pollux_durable.guardrails import Guardrail


@attrs.frozen
class Verdict:
    """An answer as the guardrails changed it, and the objection of the one that rejects it."""

    content: str
    tool_calls: tuple[ToolCallRequest, ...]
    objection: str | None = None


def judge_answer(run: AgentRun, key: str, content: str, calls: tuple[ToolCallRequest, ...]) -> Verdict:
    """Return the verdict of all guardrails of an agent over an answer."""
    context = run.context
    seen = GuardrailContext(
        content=content,
        tool_calls=calls,
        steps=tuple(run.done),
        llm_config={"model": context.model, "provider": context.provider},
        agent_id=run.plan.id,
        session_id=context.session_id,
    )
    for index, one in enumerate(run.plan.guardrails):
        result = GuardrailResult.from_dict(_judge(run, f"{key}:{index}", one, seen))
        if result.action == GuardrailAction.FAIL:
            return Verdict(seen.content, seen.tool_calls, result.error_message or "it breaks a rule")
        if result.modified_content is not None:
            seen = attrs.evolve(seen, content=result.modified_content)
        if result.modified_tool_calls is not None:
            seen = attrs.evolve(seen, tool_calls=result.modified_tool_calls)
    return Verdict(seen.content, seen.tool_calls)


def _judge(run: AgentRun, key: str, one: Guardrail, seen: GuardrailContext) -> JsonObject:
    if not isinstance(one, str):
        return run.steps.run(key, partial(call_guardrail, one, run.context, seen), max_retries=0)
    question = Question(
        prompt=build_verdict_prompt(one, seen),
        config=run.plan.open_config(),
        options=Options(response_schema=VERDICT_SCHEMA, schema_repairs=1),
    )
    try:
        verdict = run.ask_model(key, question).read()
    except AnswerMismatch:
        # Whoever cannot judge does not pass.
        return GuardrailResult.fail("the judge gave no verdict").to_dict()
    result = GuardrailResult() if verdict["passed"] else GuardrailResult.fail(verdict["reason"])
    return result.to_dict()
