"""Finds the faults that keep runs from going on: ``pollux-sync durable doctor``."""

from __future__ import annotations

import platform
import sys
import time
from typing import TYPE_CHECKING

import attrs

from pollux_durable.beating import is_gone
from pollux_durable.data.diagnoses import Diagnosis, Problem
from pollux_durable.data.runs import ENDED
from pollux_durable.finding import iter_runs
from pollux_durable.opening import open_viewer
from pollux_durable.tables.marks import count_encoded
from pollux_durable.tables.schema import read_version
from pollux_sync.errors import PolluxError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pollux_durable.data.runs import RunInfo
    from pollux_durable.data.settings import DurableSettings
    from pollux_durable.hosting import Host
    from pollux_durable.tables.workers import Worker

#: A wait that somebody should have ended for so long is stuck.
_STUCK_S = 30.0
#: Since then DBOS asks SQLite for fractions of a second.
_EXACT_PYTHON = (3, 12)
#: So many of the newest runs are looked at for values that cannot be read.
_READ = 1000


def diagnose(settings: DurableSettings, plugins: Sequence[object] = ()) -> Diagnosis:
    """Return facts about a database and its workers, and what is wrong."""
    facts = {"database": settings.shown_url, "python": platform.python_version()}
    try:
        with open_viewer(attrs.evolve(settings, execute=False), plugins) as host:
            return _diagnose(host, facts)
    except PolluxError as error:
        problem = Problem(message=error.message, hint=error.hint or "see the documentation")
        return Diagnosis(facts=facts, problems=(problem,))


def _diagnose(host: Host, facts: dict[str, str]) -> Diagnosis:
    workers = host.workers.list_all()
    live = [worker for worker in workers if not is_gone(worker, host.settings.lease_s)]
    runs = [info for info in iter_runs(host) if info.status not in ENDED]
    problems = [*_find_stranded(runs, live), *_find_stuck(host), *_find_unreadable(host)]
    return Diagnosis(
        facts={
            **facts,
            **host.engine.describe(),
            "tables": f"version {read_version(host.engine.database)}",
            "rate limits": _describe_rates(host),
            "live workers": _describe_workers(live),
            "dead workers": _describe_workers([worker for worker in workers if worker not in live]),
            "open runs": str(len(runs)),
        },
        problems=tuple(problems),
    )


def _describe_rates(host: Host) -> str:
    if host.engine.database.dialect == "postgresql" or sys.version_info >= _EXACT_PYTHON:
        return "exact"
    return "by whole seconds with this Python, so that up to twice as many runs may begin where two periods meet"


def _describe_workers(workers: Sequence[Worker]) -> str:
    if not workers:
        return "none"
    now = time.time()
    shown = [
        f"{worker.executor_id} (version {worker.version}, {max(0, now - worker.beat):.0f} s ago)" for worker in workers
    ]
    return ", ".join(shown)


def _find_stranded(runs: Sequence[RunInfo], live: Sequence[Worker]) -> Iterator[Problem]:
    """Yield a problem for each version that runs have and no live worker has."""
    served = {worker.version for worker in live}
    missing = sorted({str(info.version) for info in runs if info.version not in served})
    for version in missing:
        names = tuple(info.execution_id for info in runs if str(info.version) == version)
        yield Problem(
            message=f"{_count(names)} of version {version!r} cannot go on: no live worker has that version",
            hint=f"start one: pollux-sync durable worker MODULE --version {version}; or cancel the runs, and retry "
            "them with the --version of a worker",
            execution_ids=names,
        )


def _find_stuck(host: Host) -> Iterator[Problem]:
    before = time.time() - _STUCK_S
    waits = host.waits.list_all()
    runs = host.engine.read_runs([wait.execution_id for wait, _, _ in waits])
    stuck = []
    for wait, state, since in waits:
        run = runs.get(wait.execution_id)
        is_overdue = state == "parked" and wait.wake_at is not None and wait.wake_at < before
        is_left = state != "parked" and since < before and run is not None and run.status == "stopped"
        if run is None or is_overdue or is_left:
            stuck.append(wait.execution_id)
    if stuck:
        yield Problem(
            message=f"{_count(stuck)} should have been woken",
            hint="start a worker: each of them looks for such runs",
            execution_ids=tuple(stuck),
        )


def _find_unreadable(host: Host) -> Iterator[Problem]:
    unread = tuple(run.execution_id for run in host.engine.list_runs(limit=_READ) if not run.is_readable)
    encoded = {} if host.store.has_codec else count_encoded(host.engine.database)
    found = [*([_count(unread)] if unread else []), *(f"{count} rows of {name}" for name, count in encoded.items())]
    if found:
        yield Problem(
            message=f"{', '.join(found)} cannot be read: they were written with a codec that is not installed here, or "
            "by something else",
            hint="install the plugin that has the codec",
            execution_ids=unread,
        )


def _count(names: Sequence[str]) -> str:
    return f"{len(names)} run{'s' if len(names) != 1 else ''}"
