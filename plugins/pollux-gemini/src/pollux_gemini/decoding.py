"""An answer of ``generateContent``, decoded as a Reply. Pure, and tolerant of fields that it does not know."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from pollux_gemini.conversing import PARTS_KEY
from pollux_gemini.hosting import count_searches, read_citations, read_files, read_hosted_calls
from pollux_gemini.parts import as_object, read_function_calls, read_objects, read_texts
from pollux_sync.plugin import (
    FinishReason,
    Reply,
    ReplyError,
    ToolCall,
    Usage,
    as_text,
    check_answer,
    read_count,
    read_service_tier,
)

if TYPE_CHECKING:
    from pollux_gemini.parts import Json
    from pollux_sync.plugin import HttpResponse

#: Finish reasons of an answer that a filter stopped.
_FILTER_REASONS = (
    *("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "ESCALATION", "MODEL_ARMOR"),
    *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "PUP_LIMITED_DISABLED"),
)
#: Finish reasons of an answer that failed.
_ERROR_REASONS = (
    *("OTHER", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE"),
    *("MISSING_THOUGHT_SIGNATURE", "IMAGE_OTHER", "NO_IMAGE"),
)
_FINISH_REASONS: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    **dict.fromkeys(_FILTER_REASONS, "content_filter"),
    **dict.fromkeys(_ERROR_REASONS, "error"),
}
#: The fields of a candidate, beside its content, that become artifacts.
_CANDIDATE_METADATA = ("citationMetadata", "groundingMetadata", "urlContextMetadata", "safetyRatings", "logprobsResult")
#: The keys of parts that are the answer itself. All other parts (code, images, ...) become artifacts.
_ANSWER_KEYS = frozenset({"text", "functionCall"})


def decode(response: HttpResponse) -> Reply:
    """Decode an answer as a Reply. Raises HttpError for an error inside a 200, ReplyError for a body without answer."""
    body = response.body
    check_answer(response, "candidates")
    candidates = read_objects(body.get("candidates"))
    blocked = read_block_reason(body)
    # A blocked prompt is answered without candidates. That is an empty reply with a finish reason, not a fault.
    if not candidates and blocked is None:
        raise ReplyError(
            "the answer has no candidates",
            hint="check that base_url is the address of the Gemini API",
            response=response,
        )
    candidate = candidates[0] if candidates else {}
    parts = read_objects(as_object(candidate.get("content")).get("parts"))
    calls = tuple(decode_tool_call(index, call) for index, call in enumerate(read_function_calls(parts)))
    raw_reason = as_text(candidate.get("finishReason"))
    is_blocked = raw_reason is None and blocked is not None
    return Reply(
        text="".join(read_texts(parts, is_thought=False)),
        reasoning="\n\n".join(read_texts(parts, is_thought=True)) or None,
        tool_calls=calls,
        usage=_read_usage(body, candidate),
        finish_reason="content_filter" if is_blocked else _decode_finish_reason(raw_reason, has_calls=bool(calls)),
        raw_finish_reason=raw_reason or blocked,
        response_id=as_text(body.get("responseId")),
        model=as_text(body.get("modelVersion")),
        service_tier=read_service_tier(as_object(body.get("usageMetadata")).get("serviceTier")),
        # Plain texts can be rebuilt from the reply, so only other parts are worth the space in every envelope.
        provider_state={PARTS_KEY: parts} if any(part.keys() != {"text"} for part in parts) else None,
        artifacts=_read_artifacts(body, candidates, parts),
        citations=read_citations(candidate, parts),
        hosted_calls=read_hosted_calls(candidate, parts),
        files=read_files(parts),
    )


def _read_usage(body: Json, candidate: Json) -> Usage:
    usage, searches = decode_usage(body.get("usageMetadata")), count_searches(candidate)
    return attrs.evolve(usage, web_search_requests=searches) if searches else usage


def read_block_reason(body: Json) -> str | None:
    """Return the reason why the prompt, or the answer to it, was blocked; None if neither was."""
    return as_text(as_object(body.get("promptFeedback")).get("blockReason"))


def decode_tool_call(index: int, call: Json) -> ToolCall:
    """Decode a functionCall that has a name, the answer's call of this index."""
    # Gemini's calls often have no id, but a tool loop needs one to match results.
    arguments = json.dumps(call.get("args") or {}, ensure_ascii=False)
    return ToolCall(as_text(call.get("id")) or f"call_{index}", call["name"], arguments)


def _decode_finish_reason(raw: str | None, *, has_calls: bool) -> FinishReason | None:
    # Gemini has no finish reason of its own for tool calls.
    reason = _FINISH_REASONS.get(raw or "")
    return "tool_calls" if has_calls and reason in {None, "stop"} else reason


def decode_usage(usage: Any) -> Usage:
    """Decode the usage."""
    # Gemini counts thoughts, and the input of its own tools, outside of candidates and prompt. With them input and
    # output add up to the total.
    return Usage(
        input_tokens=_sum_counts(usage, "promptTokenCount", "toolUsePromptTokenCount"),
        output_tokens=_sum_counts(usage, "candidatesTokenCount", "thoughtsTokenCount"),
        total_tokens=read_count(usage, "totalTokenCount"),
        reasoning_tokens=read_count(usage, "thoughtsTokenCount"),
        cached_tokens=read_count(usage, "cachedContentTokenCount"),
    )


def _sum_counts(usage: Any, *names: str) -> int | None:
    counts = [count for name in names if (count := read_count(usage, name)) is not None]
    return sum(counts) if counts else None


def _read_artifacts(body: Json, candidates: list[Json], parts: list[Json]) -> Json | None:
    """Return the rest of the answer under Google's names."""
    candidate = candidates[0] if candidates else {}
    artifacts = {name: candidate.get(name) for name in _CANDIDATE_METADATA} | {
        "finishMessage": candidate.get("finishMessage") if candidate.get("finishReason") != "STOP" else None,
        "promptFeedback": body.get("promptFeedback"),
        "parts": [part for part in parts if not _ANSWER_KEYS & part.keys()],
        "candidates": candidates[1:],
    }
    return {name: value for name, value in artifacts.items() if value} or None
