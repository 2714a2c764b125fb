"""Deferred calls: answers within a day at about half the price. A handle or a job file stands for them meanwhile."""

from __future__ import annotations

import math
import random
import time
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from pollux_sync.data.checks import check_seconds
from pollux_sync.data.jobs import DeferredHandle, check_coverage
from pollux_sync.engine.collecting import (
    cancel_jobs,
    check_schema,
    collect_envelope,
    emit_change,
    take_snapshot,
)
from pollux_sync.engine.deferring import submit
from pollux_sync.engine.journaling import locate_job_file, lock_job_file, read_job_file, remove_leftovers
from pollux_sync.engine.reaching import resolve_config
from pollux_sync.engine.requesting import build_request
from pollux_sync.engine.threads import wait_for
from pollux_sync.errors import APIError, ConfigurationError, DeferredNotReadyError
from pollux_sync.process import clients

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pollux_sync.data.envelope import ResultEnvelope
    from pollux_sync.data.jobs import DeferredSnapshot
    from pollux_sync.data.options import Options
    from pollux_sync.data.progress import ProgressOption
    from pollux_sync.data.source import Source
    from pollux_sync.hooks.config import Config

#: What stands for deferred calls: the handle, or the path of the job file that it was written to.
HandleOrPath: TypeAlias = "DeferredHandle | str | PathLike[str]"
#: Seconds between two looks at a job: a number, or a function of the number of looks so far.
Poll: TypeAlias = "float | Callable[[int], float]"

# Small jobs may end within seconds, large ones take hours: look often at first, then rarely.
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
    sources = () if source is None else (source,)
    return defer_many(prompt, sources=sources, config=config, options=options, job_file=job_file)


def defer_many(
    prompts: str | Sequence[str | None] | None = None,
    *,
    sources: Iterable[Source] = (),
    config: Config,
    options: Options | None = None,
    job_file: str | PathLike[str] | None = None,
) -> DeferredHandle:
    """Submit questions about the same sources to be answered within a day, usually at half the price.

    With ``job_file`` nothing is paid twice: each step is written to the file before it is taken. Call
    `defer_many` again with the same file, after success or any failure, and it continues from there: it looks a
    job up at the provider before it submits it a second time. Afterwards the file can be passed wherever a
    handle can.

    Requests that are too many for one job become several jobs under one handle. Raises ConfigurationError for
    what cannot be deferred and for a job file that cannot be used, before anything is sent, and APIError with phase
    "upload" or "batch_submit". The text of an error after which a job may exist says which one, and how to go on.
    """
    request = build_request(prompts, sources, config, options)
    path = None if job_file is None else locate_job_file(job_file)
    # Two processes with one job file would both submit, so the file is locked before it is read.
    with lock_job_file(path), clients.lease(request.config) as hooks:
        return submit(request, hooks, path)


def inspect_deferred(handle: HandleOrPath, *, config: Config | None = None) -> DeferredSnapshot:
    """Return the current state of deferred calls. Without ``config`` the key comes from the environment."""
    resolved = _resolve_handle(handle)
    with clients.lease(resolve_config(resolved, config)) as hooks:
        return take_snapshot(resolved, hooks)


def collect_deferred(
    handle: HandleOrPath,
    *,
    response_schema: type[Any] | dict[str, Any] | None = None,
    config: Config | None = None,
) -> ResultEnvelope:
    """Return the answers of deferred calls that have ended, in the same form as `run_many`.

    Every prompt is accounted for: ``errors`` says why one has no answer, ``diagnostics["deferred"]`` has the fate
    of each. ``response_schema`` must be the one of the submission; without it answers are validated as JSON.
    Files that were stored for the job are deleted, its answers are not, so it may be collected again.

    Raises ConfigurationError for another schema, DeferredNotReadyError with a snapshot before the job has ended.
    """
    resolved = _resolve_handle(handle)
    # Checked before anything is fetched: with another schema the answers could not be validated.
    check_schema(resolved, response_schema)
    with clients.lease(resolve_config(resolved, config)) as hooks:
        return collect_envelope(resolved, response_schema, hooks)


def cancel_deferred(handle: HandleOrPath, *, config: Config | None = None) -> None:
    """Ask the provider to cancel deferred calls, without waiting. Finished answers are paid and can be collected."""
    resolved = _resolve_handle(handle)
    with clients.lease(resolve_config(resolved, config)) as hooks:
        cancel_jobs(resolved.jobs, hooks)


def wait_deferred(
    handle: HandleOrPath,
    *,
    config: Config | None = None,
    timeout_s: float | None = None,
    poll: Poll | None = None,
    on_change: Callable[[DeferredSnapshot], object] | None = None,
    progress: ProgressOption = False,
) -> DeferredSnapshot:
    """Wait until deferred calls have ended, successfully or not; return the last snapshot.

    Looks at once, after 5 s, then at growing intervals up to 5 minutes, each a little randomised; ``poll`` sets
    other intervals in seconds. When a look fails in a way that may pass, the next one follows. Ctrl-C ends the
    waiting, not the job. Raises DeferredNotReadyError after ``timeout_s`` seconds, which says how many looks in a row
    had failed by then, and why; and APIError for a lasting failure. ``progress`` is as for `run_many`, and counts the
    requests of the job that have ended.
    """
    if progress is False:
        ((_, snapshot),) = as_completed([handle], config=config, timeout_s=timeout_s, poll=poll, on_change=on_change)
        return snapshot
    from pollux_sync.showing import check_progress, follow

    check_progress(progress)
    resolved = _resolve_handle(handle)
    with follow(progress, resolved.request_count) as counter:

        def tell(snapshot: DeferredSnapshot) -> None:
            counter.replace(snapshot.succeeded + snapshot.failed, snapshot.failed)
            if on_change is not None:
                on_change(snapshot)

        return wait_deferred(resolved, config=config, timeout_s=timeout_s, poll=poll, on_change=tell)


