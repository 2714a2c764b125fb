"""Lines for the log at the level INFO: the end of each call, and files and jobs that were made at the provider.

They hold no texts: not those of prompts, answers, files, or of the provider's errors.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from pollux_sync.data.reply import Failure
from pollux_sync.errors import APIError

if TYPE_CHECKING:
    from pollux_sync.data.handles import Asset
    from pollux_sync.data.jobs import DeferredHandle, DeferredSnapshot
    from pollux_sync.data.reply import Outcome
    from pollux_sync.data.request import Call
    from pollux_sync.errors import Fault, PolluxError
    from pollux_sync.hooks.relay import Hooks

log = logging.getLogger("pollux_sync")


def read_clock() -> float | None:
    """Return the time at which a call begins, None if the log leaves the end of calls out."""
    return time.monotonic() if log.isEnabledFor(logging.INFO) else None


def tell_outcome(call: Call, outcome: Outcome, hooks: Hooks, started: float | None) -> None:
    """Log the end of a call that began at ``started``."""
    if started is None:
        return
    name, duration_s = f"call {call.index} to {hooks.info.name}/{call.model}", time.monotonic() - started
    if isinstance(outcome, Failure):
        log.info("%s: failed after %.2f s: %s", name, duration_s, _describe_error(outcome.error))
        return
    usage, attempts = outcome.usage, len(outcome.attempts)
    counts = f"{usage.input_tokens or 0} + {usage.output_tokens or 0} tokens"
    again = f", {attempts} attempts" if attempts > 1 else ""
    log.info("%s: answered after %.2f s, %s%s", name, duration_s, counts, again)


def tell_retry(fault: Fault, wait_s: float, hooks: Hooks) -> None:
    """Log that an attempt has failed, and when the next one follows."""
    status = f" ({fault.status_code})" if fault.status_code else ""
    log.info("%s: %s%s; trying again in %.2f s", hooks.info.name, fault.kind, status, wait_s)


def tell_upload(asset: Asset, hooks: Hooks) -> None:
    """Log that a file was stored."""
    log.info("%s: a file of the type %s was stored as %s", hooks.info.name, asset.mime_type, asset.id)


def tell_job(handle: DeferredHandle, hooks: Hooks) -> None:
    """Log that a job was submitted."""
    log.info("%s: job %s was submitted, requests: %d", hooks.info.name, handle.job_id, handle.request_count)


def tell_progress(snapshot: DeferredSnapshot) -> None:
    """Log how far a job has come."""
    ended = snapshot.succeeded + snapshot.failed
    log.info(
        "%s: job %s is %s: %d of %d requests have ended, %d of them without an answer",
        *(snapshot.provider, snapshot.job_id, snapshot.status, ended, snapshot.request_count, snapshot.failed),
    )


def _describe_error(error: PolluxError) -> str:
    if not isinstance(error, APIError):
        return type(error).__name__
    status = f" ({error.status_code})" if error.status_code else ""
    return f"{error.kind}{status}, attempts: {len(error.attempts)}"
