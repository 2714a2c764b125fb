"""Requests that exceed the model's context: the messages by which servers report it, and the tokens in them.

The patterns come from answers and documentation of all families of servers, read up to 2026-11-26. A limit on the
output alone does not count as an overflow, and neither does a limit on tokens per minute.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.wire.fields import read_count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pollux_sync.errors import Fault

_HINT = "shorten prompt, sources or history, ask for fewer max_tokens, or use a model with a larger context"

#: The machine-readable codes or types of such an error.
_CODES = {
    "context_length_exceeded",  # OpenAI, Groq, Cerebras
    "exceed_context_size_error",  # llama.cpp
    "tokens_limit_reached",  # GitHub Models
    "model_max_prompt_tokens_exceeded",  # GitHub Copilot
}

#: The messages of such an error; the first match counts, so that patterns with numbers come before those without.
#: ``#`` is a number. ``tokens`` plus ``more`` is what the request needs, ``limit`` is what fits.
_FORMS = (
    r"request \((?P<tokens>#) tokens\) exceeds the available context size \((?P<limit>#) tokens\)",
    r"too large: (?P<more>#)\. .*?context length is (?P<limit>#) tokens and your request has (?P<tokens>#) input",
    r"maximum context length is (?P<limit>#) tokens.*? for a total of (?:at least )?(?P<tokens>#) tokens",
    r"maximum context length is (?P<limit>#) tokens(?:\D*(?P<tokens>#))?",
    r"maximum prompt length is (?P<limit>#) but the request contains (?P<tokens>#) tokens",
    r"prompt is too long: (?P<tokens>#)(?: tokens >|, model maximum context length:) (?P<limit>#)",
    r"exceed context limit: (?P<tokens>#) \+ (?P<more>#) > (?P<limit>#)",
    r"input token count(?: \((?P<tokens>#)\))? exceeds the maximum number of tokens allowed \(?(?P<limit>#)",
    r"input token count is (?P<tokens>#) but model only supports up to (?P<limit>#)",
    r"prompt \(length (?P<tokens>#)\) is longer than the maximum model length of (?P<limit>#)",
    r"prompt contains (?P<tokens>#) tokens.*? (?P<limit>#) maximum context length",
    r"exceed the configured limit of (?P<limit>#) tokens\. Your \w+ resulted in (?P<tokens>#) tokens",
    r"keep the first (?P<tokens>#) tokens.*? context length of only (?P<limit>#) tokens",
    # SGLang
    r"input \((?P<tokens>#) tokens\) is longer than the model's context length \((?P<limit>#) tokens\)",
    r"maximum context length of (?P<limit>#) tokens\. You requested a total of (?P<tokens>#) tokens",
    # vLLM
    r"passed (?P<tokens>#) input tokens(?: and requested (?P<more>#) output tokens)?\..*? only (?P<limit>#) tokens",
    r"prompt length \(?(?P<tokens>#)\)? exceeds (?:the )?max\w*(?: \w+){0,3} \(?(?P<limit>#)",
    r"max_tokens must be at least 1, got -\d",
    # OpenAI, of a text of more than ten million characters
    r"(?:content|input)[^' ]*': string too long",
    # TGI, and Together
    r"tokens \+ `max_new_tokens` must be <= (?P<limit>#)\. Given: (?P<tokens>#) `inputs` tokens and (?P<more>#)",
    r"`inputs` must have less than (?P<limit>#) tokens\. Given: (?P<tokens>#)",
    # Bedrock; other models there say only the first words, or "Input is too long"
    r"max input tokens: (?P<limit>#), request input token count: (?P<tokens>#)",
    # Cohere
    r"tokens in the prompt cannot exceed (?P<limit>#) - received (?P<tokens>#)",
    # GitHub Models and Copilot, Databricks
    r"too large for \S+ model\. Max size: (?P<limit>#) tokens",
    r"prompt token count of (?P<tokens>#) exceeds the limit of (?P<limit>#)",
    r"input token count (?P<tokens>#) exceeds the maximum context length (?P<limit>#)",
    # Cerebras, Moonshot, Qwen, Workers AI
    r"current length is (?P<tokens>#) while limit is (?P<limit>#)",
    r"exceeded model token limit: (?P<limit>#)(?: \(requested: (?P<tokens>#))?",
    r"range of input length should be \[\d+, (?P<limit>#)\]",
    r"maximum output tokens \((?P<tokens>#)\) exceeded this model context window limit \((?P<limit>#)\)",
    # Without numbers: many services; Perplexity; Cohere; Bedrock; Zhipu; MiniMax; Volcengine; proxies of LiteLLM
    r"maximum context length|(?:prompt|input|conversation|context) (?:is |was )?too long",
    r"length of (?:all |the )?(?:messages|prompt|input)(?: \w+)? is too long",
    r"too many tokens: |too many input tokens|prompt exceeds max(?:imum)? length",
    r"reduce the length of (?:the |your )?(?:input |prompt )?(?:messages|prompt|input)",
    r"exceed(?:s|ed)? (?:the |the available |the maximum |max |this model )?context (?:size|window|length)",
    r"exceed(?:s|ed)? (?:the )?max(?:imum)? (?:input|prompt|message|context|model) (?:tokens|length)",
    r"(?:greater|longer|larger) than (?:the |the model's )?context (?:size|window|length)",
    # Not "context size": llama.cpp says "Context size has been exceeded" of requests that fit one by one.
    r"context (?:window|length) (?:limit )?(?:is |was |has been )?exceed(?:ed|s)|ContextWindowExceeded",
)
_COMPILED = tuple(re.compile(form.replace("#", r"\d[\d,]{0,15}"), re.IGNORECASE | re.DOTALL) for form in _FORMS)
#: The message names the overflow near its beginning; searching a long page would only cost time.
_MAX_CHARS = 2000


def detect_overflow(fault: Fault, body: Any, code: str) -> Fault:
    """Return the fault as a "context_overflow" if the answer reports one, else unchanged.

    ``body`` is that of the error, ``code`` its machine-readable part.
    """
    # A rate limit may name tokens too, which is why the kind decides first.
    matches = (form.search(fault.message[:_MAX_CHARS]) for form in _COMPILED)
    match = next(filter(None, matches), None)
    if fault.kind not in {"invalid_request", "capacity"} or not (match or _CODES & set(code.split())):
        return fault
    numbers = match.groupdict() if match else {}
    error = body.get("error", body) if isinstance(body, dict) else None
    return attrs.evolve(
        fault,
        kind="context_overflow",
        hint=_HINT,
        # llama.cpp names both numbers in fields; elsewhere they are in the message only.
        n_tokens=read_count(error, "n_prompt_tokens") or _sum_numbers(numbers, "tokens", "more"),
        n_ctx=read_count(error, "n_ctx") or _sum_numbers(numbers, "limit"),
    )


def _sum_numbers(texts: Mapping[str, str | None], *names: str) -> int | None:
    """Return the sum of the numbers under these names, or None without any."""
    numbers = [int(number.replace(",", "")) for name in names if (number := texts.get(name))]
    return sum(numbers) if numbers else None
