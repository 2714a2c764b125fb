"""The values between arguments and provider: Request -> Plan, which holds Calls -> Prepared."""

from __future__ import annotations

from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import attrs

from pollux_sync._values import Value
from pollux_sync.data.bodies import InlineText

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from pollux_sync.data.config import ConfigValues
    from pollux_sync.data.handles import Asset
    from pollux_sync.data.options import Options
    from pollux_sync.data.reply import ToolCall
    from pollux_sync.data.source import Source
    from pollux_sync.errors import PolluxError
    from pollux_sync.schemas import AnswerFormat


@attrs.frozen(eq=False, repr=False)
class TextPart(Value):
    """A text, sent unchanged."""

    text: str


@attrs.frozen(eq=False, repr=False)
class InlinePart(Value):
    """A content whose bytes are sent inside the request."""

    source: Source
    # Left out of the repr: it may be megabytes.
    data: bytes = attrs.field(repr=False)
    _texts: dict[str, InlineText] = attrs.field(factory=dict, init=False, repr=False, eq=False)

    @cached_property
    def identity(self) -> str:
        """The hex SHA-256 of the content, computed when it is first asked for."""
        return _hash_content(self.data)

    @property
    def mime_type(self) -> str:
        """The MIME type of the content."""
        return self.source.mime_type

    @property
    def base64(self) -> InlineText:
        """The content in base64, for the body of a request: one text for all requests, whose ``str()`` is the text."""
        return self._share("")

    @property
    def data_url(self) -> InlineText:
        """The content as a URL (RFC 2397), as `base64`."""
        return self._share(f"data:{self.mime_type};base64,")

    def _share(self, prefix: str) -> InlineText:
        # One of two threads may find that the other was faster; then both use the same.
        return self._texts.get(prefix) or self._texts.setdefault(prefix, InlineText(self.data, prefix))


@attrs.frozen(eq=False, repr=False)
class UriPart(Value):
    """A content that the provider fetches from its address."""

    source: Source

    @property
    def uri(self) -> str:
        """The address of the content."""
        return self.source.identifier

    @property
    def mime_type(self) -> str:
        """The MIME type of the content."""
        return self.source.mime_type


@attrs.frozen(eq=False, repr=False)
class _Content(Value):
    """Small content as a key. It is compared whole, but hashed by its size and ends: all of it would cost more."""

    data: bytes = attrs.field(repr=False)

    def __hash__(self) -> int:
        return hash((len(self.data), self.data[:_END_BYTES], self.data[-_END_BYTES:]))


_END_BYTES = 64

#: Equal keys are one file: (the content if it is small, else its hex SHA-256, MIME type).
FileKey: TypeAlias = tuple[_Content | str, str]


@attrs.frozen(eq=False, repr=False)
class UploadPart(Value):
    """A file that is still to be delivered; an `AssetPart` or `InlinePart` replaces it before the call is encoded.

    ``identity`` is the hex SHA-256 of the content, ``size_bytes`` its size: equal content of one MIME type is uploaded
    once. ``data`` is the content itself where it is small: then what was planned is sent, whatever becomes of the file.
    One of both must be given.
    """

    source: Source
    _identity: str | None = None
    size_bytes: int = 0
    data: bytes | None = attrs.field(default=None, repr=False)
    #: Files of equal content and MIME type share it in a plan.
    key: FileKey = attrs.field(init=False, repr=False, eq=False)

    @key.default
    def _build_key(self) -> FileKey:
        return self.identity if self.data is None else _Content(self.data), self.source.mime_type

    @cached_property
    def identity(self) -> str:
        """The hex SHA-256 of the content. That of small content is computed when it is first asked for."""
        return self._identity or _hash_content(self.data or b"")

    def pin_source(self, is_stopped: Callable[[], bool] | None = None) -> Source:
        """Return the source bound to the content that was planned: content that has changed since cannot be read.

        Once ``is_stopped`` returns True, reading raises ConnectionAbortedError.
        """
        source = self.source
        if self.data is not None:
            from pollux_sync.data.source import BytesLoader

            source = attrs.evolve(source, content_loader=BytesLoader(self.data))
        return source.pin(sha256=self.identity, size_bytes=self.size_bytes, is_stopped=is_stopped)


@attrs.frozen(eq=False, repr=False)
class AssetPart(Value):
    """A file that is stored at the provider.

    ``identity`` is the hex SHA-256 of its content; None for a file that was stored by others.
    """

    source: Source
    asset: Asset
    identity: str | None = None