def as_completed(
    handles: Iterable[HandleOrPath],
    *,
    config: Config | None = None,
    timeout_s: float | None = None,
    poll: Poll | None = None,
    on_change: Callable[[DeferredSnapshot], object] | None = None,
) -> Iterator[tuple[DeferredHandle, DeferredSnapshot]]:
    """Yield each of several handles when its jobs have ended, with its last snapshot.

    Waits, and raises, as `wait_deferred` does.
    """
    if timeout_s is not None:
        check_seconds("timeout_s", timeout_s)
    # Every handle is resolved before the first wait, so that a bad path fails at once and not after hours.
    # Keyed by job, so that a handle that is passed twice is waited for once.
    watches = (_JobWatch(handle, resolve_config(handle, config)) for handle in map(_resolve_handle, handles))
    pending = {watch.handle.job_id: watch for watch in watches}
    # Monotonic: a wall clock may be set while the jobs are waited for.
    deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
    look = 0
    while pending:
        # A copy, since watches are removed while iterating.
        for job_id, watch in list(pending.items()):
            snapshot = watch.look(on_change, deadline)
            if snapshot is not None and snapshot.is_terminal:
                del pending[job_id]
                yield watch.handle, snapshot
        if not pending:
            return
        wait_s = _choose_wait_s(poll, look)
        look += 1
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise _build_not_ready([*pending.values()], timeout_s)
        # A long interval must not outlast the timeout.
        wait_for(time.sleep, min(wait_s, left_s))


@attrs.define
class _JobWatch:
    """The looks at the jobs of one handle: the last snapshot, and how many looks have failed since then, and why."""

    handle: DeferredHandle
    config: Config
    snapshot: DeferredSnapshot | None = None
    failures: int = 0
    error: APIError | None = None

    def look(self, on_change: Callable[[DeferredSnapshot], object] | None, deadline: float) -> DeferredSnapshot | None:
        """Look at the jobs once, before ``deadline``; return None when the look failed in a way that may pass."""
        with clients.lease(self.config) as hooks:
            try:
                snapshot = take_snapshot(self.handle, hooks, deadline)
            except APIError as error:
                # A wait of hours must survive an outage of minutes; only an error that will repeat ends it.
                if error.retryable or error.kind in {"connection", "timeout"}:
                    self.failures, self.error = self.failures + 1, error
                    return None
                raise
            before, self.snapshot = self.snapshot, snapshot
            self.failures, self.error = 0, None
            is_new = emit_change(before, snapshot, hooks)
        if is_new and on_change is not None:
            on_change(snapshot)
        return snapshot

    def describe_failures(self) -> str:
        """Return how many looks in a row have failed, and how the last one did; empty if it did not."""
        if self.error is None:
            return ""
        one, several = ("the last look", "the last") if self.snapshot else ("the only look", "all")
        looks = one if self.failures == 1 else f"{several} {self.failures} looks"
        return f"; {looks} at {self.handle.job_id} failed: {self.error.message}"


def _build_not_ready(pending: Sequence[_JobWatch], timeout_s: float | None) -> DeferredNotReadyError:
    """Return the error of a timeout, about a job that cannot be seen if there is one."""
    watch = next((watch for watch in pending if watch.failures), pending[0])
    hint = "wait again with the same handle or file: the jobs are still running"
    if watch.failures:
        hint = "wait again with the same handle or file: the jobs go on, whether or not they can be seen"
    error = DeferredNotReadyError(
        f"{len(pending)} of the jobs had not ended after {timeout_s:g} s{watch.describe_failures()}",
        hint=hint,
        snapshot=watch.snapshot,
    )
    error.__cause__ = watch.error
    return error


def _choose_wait_s(poll: Poll | None, look: int) -> float:
    if poll is None:
        # Randomised, so that many scripts that were started together do not look at the same moment.
        return min(_FIRST_WAIT_S * 1.5**look, _LONGEST_WAIT_S) * random.uniform(0.8, 1.2)  # noqa: S311
    wait_s = poll(look) if callable(poll) else poll
    check_seconds("poll", wait_s)
    return wait_s


def _resolve_handle(handle: object) -> DeferredHandle:
    """Return the handle, or that in a job file. Raises ConfigurationError for one whose numbers do not fit."""
    resolved = handle if isinstance(handle, DeferredHandle) else _read_handle(handle)
    check_coverage(resolved.jobs, resolved.request_count)
    return resolved


def _read_handle(handle: object) -> DeferredHandle:
    if not isinstance(handle, str | PathLike):
        raise ConfigurationError(
            f"handle must be a DeferredHandle or the path of a job file, got {type(handle).__name__}",
            hint="pass what defer_many() returned, or its job_file",
        )
    path = locate_job_file(handle)
    remove_leftovers(path)
    stored = read_job_file(path).handle
    if stored is None:
        raise ConfigurationError(
            f"the submission of {str(handle)!r} was interrupted",
            hint="call defer_many again with the same prompts and this job_file: it continues from there",
        )
    return stored
