"""The declaration of an agent, in the form that its runs use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pollux_durable.data.agents import CompactionConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_durable.calling import OnChange
    from pollux_durable.guardrails import Guardrail
    from pollux_durable.hooks import Hook
    from pollux_durable.stopping import StopCondition
    from pollux_durable.tools import DurableTool
    from pollux_sync import Config, Options


@attrs.frozen(kw_only=True)
class AgentPlan:
    """An agent as its runs use it. ``open_config`` returns the configuration of its model."""

    id: str
    open_config: Callable[[], Config]
    options: Options
    tools: dict[str, DurableTool] = attrs.field(factory=dict)
    output_schema: Any = None
    compaction: CompactionConfig = attrs.field(factory=CompactionConfig)
    on_change: OnChange = "fail"
    stop_conditions: tuple[StopCondition, ...] = ()
    guardrails: tuple[Guardrail, ...] = ()
    guardrail_max_retries: int = 2
    on_step_start: tuple[Hook, ...] = ()
    on_step_end: tuple[Hook, ...] = ()
    on_tool_start: tuple[Hook, ...] = ()
    on_tool_end: tuple[Hook, ...] = ()

    @property
    def can_show_pieces(self) -> bool:
        """True if nothing can take back a piece of an answer that was shown."""
        return not self.guardrails and self.output_schema is None
