"""Token counts, as bulk work adds them up."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pollux_sync.plugin import Usage


class TokenUsage(TypedDict, total=False):
    """The token counts of an item, over all of its tries; a count that no try reported is missing."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_input_tokens: int


#: The counts, each with its name in a reply's usage.
_COUNTS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "total_tokens": "total_tokens",
    "cached_input_tokens": "cached_tokens",
}


def read_usage(usage: Usage) -> TokenUsage:
    """Return the counts of one reply."""
    found = TokenUsage()
    if usage.input_tokens is not None:
        found["input_tokens"] = usage.input_tokens
    if usage.output_tokens is not None:
        found["output_tokens"] = usage.output_tokens
    total = usage.total_tokens
    if total is None and usage.input_tokens is not None and usage.output_tokens is not None:
        total = usage.input_tokens + usage.output_tokens
    if total is not None:
        found["total_tokens"] = total
    if usage.cached_tokens:
        found["cached_input_tokens"] = usage.cached_tokens
    return found


def add_usage(usages: Iterable[TokenUsage]) -> TokenUsage:
    """Return the sum of several usages."""
    total = TokenUsage()
    for usage in usages:
        for name in _COUNTS:
            if name in usage:
                total[name] = total.get(name, 0) + usage[name]  # type: ignore[literal-required]
    return total