Part: TypeAlias = TextPart | InlinePart | UriPart | UploadPart | AssetPart


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Turn(Value):
    """One earlier turn of the conversation.

    ``parts`` are the sources of a user's turn, which come before its ``content``. ``is_error`` marks the result of a
    tool that failed. ``provider_state`` is data of the provider's own, replayed verbatim.
    """

    role: str
    content: str = ""
    parts: tuple[Part, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    is_error: bool = False
    provider_state: Mapping[str, Any] | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Conversation(Value):
    """The conversation before this call.

    ``turns`` are in order. ``response_id`` and ``provider_state`` refer to what the provider stores of it.
    """

    turns: tuple[Turn, ...] = ()
    response_id: str | None = None
    provider_state: Mapping[str, Any] | None = None


# A batch holds a call for each of up to a million prompts: without a slot for weak references each is smaller.
@attrs.frozen(kw_only=True, weakref_slot=False, eq=False, repr=False)
class Call(Value):
    """One question to the model: the ``parts`` in the order of the sources, then the ``prompt``.

    ``response_schema`` is already lowered to the provider's dialect; in JSON mode it is None, see
    ``options.wants_json_object``. ``index`` is the position of the answer in the envelope. ``capabilities`` are those
    of the configuration, for checks that depend on the model. ``shared_prefix`` numbers what the call begins with, if
    other calls share it and it is to be cached for them: instruction, tools and parts. It is None in a call without
    such others.
    """

    index: int
    model: str
    prompt: str | None
    parts: tuple[Part, ...] = ()
    options: Options
    response_schema: Mapping[str, Any] | None = None
    conversation: Conversation | None = None
    capabilities: Mapping[str, bool] = attrs.field(factory=dict)
    shared_prefix: int | None = None

    def with_index(self, index: int) -> Call:
        """Return the call at this position of the answers."""
        return self if self.index == index else attrs.evolve(self, index=index)

    @property
    def all_parts(self) -> tuple[Part, ...]:
        """The parts of earlier turns, followed by those of this call."""
        if self.conversation is None:
            return self.parts
        return (*(part for turn in self.conversation.turns for part in turn.parts), *self.parts)

    def map_parts(self, replace: Callable[[Part], Part]) -> Call:
        """Return the call with ``replace`` applied to every part, those of earlier turns included."""
        parts = tuple(map(replace, self.parts))
        # Earlier turns may hold files too, which must be uploaded like those of this call.
        if self.conversation is None:
            return attrs.evolve(self, parts=parts)
        turns = tuple(
            attrs.evolve(turn, parts=tuple(map(replace, turn.parts))) if turn.parts else turn
            for turn in self.conversation.turns
        )
        return attrs.evolve(self, parts=parts, conversation=attrs.evolve(self.conversation, turns=turns))

    def without_parts(self) -> Call:
        """Return the call without its parts and those of earlier turns."""
        if self.conversation is None:
            return attrs.evolve(self, parts=())
        turns = tuple(attrs.evolve(turn, parts=()) for turn in self.conversation.turns)
        return attrs.evolve(self, parts=(), conversation=attrs.evolve(self.conversation, turns=turns))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Request(Value):
    """The arguments of a call, checked; no I/O has happened yet.

    ``group_sizes`` says as how many of ``sources`` each of the caller's is sent, where a plugin has converted some.
    """

    prompts: tuple[str | None, ...]
    sources: tuple[Source, ...]
    config: ConfigValues
    options: Options
    per_source: bool = False
    group_sizes: tuple[int, ...] = ()

    @cached_property
    def source_groups(self) -> list[slice]:
        """The place in ``sources`` of each of the caller's sources."""
        ends = list(accumulate(self.group_sizes or (1,) * len(self.sources)))
        return [slice(start, end) for start, end in pairwise((0, *ends))]


@attrs.frozen(eq=False, repr=False)
class Conversion(Value):
    """A source that is not sent as it is, and one that is sent in its place."""

    source: Source
    converted: Source


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Plan(Value):
    """The calls that answer a request, in the order of the answers.

    ``is_deferred`` marks calls of a deferred job, whose answers may take a day. ``is_dry_run`` marks a plan that is
    only shown: plugins must send nothing for it, not even a look-up. ``refused`` has the errors of calls whose source
    cannot be used, by call index, where the others are to be answered nevertheless: they are not sent.
    ``conversions`` are the sources that plugins have converted; ``request`` has them as they are sent.
    """

    request: Request
    calls: tuple[Call, ...]
    answer_format: AnswerFormat | None = None
    is_deferred: bool = False
    is_dry_run: bool = False
    refused: Mapping[int, PolluxError] = attrs.field(factory=dict)
    conversions: tuple[Conversion, ...] = ()


class Redelivery(Protocol):
    """The way on for files inside a request that the service refuses: they are stored, once for all calls."""

    def store_inline_parts(self, call: Call, stop: threading.Event) -> Call | None:
        """Return the call with its inline files stored; None if it has none that can be. Raises APIError."""
        ...

    def use_stored_parts(self, call: Call) -> Call:
        """Return the call with those of its inline files replaced that have been stored already."""
        ...


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Prepared(Value):
    """A plan whose files are delivered: at the provider, or in its calls.

    ``blocked`` holds the errors of calls that cannot be sent, by call index, such as after a failed upload.
    ``redelivery`` is None if no call has files that could be delivered otherwise.
    """

    plan: Plan
    provider: str
    calls: tuple[Call, ...]
    blocked: Mapping[int, PolluxError]
    redelivery: Redelivery | None = None


def _hash_content(data: bytes) -> str:
    import hashlib  # with the first file

    return hashlib.sha256(data).hexdigest()
