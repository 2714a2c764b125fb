"""Deferred jobs over the Message Batches API: submitted, found again, inspected, collected, cancelled."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from pollux_anthropic import batching
from pollux_anthropic.encoding import BETA_HEADER
from pollux_anthropic.files import HEADERS, build_path, iter_entries
from pollux_anthropic.hosting import MCP_BETA
from pollux_sync.plugin import HttpRequest, RawPayload

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from pollux_sync.plugin import Client, DeferredBatch, DeferredJob, DeferredRow, JobState

#: The requests of a batch have no headers of their own, so every batch gets the betas that let them refer to files and
#: to MCP servers.
_BATCH_HEADERS = {**HEADERS, BETA_HEADER: f"{HEADERS[BETA_HEADER]},{MCP_BETA}"}


def submit(batch: DeferredBatch, client: Client, timeout_s: float) -> DeferredJob:
    """Create a batch, its requests streamed from their file."""
    payload = RawPayload("application/json", (batching.BatchBody(batch),))
    response = client.send(HttpRequest(path=batching.PATH, payload=payload, headers=_BATCH_HEADERS), timeout_s)
    return batching.decode_job(response.body, batch)


def bookmark(client: Client, timeout_s: float) -> str | None:
    """Return the id of the account's newest batch, or None without any."""
    response = client.send(HttpRequest(method="GET", path=f"{batching.PATH}?limit=1", headers=HEADERS), timeout_s)
    newest = batching.read_list(response.body)[:1]
    return batching.read_id(newest[0]) if newest else None


def find(batch: DeferredBatch, client: Client, timeout_s: float) -> DeferredJob | None:
    """Find the batch of an interrupted submission, by its results.

    Raises ConfigurationError while a batch runs that may be the one: it has no name or metadata to prove it.
    """
    candidates, n_unreadable = [], 0
    for remote in iter_entries(client, batching.PATH, timeout_s):
        if not batching.is_readable(remote):
            n_unreadable += 1
            continue
        # The list begins with the newest batch: this one and all that follow are older than the first attempt. No
        # times are compared, since the service's clock and ours may differ.
        if remote["id"] == batch.bookmark:
            break
        if batching.is_possible_match(remote, batch) and not batching.has_lost_results(remote):
            job = batching.decode_job(remote, batch)
            is_match = _is_match(client, remote, job.job_id, batch, timeout_s)
            if is_match:
                return job
            if is_match is None:
                candidates.append(remote)
    # Size is no proof: another script of the account may have submitted as many requests at the same time. To take
    # its batch would leave our prompts unanswered, and let a cancellation hit a stranger.
    if candidates:
        raise batching.build_ambiguity_error(candidates, batch)
    if n_unreadable:
        raise batching.build_unreadable_error(n_unreadable)
    return None


def inspect(job: DeferredJob, client: Client, timeout_s: float) -> JobState:
    """Return the state of a batch."""
    request = HttpRequest(method="GET", path=build_path(batching.PATH, job.job_id), headers=HEADERS)
    return batching.decode_state(client.send(request, timeout_s).body)


def collect(job: DeferredJob, client: Client, timeout_s: float) -> Iterator[DeferredRow]:
    """Return an iterator over the rows of a batch, which are read as they arrive."""
    tag = job.provider_state.get("tag", "")
    return (batching.decode_row(row, tag) for row in _iter_results(client, job.job_id, timeout_s))


def cancel(job: DeferredJob, client: Client, timeout_s: float) -> bool:
    """Ask the service to cancel a batch."""
    request = HttpRequest(path=build_path(batching.PATH, job.job_id, "/cancel"), headers=HEADERS)
    # A gateway's own answer does not say that the service has heard of it.
    batching.decode_state(client.send(request, timeout_s).body)
    return True


def _is_match(
    client: Client, remote: dict[str, Any], job_id: str, batch: DeferredBatch, timeout_s: float
) -> bool | None:
    """Return whether the results of a batch answer ``batch``; None without results that can be read."""
    if not batching.has_ended(remote) or not remote.get("results_url"):
        return None
    # One row is enough. Closing the iterator ends the download of the others.
    with closing(_iter_results(client, job_id, timeout_s)) as rows:
        row = next(rows, None)
    # An answer that is no row, such as a proxy's page with status 200, does not show that the batch is another's.
    return batching.is_own_row(row, batch) if batching.is_row(row) else None


def _iter_results(client: Client, job_id: str, timeout_s: float) -> Generator[Any, None, None]:
    # Not ``results_url``: it leads to the service itself, past the caller's proxy.
    request = HttpRequest(method="GET", path=build_path(batching.PATH, job_id, "/results"), headers=HEADERS)
    with closing(client.read_lines(request, timeout_s)) as lines:
        yield from map(batching.parse_row, lines)
