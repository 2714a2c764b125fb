"""Deferred calls: tomorrow's answers at half the price. A handle or a job file stands for them meanwhile."""

from __future__ import annotations

import math
import random
import time
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pollux_sync.api import config_for, connections
from pollux_sync.data.checks import require_seconds
from pollux_sync.data.handles import DeferredHandle
from pollux_sync.engine.collecting import cancel, check_schema, collected, snapshot_of, tell_change
from pollux_sync.engine.deferring import submit
from pollux_sync.engine.journaling import alone, read_job_file
from pollux_sync.engine.requesting import build_request
from pollux_sync.errors import APIError, ConfigurationError, DeferredNotReadyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pollux_sync.data.envelope import ResultEnvelope
    from pollux_sync.data.handles import DeferredSnapshot
    from pollux_sync.data.options import Options
    from pollux_sync.data.source import Source
    from pollux_sync.hooks.config import Config

#: What stands for deferred calls: the handle, or the path of the job file that it was written to.
Job: TypeAlias = "DeferredHandle | str | PathLike[str]"
#: Seconds between two looks at a job: a number, or a function of how often it was looked at.
Poll: TypeAlias = "float | Callable[[int], float]"

_FIRST_WAIT_S = 5.0
_LONGEST_WAIT_S = 300.0


def defer(
    prompt: str | None = None,
    *,
    source: Source | None = None,
    config: Config,
    options: Options | None = None,
    job_file: str | PathLike[str] | None = None,
) -> DeferredHandle:
    """Submit one question to be answered within a day; see `defer_many`."""
    return defer_many(
        prompt, sources=() if source is None else (source,), config=config, options=options, job_file=job_file
    )


def defer_many(
    prompts: str | Sequence[str | None] | None = None,
    *,
    sources: Iterable[Source] = (),
    config: Config,
    options: Options | None = None,
    job_file: str | PathLike[str] | None = None,
) -> DeferredHandle:
    """Submit questions about the same sources to be answered within a day, usually at half the price.

    With ``job_file`` nothing is paid twice: the file says what is about to be done before it is done. Called
    again with it, after success or whatever failure, `defer_many` goes on from there: it looks a job up at the
    provider before it would submit it a second time. The file then stands for the handle everywhere.

    Too many requests for one job become several jobs under one handle. Raises ConfigurationError for what
    cannot be deferred, before anything is sent, and APIError with phase "upload" or "batch_submit".
    """
    request = build_request(prompts, sources, config, options)
    path = None if job_file is None else Path(job_file)
    with alone(path), connections.lease(request.config) as hooks:
        return submit(request, hooks, path)


def inspect_deferred(job: Job, *, config: Config | None = None) -> DeferredSnapshot:
    """How far deferred calls are. Without ``config`` the key comes from the environment."""
    handle = _handle(job)
    with connections.lease(config_for(handle, config)) as hooks:
        return snapshot_of(handle, hooks)


def collect_deferred(
    job: Job, *, response_schema: type[Any] | dict[str, Any] | None = None, config: Config | None = None
) -> ResultEnvelope:
    """The answers of deferred calls that have ended, as `run_many` would have given them.

    Every prompt is accounted for: ``errors`` says why one has no answer, ``diagnostics["deferred"]`` what became
    of each. ``response_schema`` must be the one of the submission; left out, answers are validated as JSON.
    What was stored for the job is deleted, but for its answers: it may be collected again.

    Raises ConfigurationError for another schema, DeferredNotReadyError with a snapshot before the end.
    """
    handle = _handle(job)
    check_schema(handle, response_schema)
    with connections.lease(config_for(handle, config)) as hooks:
        return collected(handle, response_schema, hooks)


def cancel_deferred(job: Job, *, config: Config | None = None) -> None:
    """Ask for deferred calls to be cancelled; does not wait. What was answered by then is paid and can be collected."""
    handle = _handle(job)
    with connections.lease(config_for(handle, config)) as hooks:
        cancel(handle, hooks)


