"""``pollux-sync durable doctor``, ``gc`` and ``migrate``: what a database needs now and then."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pollux_durable.cli.arguments import build_settings
from pollux_durable.diagnosing import diagnose as look
from pollux_durable.migrating import migrate as upgrade
from pollux_durable.opening import open_viewer
from pollux_durable.pruning import prune
from pollux_sync.commands import DONE, FAILED, write_json, write_line, write_table

if TYPE_CHECKING:
    from argparse import Namespace

    from pollux_durable.data.diagnoses import Problem

#: So many runs are named; the others are counted.
_NAMED = 10


def diagnose(arguments: Namespace) -> int:
    """Print what there is and what is wrong. Return 1 if something is."""
    found = look(build_settings(arguments))
    if arguments.json:
        write_json(found.to_dict())
    else:
        write_table(found.facts.items())
        for problem in found.problems:
            _write_problem(problem)
        write_line(f"problems: {len(found.problems)}" if found.problems else "no problems found")
    return FAILED if found.problems else DONE


def _write_problem(problem: Problem) -> None:
    write_line(f"problem: {problem.message}")
    if problem.execution_ids:
        more = len(problem.execution_ids) - _NAMED
        write_line(f"  {', '.join(problem.execution_ids[:_NAMED])}" + (f" and {more} more" if more > 0 else ""))
    write_line(f"  hint: {problem.hint}")


def collect_garbage(arguments: Namespace) -> int:
    """Delete what ended long ago, and print how much that was."""
    with open_viewer(build_settings(arguments)) as host:
        pruned = prune(host, time.time() - arguments.older, is_dry=arguments.dry_run)
    if arguments.json:
        write_json(pruned.to_dict())
        return DONE
    verb = "would delete" if arguments.dry_run else "deleted"
    events = f"{pruned.events:,} events" + (" beside those of these runs" if arguments.dry_run else "")
    write_line(f"{verb} {pruned.runs:,} runs with their steps, {events}, {pruned.workers:,} workers that are gone")
    return DONE


def migrate(arguments: Namespace) -> int:
    """Create or upgrade the tables."""
    settings = build_settings(arguments)
    facts = upgrade(settings)
    if arguments.json:
        write_json({"database": settings.shown_url, **facts})
    else:
        tables = ", ".join(f"{name} {value}" for name, value in facts.items())
        write_line(f"{settings.shown_url} has the tables of this release: {tables}")
    return DONE
