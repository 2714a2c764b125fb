"""What was asked, on its way to the provider: Request -> Plan of Calls -> Prepared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pollux_sync.data.config import ConfigValues
    from pollux_sync.data.handles import ItemStatus
    from pollux_sync.data.options import Options
    from pollux_sync.data.provider import HttpResponse
    from pollux_sync.data.reply import ToolCall
    from pollux_sync.data.source import Source
    from pollux_sync.errors import PolluxError
    from pollux_sync.schemas import AnswerFormat


@attrs.frozen(kw_only=True)
class Asset:
    """A file at the provider. ``expires_at`` is in seconds since the epoch, None if it stays."""

    id: str
    mime_type: str
    uri: str | None = None
    expires_at: float | None = None


@attrs.frozen
class TextPart:
    """Text that goes into the request as it is."""

    text: str


@attrs.frozen
class InlinePart:
    """Bytes that go inside the request."""

    source: Source
    data: bytes = attrs.field(repr=False)

    @property
    def mime_type(self) -> str:
        """The content's MIME type."""
        return self.source.mime_type


@attrs.frozen
class UriPart:
    """An address that the provider fetches by itself."""

    source: Source

    @property
    def uri(self) -> str:
        """Where the content is."""
        return self.source.identifier

    @property
    def mime_type(self) -> str:
        """The content's MIME type."""
        return self.source.mime_type


@attrs.frozen
class UploadPart:
    """A file that is still to be uploaded; `AssetPart` takes its place before encoding.

    ``identity`` is the hex SHA-256 of the content: equal content of one type is uploaded once.
    """

    source: Source
    identity: str


@attrs.frozen
class AssetPart:
    """A file that has been uploaded."""

    source: Source
    asset: Asset


Part: TypeAlias = TextPart | InlinePart | UriPart | UploadPart | AssetPart


@attrs.frozen(kw_only=True)
class Turn:
    """One earlier turn of the conversation. ``provider_state`` is the provider's own, replayed verbatim.

    ``parts`` are what the user showed before the ``content`` of that turn. ``is_error`` marks the result of a
    tool that failed.
    """

    role: str
    content: str = ""
    parts: tuple[Part, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    is_error: bool = False
    provider_state: Mapping[str, Any] | None = None


@attrs.frozen(kw_only=True)
class Conversation:
    """What came before this call: turns in order, and what the provider keeps on its side."""

    turns: tuple[Turn, ...] = ()
    response_id: str | None = None
    provider_state: Mapping[str, Any] | None = None


@attrs.frozen(kw_only=True, weakref_slot=False)  # one a prompt, of a million
class Call:
    """One question to the model: the shared ``parts`` in the sources' order, then the ``prompt``.

    ``response_schema`` is already lowered to the provider's dialect. ``index`` is the place of the
    answer in the envelope. ``capabilities`` are those of the configuration, for what depends on the model.
    """

    index: int
    model: str
    prompt: str | None
    parts: tuple[Part, ...] = ()
    options: Options
    response_schema: Mapping[str, Any] | None = None
    conversation: Conversation | None = None
    capabilities: Mapping[str, bool] = attrs.field(factory=dict)

    @property
    def all_parts(self) -> tuple[Part, ...]:
        """The parts of earlier turns, then those of this call."""
        if self.conversation is None:
            return self.parts
        return (*(part for turn in self.conversation.turns for part in turn.parts), *self.parts)

    def map_parts(self, replaced: Callable[[Part], Part]) -> Call:
        """The call with every part put through ``replaced``, those of earlier turns too."""
        parts = tuple(map(replaced, self.parts))
        if self.conversation is None:
            return attrs.evolve(self, parts=parts)
        turns = tuple(
            attrs.evolve(turn, parts=tuple(map(replaced, turn.parts))) if turn.parts else turn
            for turn in self.conversation.turns
        )
        return attrs.evolve(self, parts=parts, conversation=attrs.evolve(self.conversation, turns=turns))


@attrs.frozen(kw_only=True)
class Request:
    """What the caller asked, validated; no I/O has happened."""

    prompts: tuple[str | None, ...]
    sources: tuple[Source, ...]
    config: ConfigValues
    options: Options
    per_source: bool = False


@attrs.frozen(kw_only=True)
class Plan:
    """The calls that answer a request, in answer order. ``is_deferred``: the answers may take a day.

    ``is_dry_run``: the plan is only shown, so nothing may be sent for it, not even to look something up.
    """

    request: Request
    calls: tuple[Call, ...]
    answer_format: AnswerFormat | None = None
    is_deferred: bool = False
    is_dry_run: bool = False


@attrs.frozen(kw_only=True)
class DeferredBatch:
    """The requests of one deferred job, on their way to the provider.

    ``path`` is a file of JSON lines, each as `pollux_encode_deferred` wrote it, ``n_bytes`` long. ``mark`` belongs
    into the names of the job and of what is stored for it, so that they can be found again. ``created_at`` is when
    it was first tried to submit it, in seconds since the epoch. ``other_jobs`` are the ids of the submission's jobs
    before it.
    """

    path: Path
    model: str
    first: int
    request_count: int
    n_bytes: int
    mark: str
    created_at: float
    other_jobs: frozenset[str] = frozenset()


@attrs.frozen(kw_only=True)
class DeferredRow:
    """One answer of a deferred job: ``response`` is what a call would have received, None without an answer.

    ``error`` says why not, ``provider_status`` is the provider's own word.
    """

    custom_id: str
    status: ItemStatus
    response: HttpResponse | None = None
    error: str | None = None
    provider_status: str | None = None


@attrs.frozen(kw_only=True)
class Prepared:
    """A plan whose files are at the provider. ``blocked`` holds, by call index, why a call cannot be sent."""

    plan: Plan
    provider: str
    calls: tuple[Call, ...]
    blocked: Mapping[int, PolluxError]
