"""Finds runs: by id, or by workflow and status."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, get_args

from pollux_durable import configuring
from pollux_durable.data.runs import EngineStatus, RunStatus
from pollux_durable.invoking import ExecutionHandle
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pollux_durable.data.runs import RunInfo
    from pollux_durable.hosting import Host

_PAGE = 500
#: What an engine may know a run as that is shown with a status.
ENGINE_STATUSES: dict[RunStatus, tuple[EngineStatus, ...]] = {
    "queued": ("queued",),
    "running": ("running",),
    "waiting": ("stopped",),
    "pending_cancel": ("queued", "running", "stopped"),
    "completed": ("completed",),
    "failed": ("failed",),
    "cancelled": ("queued", "stopped"),
}


def get_handle(execution_id: str) -> ExecutionHandle:
    """Return the handle of a run that exists. Raises ConfigurationError if it does not."""
    host = configuring.find_host()
    host.read_run(execution_id)
    return ExecutionHandle(host, execution_id)


def list_runs(*, workflow_id: str | None = None, status: RunStatus | None = None, limit: int = 100) -> list[RunInfo]:
    """Return runs, the newest first. Raises ConfigurationError for an unknown status."""
    return [*islice(iter_runs(configuring.find_host(), workflow_id=workflow_id, status=status), check_limit(limit))]


def check_limit(limit: int) -> int:
    """Return a number of runs. Raises ConfigurationError if it is negative."""
    if limit < 0:
        raise ConfigurationError(f"the limit is {limit}", hint="use a number from 0 on")
    return limit


def iter_runs(host: Host, *, workflow_id: str | None = None, status: RunStatus | None = None) -> Iterator[RunInfo]:
    """Yield runs, the newest first. Raises ConfigurationError for an unknown status."""
    if status is not None and status not in ENGINE_STATUSES:
        raise ConfigurationError(f"status {status!r} is not known", hint=f"use one of {', '.join(get_args(RunStatus))}")
    wanted: Sequence[EngineStatus] = () if status is None else ENGINE_STATUSES[status]
    offset = 0
    while True:
        page = host.list_runs(workflow_id=workflow_id, statuses=wanted, limit=_PAGE, offset=offset)
        yield from (info for info in page if status in {None, info.status})
        if len(page) < _PAGE:
            return
        offset += _PAGE
