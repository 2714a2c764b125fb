"""What came back: one Outcome a call, either a Reply or a Failure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence  # noqa: TC003 - the first is read from stored data
from sys import intern
from typing import Any, Literal, TypeAlias

import attrs

from pollux_sync.data.converter import Storable
from pollux_sync.errors import FaultKind, PolluxError, ToolCallParseError

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "error"]


@attrs.frozen
class ToolCall:
    """A tool the model wants called; ``arguments`` is the JSON text it wrote."""

    id: str
    name: str
    arguments: str

    def arguments_dict(self) -> dict[str, Any]:
        """The arguments as data. Raises ToolCallParseError when the model wrote no JSON object."""
        try:
            arguments = json.loads(self.arguments or "{}")
        except (ValueError, RecursionError) as error:
            problem = f"no JSON: {error}"
        else:
            if isinstance(arguments, dict):
                return arguments
            problem = f"a JSON {type(arguments).__name__}, not an object"
        raise ToolCallParseError(
            f"the model called {self.name!r} with arguments that are {problem}",
            hint="tell the model so in the tool's result, with is_error; at finish reason 'length' raise max_tokens",
            tool=self.name,
            arguments=self.arguments,
        )

    @property
    def arguments_error(self) -> str | None:
        """Why `arguments_dict` would raise, None when the arguments are data."""
        try:
            self.arguments_dict()
        except ToolCallParseError as error:
            return error.message
        return None


@attrs.frozen(kw_only=True, weakref_slot=False)  # one a prompt, of a million
class Usage:
    """Tokens billed for one call; None where the provider did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None

    def to_dict(self) -> dict[str, int]:
        """The counts that were reported, by name."""
        return {name: count for name in USAGE_FIELDS if (count := getattr(self, name)) is not None}


USAGE_FIELDS = tuple(field.name for field in attrs.fields(Usage))


@attrs.frozen(kw_only=True, weakref_slot=False)
class Attempt:
    """One physical attempt: when it started (seconds since the epoch), how long it took, how it ended.

    ``wait_s`` is how long the retry loop waited *before* this attempt. ``reason`` is None for the one that
    succeeded.
    """

    started_at: float
    duration_s: float
    wait_s: float = 0.0
    status_code: int | None = None
    kind: FaultKind | None = None
    reason: str | None = None
    request_id: str | None = None


@attrs.frozen(kw_only=True, weakref_slot=False)
class Reply(Storable):
    """A provider's answer, decoded. ``raw_finish_reason`` is the provider's word for ``finish_reason``.

    ``artifacts`` are extras such as citations, as JSON-ready data.
    """

    text: str = ""
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = Usage()
    finish_reason: FinishReason | None = None
    raw_finish_reason: str | None = None
    response_id: str | None = None
    model: str | None = None
    provider_state: Mapping[str, Any] | None = None
    artifacts: Mapping[str, Any] | None = None
    attempts: tuple[Attempt, ...] = ()

    def with_attempts(self, attempts: tuple[Attempt, ...]) -> Reply:
        """Return the reply with its ledger.

        Written field by field, since every answer goes through here and attrs.evolve costs three times as much.
        Strings that a million replies share are interned.
        """
        return Reply(
            text=self.text,
            reasoning=self.reasoning,
            tool_calls=self.tool_calls,
            usage=self.usage,
            finish_reason=self.finish_reason,
            raw_finish_reason=self.raw_finish_reason and intern(self.raw_finish_reason),
            response_id=self.response_id,
            model=self.model and intern(self.model),
            provider_state=self.provider_state,
            artifacts=self.artifacts,
            attempts=attempts,
        )


@attrs.frozen
class Failure(Storable):
    """A call that was not answered, and why. ``is_follow_up``: it was not sent since another call failed.

    ``usage`` is what a streamed answer was billed before it broke off, as far as the provider said.
    """

    error: PolluxError
    is_follow_up: bool = False
    usage: Usage = Usage()

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The physical attempts that were made; empty when the call was never sent."""
        return self.error.attempts


Outcome: TypeAlias = Reply | Failure


def list_open_calls(turns: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the ids of the last answer's tool calls without a result; turns as in ``Options(history=[...])``."""
    last = max((index for index, turn in enumerate(turns) if turn.get("tool_calls")), default=None)
    if last is None:
        return []
    answered = {turn.get("tool_call_id") for turn in turns[last:]}
    called = [call.get("id") for call in turns[last]["tool_calls"] if isinstance(call, dict)]
    return [call_id for call_id in called if call_id and call_id not in answered]
