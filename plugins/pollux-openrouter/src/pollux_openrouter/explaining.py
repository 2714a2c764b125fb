"""Classification of OpenRouter's own errors, beyond those that all servers share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.plugin import HttpError, classify_error

if TYPE_CHECKING:
    from pollux_sync.plugin import Fault

_NO_CREDITS = 402
_FORBIDDEN = 403


def classify_openrouter_error(error: Exception) -> Fault | None:
    """Return the fault of an error, with OpenRouter's hint where there is one, or None for an unknown error."""
    fault = classify_error(error)
    if fault is None or not isinstance(error, HttpError):
        return fault
    if fault.status_code == _NO_CREDITS:
        hint = "add credits at https://openrouter.ai/settings/credits, or set max_tokens lower"
        return attrs.evolve(fault, hint=hint)
    reasons = _read_metadata(error.response.body).get("reasons")
    if fault.status_code == _FORBIDDEN and isinstance(reasons, list):
        return _build_moderation_fault(fault, ", ".join(map(str, reasons)))
    return fault


def _build_moderation_fault(fault: Fault, reasons: str) -> Fault:
    # The status 403 alone would mean a bad key. Here the key is good, and other prompts may pass.
    message = f"{fault.message} (flagged for: {reasons})"
    return attrs.evolve(
        fault, kind="invalid_request", message=message, hint="change the input, or use a model that is not moderated"
    )


def _read_metadata(body: Any) -> dict[str, Any]:
    error = body.get("error") if isinstance(body, dict) else None
    metadata = error.get("metadata") if isinstance(error, dict) else None
    return metadata if isinstance(metadata, dict) else {}
