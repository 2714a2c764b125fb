"""The subcommand by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_durable.cli.arguments import build_parser
from pollux_durable.cli.changing import answer, cancel, fork, resume, retry
from pollux_durable.cli.keeping import collect_garbage, diagnose, migrate
from pollux_durable.cli.looking import list_runs, show, show_logs
from pollux_durable.cli.serving import run_dev, run_page, run_worker
from pollux_sync.commands import declare_parser, run_subcommand

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

_COMMANDS: dict[str, Callable[[Namespace], int]] = {
    "worker": run_worker,
    "dev": run_dev,
    "ls": list_runs,
    "show": show,
    "logs": show_logs,
    "cancel": cancel,
    "resume": resume,
    "retry": retry,
    "fork": fork,
    "answer": answer,
    "doctor": diagnose,
    "gc": collect_garbage,
    "migrate": migrate,
    "ui": run_page,
}


@declare_parser(build_parser)
def main(argv: Sequence[str]) -> int:
    """Run the command that ``argv`` names, and return its exit code. Raises what it raises, and SystemExit."""
    return run_subcommand(build_parser(), _COMMANDS, argv)
