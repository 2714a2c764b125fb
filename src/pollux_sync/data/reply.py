"""The outcome of a call, either a Reply or a Failure, and the values in a Reply."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence  # noqa: TC003 - the first is read from stored data
from functools import partial
from sys import intern
from typing import Any, Literal, TypeAlias

import attrs

from pollux_sync.data.converter import Storable
from pollux_sync.data.texts import replace_nested_surrogates
from pollux_sync.errors import Attempt, PolluxError, ToolCallParseError
from pollux_sync.schemas.jsontext import ExactFloat

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "error"]
#: The artifacts that are content of an answer, by the names that decoders give them. Others are facts about it.
_CONTENT_ARTIFACTS = frozenset({"items", "blocks", "parts", "images", "audio", "choices", "candidates"})


@attrs.frozen
class ToolCall:
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
@attrs.frozen(kw_only=True, weakref_slot=False)
class Usage:
    """The tokens billed for one call; None where the provider did not report a count.

    With every provider ``input_tokens`` include what was read from a cache (``cached_tokens``) or written to one
    (``cache_write_tokens``), and ``output_tokens`` include thoughts (``reasoning_tokens``).
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None

    def to_dict(self) -> dict[str, int]:
        """Return the counts that the provider reported, by name."""
        return {name: count for name in USAGE_FIELDS if (count := getattr(self, name)) is not None}


USAGE_FIELDS = tuple(field.name for field in attrs.fields(Usage))


@attrs.frozen(kw_only=True, weakref_slot=False)
class Reply(Storable):
    """A decoded answer.

    ``raw_finish_reason`` is the provider's own word for ``finish_reason``. ``service_tier`` is the tier that served the
    call, by the names of ``Options.service_tier`` or in a word of the provider's own, such as "batch".
    ``provider_state`` is data that the provider needs again when the conversation continues. ``artifacts`` are extras
    such as citations. Both are JSON-ready.
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

    @property
    def has_content(self) -> bool:
        """True if there is text that is not blank, a tool call, or other content, such as an image."""
        if self.tool_calls or (self.text and not self.text.isspace()):
            return True
        return bool(self.artifacts and _CONTENT_ARTIFACTS & self.artifacts.keys())

    def replace_surrogates(self) -> Reply:
        """Return the reply with U+FFFD in place of each lone surrogate, which no request or file could hold."""
        # The usual reply is a text alone.
        if self.text.isascii() and not (self.reasoning or self.tool_calls or self.provider_state or self.artifacts):
            return self
        calls = tuple([(call.id, call.name, call.arguments) for call in self.tool_calls])
        parts = self.text, self.reasoning, calls, self.provider_state, self.artifacts
        replaced = replace_nested_surrogates(parts)
        if replaced is parts:
            return self
        text, reasoning, calls, state, artifacts = replaced
        tool_calls = tuple(ToolCall(*call) for call in calls)
        return attrs.evolve(
            self, text=text, reasoning=reasoning, tool_calls=tool_calls, provider_state=state, artifacts=artifacts
        )

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
        )


@attrs.frozen
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
