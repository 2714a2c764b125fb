"""HttpResponse -> Reply: the answers of ``POST /v1/messages``. No I/O; unknown and missing fields are tolerated."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pollux_anthropic.encoding import BLOCKS, THOUGHT_TYPES, THOUGHTS
from pollux_anthropic.hosting import read_citations, read_files, read_hosted_calls
from pollux_sync.plugin import (
    FinishReason,
    Reply,
    ReplyError,
    ToolCall,
    Usage,
    as_text,
    check_answer,
    lift_calls,
    list_objects,
    read_count,
    read_service_tier,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pollux_sync.plugin import Call, HttpResponse, SchemaDialect

Block = dict[str, Any]

_FINISH_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "paused",
    "refusal": "refusal",
}
_BLANK_LINE = "\n\n"
#: The order in which `encoding` writes a turn. Blocks in this order are replayed from the turn, without a copy.
_RANKS = {"thinking": 0, "redacted_thinking": 0, "text": 1, "tool_use": 2}
#: What becomes an artifact under its own name. Of the message: the container of the code that ran, to be used again,
#: and the stop sequence that ended the answer.
_BODY_ARTIFACTS = ("stop_details", "stop_sequence", "container", "context_management")
#: Of the usage: the searches, which cost extra.
_USAGE_ARTIFACTS = ("server_tool_use",)


def decode(response: HttpResponse, call: Call, dialect: SchemaDialect) -> Reply:
    """Decode an answer. Raises HttpError for an error inside a 200, ReplyError for a body without content."""
    body = response.body
    check_answer(response, "content")
    content = body.get("content")
    if not isinstance(content, list):
        raise ReplyError(
            "the answer has no content", hint="check that base_url leads to a Messages API", response=response
        )
    blocks = [block for block in content if isinstance(block, dict)]
    # Arguments of strict tools come in the form that was sent; the caller gets them as the tools were declared.
    calls = lift_calls(_iter_tool_calls(blocks), call.options.functions, dialect, by_default=False)
    raw_reason = as_text(body.get("stop_reason"))
    return Reply(
        text=_join_text(blocks) or _read_explanation(body),
        reasoning="\n\n".join(_iter_texts(blocks, "thinking", "thinking")) or None,
        tool_calls=calls,
        usage=decode_usage(body.get("usage")),
        finish_reason=_decode_finish_reason(raw_reason, has_calls=bool(calls)),
        raw_finish_reason=raw_reason,
        response_id=as_text(body.get("id")),
        model=as_text(body.get("model")),
        service_tier=_read_tier(body.get("usage")),
        provider_state=_build_provider_state(blocks),
        artifacts=_collect_artifacts(body, blocks),
        citations=read_citations(_place_texts(blocks)) if any(block.get("citations") for block in blocks) else None,
        hosted_calls=read_hosted_calls(blocks),
        files=read_files(blocks),
    )


def _join_text(blocks: list[Block]) -> str:
    """Join the texts of all text blocks. Runs that other blocks interrupt are separated by blank lines."""
    runs = [list(run) for is_text, run in groupby(blocks, lambda block: block.get("type") == "text") if is_text]
    return _BLANK_LINE.join(filter(None, map(_join_run, runs)))


def _join_run(run: list[Block]) -> str:
    """Join the texts of neighbouring text blocks."""
    return _find_separator(run).join(_iter_texts(run, "text", "text"))


def _find_separator(run: list[Block]) -> str:
    # The service cuts a cited sentence into blocks, which belong together without a separator.
    return "" if any(block.get("citations") for block in run) else _BLANK_LINE


def _place_texts(blocks: list[Block]) -> list[tuple[Block, int, int]]:
    """Return each block that has a text, with the place of that in the text that `_join_text` makes."""
    places: list[tuple[Block, int, int]] = []
    end = 0
    for is_text, group in groupby(blocks, lambda block: block.get("type") == "text"):
        run = [*group] if is_text else []
        separator = _find_separator(run)
        for number, block in enumerate(one for one in run if as_text(one.get("text"))):
            start = end + len(separator if number else _BLANK_LINE if end else "")
            end = start + len(block["text"])
            places.append((block, start, end))
    return places


def _iter_texts(blocks: list[Block], kind: str, field: str) -> Iterator[str]:
    for block in blocks:
        text = block.get(field)
        if block.get("type") == kind and isinstance(text, str) and text:
            yield text


def _read_explanation(body: Mapping[str, Any]) -> str:
    """Return the model's explanation why it refused, which is outside of the content; empty without one."""
    details = body.get("stop_details")
    return (as_text(details.get("explanation")) if isinstance(details, dict) else None) or ""


