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

#: The vendors whose models cache only up to a mark, by the published contract (2026-08), which has it for texts. Others
#: cache by themselves, and some of them would charge for what is marked.
_MARKED_VENDORS = ("anthropic/",)

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
    request = encode_chat(call, DIALECT)
    if call.options.implicit_caching and call.model.startswith(_MARKED_VENDORS):
        _add_breakpoint(request, call)
    return request


def _add_breakpoint(request: HttpRequest, call: Call) -> None:
    """Mark the end of a request, or of the part that other calls share: the vendor caches up to there.

    Only texts and tools take the mark.
    """
    fields = request.fields or {}
    messages: list[dict[str, Any]] = fields["messages"]
    content = messages[-1]["content"] if messages else ""
    # The result of a tool is a plain text, which takes none.
    parts = content if isinstance(content, list) else []
    shared = parts if call.shared_prefix is None else parts[: len(call.parts)]
    texts = [part for part in shared if part["type"] == "text"]
    if not texts and messages and messages[0]["role"] == "system":
        texts = messages[0]["content"] = [{"type": "text", "text": messages[0]["content"]}]
    marked = texts or fields.get("tools")
    if marked:
        marked[-1]["cache_control"] = {"type": "ephemeral"}


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
