"""The command ``pollux-sync log``: an entry point of the group ``pollux_sync.commands``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pollux_log.records import LogFile
from pollux_sync.commands import (
    DONE,
    CommandParser,
    declare_parser,
    run_subcommand,
    write_json,
    write_line,
    write_table,
)
from pollux_sync.plugin import ConfigurationError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from pollux_log.records import Record

_LIMIT = 20
_TEXT_WIDTH = 60
#: What `show` prints below the facts, each under its name.
_TEXTS = ("prompt", "answer", "error")


def _build_parser() -> CommandParser:
    parser = CommandParser(prog="pollux-sync log", description="Show the calls that pollux-log has written.")
    listing = parser.add_subcommand("list", "the latest calls, the newest first")
    listing.add_argument("--errors", action="store_true", help="only calls that failed")
    searching = parser.add_subcommand("search", "the latest calls whose prompt, answer or error contains a text")
    searching.add_argument("text", metavar="TEXT")
    showing = parser.add_subcommand("show", "all that was written about one call")
    showing.add_argument("id", metavar="ID", type=int, help="the number that `list` shows")
    showing.add_argument("--raw", action="store_true", help="print the answer as it came, and nothing else")
    for command in (listing, searching):
        command.add_argument("-n", "--limit", type=int, default=_LIMIT, help=f"how many calls; default: {_LIMIT}")
    for command in (listing, searching, showing):
        command.add_argument("--path", help="the file of the log; default: POLLUX_LOG_PATH, else that in your home")
        command.add_argument("--json", action="store_true", help="print JSON")
    return parser


@declare_parser(_build_parser)
def main(argv: Sequence[str]) -> int:
    """Carry out one command line; return its exit code."""
    return run_subcommand(_build_parser(), {"list": list_calls, "search": search, "show": show}, argv)


def list_calls(arguments: Namespace) -> int:
    """Print the latest calls."""
    records = LogFile.find(arguments.path).list_records(arguments.limit, only_errors=arguments.errors)
    return _write_records(records, arguments)


def search(arguments: Namespace) -> int:
    """Print the latest calls that contain a text."""
    return _write_records(LogFile.find(arguments.path).search(arguments.text, arguments.limit), arguments)


def show(arguments: Namespace) -> int:
    """Print one call. Raises ConfigurationError for an id that the log does not have."""
    record = LogFile.find(arguments.path).find_record(arguments.id)
    if record is None:
        raise ConfigurationError(f"the log has no call {arguments.id}", hint="`pollux-sync log list` shows the ids")
    facts = record.to_dict()
    if arguments.raw:
        write_line(facts["raw"] or "")
    elif arguments.json:
        write_json(facts)
    else:
        _write_record(record, facts)
    return DONE


def _write_records(records: list[Record], arguments: Namespace) -> int:
    if arguments.json:
        write_json([record.to_dict() for record in records])
    elif records:
        write_table(_list_columns(record) for record in records)
    else:
        write_line("no calls")
    return DONE


def _list_columns(record: Record) -> tuple[str, ...]:
    duration = "" if record.duration_s is None else f"{record.duration_s:.1f} s"
    tokens = (record.usage or {}).get("total_tokens")
    return (
        str(record.id),
        _format_time(record.at),
        record.kind,
        record.model,
        duration,
        "" if tokens is None else f"{tokens} tokens",
        "failed" if record.error else record.finish_reason or "",
        _shorten(record.prompt or ""),
    )


def _write_record(record: Record, facts: dict[str, Any]) -> None:
    facts |= {"at": _format_time(record.at), "attempts": len(record.attempts or ())}
    shown = {name: value for name, value in facts.items() if name not in {*_TEXTS, "raw"} and value is not None}
    write_table((name, str(value)) for name, value in shown.items())
    for name in _TEXTS:
        if facts[name]:
            write_line("")
            write_line(f"{name}:")
            for line in facts[name].splitlines():
                write_line(f"  {line}")


def _format_time(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _shorten(text: str) -> str:
    return text if len(text) <= _TEXT_WIDTH else f"{text[: _TEXT_WIDTH - 1]}…"
