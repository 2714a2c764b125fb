"""From the answer of ``POST /v1/messages`` to a Reply. Pure, and tolerant of what it does not know."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pollux_anthropic.encoding import BLOCKS, THOUGHT_TYPES, THOUGHTS
from pollux_sync.data.reply import FinishReason, Reply, ToolCall, Usage
from pollux_sync.wire.faults import HttpError, ReplyError
from pollux_sync.wire.fields import as_text, read_count
from pollux_sync.wire.tools import lift_calls

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pollux_sync.data.provider import HttpResponse
    from pollux_sync.data.request import Call
    from pollux_sync.schemas import SchemaDialect

Block = dict[str, Any]

_FINISH_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",  # the service cut a long turn of its own tools: the answer is not whole
    "refusal": "refusal",
}
#: The order that a turn has by itself: what comes like this needs no copy to be replayed.
_RANKS = {"thinking": 0, "redacted_thinking": 0, "text": 1, "tool_use": 2}


def decode(response: HttpResponse, call: Call, dialect: SchemaDialect) -> Reply:
    """The answer as a Reply. Raises HttpError for an error inside it, ReplyError for no answer."""
    body = response.body
    if not isinstance(body, dict):
        raise ReplyError(f"the answer is a JSON {type(body).__name__}, not an object", response=response)
    if body.get("error"):
        raise HttpError(response)
    content = body.get("content")
    if not isinstance(content, list):
        raise ReplyError("the answer holds no content", hint="does base_url lead to a Messages API?", response=response)
    blocks = [block for block in content if isinstance(block, dict)]
    calls = lift_calls(_tool_calls(blocks), call.options.tools or (), dialect, by_default=False)
    raw_reason = as_text(body.get("stop_reason"))
    return Reply(
        text=_text(blocks) or _explanation(body),
        reasoning="\n\n".join(_texts(blocks, "thinking", "thinking")) or None,
        tool_calls=calls,
        usage=decode_usage(body.get("usage")),
        finish_reason=_finish_reason(raw_reason, has_calls=bool(calls)),
        raw_finish_reason=raw_reason,
        response_id=as_text(body.get("id")),
        model=as_text(body.get("model")),
        provider_state=_state(blocks),
        artifacts=_artifacts(body, blocks),
    )


def _text(blocks: list[Block]) -> str:
    """The text blocks, apart by a blank line; those of one sentence, cut by its citations, without."""
    runs = [list(run) for is_text, run in groupby(blocks, lambda block: block.get("type") == "text") if is_text]
    return "\n\n".join(filter(None, map(_run_text, runs)))


def _run_text(run: list[Block]) -> str:
    separator = "" if any(block.get("citations") for block in run) else "\n\n"
    return separator.join(_texts(run, "text", "text"))


def _texts(blocks: list[Block], kind: str, field: str) -> Iterator[str]:
    for block in blocks:
        text = block.get(field)
        if block.get("type") == kind and isinstance(text, str) and text:
            yield text


def _explanation(body: Mapping[str, Any]) -> str:
    """Why the model refused, if it says so outside of its answer."""
    details = body.get("stop_details")
    return (as_text(details.get("explanation")) if isinstance(details, dict) else None) or ""


def _tool_calls(blocks: list[Block]) -> Iterator[ToolCall]:
    for index, block in enumerate(blocks):
        if block.get("type") == "tool_use" and isinstance(block.get("name"), str):
            arguments = block.get("input")
            text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
            yield ToolCall(as_text(block.get("id")) or f"call_{index}", block["name"], text)


def _finish_reason(raw: str | None, *, has_calls: bool) -> FinishReason | None:
    reason = _FINISH_REASONS.get(raw or "")
    return "tool_calls" if has_calls and reason in {None, "stop"} else reason


def decode_usage(usage: Any) -> Usage:
    """The counts as the service bills them: its input tokens are those that no cache held or took."""
    sent, written = read_count(usage, "input_tokens"), read_count(usage, "output_tokens")
    details = usage.get("output_tokens_details") if isinstance(usage, dict) else None
    return Usage(
        input_tokens=sent,
        output_tokens=written,
        total_tokens=None if sent is None or written is None else sent + written,
        reasoning_tokens=read_count(details, "thinking_tokens"),
        cached_tokens=read_count(usage, "cache_read_input_tokens"),
        cache_write_tokens=read_count(usage, "cache_creation_input_tokens"),
    )


def _state(blocks: list[Block]) -> dict[str, Any] | None:
    """What the next turn must replay: the thoughts; all blocks where thoughts, text and calls are not in that order."""
    ranks = [_RANKS.get(str(block.get("type"))) for block in blocks]
    known = [rank for rank in ranks if rank is not None]
    if len(known) < len(ranks) or known != sorted(known):
        return {BLOCKS: [block for block in blocks if block.get("type") != "text" or block.get("text")]}
    thoughts = [block for block in blocks if block.get("type") in THOUGHT_TYPES]
    return {THOUGHTS: thoughts} if thoughts else None


def _artifacts(body: Mapping[str, Any], blocks: list[Block]) -> dict[str, Any] | None:
    citations = [note for block in blocks for note in block.get("citations") or ()]
    others = [block for block in blocks if block.get("type") not in _RANKS]
    details = body.get("stop_details")
    found = {"citations": citations, "blocks": others, "stop_details": details}
    return {name: value for name, value in found.items() if value} or None
