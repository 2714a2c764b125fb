"""The token counts of an answer, as OpenAI's formats and the servers that follow them spell them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_sync.data.reply import Usage
from pollux_sync.wire.fields import read_count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: The names of each count, the commonest first: Chat Completions, the Responses API (and mlx-vlm), Ollama.
_INPUT = ("prompt_tokens", "input_tokens", "prompt_eval_count")
_OUTPUT = ("completion_tokens", "output_tokens", "eval_count")
_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details")
#: Inside of the details, or beside the other counts: Moonshot, DeepSeek, Mistral, and gateways to Anthropic.
_CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "num_cached_tokens", "cache_read_input_tokens")
_CACHE_WRITE = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
_REASONING = ("reasoning_tokens",)
#: What the server's own tools did: OpenRouter, and gateways to Anthropic.
_SEARCHES = ("server_tool_use_details", "server_tool_use")
_SEARCH_COUNTS = ("web_search_requests",)


def read_usage(usage: Any) -> Usage:
    """Return the token counts of a ``usage``; None for a count that is missing or no count.

    In a `Usage` no part is larger than its whole: input includes what was read from a cache or written to one, output
    includes thoughts. Counts of a server that counts these apart are added up.
    """
    if not isinstance(usage, dict):
        return Usage()
    inputs = _list_holders(usage, _INPUT_DETAILS)
    cached, written = _read_first(inputs, _CACHED), _read_first(inputs, _CACHE_WRITE)
    reasoning = _read_first(_list_holders(usage, _OUTPUT_DETAILS), _REASONING)
    total = read_count(usage, "total_tokens")
    input_tokens = _include((cached or 0) + (written or 0), _read_first((usage,), _INPUT))
    output_tokens = _read_first((usage,), _OUTPUT)
    # xAI and Gemini's Chat Completions endpoint bill thoughts that only the total includes:
    # https://docs.x.ai/docs/key-information/consumption-and-rate-limits, https://ai.google.dev/gemini-api/docs/openai
    if total is not None and input_tokens is not None and output_tokens is not None:
        output_tokens = max(output_tokens, total - input_tokens)
    return Usage(
        input_tokens=input_tokens,
        output_tokens=_include(reasoning or 0, output_tokens),
        total_tokens=total,
        reasoning_tokens=reasoning,
        cached_tokens=cached,
        cache_write_tokens=written,
        web_search_requests=_read_first([usage.get(name) for name in _SEARCHES if name in usage], _SEARCH_COUNTS),
    )


def _list_holders(usage: Mapping[str, Any], names: tuple[str, ...]) -> list[Any]:
    """Return what may hold the counts of a part: the details of these names, and the usage itself."""
    return [usage[name] for name in names if name in usage] + [usage]


def _read_first(holders: Sequence[Any], names: tuple[str, ...]) -> int | None:
    for holder in holders:
        if isinstance(holder, dict):
            for name in names:
                # Looked for before it is read, since most names are missing.
                if name in holder and (count := read_count(holder, name)) is not None:
                    return count
    return None


def _include(part: int, whole: int | None) -> int | None:
    """Return the whole, with the part added if the part is larger, so that it cannot be included yet."""
    return whole if whole is None or part <= whole else whole + part
