"""The command line that began a job, kept in its journal so that `resume` can go on with it."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from pollux_batch.inspecting import JournalView
from pollux_batch.journaling import explain_errors, open_database

if TYPE_CHECKING:
    import os

#: Not among the tables of every journal: jobs of a script have no command, and older releases read the others alone.
_TABLE = """
CREATE TABLE IF NOT EXISTS commands (run INTEGER NOT NULL UNIQUE, arguments TEXT NOT NULL, digests TEXT NOT NULL)
"""


@attrs.frozen(kw_only=True)
class Command:
    """The arguments of a run by name, without keys, and the hashes of the files that some of them name."""

    arguments: dict[str, Any]
    digests: dict[str, str]


def record_command(journal: Path, command: Command) -> None:
    """Keep the command of the run that has just begun. Raises JournalError."""
    row = [json.dumps(command.arguments), json.dumps(command.digests)]
    with explain_errors(journal, "written"), closing(open_database(journal)) as database:
        database.execute(_TABLE)
        database.execute("INSERT INTO commands SELECT MAX(id), ?, ? FROM runs", row)


def read_command(journal: str | os.PathLike[str]) -> Command | None:
    """Return the latest command of a journal, None if all of its runs were begun by scripts."""
    with JournalView(Path(journal)) as view:
        if not view.select("SELECT 1 FROM sqlite_master WHERE name = 'commands'"):
            return None
        rows = view.select("SELECT arguments, digests FROM commands ORDER BY run DESC LIMIT 1")
    return next((Command(arguments=json.loads(one), digests=json.loads(two)) for one, two in rows), None)
