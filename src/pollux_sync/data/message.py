"""One message of a conversation that is kept elsewhere, and OpenAI transcripts of such messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

import attrs

from pollux_sync._values import Value
from pollux_sync.data.checks import check_text, require_each
from pollux_sync.data.reply import ToolCall
from pollux_sync.data.source import Source, convert_read_errors
from pollux_sync.data.transcript import decode_message, encode_message
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Role = Literal["system", "developer", "user", "assistant", "tool"]
#: A text, or texts and sources in order.
Content: TypeAlias = "str | tuple[str | Source, ...] | None"


def _require_content(content: str | Sequence[str | Source] | None) -> Content:
    value: object = content
    if value is None or isinstance(value, str):
        return value
    hint = "pass a text, or a list of texts and Sources"
    parts: tuple[str | Source, ...] = require_each("content", value, str, Source, hint=hint)
    if not parts:
        raise ConfigurationError("content is an empty list", hint=hint)
    return parts


def _require_tool_calls(calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
    return require_each("tool_calls", calls, ToolCall, hint="pass ToolCall(id, name, arguments)")


@attrs.frozen(eq=False, repr=False)
class Message(Value):
    """One message of a ``user``, the ``assistant``, a ``tool`` or the ``system``, also called ``developer``.

    ``content`` is a text, or a list of texts and sources in order; only a user's message may have sources. Only an
    assistant's message may have ``tool_calls`` or a ``refusal``, and then it needs no content. A tool's message needs
    the ``tool_call_id`` that it answers, and may have the ``name`` of the tool. Raises ConfigurationError for other
    combinations.
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
        self._check_owner("name", "tool", hint="name the speaker in the content")
        if self.role == "tool":
            check_text("tool_call_id", self.tool_call_id, hint="pass the id of the tool call")
        if self.content is None and not self.tool_calls and self.refusal is None:
            raise ConfigurationError(
                f"a message of the {self.role} has no content", hint="pass content, tool calls or a refusal"
            )
        if isinstance(self.content, tuple) and self.role != "user" and any(isinstance(p, Source) for p in self.content):
            raise ConfigurationError(
                f"a message of the {self.role} holds a source", hint="put it into a message of the user"
            )

    def _check_owner(self, name: str, role: Role, *, hint: str = "leave it out, or change the role") -> None:
        value = getattr(self, name)
        if value is None or value == ():  # the defaults, () being that of tool_calls
            return
        if self.role != role:
            raise ConfigurationError(f"{name} is for messages of the {role}, not of the {self.role}", hint=hint)
        if name != "tool_calls":
            check_text(name, value)

    @classmethod
    def from_openai(cls, data: Mapping[str, Any]) -> Self:
        """Return the message in a dict of an OpenAI Chat Completions transcript.

        Content is text, or a list of ``text`` and ``image_url`` parts. An image whose address does not reveal its
        type counts as a JPEG. Keys that are null or empty are ignored. Raises ConfigurationError for everything else
        that a Message cannot hold.
        """
        return cls(**decode_message(data, "message"))

    def to_openai(self) -> dict[str, Any]:
        """Return the message as a dict of an OpenAI Chat Completions transcript, the inverse of `from_openai`.

        Images are written as their address, or as a data URL. Raises ConfigurationError for other sources, SourceError
        for a file that cannot be read.
        """
        return encode_message(attrs.asdict(self, recurse=False))

    def to_turn(self) -> dict[str, Any]:
        """Return the message as a dict for ``Options(history=[...])``. Raises SourceError for an unreadable file."""
        text, sources = self._split_content()
        # The core has one role for system and developer messages.
        turn: dict[str, Any] = {"role": "system" if self.role == "developer" else self.role, "content": text}
        if sources:
            turn["sources"] = [_dump_source(source) for source in sources]
        if self.tool_calls:
            turn["tool_calls"] = [attrs.asdict(call) for call in self.tool_calls]
        return turn if self.tool_call_id is None else turn | {"tool_call_id": self.tool_call_id}

    def _split_content(self) -> tuple[str, tuple[Source, ...]]:
        """Return the text of the turn, and the sources before it.

        A turn holds sources first and one text last. If there are sources, every text that is not the last part
        becomes a source too, so that the order is kept.
        """
        parts = (self.content,) if isinstance(self.content, str) else self.content or ()
        texts = [part for part in parts if isinstance(part, str)]
        # A turn has no field for a refusal. It is what the assistant answered, so it becomes text.
        if len(texts) == len(parts):
            return "\n\n".join([*texts, *([self.refusal] if self.refusal else [])]), ()
        *before, last = parts
        text, sources = (last, before) if isinstance(last, str) else ("", parts)
        return text, tuple(Source.from_text(part) if isinstance(part, str) else part for part in sources)


def _dump_source(source: Source) -> dict[str, Any]:
    with convert_read_errors(source):
        return source.to_dict()


def messages_from_openai(transcript: Iterable[Mapping[str, Any]]) -> list[Message]:
    """Return the messages of an OpenAI Chat Completions transcript; see `Message.from_openai`.

    An error names the message and the key that it is about.
    """
    if isinstance(transcript, str | bytes | dict) or not hasattr(transcript, "__iter__"):
        raise ConfigurationError(
            f"a transcript must be a list of dicts, got {type(transcript).__name__}",
            hint="pass its messages",
        )
    return [_decode_message(data, f"messages[{index}]") for index, data in enumerate(transcript)]


def _decode_message(data: Mapping[str, Any], where: str) -> Message:
    fields = decode_message(data, where)
    try:
        return Message(**fields)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error.message}", hint=error.hint) from error


def messages_to_openai(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Return an OpenAI Chat Completions transcript of the messages; see `Message.to_openai`."""
    return [message.to_openai() for message in messages]
