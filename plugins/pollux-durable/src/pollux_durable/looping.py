"""The loop of an agent: ask the model, check what it wrote, run its tools, until it is done."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from pollux_durable.agentrun import AgentRun
from pollux_durable.calling import Question
from pollux_durable.compacting import Memory, compact
from pollux_durable.data.agents import AgentResult, AgentStep, ToolCallRequest
from pollux_durable.data.values import convert_to_json
from pollux_durable.errors import StepExecutionError
from pollux_durable.hooks import run_hooks
from pollux_durable.judging import judge_answer
from pollux_durable.stopping import StopContext
from pollux_durable.toolrunning import ToolRunner
from pollux_sync import Options
from pollux_sync.data.findings import dump_findings, forget_places
from pollux_sync.schemas import AnswerMismatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_durable.agentplan import AgentPlan
    from pollux_durable.calling import ModelAnswer
    from pollux_durable.contexts import AgentContext
    from pollux_durable.data.runs import JsonObject
    from pollux_durable.judging import Verdict
    from pollux_sync import Reply


class AgentLoop:
    """The rounds of one run of an agent."""

    def __init__(self, plan: AgentPlan, context: AgentContext, payload: JsonObject) -> None:
        self._plan = plan
        self._context = context
        self._run = AgentRun(plan, context, is_streamed=payload["stream"])
        self._options: Options = attrs.evolve(plan.options, **payload["options"])
        self._input: Sequence[JsonObject] = payload["input"]
        self._memory = Memory()
        self._answer: Any = None
        self._citations: tuple[JsonObject, ...] = ()

    def run(self) -> AgentResult:
        """Go round until the agent is done; return its result. Raises what ends the run."""
        self._memory = Memory.from_dict(self._read_memory())
        self._remember(_build_user_turn(self._input))
        is_over = False
        while not is_over:
            step = self._go_round(len(self._run.done) + 1)
            self._run.done.append(step)
            is_over = not step.tool_results or self._is_stopped(step.step)
        result = AgentResult(
            agent_run_id=self._context.execution_id,
            result=self._answer,
            tool_results=tuple(result for step in self._run.done for result in step.tool_results),
            total_steps=len(self._run.done),
            usage=self._run.usage,
            citations=self._citations,
            hosted_calls=tuple(self._run.hosted_calls),
            files=tuple(self._run.files),
        )
        self._save_memory()
        if self._run.publisher is not None:
            self._run.publisher.finish(result)
        return result

    def _go_round(self, number: int) -> AgentStep:
        self._apply_start_hooks(number)
        self._memory = compact(self._memory, self._plan.compaction, partial(self._summarize, number))
        answer, verdict = self._ask(number)
        is_typed = answer.answer_format is not None and not verdict.tool_calls
        self._answer = _read_typed(answer) if is_typed else verdict.content
        self._citations = _dump_citations(verdict, answer.reply)
        self._remember(_build_assistant_turn(verdict, answer.reply))
        results = ToolRunner(self._run, number).run_all(verdict.tool_calls)
        for result in results:
            self._remember(result.to_turn())
        step = AgentStep(
            step=number,
            content=verdict.content,
            tool_calls=verdict.tool_calls,
            tool_results=results,
            usage=answer.reply.usage.to_dict(),
        )
        seen = self._run.build_seen(step.to_dict(), step.content)
        run_hooks(self._context, f"step_end:{number}", self._plan.on_step_end, seen)
        return step

    def _apply_start_hooks(self, number: int) -> None:
        """Let the hooks see the messages of a round, and replace them."""
        seen = self._run.build_seen({"step": number, "messages": [*self._memory.messages]})
        seen = run_hooks(self._context, f"step_start:{number}", self._plan.on_step_start, seen)
        changed = seen.current_payload
        if isinstance(changed, dict) and "messages" in changed:
            self._memory = attrs.evolve(self._memory, messages=tuple(changed["messages"]))

    def _is_stopped(self, number: int) -> bool:
        seen = StopContext(steps=tuple(self._run.done), agent_id=self._plan.id, usage=dict(self._run.usage))
        for index, condition in enumerate(self._plan.stop_conditions):
            check = partial(condition.check, seen)
            key = f"stop:{number}:{index}"
            is_met = check() if condition.is_pure else self._run.steps.run(key, check, max_retries=0)
            if is_met:
                return True
        return False

    # The model

    def _ask(self, number: int) -> tuple[ModelAnswer, Verdict]:
        """Return an answer that the guardrails let pass, and what they left of it."""
        history, verdict = self._memory.build_history(), None
        for attempt in range(self._plan.guardrail_max_retries + 1):
            answer = self._ask_once(f"llm:{number}" + (f":{attempt}" if attempt else ""), number, history)
            calls = tuple(
                ToolCallRequest(id=call.id, name=call.name, arguments=call.arguments)
                for call in answer.reply.tool_calls
            )
            verdict = judge_answer(self._run, f"guardrail:{number}:{attempt}", answer.reply.text, calls)
            if verdict.objection is None:
                if self._run.publisher is not None and not self._plan.can_show_pieces:
                    self._run.publisher.publish_text(number, verdict.content)
                return answer, verdict
            told = f"Your answer was rejected: {verdict.objection}\nAnswer again."
            rejected = {"role": "assistant", "content": answer.reply.text}
            history = [*history, rejected, {"role": "user", "content": told}]
        raise StepExecutionError(
            f"a guardrail rejected the answer: {verdict.objection if verdict else 'no answer was asked for'}",
            step_key=f"guardrail:{number}",
            error_type="GuardrailFailure",
        )

    def _ask_once(self, key: str, number: int, history: list[JsonObject]) -> ModelAnswer:
        question = Question(config=self._plan.open_config(), options=attrs.evolve(self._options, history=history))
        publisher = self._run.publisher
        show = partial(publisher.show, number) if publisher is not None and self._plan.can_show_pieces else None
        return self._run.ask_model(key, question, show)

    # Memory

    def _remember(self, turn: JsonObject) -> None:
        self._memory = attrs.evolve(self._memory, messages=(*self._memory.messages, turn))

    def _read_memory(self) -> JsonObject | None:
        request = self._context.run.request
        # A run at the top without a session of the caller's has nothing to remember.
        if request.parent_execution_id is None and not request.state_scope:
            return None
        sessions, names = self._run.host.sessions, (self._context.session_id, self._plan.id)
        memory: JsonObject | None = self._run.steps.record("memory", lambda: sessions.read(*names))
        return memory

    def _save_memory(self) -> None:
        # No step: a replay saves the same once more, which costs a tenth of a record.
        self._run.host.sessions.save(self._context.session_id, self._plan.id, self._memory.to_dict())

    def _summarize(self, number: int, prompt: str, attempt: int) -> str:
        question = Question(prompt=prompt, config=self._plan.open_config(), options=Options())
        return self._run.ask_model(f"compact:{number}:{attempt}", question).reply.text


def _build_user_turn(items: Sequence[JsonObject]) -> JsonObject:
    text = "\n\n".join(item["text"] for item in items if "text" in item)
    sources = [item["source"] for item in items if "source" in item]
    turn: JsonObject = {"role": "user", "content": text}
    return turn | ({"sources": sources} if sources else {})


def _build_assistant_turn(verdict: Verdict, reply: Reply) -> JsonObject:
    turn: JsonObject = {"role": "assistant", "content": verdict.content}
    if verdict.tool_calls:
        turn["tool_calls"] = [call.to_dict() for call in verdict.tool_calls]
    # What only the provider understands belongs to what it wrote: not to a text or to calls that were changed.
    written = [(call.id, call.name, call.arguments) for call in reply.tool_calls]
    kept = [(call.id, call.name, call.arguments) for call in verdict.tool_calls]
    if reply.provider_state is not None and (verdict.content, kept) == (reply.text, written):
        turn["provider_state"] = dict(reply.provider_state)
    return turn


def _dump_citations(verdict: Verdict, reply: Reply) -> tuple[JsonObject, ...]:
    is_changed = verdict.content != reply.text
    return tuple(dump_findings(forget_places(reply.citations) if is_changed else reply.citations))


def _read_typed(answer: ModelAnswer) -> Any:
    try:
        return convert_to_json(answer.read(), "the answer")
    except AnswerMismatch as mismatch:
        raise StepExecutionError(
            f"the answer does not fit output_schema: {mismatch}", error_type="AnswerMismatch"
        ) from None
