"""Runs that exist: by id, or as a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_durable import configuring
from pollux_durable.invoking import ExecutionHandle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_durable.data.runs import EngineStatus, RunInfo


def get_handle(execution_id: str) -> ExecutionHandle:
    """Return the handle of a run that exists. Raises ConfigurationError if it does not."""
    host = configuring.find_host()
    host.read_run(execution_id)
    return ExecutionHandle(host, execution_id)


def list_runs(
    *, workflow_id: str | None = None, statuses: Sequence[EngineStatus] = (), limit: int = 100, offset: int = 0
) -> list[RunInfo]:
    """Return what is known of runs, the newest first."""
    return configuring.find_host().list_runs(workflow_id=workflow_id, statuses=statuses, limit=limit, offset=offset)
