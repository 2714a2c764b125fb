"""``pollux-sync status``, ``wait``, ``collect`` and ``cancel``: deferred jobs by their job files."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.api import to_jsonable
from pollux_sync.cli.answers import complaints, write_answers
from pollux_sync.cli.exits import DONE, EXIT_CODES, FAILED, PENDING
from pollux_sync.cli.terminal import say, write, write_json
from pollux_sync.deferred import cancel_deferred, collect_deferred, inspect_deferred, wait_deferred
from pollux_sync.engine.journaling import read_job_file
from pollux_sync.hooks.config import Config

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pollux_sync.data.handles import DeferredSnapshot

_HEADS = ("file", "status", "done", "failed", "pending", "age")


def status(argv: Sequence[str]) -> int:
    """Print how far the jobs are; 0 when all have ended well, 3 while one has not ended."""
    parser = _parser("status", "FILE...", "How far deferred jobs are.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="a job file of pollux-sync defer")
    parser.add_argument("--json", action="store_true", help="as JSON, one object a file")
    arguments = parser.parse_args(argv)
    found = {name: inspect_deferred(name, config=_config(name, arguments)) for name in arguments.files}
    if arguments.json:
        write_json([{"file": name} | attrs.asdict(snapshot) for name, snapshot in found.items()])
    else:
        _write_table([_HEADS, *(_row(name, snapshot) for name, snapshot in found.items())])
    return max(map(_code, found.values()))


def wait(argv: Sequence[str], *, clock: Callable[[], float] = time.time) -> int:
    """Wait until the jobs have ended; 0 when all ended well, 3 when the time was over before.

    ``--timeout`` holds for all files together; ``clock`` says in seconds how much of it has passed.
    """
    parser = _parser("wait", "FILE... [options]", "Wait until deferred jobs have ended. Ctrl-C ends the waiting only.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="a job file of pollux-sync defer")
    parser.add_argument("--timeout", type=float, metavar="S", help="seconds to wait at most, by default for ever")
    parser.add_argument("--poll", type=float, metavar="S", help="seconds between looks, by default 5 and growing")
    parser.add_argument("-q", "--quiet", action="store_true", help="no line for every change")
    arguments = parser.parse_args(argv)
    deadline = None if arguments.timeout is None else clock() + arguments.timeout
    codes = []
    for name in arguments.files:
        left_s = None if deadline is None else max(0.0, deadline - clock())
        snapshot = wait_deferred(
            name,
            config=_config(name, arguments),
            timeout_s=left_s,
            poll=arguments.poll,
            on_change=None if arguments.quiet else partial(_tell, name),
        )
        codes.append(_code(snapshot))
    return max(codes)


def collect(argv: Sequence[str]) -> int:
    """Print the answers of a job that has ended; 0 when everything was answered, 3 before the end."""
    parser = _parser("collect", "FILE [--json]", "Print the answers of a deferred job that has ended.")
    parser.add_argument("file", metavar="FILE", help="a job file of pollux-sync defer")
    parser.add_argument("--json", action="store_true", help="the whole result as JSON")
    arguments = parser.parse_args(argv)
    result = collect_deferred(arguments.file, config=_config(arguments.file, arguments))
    plain: dict[str, Any] = to_jsonable(result)
    if arguments.json:
        write_json(plain)
    else:
        write_answers(plain, [item["request_id"] for item in result["diagnostics"]["deferred"]["items"]])
    told = list(complaints(plain, tells_errors=True))
    for complaint in told:
        say(complaint)
    return FAILED if told else DONE


def cancel(argv: Sequence[str]) -> int:
    """Ask for a job to be cancelled; does not wait."""
    parser = _parser("cancel", "FILE", "Ask for a deferred job to be cancelled; what was answered by then is paid.")
    parser.add_argument("file", metavar="FILE", help="a job file of pollux-sync defer")
    arguments = parser.parse_args(argv)
    cancel_deferred(arguments.file, config=_config(arguments.file, arguments))
    say(f"asked; next: pollux-sync status {arguments.file}")
    return DONE


def _parser(name: str, usage: str, about: str) -> ArgumentParser:
    parser = ArgumentParser(
        prog=f"pollux-sync {name}",
        usage=f"pollux-sync {name} {usage}",
        description=about,
        epilog=EXIT_CODES,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--mock", action="store_true", help="the job was submitted with --mock, by this process")
    return parser


def _config(name: str, arguments: Namespace) -> Config | None:
    """None for the key of the environment."""
    handle = read_job_file(Path(name)).handle if arguments.mock else None
    return Config(provider=handle.provider, model=handle.model, use_mock=True) if handle else None


def _row(name: str, snapshot: DeferredSnapshot) -> tuple[str, ...]:
    counts = (snapshot.succeeded, snapshot.failed, snapshot.pending)
    age_s = (snapshot.completed_at or time.time()) - (snapshot.submitted_at or time.time())
    return (name, snapshot.status, *map(str, counts), _duration(age_s))


def _duration(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"  # noqa: PLR2004


def _write_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _code(snapshot: DeferredSnapshot) -> int:
    if not snapshot.is_terminal:
        return PENDING
    return DONE if snapshot.status == "completed" else FAILED


def _tell(name: str, snapshot: DeferredSnapshot) -> None:
    if sys.stderr is not None:
        done = f"{snapshot.succeeded + snapshot.failed} of {snapshot.request_count}"
        say(f"{name}: {snapshot.status}, {done}")
