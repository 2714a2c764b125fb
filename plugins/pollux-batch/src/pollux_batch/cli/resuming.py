"""``pollux-sync batch resume``: go on with the job of a journal, with the arguments that it was begun with."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from pollux_batch.cli.arguments import build_parser
from pollux_batch.cli.asking import make_plan, run, write_plan
from pollux_batch.cli.restoring import restore_arguments
from pollux_batch.describing import describe_end
from pollux_batch.inspecting import inspect_journal
from pollux_batch.recording import Command, read_command
from pollux_sync.commands import DONE, write_json, write_remark
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from argparse import Namespace


def resume(arguments: Namespace) -> int:
    """Give the command of a journal again, or show what that would do. Raises what `run` raises."""
    command = read_command(arguments.journal)
    if command is None:
        raise ConfigurationError(
            f"the journal {arguments.journal!r} was begun by a script, not by a command",
            hint="run the script again: it goes on where it stopped",
        )
    restored = _restore(command, arguments)
    if arguments.explain:
        return _explain(restored)
    write_remark(f"going on with: {_describe(command)}")
    return run(restored)


def _restore(command: Command, arguments: Namespace) -> Namespace:
    defaults = build_parser().parse_args(["run", "-", "--journal", "-"])
    restored = restore_arguments(command, arguments.journal, defaults=defaults, may_differ=arguments.changed_input)
    restored.json, restored.quiet = arguments.json, arguments.quiet
    restored.overwrite = restored.overwrite or arguments.overwrite
    return restored


def _describe(command: Command) -> str:
    names = dict(command.arguments)
    return " ".join([names.pop("input"), *(f"{name}={shlex.quote(str(value))}" for name, value in names.items())])


def _explain(restored: Namespace) -> int:
    report, found = inspect_journal(restored.journal), make_plan(restored)
    if restored.json:
        write_json({"in_flight": report.in_flight, "plan": found.to_dict()})
        return DONE
    labels = ", ".join(report.in_flight)
    flights = f"{len(report.in_flight):,}" + (f": {labels}" if labels else "")
    write_plan(found, before=[("last run", describe_end(report.runs[-1])), ("in flight", flights)])
    return DONE
