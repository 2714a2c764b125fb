"""The contexts that workflows, hooks and guardrails receive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from pollux_durable.activeruns import ActiveRun
    from pollux_durable.stepping import Steps


@attrs.define(kw_only=True, eq=False)
class WorkflowContext:
    """The first argument of a workflow: the ids of its run, its ``state``, and its steps as ``step``.

    ``created_at`` is in seconds since the epoch.
    """

    workflow_id: str
    execution_id: str
    root_execution_id: str
    root_workflow_id: str
    parent_execution_id: str | None
    session_id: str
    user_id: str | None
    created_at: float
    state: Any
    step: Steps
    run: ActiveRun = attrs.field(repr=False)

    @property
    def retry_count(self) -> int:
        """The number of retries of the run so far. It changes with each attempt: decide nothing by it."""
        return self.run.read_failures()


@attrs.define(kw_only=True, eq=False)
class AgentContext(WorkflowContext):
    """The context of hooks and guardrails of an agent. ``tools`` are the ids of its tools."""

    agent_id: str
    model: str
    provider: str
    system_prompt: str | None
    tools: tuple[str, ...]
    temperature: float | None
    max_tokens: int | None

    @property
    def conversation_id(self) -> str:
        """The id of the session, by which the agent remembers."""
        return self.session_id
