"""A Call, encoded as the body of ``POST /chat/completions``, and its answer, decoded as a Reply. Pure.

The core has what all Chat Completions servers share; this module adds what only OpenRouter has.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import attrs

from pollux_sync.plugin import (
    CHAT_MANAGED_BY,
    STRICT_SCHEMAS,
    ChatDialect,
    as_text,
    decode_chat,
    encode_chat,
)

if TYPE_CHECKING:
    from pollux_sync.plugin import Call, HttpRequest, HttpResponse, Reply

#: The JSON Schema that strict structured outputs take with every vendor. Limits differ by vendor and are left to the
#: service to check.
STRICT = attrs.evolve(
    STRICT_SCHEMAS,
    name="openrouter-strict",
    as_of=date(2026, 11, 21),
    docs="https://openrouter.ai/docs/features/structured-outputs",
)

#: Chat Completions as OpenRouter extends it: reasoning has an object of its own, for an effort or a budget, and the
#: reasoning of an answer is replayed with its turn.
DIALECT = ChatDialect(
    joins_text=False,
    keeps_reasoning=True,
    # As pollux-ai 1.7 and 1.8 stored them.
    stored_names={"openrouter_reasoning": "reasoning", "openrouter_reasoning_details": "reasoning_details"},
    effort_path=("reasoning", "effort"),
    budget_path=("reasoning", "max_tokens"),
    tool_schemas=STRICT,
)

#: What writes the fields of the body that are not named as their option is.
MANAGED_BY = CHAT_MANAGED_BY | {
    "reasoning": "Options(reasoning_effort=...) or Options(reasoning_budget_tokens=...)",
}


def encode(call: Call) -> HttpRequest:
    """Encode a call as a request. Raises ConfigurationError for a part that the API cannot carry."""
    return encode_chat(call, DIALECT)


def decode(response: HttpResponse, call: Call) -> Reply:
    """Decode an answer as a Reply. Raises HttpError for an error inside a 200, ReplyError for a body without an answer.

    ``raw_finish_reason`` is the vendor's own finish reason if OpenRouter passes it on.
    """
    reply = decode_chat(response, DIALECT, call.options.tools)
    # The decoder has checked that there is a choice.
    native_reason = as_text(response.body["choices"][0].get("native_finish_reason"))
    vendor = as_text(response.body.get("provider"))
    return attrs.evolve(
        reply,
        raw_finish_reason=native_reason or reply.raw_finish_reason,
        artifacts={**(reply.artifacts or {}), "provider": vendor} if vendor else reply.artifacts,
    )
