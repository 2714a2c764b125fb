"""What the errors of local servers mean, beyond what the wire knows of every server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from pollux_sync.wire.faults import classify_error

if TYPE_CHECKING:
    from pollux_sync.errors import Fault

#: What a server says that will not work however often it is asked, and the next step; the first that matches counts.
#: llama.cpp answers 500 or 501 to most of it. Its sentences were seen; those of vLLM, Ollama and LM Studio are as
#: their users report them, up to 2026-11-21.
_PERMANENT_ERRORS = (
    (
        r"(image|audio) input is not supported|does not support (image|audio|vision)|not a multimodal|at most 0 ",
        "ask a model that sees or hears: llama.cpp's server needs its --mmproj too, and in this process none does",
    ),
    (
        r"does not support tools|requires (--jinja|--enable-auto-tool-choice)",
        "ask a model whose chat template knows tools, and start the server with tool calls enabled",
    ),
    (
        r"parse tool call arguments",
        "a tool call in the history is no whole JSON, perhaps cut off at max_tokens: leave its turn out",
    ),
    (
        r"JSON schema error|failed to parse grammar",
        "simplify the schema of the answer or of a tool where the message says",
    ),
    (r"not supported|does not support", "the model or the server lacks this: leave it out, or load one that has it"),
)

#: llama.cpp's word for requests that each fit but not together, since slots share the context.
_SHARED_CONTEXT_FULL = "Context size has been exceeded"


def classify_local_error(error: Exception) -> Fault | None:
    """The fault behind ``error``, with the next step where it is a local server's to say."""
    fault = classify_error(error)
    if fault is None or fault.kind not in {"invalid_request", "capacity", "context_overflow"}:
        return fault
    if fault.kind == "context_overflow":
        more = "give the model more context: n_ctx in provider_options, or the setting of your server"
        return attrs.evolve(fault, hint=f"shorten prompt, sources or history, or {more}")
    if _SHARED_CONTEXT_FULL in fault.message:
        return attrs.evolve(fault, hint="lower request_concurrency, or give the requests more context to share (n_ctx)")
    for words, hint in _PERMANENT_ERRORS:
        if re.search(words, fault.message, re.IGNORECASE):
            return attrs.evolve(fault, kind="invalid_request", retryable=False, hint=hint)
    return fault
