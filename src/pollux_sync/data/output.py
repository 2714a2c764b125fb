"""The envelope of one prompt, seen as an object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import attrs

from pollux_sync.data.envelope import dump_envelope
from pollux_sync.data.interaction import Continuation
from pollux_sync.data.reply import USAGE_FIELDS, FinishReason, ToolCall, Usage
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from pollux_sync.data.envelope import Diagnostics, ErrorDict, Metrics, ResultEnvelope, Status

CompletionStatus: TypeAlias = Literal["clean", "truncated", "cutoff", "error"]

_COMPLETIONS: dict[str, CompletionStatus] = {
    "stop": "clean",
    "tool_calls": "clean",
    "length": "truncated",
    "content_filter": "cutoff",
    "refusal": "cutoff",
    "error": "error",
}
_REPR_CHARS = 60


@attrs.frozen(repr=False)
class Output:
    """What one prompt was answered: a view of its ``envelope``, which stays the dict that it is.

    Raises ConfigurationError for an envelope of several prompts, of which `outputs` gives one each.
    """

    envelope: ResultEnvelope

    def __attrs_post_init__(self) -> None:
        given: object = self.envelope
        answers = given.get("answers") if isinstance(given, dict) else None
        if not isinstance(answers, list) or len(answers) != 1:
            raise ConfigurationError("an Output is of one answer", hint="outputs(envelope) gives one for each")

    def __repr__(self) -> str:
        """What it came to and how it begins: a whole envelope fills pages."""
        return f"Output({self.status}, {self.text[:_REPR_CHARS]!r})"

    @property
    def text(self) -> str:
        """The answer; "" when there is none, as for tool calls alone."""
        return self.envelope["answers"][0]

    @property
    def structured(self) -> Any:
        """The answer as an instance of the response schema; None without a schema, or for an answer that misses it."""
        return self._read_first("structured")

    @property
    def reasoning(self) -> str | None:
        """What the model let see of its reasoning."""
        return cast("str | None", self._read_first("reasoning"))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tools that the model wants called."""
        return tuple(ToolCall(c["id"], c["name"], c["arguments"]) for c in self._read_first("tool_calls") or ())

    @property
    def continuation(self) -> Continuation | None:
        """The conversation so far; None where the call failed or kept none."""
        state = self.envelope.get("_conversation_state")
        return None if state is None else Continuation.from_dict(state)

    @property
    def usage(self) -> Usage:
        """Tokens billed for the whole envelope."""
        counts = self.envelope["usage"]
        return Usage(**{name: counts[name] for name in USAGE_FIELDS if name in counts})

    @property
    def metrics(self) -> Metrics:
        """Times and counts."""
        return self.envelope["metrics"]

    @property
    def diagnostics(self) -> Diagnostics:
        """Attempts, and the answer as it was decoded."""
        return self.envelope["diagnostics"]

    @property
    def status(self) -> Status:
        """``"ok"`` when there is text or a tool call, else ``"error"``."""
        return self.envelope["status"]

    @property
    def error(self) -> ErrorDict | None:
        """Why there is no answer, with ``Options(on_error="keep")``."""
        return cast("ErrorDict | None", self._read_first("errors"))

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the model stopped, in the words of all providers; None where the provider did not say."""
        (reason,) = self.envelope["metrics"]["finish_reasons"]
        return cast("FinishReason | None", reason)

    @property
    def completion_status(self) -> CompletionStatus:
        """Whether the answer is whole.

        ``"clean"``: the model ended by itself, or called tools. ``"truncated"``: it ran into ``max_tokens`` or the
        end of its context. ``"cutoff"``: a content filter or a refusal ended it. ``"error"``: it failed. Where the
        provider gives no reason, an answer counts as clean and none as an error.
        """
        if self.finish_reason is not None:
            return _COMPLETIONS[self.finish_reason]
        return "clean" if self.status == "ok" else "error"

    def to_jsonable(self) -> dict[str, Any]:
        """The envelope as JSON-ready data; ``Output`` of it shows the same, typed answers as data."""
        return dump_envelope(self.envelope)

    def _read_first(self, name: str) -> Any:
        values = cast("dict[str, Any]", self.envelope).get(name)
        return values[0] if values else None
