"""Token counts, as bulk work adds them up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict, cast

from pollux_sync.errors import ConfigurationError

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


#: The names of chat completions for the same counts.
_CHAT_NAMES = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens", "total_tokens": "total_tokens"}


def check_usage(given: object) -> TokenUsage:
    """Return the counts that a strategy reports, by our names; those of chat completions are known too.

    The total is the sum of input and output where it is not given. Raises ConfigurationError for anything else.
    """
    if given is None:
        return TokenUsage()
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"usage must be a dict of counts, got {type(given).__name__}", hint=_USAGE_HINT)
    counts = {name: count for name, count in given.items() if count is not None}
    names = _CHAT_NAMES if counts.keys() & {"prompt_tokens", "completion_tokens"} else {name: name for name in _COUNTS}
    unknown = [name for name in counts if name not in names]
    if unknown:
        raise ConfigurationError(f"usage has a count {unknown[0]!r} that is not known", hint=_USAGE_HINT)
    for name, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise ConfigurationError(f"{name} of usage must be a whole number from 0, got {count!r}", hint=_USAGE_HINT)
    usage: dict[str, int] = {names[name]: count for name, count in counts.items()}
    if "total_tokens" not in usage and {"input_tokens", "output_tokens"} <= usage.keys():
        usage["total_tokens"] = usage["input_tokens"] + usage["output_tokens"]
    return cast("TokenUsage", usage)


_USAGE_HINT = f"known are {', '.join(_COUNTS)}"
