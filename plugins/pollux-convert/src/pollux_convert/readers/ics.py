"""Calendars: a heading for each event or task, and what is said of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pollux_convert.markdown import heading, list_item
from pollux_convert.tasks import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_convert.tasks import Task

_ENTRIES = {"VEVENT": "Event", "VTODO": "Task", "VJOURNAL": "Note"}
_FIELDS = {
    "DTSTART": "Start",
    "DTEND": "End",
    "DUE": "Due",
    "DURATION": "Duration",
    "RRULE": "Repeats",
    "STATUS": "Status",
    "LOCATION": "Place",
    "ORGANIZER": "Organizer",
    "ATTENDEE": "Attendee",
    "URL": "Address",
    "DESCRIPTION": "Description",
}
#: A name, parameters whose values may be quoted, and the value, by RFC 5545.
_LINE = re.compile(r'([A-Za-z0-9-]+)((?:;[^";:]*(?:"[^"]*")?[^";:]*)*):(.*)', re.DOTALL)
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z?))?")


def iter_blocks(data: bytes, task: Task) -> Iterator[str]:
    """Yield the entries in order. Alarms and the rules of time zones are left out."""
    # Long lines are folded: what begins with a space continues the line before.
    lines = re.sub(r"\r?\n[ \t]", "", data.decode("utf-8-sig")).splitlines()
    if not lines or lines[0].strip().upper() != "BEGIN:VCALENDAR":
        raise ReadError("it is no calendar: it does not begin with BEGIN:VCALENDAR", hint="pass its true mime_type")
    inside: list[str] = []
    fields: list[tuple[str, str]] = []
    for name, params, value in (match.groups() for match in map(_LINE.fullmatch, lines) if match):
        match name.upper():
            case "BEGIN":
                inside.append(value.strip().upper())
            case "END":
                if inside and inside.pop() in _ENTRIES:
                    yield from _iter_entry(value.strip().upper(), fields)
                    fields = []
            case field if inside and inside[-1] in _ENTRIES:
                fields.append((field, _format(field, params, value)))


def _iter_entry(kind: str, fields: list[tuple[str, str]]) -> Iterator[str]:
    title = next((value for name, value in fields if name == "SUMMARY"), "")
    yield heading(2, f"{_ENTRIES.get(kind, 'Event')}: {title}" if title else _ENTRIES.get(kind, "Event"))
    for name, value in fields:
        if name in _FIELDS:
            yield list_item(0, "-", f"{_FIELDS[name]}: {value}")


def _format(name: str, params: str, value: str) -> str:
    if name in {"DTSTART", "DTEND", "DUE"} and (match := _TIME.fullmatch(value)):
        return _format_time(match, params)
    if name in {"ORGANIZER", "ATTENDEE"}:
        return value.removeprefix("mailto:").removeprefix("MAILTO:")
    return re.sub(r"\\([nN,;\\])", lambda match: "\n" if match[1] in "nN" else match[1], value)


def _format_time(match: re.Match[str], params: str) -> str:
    year, month, day, hour, minute, _, utc = match.groups()
    zone = re.search(r"TZID=\"?([^\";:]+)", params)
    named = " UTC" if utc else f" {zone[1]}" if zone else ""
    return f"{year}-{month}-{day} {hour}:{minute}{named}" if hour else f"{year}-{month}-{day}"
