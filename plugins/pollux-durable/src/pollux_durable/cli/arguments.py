"""The arguments of ``pollux-sync durable`` -> values, checked."""

from __future__ import annotations

import json
import re
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING, get_args

from pollux_durable.cli.codes import EXIT_CODES
from pollux_durable.configuring import DEFAULT_FILE, URL_VARIABLE, find_url
from pollux_durable.data.queues import SHARED_QUEUE
from pollux_durable.data.runs import RunStatus
from pollux_durable.data.settings import DurableSettings
from pollux_durable.page import command as page
from pollux_sync.commands import CommandParser

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_durable.data.runs import Json

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_MODULE_HELP = "a module, as in `import app.flows`, or the path of a .py file"


def build_parser() -> CommandParser:
    """Return the parser of all commands."""
    parser = CommandParser(
        prog="pollux-sync durable",
        description="Carry durable runs out, look at them and change them. COMMAND --help shows the options.",
        epilog=EXIT_CODES,
    )
    for name, (about, add_arguments) in _COMMANDS.items():
        command = parser.add_subcommand(name, about, epilog=EXIT_CODES)
        command.add_argument(
            "--url", help=f"where runs are kept; default: {URL_VARIABLE}, else the file {DEFAULT_FILE}"
        )
        add_arguments(command)
    return parser


def build_settings(arguments: Namespace) -> DurableSettings:
    """Return settings for a process that only looks and submits. Raises ConfigurationError."""
    return DurableSettings(url=find_url(arguments.url), execute=False)


def parse_age(text: str) -> float:
    """Return the seconds of an age such as 7d. Raises ArgumentTypeError."""
    found = _AGE.fullmatch(text)
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no age: use a number and s, m, h, d or w, such as 7d")
    return float(found[1]) * _SECONDS[found[2]]


def _parse_json(text: str) -> Json:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ArgumentTypeError(f"the answer is no JSON: {error}; put a text into quotes: '\"yes\"'") from None


def _parse_names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise ArgumentTypeError("name one queue at least")
    return names


def _parse_count(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is no number from 0 on")
    return int(text)


def _add_json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_run(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the id of a run")


def _add_worker(parser: ArgumentParser) -> None:
    parser.add_argument("module", metavar="MODULE", help=_MODULE_HELP)
    parser.add_argument(
        "--queues",
        type=_parse_names,
        metavar="A,B",
        help=f"take only runs of these queues; {SHARED_QUEUE!r} is that of runs without one",
    )
    parser.add_argument("--version", metavar="V", help="the version of the code; runs of others are left alone")
    parser.add_argument("--name", metavar="NAME", help="how `doctor` and `show` name the worker")
    # Of `dev`: the worker ends with the process that has started it.
    parser.add_argument("--parent", type=int, help=SUPPRESS)


def _add_ls(parser: ArgumentParser) -> None:
    parser.add_argument("--status", choices=get_args(RunStatus), help="only runs with this status")
    parser.add_argument("--workflow", metavar="ID", help="only runs of this workflow")
    parser.add_argument("--limit", type=_parse_count, default=20, metavar="N", help="the most runs; default: 20")
    _add_json(parser)


def _add_show(parser: ArgumentParser) -> None:
    _add_run(parser)
    _add_json(parser)


def _add_logs(parser: ArgumentParser) -> None:
    _add_run(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run has ended")
    parser.add_argument("--json", action="store_true", help="print one line of JSON for each entry")


def _add_cancel(parser: ArgumentParser) -> None:
    _add_run(parser)
    parser.add_argument("--abort", action="store_true", help="end model calls in flight too; their answers are lost")
    _add_json(parser)


def _add_retry(parser: ArgumentParser) -> None:
    _add_run(parser)
    parser.add_argument(
        "--from", dest="from_step", metavar="STEP", help="the key of the step to begin with; default: the failed one"
    )
    parser.add_argument("--version", metavar="V", help="have workers of this version carry it on")
    _add_json(parser)


def _add_fork(parser: ArgumentParser) -> None:
    _add_run(parser)
    parser.add_argument("--from", dest="from_step", metavar="STEP", required=True, help="the key of its first own step")
    parser.add_argument("--id", dest="fork_id", metavar="NEW", help="the id of the new run; default: a random one")
    parser.add_argument("--version", metavar="V", help="have workers of this version carry it out")
    _add_json(parser)


def _add_answer(parser: ArgumentParser) -> None:
    _add_run(parser)
    parser.add_argument("key", metavar="KEY", nargs="?", help="the suspended step; default: the one in which it waits")
    parser.add_argument("--json", dest="data", type=_parse_json, metavar="DATA", help="the answer; default: null")


def _add_gc(parser: ArgumentParser) -> None:
    parser.add_argument("--older", type=parse_age, required=True, metavar="AGE", help="how long ago it ended: 7d, 12h")
    parser.add_argument("--dry-run", action="store_true", help="count, and delete nothing")
    _add_json(parser)


#: Each command: what it does, and what adds its arguments.
_COMMANDS: dict[str, tuple[str, Callable[[ArgumentParser], None]]] = {
    "worker": ("carry out the runs of the workflows in a module, until SIGINT or SIGTERM", _add_worker),
    "dev": ("as worker, and start again when a source file beside the module changes", _add_worker),
    "ls": ("list runs, the newest first", _add_ls),
    "show": ("show a run, its steps and what it waits for", _add_show),
    "logs": ("show the steps and events of a run and of all below it", _add_logs),
    "cancel": ("cancel a run and all that it has started", _add_cancel),
    "resume": ("have a cancelled run go on after its last step", _add_show),
    "retry": ("have an ended run go on from a step, in place", _add_retry),
    "fork": ("start another run that has the records of this one up to a step", _add_fork),
    "answer": ("answer a run that is suspended", _add_answer),
    "doctor": ("look for what keeps runs from going on", _add_json),
    "gc": ("delete runs that ended long ago, with all that belongs to them", _add_gc),
    "migrate": ("create or upgrade the tables, for workers that may not", _add_json),
    "ui": (page.ABOUT, page.add_arguments),
}
