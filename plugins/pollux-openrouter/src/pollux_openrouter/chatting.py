"""A Call, encoded as the body of ``POST /chat/completions``, and its answer, decoded as a Reply. Pure.

The core has what all Chat Completions servers share; this module adds what only OpenRouter has.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.plugin import (
    CHAT_MANAGED_BY,
    STRICT_SCHEMAS,
    ChatDialect,
    HostedForm,
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

#: The tools that OpenRouter runs beside any model, by its published contract (2026-08).
HOSTED_TOOLS = {
    "web_search": HostedForm(
        {"type": "openrouter:web_search"},
        {
            "allowed_domains": ("parameters", "allowed_domains"),
            "blocked_domains": ("parameters", "excluded_domains"),
            "user_location": ("parameters", "user_location"),
            "context_size": ("parameters", "search_context_size"),
        },
    ),
    "web_fetch": HostedForm(
        {"type": "openrouter:web_fetch"},
        {
            name: ("parameters", name)
            for name in ("allowed_domains", "blocked_domains", "max_uses", "max_content_tokens")
        },
    ),
    "image_generation": HostedForm({"type": "openrouter:image_generation"}, {"model": ("parameters", "model")}),
}

#: Chat Completions as OpenRouter extends it: reasoning has an object of its own, for an effort or a budget, and the
#: reasoning of an answer is replayed with its turn.
DIALECT = ChatDialect(
    joins_text=False,
    keeps_reasoning=True,
    # As pollux-ai 1.7 and 1.8 stored them.
    stored_names={"openrouter_reasoning": "reasoning", "openrouter_reasoning_details": "reasoning_details"},
    effort_path=("reasoning", "effort"),
    budget_path=("reasoning", "max_tokens"),
    summary_path=("reasoning", "summary"),
    # https://openrouter.ai/docs/use-cases/reasoning-tokens
    exclude_path=("reasoning", "exclude"),
    tool_schemas=STRICT,
    hosted_tools=HOSTED_TOOLS,
)

#: How the names of OpenAI's models begin, which want the word JSON in JSON mode.
OPENAI_MODELS = "openai/"
#: The vendors whose models cache only up to a mark, by the published contract (2026-08), which has it for texts. Others
#: cache by themselves, and some of them would charge for what is marked.
_MARKED_VENDORS = ("anthropic/",)

#: What writes the fields of the body that are not named as their option is.
MANAGED_BY = CHAT_MANAGED_BY | {
    "reasoning": "Options(reasoning_effort=...) or Options(reasoning_budget_tokens=...)",
    "reasoning.summary": "Options(reasoning_summary=...)",
    "reasoning.exclude": "Options(reasoning_summary=...)",
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
    reply = decode_chat(response, DIALECT, call.options.functions)
    # The decoder has checked that there is a choice.
    native_reason = as_text(response.body["choices"][0].get("native_finish_reason"))
    vendor = as_text(response.body.get("provider"))
    return attrs.evolve(
        reply,
        raw_finish_reason=native_reason or reply.raw_finish_reason,
        artifacts={**(reply.artifacts or {}), "provider": vendor} if vendor else reply.artifacts,
    )
