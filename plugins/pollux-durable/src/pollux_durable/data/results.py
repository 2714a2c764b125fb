"""The inputs and the outcomes of many runs that are started together."""

from __future__ import annotations

from typing import Any

import attrs


@attrs.frozen
class BatchWorkflowInput:
    """One of many runs to start. ``id`` is that of the workflow."""

    id: str
    payload: Any = None
    initial_state: Any = attrs.field(default=None, kw_only=True)
    run_timeout_seconds: float | None = attrs.field(default=None, kw_only=True)


@attrs.frozen(kw_only=True)
class BatchStepResult:
    """The outcome of one of many runs. ``error`` is the message of its failure, or None."""

    workflow_id: str
    success: bool
    result: Any = None
    error: str | None = None
