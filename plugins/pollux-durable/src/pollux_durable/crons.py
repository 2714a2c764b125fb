"""Cron expressions in a time zone -> the times that they stand for, in seconds since the epoch.

A time that the clock skips is moved to the end of the gap. Of a time that comes twice the first one counts; expressions
that name no hour count both, so that what is to run each hour does.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, cast
from zoneinfo import ZoneInfo

from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from croniter import croniter

_MINUTES_FIRST, _SECONDS_FIRST = 5, 6


def check_cron(cron: object, timezone: object, subject: str) -> None:
    """Raise ConfigurationError for a cron expression without any time, or a time zone that does not exist."""
    _find_zone(timezone, subject)
    reason = _find_defect(cron, str(timezone))
    if reason is not None:
        raise ConfigurationError(
            f"the cron expression {cron!r} of {subject} stands for no time: {reason}",
            hint='use minute, hour, day, month and weekday, as in "0 9 * * *"; a sixth field in front counts seconds',
        )


def _find_defect(cron: object, timezone: str) -> str | None:
    if not isinstance(cron, str):
        return "it is no text"
    n_fields = len(cron.split())
    if n_fields not in (_MINUTES_FIRST, _SECONDS_FIRST) and not cron.startswith("@"):
        return f"it has {n_fields} fields"
    try:
        find_next(cron, timezone, 0.0)
    except (ValueError, KeyError) as error:
        return str(error)
    return None


def _find_zone(timezone: object, subject: str) -> ZoneInfo:
    try:
        return ZoneInfo(cast("str", timezone))
    except (ValueError, LookupError, TypeError, OSError):
        raise ConfigurationError(
            f"there is no time zone {timezone!r}, as {subject} has it", hint='use a name such as "Europe/Berlin"'
        ) from None


def find_next(cron: str, timezone: str, after: float) -> float:
    """Return the first time after another one."""
    times = _open(cron, timezone, after)
    found = float(times.get_next(float))
    while _is_repeated(cron, timezone, found):
        found = float(times.get_next(float))
    return found


def find_latest(cron: str, timezone: str, now: float) -> float:
    """Return the last time up to now."""
    times = _open(cron, timezone, math.floor(now) + 0.5)
    found = float(times.get_prev(float))
    while _is_repeated(cron, timezone, found):
        found = float(times.get_prev(float))
    return found


def _open(cron: str, timezone: str, start: float) -> croniter:
    from croniter import croniter  # half of the import of this package, for those who have schedules

    return croniter(cron, to_datetime(start, timezone), second_at_beginning=True)


def _is_repeated(cron: str, timezone: str, moment: float) -> bool:
    """Return whether the clock was set back, and an expression that names its hour stood for this time before."""
    fields = cron.split()
    hour = fields[-4] if len(fields) >= _MINUTES_FIRST else "0"
    return not hour.startswith("*") and to_datetime(moment, timezone).fold == 1


def to_datetime(moment: float, timezone: str) -> datetime:
    """Return a time as the clocks of a time zone show it."""
    return datetime.fromtimestamp(moment, ZoneInfo(timezone))
