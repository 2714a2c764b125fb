"""Agents: what a run of one is given, what its steps were, and what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.data.findings import FINDING_FIELDS
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from pollux_durable.data.runs import Json, JsonObject

COMPLETED, FAILED = "completed", "failed"


@attrs.frozen(kw_only=True)
class AgentInput:
    """One of many runs of agents to start: see `Agent.with_input`. ``options`` are settings of the model's calls."""

    id: str
    payload: JsonObject


@attrs.frozen(kw_only=True)
class ToolCallRequest:
    """A tool that the model wants to run. ``arguments`` is the JSON text that it wrote."""

    id: str
    name: str
    arguments: str

    def to_dict(self) -> JsonObject:
        """Return the JSON form. The class, called with it, gives an equal value."""
        return attrs.asdict(self)


@attrs.frozen(kw_only=True)
class ToolResult:
    """The result of a tool. ``content`` is what the model reads, ``result`` what the function returned."""

    tool_name: str
    tool_call_id: str
    status: str = COMPLETED
    content: str = ""
    result: Json = None
    error: str | None = None
    sources: tuple[JsonObject, ...] = ()

    @property
    def is_error(self) -> bool:
        """True if the tool failed."""
        return self.status == FAILED

    def to_dict(self) -> JsonObject:
        """Return the JSON form. `from_dict` reads it."""
        return {**attrs.asdict(self, recurse=False), "sources": [*self.sources]}

    @classmethod
    def from_dict(cls, data: JsonObject) -> ToolResult:
        """Return the result of a JSON form."""
        return cls(**{**data, "sources": tuple(data.get("sources") or ())})

    def to_turn(self) -> JsonObject:
        """Return the turn that tells the model."""
        turn: JsonObject = {"role": "tool", "tool_call_id": self.tool_call_id, "content": self.content}
        turn |= {"sources": [*self.sources]} if self.sources else {}
        return turn | ({"is_error": True} if self.is_error else {})


@attrs.frozen(kw_only=True)
class AgentStep:
    """One round of an agent: what the model wrote, and the tools that it called. ``step`` counts from 1."""

    step: int
    content: str = ""
    tool_calls: tuple[ToolCallRequest, ...] = ()
    tool_results: tuple[ToolResult, ...] = ()
    usage: dict[str, int] = attrs.field(factory=dict)

    def to_dict(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "step": self.step,
            "content": self.content,
            "tool_calls": [call.to_dict() for call in self.tool_calls],
            "tool_results": [result.to_dict() for result in self.tool_results],
            "usage": self.usage,
        }


@attrs.frozen(kw_only=True)
class AgentResult:
    """The answer of an agent. ``result`` is its text, or a value of the type of ``output_schema``.

    ``usage`` sums the tokens of all its model calls, by the names of `pollux_sync.Usage`. ``hosted_calls`` and
    ``files`` are what the provider's own tools left in all of them, ``citations`` what they left in the answer, as in
    the result of `pollux_sync.run`.
    """

    agent_run_id: str
    result: Any = None
    tool_results: tuple[ToolResult, ...] = ()
    total_steps: int = 0
    usage: dict[str, int] = attrs.field(factory=dict)
    citations: tuple[JsonObject, ...] = ()
    hosted_calls: tuple[JsonObject, ...] = ()
    files: tuple[JsonObject, ...] = ()

    def to_dict(self) -> JsonObject:
        """Return the JSON form. `from_dict` reads it."""
        return {
            "agent_run_id": self.agent_run_id,
            "result": self.result,
            "tool_results": [result.to_dict() for result in self.tool_results],
            "total_steps": self.total_steps,
            "usage": self.usage,
            **{name: [*getattr(self, name)] for name in FINDING_FIELDS},
        }

    @classmethod
    def from_dict(cls, data: JsonObject) -> AgentResult:
        """Return the answer of a JSON form; ``result`` keeps its JSON form."""
        results = tuple(ToolResult.from_dict(result) for result in data.get("tool_results") or ())
        findings = {name: tuple(data.get(name) or ()) for name in FINDING_FIELDS}
        return cls(**{**data, **findings, "tool_results": results})


@attrs.frozen(kw_only=True)
class CompactionConfig:
    """The limits of a session's memory. Tokens are estimated as a quarter of the characters.

    Beyond ``max_conversation_tokens`` the older messages are folded into a summary of at most ``max_summary_tokens``;
    the last ``min_recent_messages`` are kept. Raises ConfigurationError for limits that exclude each other.
    """

    max_conversation_tokens: int = 80_000
    max_summary_tokens: int = 20_000
    min_recent_messages: int = 2
    enabled: bool = True

    def __attrs_post_init__(self) -> None:
        if self.max_summary_tokens >= self.max_conversation_tokens or self.min_recent_messages < 0:
            raise ConfigurationError(
                "max_summary_tokens must be less than max_conversation_tokens, and min_recent_messages not negative",
                hint="leave them out",
            )