def wait_deferred(
    job: Job,
    *,
    config: Config | None = None,
    timeout_s: float | None = None,
    poll: Poll | None = None,
    on_change: Callable[[DeferredSnapshot], object] | None = None,
) -> DeferredSnapshot:
    """Wait until deferred calls have ended, well or not; gives the last snapshot.

    Looks at once, after 5 s, then more and more seldom, up to every 5 minutes, a little at random; ``poll`` sets
    other seconds. A failed look that may be mended by time is followed by the next one. Ctrl-C ends the waiting, not
    the job. Raises DeferredNotReadyError after ``timeout_s`` seconds, and APIError for a lasting failure.
    """
    ((_, snapshot),) = as_completed([job], config=config, timeout_s=timeout_s, poll=poll, on_change=on_change)
    return snapshot


def as_completed(
    jobs: Iterable[Job],
    *,
    config: Config | None = None,
    timeout_s: float | None = None,
    poll: Poll | None = None,
    on_change: Callable[[DeferredSnapshot], object] | None = None,
) -> Iterator[tuple[DeferredHandle, DeferredSnapshot]]:
    """Each of several jobs as it ends, with its last snapshot. Waits, and fails, as `wait_deferred` does."""
    if timeout_s is not None:
        require_seconds("timeout_s", timeout_s)
    pending = {handle.job_id: (handle, config_for(handle, config)) for handle in map(_handle, jobs)}
    known: dict[str, DeferredSnapshot] = {}
    deadline = None if timeout_s is None else time.time() + timeout_s
    look = 0
    while pending:
        for job_id, (handle, reach) in list(pending.items()):
            snapshot = _looked_at(handle, reach, known, on_change)
            if snapshot is not None and snapshot.is_terminal:
                del pending[job_id]
                yield handle, snapshot
        if not pending:
            return
        wait_s = _wait_s(poll, look)
        look += 1
        left_s = math.inf if deadline is None else deadline - time.time()
        if left_s <= 0:
            first = next(iter(pending))
            raise DeferredNotReadyError(
                f"{len(pending)} of the jobs had not ended after {timeout_s:g} s",
                hint="wait again with the same handle or file: the jobs go on",
                snapshot=known.get(first),
            )
        time.sleep(min(wait_s, left_s))


def _looked_at(
    handle: DeferredHandle,
    config: Config,
    known: dict[str, DeferredSnapshot],
    on_change: Callable[[DeferredSnapshot], object] | None,
) -> DeferredSnapshot | None:
    """One look at a job; None where it failed in a way that may pass."""
    with connections.lease(config) as hooks:
        try:
            snapshot = snapshot_of(handle, hooks)
        except APIError as error:
            if error.retryable or error.kind in {"connection", "timeout"}:
                return None
            raise
        before, known[handle.job_id] = known.get(handle.job_id), snapshot
        is_new = tell_change(before, snapshot, hooks)
    if is_new and on_change is not None:
        on_change(snapshot)
    return snapshot


def _wait_s(poll: Poll | None, look: int) -> float:
    if poll is None:
        return min(_FIRST_WAIT_S * 1.5**look, _LONGEST_WAIT_S) * random.uniform(0.8, 1.2)  # noqa: S311
    wait_s = poll(look) if callable(poll) else poll
    require_seconds("poll", wait_s)
    return wait_s


def _handle(job: object) -> DeferredHandle:
    if isinstance(job, DeferredHandle):
        return job
    if not isinstance(job, str | PathLike):
        raise ConfigurationError(
            f"a job must be a DeferredHandle or the path of a job file, got {type(job).__name__}",
            hint="pass what defer_many() returned, or its job_file",
        )
    handle = read_job_file(Path(job)).handle
    if handle is None:
        raise ConfigurationError(
            f"the submission of {str(job)!r} was interrupted",
            hint="call defer_many again with the same prompts and this job_file: it goes on from there",
        )
    return handle
