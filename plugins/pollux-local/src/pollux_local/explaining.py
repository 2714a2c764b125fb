"""Classification of local servers' errors, beyond those that all servers share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from pollux_sync.plugin import classify_error

if TYPE_CHECKING:
    from pollux_sync.plugin import Fault

#: Messages of errors that no retry can mend, each with a hint; the first match counts. llama.cpp answers 500 or 501 to
#: most of them, which would be retried. Its messages were observed; those of vLLM, Ollama and LM Studio are as
#: their users report them, up to 2026-11-21.
_PERMANENT_ERRORS = (
    (
        r"(image|audio) input is not supported|does not support (image|audio|vision)|not a multimodal|at most 0 ",
        "use a model that takes images or audio (llama.cpp: --mmproj); models in this process take text only",
    ),
    (
        r"does not support tools|requires (--jinja|--enable-auto-tool-choice)",
        "use a model whose chat template supports tools, and start the server with tool calls enabled",
    ),
    (
        r"parse tool call arguments",
        "leave out the turn whose tool call is not valid JSON; it may have been cut off at max_tokens",
    ),
    (
        r"JSON schema error|failed to parse grammar",
        "simplify the schema of the answer or of a tool at the place that the message names",
    ),
    (r"not supported|does not support", "leave out the unsupported part, or use a model or a server that supports it"),
)

#: llama.cpp's message for requests that fit into the shared context one by one, but not together: worth a retry.
_SHARED_CONTEXT_FULL = "Context size has been exceeded"


def classify_local_error(error: Exception) -> Fault | None:
    """Return the fault of an error, with a hint for local servers where there is one, or None for an unknown error."""
    fault = classify_error(error)
    if fault is None or fault.kind not in {"invalid_request", "capacity", "context_overflow"}:
        return fault
    if fault.kind == "context_overflow":
        more = "give the model more context: n_ctx in provider_options, or the setting of your server"
        return attrs.evolve(fault, hint=f"shorten prompt, sources or history, or {more}")
    if _SHARED_CONTEXT_FULL in fault.message:
        return attrs.evolve(fault, hint="lower request_concurrency, or give the requests more context to share (n_ctx)")
    for pattern, hint in _PERMANENT_ERRORS:
        if re.search(pattern, fault.message, re.IGNORECASE):
            return attrs.evolve(fault, kind="invalid_request", retryable=False, hint=hint)
    return fault
