"""Values -> texts for people."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pollux_durable.data.runs import Json, RunInfo
    from pollux_durable.tables.waits import Wait


def format_time(timestamp: float | None) -> str:
    """Return a time in UTC, to the second, "" for None."""
    return "" if timestamp is None else datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="seconds")


def format_value(value: Json, width: int | None = None) -> str:
    """Return a value as JSON on one line, cut to a width if one is given."""
    text = json.dumps(value, ensure_ascii=False)
    return text if width is None or len(text) <= width else f"{text[: width - 3]}..."


def format_error(info: RunInfo) -> str:
    """Return what a run has failed with."""
    return f"{info.error_type}: {info.error}"


def describe_wait(wait: Wait) -> str:
    """Return what a run waits for."""
    until = "" if wait.wake_at is None else f" until {format_time(wait.wake_at)}"
    what = {
        "sleep": "",
        "retry": " to begin again after a failure",
        "run": f" for run {wait.target}",
        "state": f" for the {wait.target}, which another run has",
    }
    topic = wait.target or ""
    about = " for an answer" if topic.startswith("answer/") else f" for an event on {topic!r}"
    return f"step {wait.step_key!r}{what.get(wait.kind, about)}{until}"
