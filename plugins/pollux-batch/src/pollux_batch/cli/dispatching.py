"""The command by its name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pollux_batch.cli.arguments import build_parser
from pollux_batch.cli.asking import plan, run
from pollux_batch.cli.codes import REFUSED
from pollux_batch.cli.looking import explain, export, report_journal, show_status
from pollux_batch.cli.resuming import resume

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


def main(argv: Sequence[str]) -> int:
    """Run the command that ``argv`` names, and return its exit code. Raises what it raises, and SystemExit."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return REFUSED
    return _COMMANDS[arguments.command](arguments)
