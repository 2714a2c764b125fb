"""The outcome of a call, either a Reply or a Failure, and the values in a Reply."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence  # noqa: TC003 - the first is read from stored data
from functools import partial
from sys import intern
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

from pollux_sync._values import Value
from pollux_sync.data.converter import NOT_STORED, Storable
from pollux_sync.data.findings import AnswerFile, Citation, HostedCall
from pollux_sync.data.provider import HttpResponse  # noqa: TC001 - resolved where replies are stored
from pollux_sync.data.texts import replace_nested_surrogates
from pollux_sync.errors import Attempt, PolluxError, ToolCallParseError
from pollux_sync.schemas.jsontext import ExactFloat

if TYPE_CHECKING:
    from decimal import Decimal

FinishReason = Literal["stop", "length", "paused", "tool_calls", "content_filter", "refusal", "error"]
#: The artifacts that are content of an answer, by the names that decoders give them. Others are facts about it.
_CONTENT_ARTIFACTS = frozenset({"items", "blocks", "parts", "images", "audio", "choices", "candidates"})


@attrs.frozen(eq=False, repr=False)
class ToolCall(Value):
    """A tool call that the model asked for; ``arguments`` is the JSON text that it wrote."""

    id: str
    name: str
    arguments: str

    @property
    def has_arguments(self) -> bool:
        """False if the model wrote nothing, blanks or null, as models do for a tool without parameters."""
        return self.arguments.strip() not in {"", "null"}

    def arguments_dict(self) -> dict[str, Any]:
        """Return the arguments as data. Raises ToolCallParseError if the model did not write a JSON object."""
        return self._parse_arguments(json.loads)

    def exact_arguments_dict(self) -> dict[str, Any]:
        """Do the same as `arguments_dict`, with floats that keep their digits, for parameters that are Decimals."""
        return self._parse_arguments(partial(json.loads, parse_float=ExactFloat))

    def _parse_arguments(self, parse: Callable[[str], Any]) -> dict[str, Any]:
        try:
            arguments = parse(self.arguments) if self.has_arguments else {}
        except (ValueError, RecursionError) as error:  # deeply nested arrays exhaust the stack
            problem = f"not valid JSON: {error}"
        else:
            if isinstance(arguments, dict):
                return arguments
            problem = f"a JSON {type(arguments).__name__}, not an object"
        raise ToolCallParseError(
            f"the model called {self.name!r} with arguments that are {problem}",
            hint="return a tool result with is_error; if the finish reason is 'length', raise max_tokens",
            tool=self.name,
            arguments=self.arguments,
        )

    @property
    def arguments_error(self) -> str | None:
        """The message of the error that `arguments_dict` would raise, None if the arguments are valid."""
        try:
            self.arguments_dict()
        except ToolCallParseError as error:
            return error.message
        return None


# A batch holds these three for each of up to a million prompts: without a slot for weak references each is smaller.
@attrs.frozen(kw_only=True, weakref_slot=False, eq=False, repr=False)
class Usage(Value):
    """The tokens billed for one call; None where the provider did not report a count.

    With every provider ``input_tokens`` include what was read from a cache (``cached_tokens``) or written to one
    (``cache_write_tokens``), and ``output_tokens`` include thoughts (``reasoning_tokens``). ``web_search_requests`` are
    the searches that the provider ran, which it bills apart.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    web_search_requests: int | None = None

    def to_dict(self) -> dict[str, int]:
        """Return the counts that the provider reported, by name."""
        return {name: count for name in USAGE_FIELDS if (count := getattr(self, name)) is not None}


USAGE_FIELDS = tuple(field.name for field in attrs.fields(Usage))


