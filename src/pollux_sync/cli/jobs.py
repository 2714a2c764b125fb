"""``pollux-sync status``, ``wait``, ``collect`` and ``cancel``: deferred jobs by their job files."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.api.asking import to_jsonable
from pollux_sync.api.deferring import cancel_deferred, collect_deferred, inspect_deferred, wait_deferred
from pollux_sync.cli.answers import report_failures, write_answers
from pollux_sync.cli.asking import ROUTE_FIELDS, add_route_arguments, read_fields
from pollux_sync.cli.codes import EXIT_CODES
from pollux_sync.cli.commands import build_parser
from pollux_sync.commands import DONE, FAILED, PENDING, declare_parser, write_json, write_remark, write_table
from pollux_sync.engine.journaling import locate_job_file, read_job_file
from pollux_sync.engine.reaching import HandleHints, resolve_config
from pollux_sync.errors import APIError, ConfigurationError, DeferredNotReadyError, PolluxError
from pollux_sync.hooks.config import Config

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Sequence

    from pollux_sync.data.envelope import ResultEnvelope
    from pollux_sync.data.jobs import DeferredSnapshot

_HINTS = HandleHints(
    mock="add --mock",
    not_mock="leave --mock out",
    address="add --base-url {address}, and set the provider's variable to the key that belongs there",
    account="set the provider's variable to the key of that account; if only the key was renewed, delete the account "
    "of the handle in the job file",
)
_HEADER = ("file", "status", "done", "failed", "pending", "age")


def build_status_parser() -> ArgumentParser:
    """Return the parser of ``pollux-sync status``."""
    parser = _build_parser("status", "FILE...")
    parser.add_argument("files", nargs="+", metavar="FILE", help="a job file of pollux-sync defer")
    parser.add_argument("--json", action="store_true", help="print a list with one object per file")
    return parser


@declare_parser(build_status_parser)
def status(argv: Sequence[str]) -> int:
    """Print the progress of the jobs. Return 0 when all completed, 3 while one has not ended, else 1."""
    arguments = build_status_parser().parse_args(argv)
    snapshots = {name: inspect_deferred(name, config=_resolve_config(name, arguments)) for name in arguments.files}
    if arguments.json:
        write_json([{"file": name} | attrs.asdict(snapshot) for name, snapshot in snapshots.items()])
    else:
        write_table([_HEADER, *(_build_row(name, snapshot) for name, snapshot in snapshots.items())])
    return max(map(_choose_exit_code, snapshots.values()))


def build_wait_parser() -> ArgumentParser:
    """Return the parser of ``pollux-sync wait``."""
    parser = _build_parser("wait", "FILE... [options]", "Ctrl-C ends the waiting, not the jobs.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="a job file of pollux-sync defer")
    parser.add_argument("--timeout", type=float, metavar="S", help="seconds to wait at most; default: no limit")
    parser.add_argument("--poll", type=float, metavar="S", help="seconds between polls; default: 5, then growing")
    parser.add_argument("-q", "--quiet", action="store_true", help="do not print a line for every change")
    return parser


@declare_parser(build_wait_parser)
def wait(argv: Sequence[str], *, clock: Callable[[], float] = time.monotonic) -> int:
    """Wait until the jobs have ended. Return 0 when all completed, 3 when the timeout came first, else 1.

    ``clock`` returns seconds; ``--timeout`` is measured by it.
    """
    arguments = build_wait_parser().parse_args(argv)
    # One deadline for all files: --timeout is the time of the command, however many jobs it waits for.
    deadline = None if arguments.timeout is None else clock() + arguments.timeout
    codes = []
    for name in arguments.files:
        left_s = None if deadline is None else max(0.0, deadline - clock())
        try:
            snapshot = wait_deferred(
                name,
                config=_resolve_config(name, arguments),
                timeout_s=left_s,
                poll=arguments.poll,
                on_change=None if arguments.quiet else partial(_report_change, name),
            )
        except DeferredNotReadyError as error:
            raise _build_timeout(name, arguments.timeout, error) from error
        codes.append(_choose_exit_code(snapshot))
    return max(codes)


def build_collect_parser() -> ArgumentParser:
    """Return the parser of ``pollux-sync collect``."""
    parser = _build_parser("collect", "FILE [--json]")
    parser.add_argument("file", metavar="FILE", help="a job file of pollux-sync defer")
    parser.add_argument("--json", action="store_true", help="print the whole result as JSON")
    return parser


@declare_parser(build_collect_parser)
def collect(argv: Sequence[str]) -> int:
    """Print the answers of a job that has ended. Return 0 when every request was answered, else 1.

    Raises DeferredNotReadyError while the job has not ended, and APIError for damaged results, after printing the
    answers that could be read.
    """
    arguments = build_collect_parser().parse_args(argv)
    try:
        result = collect_deferred(arguments.file, config=_resolve_config(arguments.file, arguments))
    except DeferredNotReadyError as error:
        error.hint = f"pollux-sync wait {arguments.file} waits for its end"
        raise
    except PolluxError as error:
        if error.partial_result is not None:
            _write_result(error.partial_result, arguments)
            report_failures(error.partial_result, include_errors=True)
            error.hint = "collect again, since nothing was deleted; the answers that could be read are printed"
        raise
    _write_result(result, arguments)
    return FAILED if report_failures(result, include_errors=True) else DONE


def build_cancel_parser() -> ArgumentParser:
    """Return the parser of ``pollux-sync cancel``."""
    parser = _build_parser("cancel", "FILE", "You pay for what was answered until then.")
    parser.add_argument("file", metavar="FILE", help="a job file of pollux-sync defer")
    return parser


@declare_parser(build_cancel_parser)
def cancel(argv: Sequence[str]) -> int:
    """Ask the provider to cancel a job. Does not wait until it has ended."""
    arguments = build_cancel_parser().parse_args(argv)
    cancel_deferred(arguments.file, config=_resolve_config(arguments.file, arguments))
    write_remark(f"cancellation requested; next: pollux-sync status {arguments.file}")
    return DONE


def _build_parser(name: str, usage: str, details: str = "") -> ArgumentParser:
    parser = build_parser(name, usage, details=details, epilog=EXIT_CODES)
    parser.add_argument(
        "--mock", dest="use_mock", action="store_true", help="for a job that this process submitted with --mock"
    )
    parser.add_argument("--base-url", metavar="URL", help="for a job that was submitted with this --base-url")
    add_route_arguments(parser)
    return parser


def _resolve_config(name: str, arguments: Namespace) -> Config:
    """Return the configuration that reaches the job of a file: the environment's, changed by the arguments.

    Raises ConfigurationError for a job of another address or account, with a hint in the words of the command line.
    """
    handle = read_job_file(locate_job_file(name)).handle
    if handle is None:
        raise ConfigurationError(
            f"the submission of {name!r} was interrupted",
            hint="run the same pollux-sync defer command again: it continues from there",
        )
    config = None
    if arguments.use_mock or arguments.base_url:
        config = Config(
            provider=handle.provider, model=handle.model, use_mock=arguments.use_mock, base_url=arguments.base_url
        )
    resolved = resolve_config(handle, config, _HINTS)
    # Added last: they do not decide where a key is sent, so they must not take the place of the check of the address.
    return attrs.evolve(resolved, **read_fields(arguments, Config, only=ROUTE_FIELDS))


def _build_timeout(name: str, timeout_s: float, error: DeferredNotReadyError) -> DeferredNotReadyError:
    """Return the error of a timeout with the whole time of the command, not with the rest that this file got."""
    failure = f"; the last look failed: {error.__cause__.message}" if isinstance(error.__cause__, APIError) else ""
    return DeferredNotReadyError(
        f"{name!r} had not ended after {timeout_s:g} s{failure}",
        hint="run the same command again: the job goes on",
        snapshot=error.snapshot,
    )


def _write_result(result: ResultEnvelope, arguments: Namespace) -> None:
    plain: dict[str, Any] = to_jsonable(result)
    if arguments.json:
        write_json(plain)
    else:
        # A job that a script submitted has none: its prompts may be secret, so defer_many writes them into no file.
        titles = read_job_file(locate_job_file(arguments.file)).titles
        write_answers(plain, titles if len(titles) == len(plain["answers"]) else None)


def _build_row(name: str, snapshot: DeferredSnapshot) -> tuple[str, ...]:
    counts = (snapshot.succeeded, snapshot.failed, snapshot.pending)
    age_s = (snapshot.completed_at or time.time()) - (snapshot.submitted_at or time.time())
    return (name, snapshot.status, *map(str, counts), _format_duration(age_s))


def _format_duration(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"  # noqa: PLR2004


def _choose_exit_code(snapshot: DeferredSnapshot) -> int:
    # PENDING is the greatest of the three, so that `max` over several jobs is 3 while one of them has not ended.
    if not snapshot.is_terminal:
        return PENDING
    return DONE if snapshot.status == "completed" else FAILED


def _report_change(name: str, snapshot: DeferredSnapshot) -> None:
    # On stderr: stdout stays free for the results of the commands that follow in a script.
    done = snapshot.succeeded + snapshot.failed
    write_remark(f"{name}: {snapshot.status}, {done} of {snapshot.request_count} done")
