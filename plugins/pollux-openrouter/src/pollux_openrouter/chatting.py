"""A Call, encoded as the body of ``POST /chat/completions``, and its answer, decoded as a Reply. Pure.

The core has what all Chat Completions servers share; this module adds what only OpenRouter has.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.plugin import (
    CHAT_FIELDS,
    CHAT_MANAGED_BY,
    STRICT_SCHEMAS,
    ChatDialect,
    as_text,
    decode_chat,
    encode_chat,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
    effort_path=("reasoning", "effort"),
    budget_path=("reasoning", "max_tokens"),
    tool_schemas=STRICT,
)

#: The body fields that `encode` writes. Raw provider options must not set them, nor reasoning_effort, which would
#: contradict the effort in `reasoning`.
MANAGED_FIELDS = CHAT_FIELDS | {"reasoning", "reasoning_effort"}
#: What to use in place of these fields where no option has the same name.
MANAGED_BY = CHAT_MANAGED_BY | {
    "reasoning": "Options(reasoning_effort=...) or Options(reasoning_budget_tokens=...)",
    "tools": "Options(tools=[...]), which takes functions alone; for web search pass the raw field plugins, "
    "[{'id': 'web'}]",
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
    choice = response.body["choices"][0]
    message = choice.get("message") or {}
    return attrs.evolve(
        reply,
        reasoning=reply.reasoning or "".join(_iter_thoughts(message.get("reasoning_details"))) or None,
        raw_finish_reason=as_text(choice.get("native_finish_reason")) or reply.raw_finish_reason,
        artifacts=_read_artifacts(response.body, message) or None,
    )


def _iter_thoughts(details: Any) -> Iterator[str]:
    # Only some details are text: vendors encrypt the rest, which is kept for replay alone.
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict):
            yield as_text(detail.get("text")) or as_text(detail.get("summary")) or ""


def _read_artifacts(body: Mapping[str, Any], message: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cost in credits, the vendor that answered, and the content beside text."""
    usage = body.get("usage")
    cost = usage.get("cost") if isinstance(usage, dict) else None
    artifacts = {"cost": cost, "provider": body.get("provider")}
    artifacts |= {name: message.get(name) or None for name in ("annotations", "images", "audio")}
    return {name: value for name, value in artifacts.items() if value is not None}
