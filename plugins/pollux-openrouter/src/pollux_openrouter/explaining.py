"""What OpenRouter's own errors mean, beyond what the wire knows of every server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.wire.faults import HttpError, classify

if TYPE_CHECKING:
    from pollux_sync.errors import Fault

_NO_CREDITS = 402
_FORBIDDEN = 403


def explain(error: Exception) -> Fault | None:
    """The fault behind ``error``, with the next step where it is OpenRouter's to say."""
    fault = classify(error)
    if fault is None or not isinstance(error, HttpError):
        return fault
    if fault.status_code == _NO_CREDITS:
        hint = "add credits at https://openrouter.ai/settings/credits, or ask for less with max_tokens"
        return attrs.evolve(fault, hint=hint)
    reasons = _metadata(error.response.body).get("reasons")
    if fault.status_code == _FORBIDDEN and isinstance(reasons, list):
        return _moderated(fault, ", ".join(map(str, reasons)))
    return fault


def _moderated(fault: Fault, reasons: str) -> Fault:
    """The input was flagged: the key is good, and other prompts may pass."""
    message = f"{fault.message} (flagged for: {reasons})"
    return attrs.evolve(
        fault, kind="invalid_request", message=message, hint="change the input, or ask a model that is not moderated"
    )


def _metadata(body: Any) -> dict[str, Any]:
    error = body.get("error") if isinstance(body, dict) else None
    metadata = error.get("metadata") if isinstance(error, dict) else None
    return metadata if isinstance(metadata, dict) else {}