@attrs.frozen(kw_only=True, weakref_slot=False, eq=False, repr=False)
class Reply(Storable):
    """A decoded answer.

    ``finish_reason`` is "paused" where the service interrupted a long turn of its own tools, so that the answer is
    incomplete. ``raw_finish_reason`` is the provider's own word for it. ``service_tier`` is the tier that served the
    call, by the names of ``Options.service_tier`` or in a word of the provider's own, such as "batch".
    ``provider_state`` is data that the provider needs again when the conversation continues. ``artifacts`` are extras
    under the provider's names. Both are JSON-ready. ``hosted_calls`` are the tools that the provider ran, ``citations``
    and ``files`` what came of them.
    ``cost_usd`` is the price of the answer, and ``notes`` are JSON-ready facts about the call, by the names of the
    middleware that set them. ``response`` is the answer as it came, as long as middleware has the reply.
    """

    text: str = ""
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = Usage()
    finish_reason: FinishReason | None = None
    raw_finish_reason: str | None = None
    response_id: str | None = None
    model: str | None = None
    service_tier: str | None = None
    provider_state: Mapping[str, Any] | None = None
    artifacts: Mapping[str, Any] | None = None
    attempts: tuple[Attempt, ...] = ()
    citations: tuple[Citation, ...] | None = None
    hosted_calls: tuple[HostedCall, ...] | None = None
    files: tuple[AnswerFile, ...] | None = None
    cost_usd: Decimal | None = None
    notes: Mapping[str, Any] | None = None
    # Not part of what the reply says, and too large to be kept with every reply.
    response: HttpResponse | None = attrs.field(default=None, eq=False, repr=False, metadata=NOT_STORED)

    @property
    def has_content(self) -> bool:
        """True if there is text that is not blank, a tool call, or other content, such as an image."""
        if self.tool_calls or self.files or (self.text and not self.text.isspace()):
            return True
        return bool(self.artifacts and _CONTENT_ARTIFACTS & self.artifacts.keys())

    def replace_surrogates(self) -> Reply:
        """Return the reply with U+FFFD in place of each lone surrogate, which no request or file could hold."""
        # The usual reply is a text alone.
        if self.text.isascii() and not (self.reasoning or self.tool_calls or self.provider_state or self.artifacts):
            return self
        parts = [_list_values(self, name) for name in _TEXT_FIELDS]
        replaced = replace_nested_surrogates(parts)
        if replaced is parts:
            return self
        changed = dict(zip(_TEXT_FIELDS, replaced, strict=True))
        for name, kind in _RECORD_FIELDS.items():
            changed[name] = changed[name] and tuple(kind(**values) for values in changed[name])
        return attrs.evolve(self, **{**changed, "tool_calls": changed["tool_calls"] or ()})

    def with_attempts(self, attempts: tuple[Attempt, ...]) -> Reply:
        """Return the reply with its ledger of attempts."""
        # Field by field: every answer passes here, and attrs.evolve costs three times as much. Strings that all
        # replies of a large batch share are interned to save memory.
        return Reply(
            text=self.text,
            reasoning=self.reasoning,
            tool_calls=self.tool_calls,
            usage=self.usage,
            finish_reason=self.finish_reason,
            raw_finish_reason=self.raw_finish_reason and intern(self.raw_finish_reason),
            response_id=self.response_id,
            model=self.model and intern(self.model),
            service_tier=self.service_tier and intern(self.service_tier),
            provider_state=self.provider_state,
            artifacts=self.artifacts,
            attempts=attempts,
            citations=self.citations,
            hosted_calls=self.hosted_calls,
            files=self.files,
            cost_usd=self.cost_usd,
            notes=self.notes,
            response=self.response,
        )

    def add_note(self, name: str, note: Any) -> Reply:
        """Return the reply with a note of the middleware ``name``, in place of an earlier one of it."""
        return attrs.evolve(self, notes={**(self.notes or {}), name: note})

    def without_response(self) -> Reply:
        """Return the reply without the answer as it came."""
        return self if self.response is None else attrs.evolve(self, response=None)


#: The fields of a Reply that hold texts of the model, and the values of those that hold records.
_RECORD_FIELDS: dict[str, type[Any]] = {
    "tool_calls": ToolCall,
    "citations": Citation,
    "hosted_calls": HostedCall,
    "files": AnswerFile,
}
_TEXT_FIELDS = ("text", "reasoning", "provider_state", "artifacts", *_RECORD_FIELDS)


def _list_values(reply: Reply, name: str) -> Any:
    """Return the value of a field as plain data."""
    value = getattr(reply, name)
    return [attrs.asdict(one, recurse=False) for one in value] if value and name in _RECORD_FIELDS else value


@attrs.frozen(eq=False, repr=False)
class Failure(Storable):
    """The error of a call that has no answer.

    ``is_follow_up`` marks a call that was not sent because another one failed. ``usage`` is what a streamed answer
    was billed before it broke off, as far as the provider reported it.
    """

    error: PolluxError
    is_follow_up: bool = False
    usage: Usage = Usage()

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The physical attempts of the call; empty if it was never sent."""
        return self.error.attempts


Outcome: TypeAlias = Reply | Failure


def list_open_calls(turns: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the ids of tool calls without a result, of the last turn that has tool calls.

    The turns are dicts as in ``Options(history=[...])``.
    """
    last = max((index for index, turn in enumerate(turns) if turn.get("tool_calls")), default=None)
    if last is None:
        return []
    # Only results after these calls count. Ids repeat: decoders number calls that come without one, from "call_0".
    with_result = {turn.get("tool_call_id") for turn in turns[last:]}
    call_ids = [call.get("id") for call in turns[last]["tool_calls"] if isinstance(call, dict)]
    return [call_id for call_id in call_ids if call_id and call_id not in with_result]
