"""The clock of a server, which may differ from ours by any time."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pollux_sync.data.provider import HttpResponse


def convert_to_server_time(local_time: float, response: HttpResponse) -> float | None:
    """Return what a server's clock showed at ``local_time``, in seconds since the epoch, or None if unknown.

    ``response`` has just arrived: its header Date says what the clock shows now, to the second. Times that a server
    writes can be compared with the result, never with our own clock.
    """
    try:
        now = parsedate_to_datetime(response.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
    return now - (time.time() - local_time)
