"""One message of a conversation that was kept elsewhere, as a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

import attrs

from pollux_sync.data.checks import check_text, require_each
from pollux_sync.data.reply import ToolCall
from pollux_sync.data.source import Source, convert_read_errors
from pollux_sync.data.transcript import decode_message, encode_message
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Role = Literal["system", "developer", "user", "assistant", "tool"]
#: A text, or what was said and shown, in order.
Content: TypeAlias = "str | tuple[str | Source, ...] | None"


def _require_content(content: str | Sequence[str | Source] | None) -> Content:
    given: object = content
    if given is None or isinstance(given, str):
        return given
    hint = "pass a text, or a list of texts and Sources"
    parts: tuple[str | Source, ...] = require_each("content", given, str, Source, hint=hint)
    if not parts:
        raise ConfigurationError("content is an empty list", hint=hint)
    return parts


def _require_tool_calls(calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
    return require_each("tool_calls", calls, ToolCall, hint="pass ToolCall(id, name, arguments)")


@attrs.frozen
class Message:
    """What one side said: a ``user``, the ``assistant``, a ``tool``, or the ``system`` (``developer`` says the same).

    ``content`` is a text, or texts and (a user's) `Source` in the order in which they were said and shown.
    ``tool_calls`` and ``refusal`` are an assistant's, and then its content may be None; a tool's message needs the
    ``tool_call_id`` that it answers, and may have the tool's ``name``. Raises ConfigurationError for other shapes.
    """

    role: Role
    content: Content = attrs.field(default=None, converter=_require_content)
    tool_calls: tuple[ToolCall, ...] = attrs.field(default=(), converter=_require_tool_calls, kw_only=True)
    tool_call_id: str | None = attrs.field(default=None, kw_only=True)
    name: str | None = attrs.field(default=None, kw_only=True)
    refusal: str | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.role not in get_args(Role):
            raise ConfigurationError(
                f"role {self.role!r} is not known", hint=f"use one of: {', '.join(get_args(Role))}"
            )
        self._check_owner("tool_calls", "assistant")
        self._check_owner("refusal", "assistant")
        self._check_owner("tool_call_id", "tool")
        self._check_owner("name", "tool", hint="say in the content who speaks")
        if self.role == "tool":
            check_text("tool_call_id", self.tool_call_id, hint="pass the id of the call that this answers")
        if self.content is None and not self.tool_calls and self.refusal is None:
            raise ConfigurationError(
                f"a message of the {self.role} has no content", hint="only tool calls and a refusal need none"
            )
        if isinstance(self.content, tuple) and self.role != "user" and any(isinstance(p, Source) for p in self.content):
            raise ConfigurationError(
                f"a message of the {self.role} shows a source", hint="show it in a message of the user"
            )

    def _check_owner(self, name: str, role: Role, *, hint: str = "leave it out, or change the role") -> None:
        value = getattr(self, name)
        if value is None or value == ():
            return
        if self.role != role:
            raise ConfigurationError(f"{name} is for messages of the {role}, not of the {self.role}", hint=hint)
        if name != "tool_calls":
            check_text(name, value)

    @classmethod
    def from_openai(cls, data: Mapping[str, Any]) -> Self:
        """The message that a dict of an OpenAI Chat Completions transcript is.

        Content is text, or a list of ``text`` and ``image_url`` parts; an address whose name does not say what
        kind of image it is counts as a JPEG. Keys that are null or empty are left out. Raises ConfigurationError
        for whatever else cannot be kept.
        """
        return cls(**decode_message(data, "message"))

    def to_openai(self) -> dict[str, Any]:
        """The message as a dict of an OpenAI Chat Completions transcript: what `from_openai` was given.

        Images go by their address, or inside. Raises ConfigurationError for other sources, SourceError for a
        file that cannot be read.
        """
        return encode_message(self)

    def to_turn(self) -> dict[str, Any]:
        """The message as ``Options(history=[...])`` takes it. Raises SourceError for a file that cannot be read."""
        said, shown = self._split_content()
        turn: dict[str, Any] = {"role": "system" if self.role == "developer" else self.role, "content": said}
        if shown:
            turn["sources"] = [_dump_source(source) for source in shown]
        if self.tool_calls:
            turn["tool_calls"] = [attrs.asdict(call) for call in self.tool_calls]
        return turn if self.tool_call_id is None else turn | {"tool_call_id": self.tool_call_id}

    def _split_content(self) -> tuple[str, tuple[Source, ...]]:
        """The text at the end, and what comes before it when there is more than text."""
        parts = (self.content,) if isinstance(self.content, str) else self.content or ()
        texts = [part for part in parts if isinstance(part, str)]
        if len(texts) == len(parts):
            return "\n\n".join([*texts, *([self.refusal] if self.refusal else [])]), ()
        *before, last = parts
        said, shown = (last, before) if isinstance(last, str) else ("", parts)
        return said, tuple(Source.from_text(part) if isinstance(part, str) else part for part in shown)


def _dump_source(source: Source) -> dict[str, Any]:
    with convert_read_errors(source):
        return source.to_dict()


def messages_from_openai(transcript: Iterable[Mapping[str, Any]]) -> list[Message]:
    """The messages of an OpenAI Chat Completions transcript; see `Message.from_openai`. Errors name the place."""
    if isinstance(transcript, str | bytes | dict) or not hasattr(transcript, "__iter__"):
        raise ConfigurationError(
            f"a transcript must be a list of dicts, got {type(transcript).__name__}", hint="pass its messages"
        )
    return [_decode_message(data, f"messages[{index}]") for index, data in enumerate(transcript)]


def _decode_message(data: Mapping[str, Any], where: str) -> Message:
    fields = decode_message(data, where)
    try:
        return Message(**fields)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error.message}", hint=error.hint) from error


def messages_to_openai(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """An OpenAI Chat Completions transcript of messages; see `Message.to_openai`."""
    return [message.to_openai() for message in messages]
