"""Values -> what is shown of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from pollux_durable.page.markup import Html, build_element
from pollux_durable.suspending import build_answer_topic

if TYPE_CHECKING:
    from pollux_durable.data.runs import Json, RunStatus
    from pollux_durable.data.settings import DurableSettings
    from pollux_durable.tables.waits import Wait

_MAX_CHARACTERS = 20_000
_MAX_DIGITS = 18
_STATUS_TEXTS: dict[RunStatus, str] = {"pending_cancel": "being cancelled"}


def parse_count(text: str) -> int | None:
    """Return a whole number from 0 on; None for another text, or one that is too large for a database."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else None


def build_link(text: object, path: str, **query: object) -> Html:
    """Return a link to another view of the page."""
    return build_element("a", text, href=build_path(path, **query))


def build_path(path: str, **query: object) -> str:
    """Return the address of a view."""
    given = {name: value for name, value in query.items() if value not in (None, "", 0)}
    return f"{path}?{urlencode(given, errors='replace')}" if given else path


def build_run_link(execution_id: str) -> Html:
    """Return a link to a run."""
    return build_link(build_element("code", execution_id), "/run", id=execution_id)


def build_badge(status: RunStatus) -> Html:
    """Return the status of a run as a mark."""
    return build_element("span", _STATUS_TEXTS.get(status, status), class_=f"badge {status}")


def build_time(timestamp: float | None) -> Html | None:
    """Return a time in UTC, None for None."""
    if timestamp is None:
        return None
    moment = datetime.fromtimestamp(timestamp, UTC)
    return build_element("time", f"{moment:%Y-%m-%d %H:%M:%S} UTC", datetime=moment.isoformat(timespec="milliseconds"))


def build_value(value: Json) -> Html:
    """Return a text unchanged, and any other value as JSON. A long one is cut."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    left_out = len(text) - _MAX_CHARACTERS
    note = f"\n... and {left_out:,} more characters" if left_out > 0 else ""
    return build_element("pre", text[:_MAX_CHARACTERS] + note, tabindex="0")


def format_short(value: Json, width: int) -> str:
    """Return a value as JSON on one line, cut to a width."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if len(text) <= width else f"{text[: width - 3]}..."


def describe_wait(wait: Wait) -> str:
    """Return what a run waits for."""
    about = {
        "sleep": "for a time",
        "retry": "to begin again after a failure",
        "run": f"for the run {wait.target}",
        "state": f"for the {wait.target}, which another run has",
    }
    is_answer = wait.target == build_answer_topic(wait.execution_id, wait.step_key)
    return about.get(wait.kind, "for an answer" if is_answer else f"for an event on {wait.target}")


def format_database(settings: DurableSettings) -> str:
    """Return where runs are kept, without anything that may be secret."""
    # A query may hold a password too, and one with "@" in it has more than one.
    scheme, mark, rest = settings.shown_url.partition("?")[0].partition("//")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{mark}{authority.rpartition('@')[2]}{slash}{path}"
