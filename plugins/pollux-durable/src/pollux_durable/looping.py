"""The loop of an agent: ask the model, check what it wrote, run its tools, until it is done."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from pollux_durable.calling import ModelCaller, Question
from pollux_durable.compacting import Memory, compact
from pollux_durable.data.agents import FAILED, AgentResult, AgentStep, ToolCallRequest, ToolResult
from pollux_durable.data.results import BatchWorkflowInput
from pollux_durable.data.values import convert_to_json
from pollux_durable.errors import StepExecutionError
from pollux_durable.guardrails import (
    VERDICT_SCHEMA,
    GuardrailAction,
    GuardrailContext,
    GuardrailResult,
    build_verdict_prompt,
    call_guardrail,
)
from pollux_durable.hooks import HookContext, run_hooks
from pollux_durable.stopping import StopContext
from pollux_durable.streaming import StepPublisher
from pollux_sync import Options, ToolCall
from pollux_sync.errors import ToolCallParseError
from pollux_sync.schemas import AnswerMismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pollux_durable.agents import Agent
    from pollux_durable.calling import ModelAnswer, Show
    from pollux_durable.contexts import AgentContext
    from pollux_durable.data.runs import JsonObject
    from pollux_durable.guardrails import Guardrail
    from pollux_sync import Reply


class AgentLoop:
    """One run of an agent."""

    def __init__(self, agent: Agent, context: AgentContext, payload: JsonObject) -> None:
        self._agent = agent
        self._context = context
        self._steps = context.step
        self._host = context.step.host
        self._caller = ModelCaller(self._host, context.run, on_change=agent.on_change)
        self._options: Options = attrs.evolve(agent.options, **payload["options"])
        is_streamed = payload["stream"] and not agent.guardrails and agent.output_schema is None
        self._publisher = StepPublisher(self._host, context.run, agent.id) if payload["stream"] else None
        self._show = self._publisher.show if self._publisher is not None and is_streamed else None
        self._input: Sequence[JsonObject] = payload["input"]
        self._memory = Memory()
        self._done: list[AgentStep] = []
        self._usage: dict[str, int] = {}
        self._answer: Any = None

    def run(self) -> AgentResult:
        """Go round until the agent is done; return its result. Raises what ends the run."""
        self._memory = Memory.from_dict(self._read_memory())
        self._remember(_build_user_turn(self._input))
        while True:
            number = len(self._done) + 1
            step = self._go_round(number)
            self._done.append(step)
            if not step.tool_results or self._is_stopped(number):
                break
        result = AgentResult(
            agent_run_id=self._context.execution_id,
            result=self._answer,
            tool_results=tuple(result for step in self._done for result in step.tool_results),
            total_steps=len(self._done),
            usage=self._usage,
        )
        self._save_memory()
        if self._publisher is not None:
            self._publisher.finish(result)
        return result

    def _go_round(self, number: int) -> AgentStep:
        agent = self._agent
        self._apply_step_hooks(number)
        self._memory = compact(self._memory, agent.compaction, partial(self._summarize, number))
        content, calls, answer = self._ask(number)
        self._answer = content if answer.answer_format is None or calls else _read_typed(answer)
        self._remember(_build_assistant_turn(content, calls, answer.reply))
        results = self._run_tools(number, calls)
        for result in results:
            self._remember(result.to_turn())
        step = AgentStep(
            step=number,
            content=content,
            tool_calls=calls,
            tool_results=results,
            usage=answer.reply.usage.to_dict(),
        )
        run_hooks(self._context, f"step_end:{number}", agent.on_step_end, self._build_seen(step.to_dict(), content))
        return step

    # Memory

    def _remember(self, turn: JsonObject) -> None:
        self._memory = attrs.evolve(self._memory, messages=(*self._memory.messages, turn))

    def _read_memory(self) -> JsonObject | None:
        request = self._context.run.request
        # A run at the top without a session of the caller's has nothing to remember.
        if request.parent_execution_id is None and not request.state_scope:
            return None
        sessions, names = self._host.sessions, (self._context.session_id, self._agent.id)
        memory: JsonObject | None = self._steps.record("memory", lambda: sessions.read(*names))
        return memory

    def _save_memory(self) -> None:
        memory = self._memory.to_dict()
        sessions, names = self._host.sessions, (self._context.session_id, self._agent.id)
        self._steps.record("memory:save", lambda: sessions.save(*names, memory))

    def _summarize(self, number: int, prompt: str, attempt: int) -> str:
        question = Question(prompt=prompt, config=self._agent.config, options=Options(history=[]))
        return self._ask_model(f"compact:{number}:{attempt}", question).reply.text

    # The model

    def _ask(self, number: int) -> tuple[str, tuple[ToolCallRequest, ...], ModelAnswer]:
        """Return what the model wrote, as the guardrails left it."""
        history = self._memory.build_history()
        for attempt in range(self._agent.guardrail_max_retries + 1):
            key = f"llm:{number}" if attempt == 0 else f"llm:{number}:{attempt}"
            answer = self._ask_once(key, number, history)
            reply = answer.reply
            calls = tuple(
                ToolCallRequest(id=call.id, name=call.name, arguments=call.arguments) for call in reply.tool_calls
            )
            seen = GuardrailContext(
                content=reply.text,
                tool_calls=calls,
                steps=tuple(self._done),
                llm_config={"model": self._context.model, "provider": self._context.provider},
                agent_id=self._agent.id,
                session_id=self._context.session_id,
            )
            checked, objection = self._check(f"guardrail:{number}:{attempt}", seen)
            if objection is None:
                if self._publisher is not None and self._show is None:
                    self._publisher.publish_text(number, checked.content)
                return checked.content, checked.tool_calls, answer
            told = f"Your answer was rejected: {objection}\nAnswer again."
            history = [*history, {"role": "assistant", "content": reply.text}, {"role": "user", "content": told}]
        raise StepExecutionError(
            f"a guardrail rejected {self._agent.guardrail_max_retries + 1} answers: {objection}",
            step_key=f"guardrail:{number}",
            error_type="GuardrailFailure",
        )

    def _ask_once(self, key: str, number: int, history: list[JsonObject]) -> ModelAnswer:
        question = Question(config=self._agent.config, options=attrs.evolve(self._options, history=history))
        show = None if self._show is None else partial(self._show, number)
        return self._ask_model(key, question, show)

    def _ask_model(self, key: str, question: Question, show: Show | None = None) -> ModelAnswer:
        answer = self._caller.ask(self._steps.enter(key), question, show)
        self._count(answer.reply)
        return answer

    def _count(self, reply: Reply) -> None:
        for name, count in reply.usage.to_dict().items():
            self._usage[name] = self._usage.get(name, 0) + count

    # Guardrails

    def _check(self, key: str, seen: GuardrailContext) -> tuple[GuardrailContext, str | None]:
        """Return what the guardrails left of an answer, and the objection of the one that rejects it."""
        for index, one in enumerate(self._agent.guardrails):
            result = GuardrailResult.from_dict(self._judge(f"{key}:{index}", one, seen))
            if result.action == GuardrailAction.FAIL:
                return seen, result.error_message or "it breaks a rule"
            if result.modified_content is not None:
                seen = attrs.evolve(seen, content=result.modified_content)
            if result.modified_tool_calls is not None:
                seen = attrs.evolve(seen, tool_calls=result.modified_tool_calls)
        return seen, None

    def _judge(self, key: str, one: Guardrail, seen: GuardrailContext) -> JsonObject:
        if not isinstance(one, str):
            return self._steps.run(key, partial(call_guardrail, one, self._context, seen), max_retries=0)
        question = Question(
            prompt=build_verdict_prompt(one, seen),
            config=self._agent.config,
            options=Options(response_schema=VERDICT_SCHEMA, schema_repairs=1),
        )
        try:
            verdict = self._ask_model(key, question).read()
        except AnswerMismatch:
            # Whoever cannot judge does not pass.
            verdict = {"passed": False, "reason": "the judge gave no verdict"}
        result = GuardrailResult() if verdict["passed"] else GuardrailResult.fail(str(verdict["reason"]))
        return result.to_dict()

    # Tools

    def _run_tools(self, number: int, calls: Sequence[ToolCallRequest]) -> tuple[ToolResult, ...]:
        """Run the tools that were called: those that are runs side by side, those that are steps one by one."""
        results: dict[str, ToolResult] = {}
        runs: list[tuple[ToolCallRequest, BatchWorkflowInput]] = []
        for index, call in enumerate(calls):
            tool = self._agent.tools.get(call.name)
            try:
                arguments = ToolCall(call.id, call.name, call.arguments).arguments_dict()
            except ToolCallParseError as error:
                results[call.id] = _build_failure(call, str(error.message))
                continue
            if tool is None:
                known = ", ".join(self._agent.tools) or "none"
                results[call.id] = _build_failure(call, f"there is no tool {call.name!r}; the tools are: {known}")
                continue
            arguments = self._apply_start_hooks(number, index, call, arguments)
            self._publish("tool_start", {"step": number, "tool": call.name, "tool_call_id": call.id})
            if tool.is_step:
                results[call.id] = self._run_step(
                    f"tool:{number}[{index}]", call, partial(tool.call, self._context, arguments)
                )
            else:
                runs.append((call, BatchWorkflowInput(tool.id, arguments)))
        results |= self._run_children(number, runs)
        return tuple(self._apply_end_hooks(number, index, results[call.id]) for index, call in enumerate(calls))

    def _run_children(
        self, number: int, runs: Sequence[tuple[ToolCallRequest, BatchWorkflowInput]]
    ) -> dict[str, ToolResult]:
        if not runs:
            return {}
        outcomes = self._steps.collect(f"tools:{number}", [given for _, given in runs])
        return {
            call.id: _build_result(call, outcome["value"])
            if "value" in outcome
            else _build_failure(call, outcome["error"]["message"])
            for (call, _), outcome in zip(runs, outcomes, strict=True)
        }

    def _run_step(self, key: str, call: ToolCallRequest, run: Callable[[], JsonObject]) -> ToolResult:
        try:
            return _build_result(call, self._steps.run(key, run, max_retries=0))
        except StepExecutionError as error:
            return _build_failure(call, str(error.message))

    # Hooks and ends

    def _build_seen(self, payload: Any, output: Any, tool: str | None = None) -> HookContext:
        return HookContext(
            workflow_id=self._agent.id,
            session_id=self._context.session_id,
            user_id=self._context.user_id,
            agent_config={"model": self._context.model, "provider": self._context.provider},
            steps=tuple(self._done),
            current_tool=tool,
            current_payload=payload,
            current_output=output,
        )

    def _apply_step_hooks(self, number: int) -> None:
        """Let the hooks see the messages of a step, and replace them."""
        if not self._agent.on_step_start:
            return
        seen = self._build_seen({"step": number, "messages": [*self._memory.messages]}, None)
        seen = run_hooks(self._context, f"step_start:{number}", self._agent.on_step_start, seen)
        messages = seen.current_payload.get("messages") if isinstance(seen.current_payload, dict) else None
        if messages is not None:
            self._memory = attrs.evolve(self._memory, messages=tuple(messages))

    def _apply_start_hooks(self, number: int, index: int, call: ToolCallRequest, arguments: JsonObject) -> JsonObject:
        seen = self._build_seen(arguments, None, call.name)
        key = f"tool_start:{number}[{index}]"
        changed: JsonObject = run_hooks(self._context, key, self._agent.on_tool_start, seen).current_payload
        return changed

    def _apply_end_hooks(self, number: int, index: int, result: ToolResult) -> ToolResult:
        self._publish(
            "tool_finish",
            {"step": number, "tool": result.tool_name, "tool_call_id": result.tool_call_id, "status": result.status},
        )
        if not self._agent.on_tool_end:
            return result
        seen = self._build_seen(None, result.content, result.tool_name)
        key = f"tool_end:{number}[{index}]"
        output = run_hooks(self._context, key, self._agent.on_tool_end, seen).current_output
        return attrs.evolve(result, content=output if isinstance(output, str) else json.dumps(output))

    def _publish(self, event_type: str, data: JsonObject) -> None:
        if self._publisher is not None:
            self._publisher.publish(event_type, data)

    def _is_stopped(self, number: int) -> bool:
        seen = StopContext(steps=tuple(self._done), agent_id=self._agent.id, usage=dict(self._usage))
        for index, condition in enumerate(self._agent.stop_conditions):
            check = partial(condition.check, seen)
            is_met = check() if condition.is_pure else self._steps.run(f"stop:{number}:{index}", check, max_retries=0)
            if is_met:
                return True
        return False


def _build_user_turn(items: Sequence[JsonObject]) -> JsonObject:
    text = "\n\n".join(item["text"] for item in items if "text" in item)
    sources = [item["source"] for item in items if "source" in item]
    turn: JsonObject = {"role": "user", "content": text}
    return turn | ({"sources": sources} if sources else {})


def _build_assistant_turn(content: str, calls: Sequence[ToolCallRequest], reply: Reply) -> JsonObject:
    turn: JsonObject = {"role": "assistant", "content": content}
    if calls:
        turn["tool_calls"] = [call.to_dict() for call in calls]
    # What only the provider understands belongs to what it wrote: not to a text or to calls that were changed.
    written = [(call.id, call.name, call.arguments) for call in reply.tool_calls]
    is_changed = content != reply.text or [(call.id, call.name, call.arguments) for call in calls] != written
    if reply.provider_state is not None and not is_changed:
        turn["provider_state"] = dict(reply.provider_state)
    return turn


def _build_result(call: ToolCallRequest, value: JsonObject) -> ToolResult:
    return ToolResult(
        tool_name=call.name,
        tool_call_id=call.id,
        content=value["content"],
        result=value["value"],
        sources=tuple(value["sources"]),
    )


def _build_failure(call: ToolCallRequest, message: str) -> ToolResult:
    return ToolResult(
        tool_name=call.name, tool_call_id=call.id, status=FAILED, content=f"Error: {message}", error=message
    )


def _read_typed(answer: ModelAnswer) -> Any:
    try:
        return convert_to_json(answer.read(), "the answer")
    except AnswerMismatch as mismatch:
        raise StepExecutionError(
            f"the answer does not fit output_schema: {mismatch}", error_type="AnswerMismatch"
        ) from None
