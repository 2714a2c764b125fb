"""The route of a job: live calls, deferred jobs or a fleet, and then live calls for what these leave."""

from __future__ import annotations

import time
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from pollux_batch.deferring import DeferredRun
from pollux_batch.inspecting import JournalView
from pollux_batch.running import Job
from pollux_batch.shipping import FleetSubmitter
from pollux_batch.submitting import JobSubmitter
from pollux_sync import stages
from pollux_sync.errors import ConfigurationError, PolluxError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path

    from pollux_batch.data.items import Asked
    from pollux_batch.data.results import Termination, WorkItemResult
    from pollux_batch.data.settings import BatchSettings, Route
    from pollux_batch.data.work import Leftover
    from pollux_batch.fleets import Fleet
    from pollux_batch.journaling import Journal
    from pollux_batch.submitting import Submitter

#: Iterate over its results once.
Run: TypeAlias = "Job | DeferredRun | AutoRun"

#: Providers promise the answers of a deferred job within a day.
_DAY_S = 86_400.0


def open_run(asked: Asked, *, route: Route, wait: bool, fleet: Fleet | None, **job: Any) -> Run:
    """Open a job on its route. Raises ConfigurationError."""
    open_submitter: Callable[[Journal], Submitter]
    open_submitter = partial(JobSubmitter, reuses_drifted=job["settings"].on_drift == "reuse")
    _check_other_fleets(job["journal"], fleet)
    if fleet is not None:
        open_submitter = partial(FleetSubmitter, fleet, asked.config.account, job["settings"])
        return AutoRun(asked, wait=wait, open_submitter=open_submitter, **job)
    if route == "auto":
        takes_jobs = _allows_jobs(asked, job["settings"], job["journal"])
        return AutoRun(asked, wait=wait, open_submitter=open_submitter, **job) if takes_jobs else Job(asked, **job)
    if route == "batch":
        return DeferredRun(asked, wait=wait, open_submitter=open_submitter, **job)
    return Job(asked, **job)


def _allows_jobs(asked: Asked, settings: BatchSettings, journal: Path | None) -> bool:
    """Return whether deferred jobs will do: what is submitted already waits there, and more is if there is time."""
    if journal is None or settings.budget is not None or settings.processes > 1:
        return False
    if _has_submissions(journal):
        return True
    if (settings.deadline_s or 0.0) < _DAY_S:
        return False
    hooks = stages.open_hooks(asked.config)
    try:
        return hooks.info.deferred is not None
    finally:
        hooks.close()


def _has_submissions(journal: Path) -> bool:
    if not journal.exists():
        return False
    with JournalView(journal) as view:
        return view.count_submitted().get("", 0) > 0


def _check_other_fleets(journal: Path | None, fleet: Fleet | None) -> None:
    """Raise ConfigurationError if answers wait at another fleet, where they may be paid for already."""
    waiting: dict[str, int] = {}
    # Whatever is wrong with the file, opening it to write says it better.
    if journal is not None and journal.is_file():
        with suppress(PolluxError), JournalView(journal) as view:
            waiting = view.count_submitted()
    for name, count in waiting.items():
        if name and (fleet is None or name != fleet.name):
            raise ConfigurationError(
                f"{count} items of the journal wait at the fleet {name!r}, and would be paid for twice",
                hint=f"pass fleet={name!r} until they are collected, or another journal",
            )


class AutoRun:
    """A job by submissions of its items; what these do not answer is asked by live calls. Iterate over it once."""

    def __init__(
        self,
        asked: Asked,
        *,
        settings: BatchSettings,
        is_ordered: bool,
        wait: bool,
        open_submitter: Callable[[Journal], Submitter],
        **job: Any,
    ) -> None:
        self._asked = asked
        self._settings = settings
        self._is_ordered = is_ordered
        self._job = job
        self._leftovers: list[Leftover] = []
        self._began = time.monotonic()
        self._deferred = DeferredRun(
            asked,
            settings=settings,
            is_ordered=False,
            wait=wait,
            open_submitter=open_submitter,
            leftovers=self._leftovers,
            **job,
        )
        self._live: Job | None = None

    @property
    def termination(self) -> Termination:
        """The reason for the end of the job."""
        if self._live is None or self._live.termination.kind == "completed":
            return self._deferred.termination
        return self._live.termination

    @property
    def n_read(self) -> int:
        """The number of items read so far."""
        return self._deferred.n_read

    @property
    def has_read_all(self) -> bool:
        """True once the end of the items was read."""
        return self._deferred.has_read_all

    def iter_results(self) -> Generator[WorkItemResult, None, None]:
        """Yield the results as they come, or in order."""
        with closing(self._iter_all()) as results:
            yield from _iter_in_order(results) if self._is_ordered else results

    def _iter_all(self) -> Generator[WorkItemResult, None, None]:
        yield from self._deferred.iter_results()
        if not self._leftovers or self._deferred.termination.kind == "interrupted":
            return
        self._live = Job(self._ask_again(), settings=self._cut_deadline(), is_ordered=False, **self._job)
        with closing(self._live.iter_results()) as results:
            for result in results:
                result.submission_index = self._leftovers[result.submission_index].index
                yield result

    def _ask_again(self) -> Asked:
        items = [attrs.evolve(leftover.item, id=leftover.label) for leftover in self._leftovers]
        return attrs.evolve(self._asked, items=items, numbers=tuple(leftover.number for leftover in self._leftovers))

    def _cut_deadline(self) -> BatchSettings:
        if self._settings.deadline_s is None:
            return self._settings
        left_s = self._settings.deadline_s - (time.monotonic() - self._began)
        return attrs.evolve(self._settings, deadline_s=max(left_s, 0.001))


def _iter_in_order(results: Iterable[WorkItemResult]) -> Iterator[WorkItemResult]:
    held: dict[int, WorkItemResult] = {}
    position = 0
    for result in results:
        held[result.submission_index] = result
        while position in held:
            yield held.pop(position)
            position += 1
    for index in sorted(held):
        yield held[index]