def _iter_tool_calls(blocks: list[Block]) -> Iterator[ToolCall]:
    for index, block in enumerate(blocks):
        if block.get("type") == "tool_use" and isinstance(block.get("name"), str):
            arguments = block.get("input")
            # Input is text where a stream was cut off inside it; see `streaming`.
            text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
            yield ToolCall(as_text(block.get("id")) or f"call_{index}", block["name"], text)


def _decode_finish_reason(raw: str | None, *, has_calls: bool) -> FinishReason | None:
    reason = _FINISH_REASONS.get(raw or "")
    return "tool_calls" if has_calls and reason in {None, "stop"} else reason


def decode_usage(usage: Any) -> Usage:
    """Decode the token counts of an answer; missing counts are None."""
    output_tokens = read_count(usage, "output_tokens")
    cached, written = read_count(usage, "cache_read_input_tokens"), read_count(usage, "cache_creation_input_tokens")
    input_tokens = read_count(usage, "input_tokens")
    if input_tokens is not None:
        # The service counts these apart, while a Usage has them in its input:
        # https://docs.claude.com/en/docs/build-with-claude/prompt-caching
        input_tokens += (cached or 0) + (written or 0)
    details, tools = (
        (usage.get(name) if isinstance(usage, dict) else None) for name in ("output_tokens_details", "server_tool_use")
    )
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        # The service sends no total.
        total_tokens=None if input_tokens is None or output_tokens is None else input_tokens + output_tokens,
        reasoning_tokens=read_count(details, "thinking_tokens"),
        cached_tokens=cached,
        cache_write_tokens=written,
        web_search_requests=read_count(tools, "web_search_requests"),
    )


def _read_tier(usage: Any) -> str | None:
    return read_service_tier(usage.get("service_tier")) if isinstance(usage, dict) else None


def _build_provider_state(blocks: list[Block]) -> dict[str, Any] | None:
    """Return the blocks that the next request must replay; None if text and tool calls are enough.

    These are the thoughts, or all blocks if thoughts, text and tool calls are not in the order of `_RANKS`.
    """
    ranks = [_RANKS.get(str(block.get("type"))) for block in blocks]
    known = [rank for rank in ranks if rank is not None]
    if len(known) < len(ranks) or known != sorted(known):
        # Empty text blocks are left out: the service sends them, but refuses to take them back.
        return {BLOCKS: [block for block in blocks if block.get("type") != "text" or block.get("text")]}
    thoughts = [block for block in blocks if as_text(block.get("type")) in THOUGHT_TYPES]
    return {THOUGHTS: thoughts} if thoughts else None


def _collect_artifacts(body: Mapping[str, Any], blocks: list[Block]) -> dict[str, Any] | None:
    usage = body.get("usage")
    artifacts = {
        "citations": [note for block in blocks for note in list_objects(block.get("citations"))],
        "blocks": [block for block in blocks if as_text(block.get("type")) not in _RANKS],
        **{name: body.get(name) for name in _BODY_ARTIFACTS},
        **({name: usage.get(name) for name in _USAGE_ARTIFACTS} if isinstance(usage, dict) else {}),
    }
    return {name: value for name, value in artifacts.items() if value} or None
