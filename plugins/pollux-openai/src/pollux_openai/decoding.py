"""From the answer of ``POST /responses`` to a Reply. Pure, and tolerant of what it does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_openai.items import contents_in, refusal_in, text_in, texts_in, tool_calls_in
from pollux_openai.replaying import state_of
from pollux_sync.data.reply import FinishReason, Reply, Usage
from pollux_sync.wire.faults import HttpError, ReplyError
from pollux_sync.wire.fields import as_text, read_count
from pollux_sync.wire.tools import lifted_calls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pollux_openai.items import Item
    from pollux_sync.data.provider import HttpResponse
    from pollux_sync.data.request import Call
    from pollux_sync.schemas import SchemaDialect

_FINISH_REASONS: dict[str, FinishReason] = {
    "completed": "stop",
    "max_output_tokens": "length",
    "content_filter": "content_filter",
    "failed": "error",
    "cancelled": "error",
}


def decode(response: HttpResponse, call: Call, dialect: SchemaDialect) -> Reply:
    """The answer as a Reply. Raises HttpError for an error inside it, ReplyError for no answer."""
    body = response.body
    if not isinstance(body, dict):
        raise ReplyError(f"the answer is a JSON {type(body).__name__}, not an object", response=response)
    if body.get("error"):
        raise HttpError(response)
    output = body.get("output")
    if not isinstance(output, list):
        raise ReplyError("the answer holds no output", hint="does base_url lead to a Responses API?", response=response)
    items = [item for item in output if isinstance(item, dict)]
    contents = contents_in(items)
    calls = lifted_calls(tool_calls_in(items), call.options.tools or (), dialect)
    raw_reason = _raw_reason(body)
    return Reply(
        text=text_in(contents),
        reasoning=_reasoning(items),
        tool_calls=calls,
        usage=usage_of(body.get("usage")),
        finish_reason=_finish_reason(raw_reason, has_calls=bool(calls), is_refusal=bool(refusal_in(contents))),
        raw_finish_reason=raw_reason,
        response_id=as_text(body.get("id")),
        model=as_text(body.get("model")),
        provider_state=state_of(body, items, call.model),
        artifacts=_artifacts(items, contents),
    )


def _reasoning(items: list[Item]) -> str | None:
    """Summaries joined by blank lines; where a server sends none, the reasoning's own text."""
    thoughts = [item for item in items if item.get("type") == "reasoning"]
    if not thoughts:
        return None
    for field, kind in (("summary", "summary_text"), ("content", "reasoning_text")):
        parts = [part for item in thoughts for part in item.get(field) or () if isinstance(part, dict)]
        texts = [text for text in texts_in(parts, kind) if text]
        if texts:
            return "\n\n".join(texts)
    return None


def _raw_reason(body: Mapping[str, Any]) -> str | None:
    details = body.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    return as_text(reason) or as_text(body.get("status"))


def _finish_reason(raw: str | None, *, has_calls: bool, is_refusal: bool) -> FinishReason | None:
    if is_refusal:
        return "refusal"
    reason = _FINISH_REASONS.get(raw or "")
    return "tool_calls" if has_calls and reason in {None, "stop"} else reason


def usage_of(usage: Any) -> Usage:
    """The counts as the service tells them."""
    if not isinstance(usage, dict):
        return Usage()
    return Usage(
        input_tokens=read_count(usage, "input_tokens"),
        output_tokens=read_count(usage, "output_tokens"),
        total_tokens=read_count(usage, "total_tokens"),
        reasoning_tokens=read_count(usage.get("output_tokens_details"), "reasoning_tokens"),
        cached_tokens=read_count(usage.get("input_tokens_details"), "cached_tokens"),
        cache_write_tokens=read_count(usage.get("input_tokens_details"), "cache_write_tokens"),
    )


#: Output items that are the answer itself; all others (searches, code runs, ...) are extras.
_OWN_TYPES = frozenset({"message", "reasoning", "function_call"})


def _artifacts(items: list[Item], contents: list[Item]) -> dict[str, Any] | None:
    artifacts = {
        "annotations": [note for part in contents for note in part.get("annotations") or ()],
        "items": [item for item in items if item.get("type") not in _OWN_TYPES],
    }
    return {name: found for name, found in artifacts.items() if found} or None
