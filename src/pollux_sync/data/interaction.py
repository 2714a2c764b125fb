"""What one interaction is made of: an Environment that stays, an Input that is new, a Continuation in between."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import attrs

from pollux_sync.data.checks import check_text, require_each
from pollux_sync.data.message import Message
from pollux_sync.data.options import Options, ToolChoice
from pollux_sync.data.reply import list_open_calls
from pollux_sync.data.source import Source, convert_read_errors
from pollux_sync.data.tool import Tool, ToolDeclaration, ToolResult
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pollux_sync.data.handles import CacheHandle

#: A tool as an Environment keeps it: a function has become a Tool.
EnvironmentTool: TypeAlias = "Tool | ToolDeclaration | dict[str, Any]"


def _require_sources(sources: Iterable[Source]) -> tuple[Source, ...]:
    return require_each("sources", sources, Source, hint="sources=[Source.from_file(...)]")


def _convert_tools(tools: Iterable[EnvironmentTool | Callable[..., Any]]) -> tuple[EnvironmentTool, ...]:
    hint = "pass a list of functions, Tool, ToolDeclaration or dicts"
    return tuple(_convert_tool(tool) for tool in require_each("tools", tools, object, hint=hint))


def _convert_tool(tool: Any) -> EnvironmentTool:
    if isinstance(tool, Tool | ToolDeclaration):
        return tool
    return Tool.from_function(tool) if callable(tool) else copy.deepcopy(tool)


@attrs.frozen(kw_only=True)
class Environment:
    """What many interactions share: instructions, sources, tools, or a cache that holds these.

    ``tools`` are typed functions, `Tool`, `ToolDeclaration` or dicts as in ``Options(tools=[...])``; they are
    declared to the model, not run. Raises ConfigurationError for what `Options` would refuse.
    """

    instructions: str | None = None
    sources: tuple[Source, ...] = attrs.field(default=(), converter=_require_sources)
    tools: tuple[EnvironmentTool, ...] = attrs.field(default=(), converter=_convert_tools)
    tool_choice: ToolChoice | None = None
    cache: CacheHandle | None = None

    def __attrs_post_init__(self) -> None:
        if self.instructions is not None:
            check_text("instructions", self.instructions, hint="leave it out, or say something")
        Options(**self.settings)

    @property
    def settings(self) -> dict[str, Any]:
        """The fields of `Options` that it stands for, by name."""
        return {
            "system_instruction": self.instructions,
            "tools": self._declarations or None,
            "tool_choice": self.tool_choice,
            "cache": self.cache,
        }

    @property
    def _declarations(self) -> list[dict[str, Any]]:
        return [tool.declaration if isinstance(tool, Tool | ToolDeclaration) else tool for tool in self.tools]

    def fingerprint(self, provider: str | None = None) -> str:
        """Hex SHA-256 that is equal for equal instructions, contents of sources, and tools, in every process.

        The settings that sources have for ``provider`` count with it. Raises SourceError for a file that cannot
        be read.
        """
        sources = [_hash_source(source, provider) for source in self.sources]
        identity = {"instructions": self.instructions, "sources": sources, "tools": self._declarations}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _hash_source(source: Source, provider: str | None) -> str:
    with convert_read_errors(source):
        return source.cache_identity_hash(provider=provider)


@attrs.frozen(kw_only=True)
class Continuation:
    """A conversation so far, to go on from with ``Input(..., continuation=...)``; JSON, of one provider.

    What it holds is the provider's and this SDK's business; it names files that will be read and sent, so take one
    only from where you would take a script.
    """

    provider: str
    _state: str = attrs.field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The conversation as JSON-ready data."""
        state: dict[str, Any] = json.loads(self._state)
        return state

    def to_json(self) -> str:
        """The conversation as JSON text, in ASCII."""
        return self._state

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The continuation that `to_dict` gave. Raises ConfigurationError for what is none."""
        given: object = data
        hint = "pass what to_dict() gave, unchanged"
        if not isinstance(given, dict) or not isinstance(given.get("provider"), str):
            raise ConfigurationError("not a stored Continuation: it names no provider", hint=hint)
        try:
            return cls(provider=given["provider"], state=json.dumps(given))
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigurationError(f"not a stored Continuation: {error}", hint=hint) from error

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The continuation that `to_json` gave. Raises ConfigurationError for what is none."""
        try:
            data = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigurationError(
                f"not a stored Continuation: {error}", hint="pass what to_json() gave, unchanged"
            ) from error
        return cls.from_dict(data)


def _require_messages(messages: Iterable[Message]) -> tuple[Message, ...]:
    return require_each("history", messages, Message, hint="messages_from_openai(...) reads a transcript")


def _require_results(results: Iterable[ToolResult]) -> tuple[ToolResult, ...]:
    return require_each("tool_results", results, ToolResult, hint="ToolResult.from_value(call, value)")


@attrs.frozen
class Input:
    """What is new in one interaction: what the user says, or what the tools found, and what came before it.

    Before it came either ``history``, messages from elsewhere, or the ``continuation`` of an earlier output.
    ``tool_results`` answer the tool calls in either, each once. A history that ends with the user's message or a
    tool's needs no ``content``. Raises ConfigurationError for parts that do not fit together.
    """

    content: str | None = None
    history: tuple[Message, ...] = attrs.field(default=(), converter=_require_messages, kw_only=True)
    continuation: Continuation | None = attrs.field(default=None, kw_only=True)
    tool_results: tuple[ToolResult, ...] = attrs.field(default=(), converter=_require_results, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.content is not None:
            check_text("content", self.content, hint="say something, or leave it out")
        continuation: object = self.continuation
        if continuation is not None and not isinstance(continuation, Continuation):
            raise ConfigurationError(
                f"continuation must be a Continuation, got {type(continuation).__name__}",
                hint="pass output.continuation, or what Continuation.from_dict or from_json gives",
            )
        if self.history and self.continuation is not None:
            raise ConfigurationError(
                "history and continuation exclude each other", hint="a continuation holds what came before it"
            )
        if self.tool_results and self.continuation is None and not self._has_open_calls():
            raise ConfigurationError(
                "tool_results need the tool calls that they answer",
                hint="pass continuation=output.continuation, or a history that ends in tool calls",
            )
        if self.content is None and not self.tool_results and not self._ends_unanswered():
            raise ConfigurationError("nothing is said", hint="pass content or tool_results")

    def _has_open_calls(self) -> bool:
        turns = [
            {"tool_calls": [{"id": call.id} for call in message.tool_calls], "tool_call_id": message.tool_call_id}
            for message in self.history
        ]
        return bool(list_open_calls(turns))

    def _ends_unanswered(self) -> bool:
        return bool(self.history) and self.history[-1].role in {"user", "tool"}
