"""Ends a worker without loss: no new runs, the steps in flight to their ends, and the rest for other workers."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pollux_durable.hosting import Host

_LOOK_S = 0.05
#: A run that has ended is recorded a moment after it is not active any more.
_SETTLE_S = 0.3
log = logging.getLogger("pollux_durable")


def drain(host: Host, timeout_s: float) -> bool:
    """Begin no more runs, and wait for the steps in flight; return whether all have ended in time.

    Each run stops at its next step. `hand_over` then lets it go on in another worker at once.
    """
    host.engine.drain()
    deadline = time.monotonic() + timeout_s
    while host.active and time.monotonic() < deadline:
        for run in [*host.active.values()]:
            run.stop()
        time.sleep(_LOOK_S)
    if not host.active:
        time.sleep(_SETTLE_S)
    return not host.active


def hand_over(host: Host) -> None:
    """Have the runs of this worker go on in others, and count it among them no more. Call it after the last beat."""
    executor_id = host.engine.executor_id
    try:
        if host.engine.has_pending(executor_id):
            host.engine.recover([executor_id])
        if not host.engine.has_pending(executor_id):
            host.workers.remove(executor_id)
    except Exception as error:  # noqa: BLE001 - whoever sees that this process is gone does the same
        log.warning("the runs of this worker could not be handed over: %s: %s", type(error).__name__, error)
