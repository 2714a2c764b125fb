"""An answer as parsers receive it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pollux_batch.data.usage import TokenUsage

if TYPE_CHECKING:
    from pollux_sync.plugin import Reply


@attrs.frozen
class LLMResponse:
    """The text of an answer with its token counts.

    ``metadata`` has what else is known, such as the finish reason. ``raw`` is the core's `Reply`; ``value`` is the
    typed answer where there is a ``response_schema``, else the text.
    """

    text: str
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cached_input_tokens: int = 0
    metadata: dict[str, Any] | None = None
    raw: Any = attrs.field(default=None, repr=False)
    value: Any = attrs.field(default=None, repr=False)

    @property
    def token_usage(self) -> TokenUsage:
        """The counts; cached tokens only where there are any."""
        usage = TokenUsage(
            input_tokens=self.input_tokens, output_tokens=self.output_tokens, total_tokens=self.total_tokens
        )
        if self.cached_input_tokens:
            usage["cached_input_tokens"] = self.cached_input_tokens
        return usage


def build_response(reply: Reply, value: Any) -> LLMResponse:
    """Return a reply as a parser receives it."""
    usage = reply.usage
    input_tokens, output_tokens = usage.input_tokens or 0, usage.output_tokens or 0
    return LLMResponse(
        text=reply.text,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        total_tokens=usage.total_tokens or input_tokens + output_tokens,
        cached_input_tokens=usage.cached_tokens or 0,
        metadata={"finish_reason": reply.finish_reason} if reply.finish_reason else None,
        raw=reply,
        value=value,
    )
