"""The values of an interaction: Environment and Input, and the Continuation that links one to the next."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import attrs

from pollux_sync._values import Value
from pollux_sync.data.checks import check_text, require_each
from pollux_sync.data.hosted import HostedTool
from pollux_sync.data.message import Message
from pollux_sync.data.options import Options, ToolChoice
from pollux_sync.data.reply import list_open_calls
from pollux_sync.data.source import Source, convert_read_errors
from pollux_sync.data.tool import Tool, ToolDeclaration, ToolResult
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pollux_sync.data.handles import CacheHandle

#: A tool in an Environment, where a function has become a Tool.
EnvironmentTool: TypeAlias = "Tool | ToolDeclaration | HostedTool | dict[str, Any]"


def _require_sources(sources: Iterable[Source]) -> tuple[Source, ...]:
    return require_each("sources", sources, Source, hint="sources=[Source.from_file(...)]")


def _convert_tools(tools: Iterable[EnvironmentTool | Callable[..., Any]]) -> tuple[EnvironmentTool, ...]:
    hint = "pass a list of functions, Tool, ToolDeclaration or dicts"
    return tuple(_convert_tool(tool) for tool in require_each("tools", tools, object, hint=hint))


def _convert_tool(tool: Any) -> EnvironmentTool:
    if isinstance(tool, Tool | ToolDeclaration | HostedTool):
        return tool
    # A copy, so that the environment and its fingerprint do not change with the caller's dict.
    return Tool.from_function(tool) if callable(tool) else copy.deepcopy(tool)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Environment(Value):
    """The settings that many interactions share: instructions, sources and tools, or a cache that holds these.

    ``tools`` are typed functions, `Tool`, `ToolDeclaration`, dicts and tools that the provider runs, as in
    ``Options(tools=[...])``. Functions are declared to the model, not run. Raises
    ConfigurationError for settings that `Options` would refuse.
    """

    instructions: str | None = None
    sources: tuple[Source, ...] = attrs.field(default=(), converter=_require_sources)
    tools: tuple[EnvironmentTool, ...] = attrs.field(default=(), converter=_convert_tools)
    tool_choice: ToolChoice | None = None
    cache: CacheHandle | None = None

    def __attrs_post_init__(self) -> None:
        if self.instructions is not None:
            check_text("instructions", self.instructions, hint="leave it out, or pass a text")
        # Built for its checks alone, so that an error names the Environment and not a later call.
        Options(**self.settings)

    @property
    def settings(self) -> dict[str, Any]:
        """The fields of `Options` that the environment sets, by name."""
        return {
            "system_instruction": self.instructions,
            "tools": self._declarations or None,
            "tool_choice": self.tool_choice,
            "cache": self.cache,
        }

    @property
    def _declarations(self) -> list[dict[str, Any] | HostedTool]:
        return [tool.declaration if isinstance(tool, Tool | ToolDeclaration) else tool for tool in self.tools]

    def fingerprint(self, provider: str | None = None) -> str:
        """Return the hex SHA-256 of instructions, contents of sources, and tools; it is the same in every process.

        With ``provider`` the settings that sources have for this provider count too. Raises SourceError for a file
        that cannot be read.
        """
        sources = [_hash_source(source, provider) for source in self.sources]
        identity = {"instructions": self.instructions, "sources": sources, "tools": self._declarations}
        # Sorted, since the order of keys in a tool's schema has no meaning. A hosted tool shows itself without secrets.
        return hashlib.sha256(json.dumps(identity, sort_keys=True, default=repr).encode()).hexdigest()


def _hash_source(source: Source, provider: str | None) -> str:
    with convert_read_errors(source):
        return source.cache_identity_hash(provider=provider)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Continuation(Value):
    """The conversation so far with one provider, as JSON; ``Input(..., continuation=...)`` continues it.

    Its content is internal and may change. It names files that the next interaction reads and sends: load one only
    from a place that you would run a script from.
    """

    provider: str
    # Kept as text: the value is frozen, comparable, and what to_dict returns may be changed freely.
    _state: str = attrs.field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the conversation as JSON-ready data."""
        state: dict[str, Any] = json.loads(self._state)
        return state

    def to_json(self) -> str:
        """Return the conversation as JSON text, in ASCII."""
        return self._state

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the continuation that `to_dict` wrote. Raises ConfigurationError for other data."""
        stored: object = data
        hint = "pass the result of to_dict(), unchanged"
        if not isinstance(stored, dict) or not isinstance(stored.get("provider"), str):
            raise ConfigurationError("not a stored Continuation: it names no provider", hint=hint)
        try:
            return cls(provider=stored["provider"], state=json.dumps(stored))
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigurationError(f"not a stored Continuation: {error}", hint=hint) from error

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the continuation that `to_json` wrote. Raises ConfigurationError for other text."""
        try:
            data = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigurationError(
                f"not a stored Continuation: {error}", hint="pass the result of to_json(), unchanged"
            ) from error
        return cls.from_dict(data)


def _require_messages(messages: Iterable[Message]) -> tuple[Message, ...]:
    return require_each("history", messages, Message, hint="messages_from_openai(...) reads a transcript")


def _require_results(results: Iterable[ToolResult]) -> tuple[ToolResult, ...]:
    return require_each("tool_results", results, ToolResult, hint="ToolResult.from_value(call, value)")


@attrs.frozen(eq=False, repr=False)
class Input(Value):
    """The input of one interaction: the user's text or the results of tools, and the conversation before it.

    The conversation is either ``history``, messages from elsewhere, or the ``continuation`` of an earlier output.
    ``tool_results`` answer its open tool calls, each once. A history that ends with a message of the user or of a
    tool needs no ``content``. Raises ConfigurationError for parts that do not fit together.
    """

    content: str | None = None
    history: tuple[Message, ...] = attrs.field(default=(), converter=_require_messages, kw_only=True)
    continuation: Continuation | None = attrs.field(default=None, kw_only=True)
    tool_results: tuple[ToolResult, ...] = attrs.field(default=(), converter=_require_results, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.content is not None:
            check_text("content", self.content, hint="leave it out, or pass a text")
        continuation: object = self.continuation
        if continuation is not None and not isinstance(continuation, Continuation):
            raise ConfigurationError(
                f"continuation must be a Continuation, got {type(continuation).__name__}",
                hint="pass output.continuation, or the result of Continuation.from_dict() or from_json()",
            )
        if self.history and self.continuation is not None:
            raise ConfigurationError(
                "history and continuation exclude each other",
                hint="keep one of them; a continuation holds its conversation",
            )
        if self.tool_results and self.continuation is None and not self._has_open_calls():
            raise ConfigurationError(
                "tool_results need the tool calls that they answer",
                hint="pass continuation=output.continuation, or a history that ends in tool calls",
            )
        if self.content is None and not self.tool_results and not self._ends_unanswered():
            raise ConfigurationError("the Input has neither content nor tool_results", hint="pass one of them")

    def _has_open_calls(self) -> bool:
        turns = [
            {"tool_calls": [{"id": call.id} for call in message.tool_calls], "tool_call_id": message.tool_call_id}
            for message in self.history
        ]
        return bool(list_open_calls(turns))

    def _ends_unanswered(self) -> bool:
        return bool(self.history) and self.history[-1].role in {"user", "tool"}
