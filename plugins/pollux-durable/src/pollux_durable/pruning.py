"""Deletes what ended long ago."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

from pollux_durable.beating import is_gone
from pollux_durable.data.runs import ENDED
from pollux_durable.finding import iter_runs
from pollux_durable.tables.cleaning import count_foreign_events, forget_foreign_events, forget_runs

if TYPE_CHECKING:
    from pollux_durable.data.runs import JsonObject, RunInfo
    from pollux_durable.hosting import Host

#: So many runs are deleted in one transaction, so that workers are not kept waiting.
_TOGETHER = 200


@attrs.frozen(kw_only=True)
class Pruned:
    """The numbers of deleted runs with their steps, events, and rows of workers that are gone."""

    runs: int
    events: int
    workers: int

    def to_dict(self) -> JsonObject:
        """Return the JSON form."""
        return attrs.asdict(self)


def prune(host: Host, before: float, *, is_dry: bool = False) -> Pruned:
    """Delete runs that ended before a time, with all that belongs to them; return how much that was.

    A run stays as long as one of its family goes on or has ended later: runs below the same root may look at each
    other. ``is_dry`` deletes nothing, and counts only the events that belong to no run. States and sessions stay.
    """
    runs, oldest = _find_old(host, before)
    # A run that goes on may wait for an event that was published since it began.
    until = min(before, oldest)
    if is_dry:
        events = count_foreign_events(host.engine.database, until)
        return Pruned(runs=len(runs), events=events, workers=len(_find_gone(host, before)))
    n_events = 0
    for first in range(0, len(runs), _TOGETHER):
        names = runs[first : first + _TOGETHER]
        host.engine.delete(names)
        n_events += forget_runs(host.engine.database, names)
    n_events += forget_foreign_events(host.engine.database, until)
    gone = _find_gone(host, before)
    for executor_id in gone:
        host.workers.remove(executor_id)
    return Pruned(runs=len(runs), events=n_events, workers=len(gone))


def _find_old(host: Host, before: float) -> tuple[list[str], float]:
    """Return the runs of families that ended before a time, and when the oldest run was created that goes on."""
    families: dict[str, list[RunInfo]] = {}
    oldest = time.time()
    for info in iter_runs(host):
        families.setdefault(info.root_execution_id, []).append(info)
        oldest = oldest if info.status in ENDED else min(oldest, info.created_at)
    old = [members for members in families.values() if all(_is_old(info, before) for info in members)]
    return [info.execution_id for members in old for info in members], oldest


def _is_old(info: RunInfo, before: float) -> bool:
    return info.status in ENDED and (info.ended_at or info.created_at) < before


def _find_gone(host: Host, before: float) -> list[str]:
    lease_s = host.settings.lease_s
    workers = [worker for worker in host.workers.list_all() if worker.beat < before and is_gone(worker, lease_s)]
    return [worker.executor_id for worker in workers if not host.engine.has_pending(worker.executor_id)]
