"""The result of one prompt as an object: a typed view of its envelope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import attrs

from pollux_sync._typed import T, Typed
from pollux_sync.data.findings import AnswerFile, Citation, HostedCall
from pollux_sync.data.interaction import Continuation
from pollux_sync.data.reply import USAGE_FIELDS, FinishReason, ToolCall, Usage
from pollux_sync.data.result import dump_envelope
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from pollux_sync.data.envelope import Diagnostics, ErrorDict, Metrics, ResultEnvelope, Status

CompletionStatus: TypeAlias = Literal["clean", "truncated", "cutoff", "error"]

#: The completion status of each finish reason.
_COMPLETIONS: dict[str, CompletionStatus] = {
    "stop": "clean",
    "tool_calls": "clean",
    "length": "truncated",
    "paused": "truncated",
    "content_filter": "cutoff",
    "refusal": "cutoff",
    "error": "error",
}
#: How many characters of the answer a repr shows.
_REPR_CHARS = 60


@attrs.frozen(repr=False)
class Output(Typed[T]):
    """The result of one prompt: a view of its ``envelope``, the dict that `run` returns.

    Raises ConfigurationError for an envelope of several prompts; `outputs` returns one Output for each of them.
    """

    envelope: ResultEnvelope[T]

    def __attrs_post_init__(self) -> None:
        envelope: object = self.envelope
        answers = envelope.get("answers") if isinstance(envelope, dict) else None
        if not isinstance(answers, list) or len(answers) != 1:
            raise ConfigurationError(
                "an Output needs an envelope with one answer", hint="call outputs(envelope) for one Output per prompt"
            )

    def __repr__(self) -> str:
        """Return the status and the beginning of the text; a whole envelope would fill pages."""
        return f"Output({self.status}, {self.text[:_REPR_CHARS]!r})"

    def _repr_markdown_(self) -> str:
        """Return what a notebook shows."""
        from pollux_sync.data.notebook import format_envelope

        return format_envelope(self.envelope)

    @property
    def text(self) -> str:
        """The text of the answer; "" if it has no text, such as tool calls alone."""
        return self.envelope["answers"][0]

    @property
    def structured(self) -> T | None:
        """The answer as an instance of the response schema; None without a schema, or if the answer does not fit."""
        return cast("T | None", self._read_first("structured"))

    @property
    def reasoning(self) -> str | None:
        """The model's reasoning, or the summary of it that the provider returned; None without either."""
        return cast("str | None", self._read_first("reasoning"))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls that the model asked for."""
        return tuple(ToolCall(c["id"], c["name"], c["arguments"]) for c in self._read_first("tool_calls") or ())

    @property
    def citations(self) -> tuple[Citation, ...]:
        """The sources that the answer names."""
        return tuple(Citation(**one) for one in self._read_first("citations") or ())

    @property
    def hosted_calls(self) -> tuple[HostedCall, ...]:
        """The tools that the provider ran."""
        return tuple(HostedCall(**{"kind": None, **one}) for one in self._read_first("hosted_calls") or ())

    @property
    def files(self) -> tuple[AnswerFile, ...]:
        """The files that the answer holds, such as images."""
        return tuple(AnswerFile(**one) for one in self._read_first("files") or ())

    @property
    def continuation(self) -> Continuation | None:
        """The conversation so far, to continue from; None if the call failed or kept no conversation."""
        state = self.envelope.get("_conversation_state")
        return None if state is None else Continuation.from_dict(state)

    @property
    def usage(self) -> Usage:
        """The tokens billed for the whole envelope."""
        counts = self.envelope["usage"]
        return Usage(**{name: counts[name] for name in USAGE_FIELDS if name in counts})

    @property
    def metrics(self) -> Metrics:
        """The durations and counts of the call."""
        return self.envelope["metrics"]

    @property
    def diagnostics(self) -> Diagnostics:
        """The physical attempts, and the reply as it was decoded."""
        return self.envelope["diagnostics"]

    @property
    def status(self) -> Status:
        """``"ok"`` if there is text or a tool call, else ``"error"``."""
        return self.envelope["status"]

    @property
    def error(self) -> ErrorDict | None:
        """The reason for an empty answer, or for a failed call with ``Options(on_error="keep")``; None without one."""
        return cast("ErrorDict | None", self._read_first("errors"))

    @property
    def finish_reason(self) -> FinishReason | None:
        """The reason why the model stopped, in one vocabulary for all providers; None if the provider named none."""
        (reason,) = self.envelope["metrics"]["finish_reasons"]
        return cast("FinishReason | None", reason)

    @property
    def service_tier(self) -> str | None:
        """The tier that served the call, by `Options` or in the provider's word; None if the provider named none."""
        (tier,) = self.envelope["metrics"].get("service_tiers", [None])
        return tier

    @property
    def completion_status(self) -> CompletionStatus:
        """The completeness of the answer.

        ``"clean"``: the model finished, or called tools. ``"truncated"``: the answer reached ``max_tokens`` or the end
        of the model's context. ``"cutoff"``: a content filter or a refusal ended it. ``"error"``: the call failed. If
        the provider named no reason, a call with an answer counts as clean and a call without one as an error.
        """
        if self.finish_reason is not None:
            return _COMPLETIONS[self.finish_reason]
        return "clean" if self.status == "ok" else "error"

    def to_jsonable(self) -> dict[str, Any]:
        """Return the envelope as JSON-ready data.

        ``Output`` of it shows the same result, except that a typed answer has become plain data.
        """
        return dump_envelope(self.envelope)

    def _read_first(self, name: str) -> Any:
        # An optional list is absent if it holds nothing for any prompt.
        values = cast("dict[str, Any]", self.envelope).get(name)
        return values[0] if values else None
