"""HttpResponse -> Reply: the answers of ``POST /responses``. No I/O; unknown and missing fields are tolerated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pollux_openai.hosting import count_searches, read_citations, read_files, read_hosted_calls
from pollux_openai.items import iter_tool_calls, list_contents, list_texts, read_refusal, read_text, read_type
from pollux_openai.replaying import build_provider_state
from pollux_sync.plugin import (
    FinishReason,
    Reply,
    ReplyError,
    as_text,
    check_answer,
    lift_calls,
    list_objects,
    read_service_tier,
    read_usage,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pollux_openai.items import Item
    from pollux_sync.plugin import Call, HttpResponse, SchemaDialect, Usage

_FINISH_REASONS: dict[str, FinishReason] = {
    "completed": "stop",
    "max_output_tokens": "length",
    "content_filter": "content_filter",
    "failed": "error",
    "cancelled": "error",
}
#: The statuses of an answer that is made in the background.
_UNFINISHED = frozenset({"queued", "in_progress"})
_NOT_READY_HINT = "ask for no background answers, also in the settings of a gateway; the id leads to the answer later"
#: Output items that are the answer itself. All others (searches, code runs, ...) become artifacts.
_ANSWER_TYPES = frozenset({"message", "reasoning", "function_call"})


def decode(response: HttpResponse, call: Call, dialect: SchemaDialect) -> Reply:
    """Decode an answer. Raises HttpError for an error inside a 200, ReplyError for a body without output."""
    body = response.body
    check_answer(response, "output")
    output = body.get("output")
    if not isinstance(output, list):
        raise ReplyError(
            "the answer has no output", hint="check that base_url leads to a Responses API", response=response
        )
    status = as_text(body.get("status"))
    if status in _UNFINISHED and not output:
        raise ReplyError(f"the answer is not ready: its status is {status!r}", hint=_NOT_READY_HINT, response=response)
    items = [item for item in output if isinstance(item, dict)]
    contents = list_contents(items)
    # Arguments come in the strict form that the tools were sent in; the caller gets them as the tools were declared.
    calls = lift_calls(iter_tool_calls(items), call.options.functions, dialect)
    raw_reason = _read_finish_reason(body)
    return Reply(
        text=read_text(contents),
        reasoning=_read_reasoning(items),
        tool_calls=calls,
        usage=_read_usage(body, items),
        finish_reason=_decode_finish_reason(
            raw_reason, has_calls=bool(calls), has_refusal=bool(read_refusal(contents))
        ),
        raw_finish_reason=raw_reason,
        response_id=as_text(body.get("id")),
        model=as_text(body.get("model")),
        service_tier=read_service_tier(body.get("service_tier")),
        provider_state=build_provider_state(body, items, call),
        artifacts=_collect_artifacts(items, contents),
        citations=read_citations(contents),
        hosted_calls=read_hosted_calls(items),
        files=read_files(items),
    )


def _read_usage(body: Mapping[str, Any], items: list[Item]) -> Usage:
    usage, searches = read_usage(body.get("usage")), count_searches(items)
    return attrs.evolve(usage, web_search_requests=searches) if searches else usage


def _read_reasoning(items: list[Item]) -> str | None:
    """Return the summaries of the reasoning, joined by blank lines; without summaries, the reasoning itself."""
    thoughts = [item for item in items if item.get("type") == "reasoning"]
    if not thoughts:
        return None
    # OpenAI sends summaries only. Compatible servers with open models send the text of the reasoning.
    for field, kind in (("summary", "summary_text"), ("content", "reasoning_text")):
        parts = [part for item in thoughts for part in list_objects(item.get(field))]
        texts = [text for text in list_texts(parts, kind) if text]
        if texts:
            return "\n\n".join(texts)
    return None


def _read_finish_reason(body: Mapping[str, Any]) -> str | None:
    """Return the reason of an incomplete answer, or the status of one that is complete."""
    details = body.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    return as_text(reason) or as_text(body.get("status"))


def _decode_finish_reason(raw: str | None, *, has_calls: bool, has_refusal: bool) -> FinishReason | None:
    # The service reports refusals and tool calls as plain "completed".
    if has_refusal:
        return "refusal"
    reason = _FINISH_REASONS.get(raw or "")
    return "tool_calls" if has_calls and reason in {None, "stop"} else reason


def _collect_artifacts(items: list[Item], contents: list[Item]) -> dict[str, Any] | None:
    artifacts = {
        "annotations": [note for part in contents for note in list_objects(part.get("annotations"))],
        "items": [item for item in items if read_type(item) not in _ANSWER_TYPES],
        "logprobs": [token for part in contents for token in list_objects(part.get("logprobs"))],
    }
    return {name: value for name, value in artifacts.items() if value} or None
