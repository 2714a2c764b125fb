"""The subcommand by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_batch.cli.arguments import build_parser
from pollux_batch.cli.asking import plan, run
from pollux_batch.cli.looking import explain, export, report_journal, show_status
from pollux_batch.cli.resuming import resume
from pollux_sync.commands import declare_parser, run_subcommand

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

_COMMANDS: dict[str, Callable[[Namespace], int]] = {
    "run": run,
    "resume": resume,
    "plan": plan,
    "status": show_status,
    "explain": explain,
    "export": export,
    "report": report_journal,
}


@declare_parser(build_parser)
def main(argv: Sequence[str]) -> int:
    """Run the command that ``argv`` names, and return its exit code. Raises what it raises, and SystemExit."""
    return run_subcommand(build_parser(), _COMMANDS, argv)
