"""The look-up of a lost job in a provider's list of jobs, which ends in the job, in none, or in an error.

"None" is said only of a list that could be read: the job is then submitted again, and paid for again if it does exist.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.data.jobs import is_terminal
from pollux_sync.errors import ConfigurationError
from pollux_sync.wire.clocks import convert_to_server_time
from pollux_sync.wire.faults import ReplyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pollux_sync.data.jobs import DeferredBatch, JobState
    from pollux_sync.data.provider import HttpResponse

#: A job that is older than the submission by more than this, both by the service's clock, is not its job. A day leaves
#: room for a clock of ours that was set between the attempt and the look-up, a minute more for times in whole seconds.
_MARGIN_S = 86_460.0


@attrs.frozen(kw_only=True)
class ListedJob:
    """An entry of a provider's list of jobs; ``remote`` is what the provider says.

    ``mark`` is None for a job that has none. ``created_at`` is in seconds since the epoch, None where it is not known.
    An entry that is not ``is_readable`` may be any job.
    """

    remote: Any
    mark: str | None = None
    created_at: float | None = None
    is_readable: bool = True


def find_marked_jobs(
    pages: Iterable[tuple[HttpResponse, Sequence[ListedJob]]], batch: DeferredBatch
) -> list[ListedJob]:
    """Return the jobs that were created from ``batch``, in the order of the list: those with its mark.

    ``pages`` are answers and what each of them lists; they are read until only jobs from before the submission follow.
    Raises ReplyError if no job has the mark, but one that cannot be read may be the one.
    """
    found: list[ListedJob] = []
    n_unreadable = 0
    older: list[float] = []
    for response, listed in pages:
        server_time = convert_to_server_time(batch.created_at, response)
        found += [job for job in listed if job.mark == batch.mark]
        n_unreadable += sum(not job.is_readable and not is_older(job.created_at, server_time) for job in listed)
        times = [job.created_at for job in listed if job.created_at is not None]
        older = [*older, *times] if all(is_older(time, server_time) for time in times) else []
        if shows_order(older):
            break
    if n_unreadable and not found:
        raise ReplyError(
            f"{n_unreadable} entries in the list of jobs cannot be read, and one of them may be the job",
            hint="try again later",
        )
    return found


def is_older(created_at: float | None, server_time: float | None) -> bool:
    """Return whether a job was created long before the service's clock showed ``server_time``."""
    return created_at is not None and server_time is not None and created_at < server_time - _MARGIN_S


def shows_order(times: Sequence[float]) -> bool:
    """Return whether times show by themselves that the newest comes first: they differ, and none rises."""
    # No provider promises the order of its list. A single odd time must not end a search before the job is reached.
    return len(set(times)) > 1 and all(earlier >= later for earlier, later in pairwise(times))


def choose_job(states: Mapping[str, JobState]) -> str:
    """Return the id of the job to go on with, of those that were created from the same requests, newest first.

    Raises ConfigurationError while more of them run than are needed: each costs money, and can still be cancelled.
    """
    # A proxy that repeats requests may create a job twice. The user cancels one, as the error below asks for.
    fates = {job_id: state.ended_as or state.status for job_id, state in states.items()}
    running = [job_id for job_id, fate in fates.items() if not is_terminal(fate) and fate != "cancelling"]
    # The oldest first: of two jobs that are done, it is the one that was asked for.
    done = [job_id for job_id, fate in fates.items() if fate in {"completed", "partial"}][::-1]
    if len(running) > 1 or (running and done):
        surplus = f"cancel {', '.join(running)}" if done else "cancel all but one of them"
        raise ConfigurationError(
            f"several jobs were created from the same requests: {', '.join([*running, *done])}",
            hint=f"{surplus}, then try again",
        )
    return max(running or done or fates, key=lambda job_id: states[job_id].succeeded)
