"""One run of an agent: what its parts share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_durable.calling import ModelCaller
from pollux_durable.hooks import HookContext
from pollux_durable.streaming import StepPublisher
from pollux_sync.data.findings import dump_findings

if TYPE_CHECKING:
    from pollux_durable.agentplan import AgentPlan
    from pollux_durable.calling import ModelAnswer, Question, Show
    from pollux_durable.contexts import AgentContext
    from pollux_durable.data.agents import AgentStep
    from pollux_durable.data.runs import JsonObject


class AgentRun:
    """One run of an agent.

    ``done`` are the steps that have ended, ``usage`` the tokens of all calls of its model, ``hosted_calls`` and
    ``files`` what the provider's own tools left in these.
    """

    def __init__(self, plan: AgentPlan, context: AgentContext, *, is_streamed: bool) -> None:
        self.plan = plan
        self.context = context
        self.steps = context.step
        self.host = context.step.host
        self.publisher = StepPublisher(self.host, context.run, plan.id) if is_streamed else None
        self.done: list[AgentStep] = []
        self.usage: dict[str, int] = {}
        self.hosted_calls: list[JsonObject] = []
        self.files: list[JsonObject] = []
        self._caller = ModelCaller(self.host, context.run, on_change=plan.on_change)

    def ask_model(self, key: str, question: Question, show: Show | None = None) -> ModelAnswer:
        """Return the answer of the model as a step, and keep count of what it took."""
        answer = self._caller.ask(self.steps.enter(key), question, show)
        for name, count in answer.reply.usage.to_dict().items():
            self.usage[name] = self.usage.get(name, 0) + count
        self.hosted_calls += dump_findings(answer.reply.hosted_calls)
        self.files += dump_findings(answer.reply.files)
        return answer

    def publish(self, event_type: str, data: JsonObject) -> None:
        """Publish an event, if anybody follows the run."""
        if self.publisher is not None:
            self.publisher.publish(event_type, data)

    def build_seen(self, payload: Any, output: Any = None, tool: str | None = None) -> HookContext:
        """Return what a hook is handed."""
        context = self.context
        return HookContext(
            workflow_id=self.plan.id,
            session_id=context.session_id,
            user_id=context.user_id,
            agent_config={"model": context.model, "provider": context.provider},
            steps=tuple(self.done),
            current_tool=tool,
            current_payload=payload,
            current_output=output,
        )
