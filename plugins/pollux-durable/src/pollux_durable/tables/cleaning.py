"""Removes what belongs to steps and runs that are dropped, from all tables of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pollux_durable.engines import Database

#: The event with which an agent ends, which is no step of its run.
_END_OF_AGENT = "agent_finish"
#: Tables with a column of the run that a row belongs to. States and sessions outlive runs.
_TABLES_OF_RUNS = ("pollux_waits", "pollux_cancels", "pollux_retries", "pollux_calls", "pollux_events")


def forget_progress(database: Database, execution_id: str) -> None:
    """Remove that a run was cancelled, waits, and has failed before; its end may be published again."""
    with database.transact() as transaction:
        transaction.execute(
            "UPDATE pollux_events SET once = NULL WHERE once = :once", {"once": f"{execution_id}:{_END_OF_AGENT}"}
        )
        for table in ("pollux_waits", "pollux_cancels", "pollux_retries"):
            transaction.execute(f"DELETE FROM {table} WHERE execution_id = :id", {"id": execution_id})  # noqa: S608


def forget_steps(database: Database, execution_id: str, keys: Iterable[str]) -> None:
    """Remove what steps have stored: model answers and answers from outside. Events stay, and may be published again.

    Whoever follows a topic may have acted upon an event: it is not taken back.
    """
    with database.transact() as transaction:
        for key in keys:
            transaction.execute(
                "DELETE FROM pollux_calls WHERE execution_id = :id AND step_key = :key",
                {"id": execution_id, "key": key},
            )
            transaction.execute(
                "DELETE FROM pollux_events WHERE topic = :topic", {"topic": f"answer/{execution_id}/{key}"}
            )
            for once in (f"{execution_id}:{key}", f"{execution_id}:suspend:{key}"):
                transaction.execute("UPDATE pollux_events SET once = NULL WHERE once = :once", {"once": once})


def copy_calls(database: Database, execution_id: str, fork_id: str, keys: Iterable[str]) -> None:
    """Let a fork have the model answers of the steps that it shares with a run: their records only name them."""
    with database.transact() as transaction:
        for key in keys:
            transaction.execute(
                "INSERT INTO pollux_calls (execution_id, step_key, request_key, request, reply, at)"
                " SELECT CAST(:fork_id AS TEXT), step_key, request_key, request, reply, at FROM pollux_calls"
                " WHERE execution_id = :id AND step_key = :key ON CONFLICT DO NOTHING",
                {"fork_id": fork_id, "id": execution_id, "key": key},
            )


def forget_runs(database: Database, execution_ids: Sequence[str]) -> int:
    """Remove all rows of runs; return the number of their events."""
    n_events = 0
    with database.transact() as transaction:
        for execution_id in execution_ids:
            for table in _TABLES_OF_RUNS:
                rows = transaction.execute(
                    f"DELETE FROM {table} WHERE execution_id = :id RETURNING execution_id",  # noqa: S608
                    {"id": execution_id},
                )
                n_events += len(rows) if table == "pollux_events" else 0
            # Answers are published by whoever gives them, so they belong to no run. The range is that of the prefix.
            rows = transaction.execute(
                "DELETE FROM pollux_events WHERE topic > :first AND topic < :last RETURNING topic",
                {"first": f"answer/{execution_id}/", "last": f"answer/{execution_id}0"},
            )
            n_events += len(rows)
    return n_events


def count_foreign_events(database: Database, before: float) -> int:
    """Return how many events from before a time belong to no run."""
    with database.transact() as transaction:
        ((count,),) = transaction.execute(
            "SELECT COUNT(*) FROM pollux_events WHERE at < :at AND execution_id IS NULL AND topic NOT LIKE 'answer/%'",
            {"at": before},
        )
    return int(count)


def forget_foreign_events(database: Database, before: float) -> int:
    """Delete events from before a time that belong to no run; return how many."""
    with database.transact() as transaction:
        rows = transaction.execute(
            "DELETE FROM pollux_events WHERE at < :at AND execution_id IS NULL AND topic NOT LIKE 'answer/%'"
            " RETURNING sequence_id",
            {"at": before},
        )
    return len(rows)
