"""The table of waits: runs that hold no thread, and what each of them waits for.

A wait is "parking" until its run is stopped, "parked" until somebody wakes it, and "waking" until the run has taken
what it waited for. Only one that changes "parked" to "waking" resumes the run, so it is resumed once.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_durable.engines import Database, Row

_SELECTED_TOGETHER = 500
_COLUMNS = "execution_id, step_key, kind, target, wake_at, queue"


@attrs.frozen(kw_only=True)
class Wait:
    """The wait of a run: for an event of the topic ``target``, the end of the run ``target``, or a time.

    ``wake_at`` is in seconds since the epoch: the time itself, or that after which the wait has failed. ``queue`` is
    the one that the run goes through when it is woken.
    """

    execution_id: str
    step_key: str
    kind: str
    target: str | None = None
    wake_at: float | None = None
    queue: str | None = None


class WaitTable:
    """The waits of a database, with what was cancelled."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, wait: Wait) -> None:
        """Add the wait of a run that is about to stop."""
        with self._database.transact() as transaction:
            transaction.execute(
                f"INSERT INTO pollux_waits ({_COLUMNS}, state, at)"  # noqa: S608 - of this module
                " VALUES (:execution_id, :step_key, :kind, :target, :wake_at, :queue, 'parking', :at)"
                " ON CONFLICT (execution_id) DO UPDATE SET step_key = excluded.step_key, kind = excluded.kind,"
                " target = excluded.target, wake_at = excluded.wake_at, queue = excluded.queue, state = excluded.state,"
                " at = excluded.at",
                {**attrs.asdict(wait), "at": time.time()},
            )

    def mark_parked(self, execution_id: str) -> None:
        """Note that a run is stopped, so that it may be woken."""
        self._set_state([execution_id], "parking", "parked")

    def claim(self, execution_ids: Sequence[str]) -> dict[str, str | None]:
        """Return the runs that wait and that the caller is the one to resume, each with its queue."""
        return self._set_state(execution_ids, "parked", "waking")

    def _set_state(self, execution_ids: Sequence[str], old: str, new: str) -> dict[str, str | None]:
        changed: list[Row] = []
        with self._database.transact() as transaction:
            # In one order, so that two processes that wake the same runs do not wait for each other.
            for execution_id in sorted(execution_ids):
                changed += transaction.execute(
                    "UPDATE pollux_waits SET state = :new, at = :at WHERE execution_id = :execution_id AND state = :old"
                    " RETURNING execution_id, queue",
                    {"execution_id": execution_id, "old": old, "new": new, "at": time.time()},
                )
        return {str(execution_id): queue for execution_id, queue in changed}

    def remove(self, execution_id: str) -> None:
        """Remove the wait of a run."""
        with self._database.transact() as transaction:
            transaction.execute("DELETE FROM pollux_waits WHERE execution_id = :id", {"id": execution_id})

    def find(self, execution_ids: Sequence[str]) -> dict[str, Wait]:
        """Return the waits of these runs."""
        rows = self._select_of(f"{_COLUMNS} FROM pollux_waits", execution_ids)
        return {wait.execution_id: wait for wait in map(_read_row, rows)}

    def _select_of(self, columns: str, execution_ids: Sequence[str]) -> list[Row]:
        rows: list[Row] = []
        with self._database.transact() as transaction:
            for first in range(0, len(execution_ids), _SELECTED_TOGETHER):
                names = {f"id{n}": name for n, name in enumerate(execution_ids[first : first + _SELECTED_TOGETHER])}
                condition = ", ".join(f":{name}" for name in names)
                rows += transaction.execute(f"SELECT {columns} WHERE execution_id IN ({condition})", names)
        return rows

    def find_waiting_for(self, targets: Sequence[str]) -> list[Wait]:
        """Return the waits for these topics or runs."""
        waits: list[Wait] = []
        with self._database.transact() as transaction:
            for target in targets:
                rows = transaction.execute(
                    f"SELECT {_COLUMNS} FROM pollux_waits WHERE target = :target AND state = 'parked'",  # noqa: S608
                    {"target": target},
                )
                waits += map(_read_row, rows)
        return waits

    def find_due(self, now: float, limit: int = 500) -> list[Wait]:
        """Return the waits whose time has come."""
        return self._select("wake_at <= :now AND state = 'parked'", {"now": now, "limit": limit})

    def find_of_kind(self, kind: str, limit: int = 5000) -> list[Wait]:
        """Return the waits of a kind."""
        return self._select("kind = :kind AND state = 'parked'", {"kind": kind, "limit": limit})

    def find_stuck(self, before: float, limit: int = 500) -> list[Wait]:
        """Return the waits whose process may have died between stopping its run and saying so, or before resuming."""
        return self._select("state <> 'parked' AND at < :before", {"before": before, "limit": limit})

    def _select(self, condition: str, parameters: dict[str, object]) -> list[Wait]:
        with self._database.transact() as transaction:
            rows = transaction.execute(
                f"SELECT {_COLUMNS} FROM pollux_waits WHERE {condition} LIMIT :limit",  # noqa: S608
                parameters,
            )
        return [_read_row(row) for row in rows]

    def cancel(self, execution_ids: Sequence[str], *, aborts: bool = False) -> None:
        """Note that runs were cancelled: they wait for nothing."""
        with self._database.transact() as transaction:
            for execution_id in execution_ids:
                transaction.execute(
                    "INSERT INTO pollux_cancels (execution_id, aborts, at) VALUES (:id, :aborts, :at)"
                    " ON CONFLICT (execution_id) DO UPDATE SET aborts = :aborts, at = :at"
                    " WHERE pollux_cancels.aborts < :aborts",
                    {"id": execution_id, "aborts": int(aborts), "at": time.time()},
                )
                transaction.execute("DELETE FROM pollux_waits WHERE execution_id = :id", {"id": execution_id})

    def revoke_cancel(self, execution_id: str) -> None:
        """Note that a cancelled run is to go on."""
        with self._database.transact() as transaction:
            transaction.execute("DELETE FROM pollux_cancels WHERE execution_id = :id", {"id": execution_id})

    def find_cancelled(self, execution_ids: Sequence[str]) -> set[str]:
        """Return those of the runs that were cancelled."""
        return {row[0] for row in self._select_of("execution_id FROM pollux_cancels", execution_ids)}

    def find_cancelled_since(self, timestamp: float) -> dict[str, bool]:
        """Return the runs that were cancelled since a time, and whether their model calls are to be aborted."""
        with self._database.transact() as transaction:
            rows = transaction.execute(
                "SELECT execution_id, aborts FROM pollux_cancels WHERE at >= :at", {"at": timestamp}
            )
        return {str(execution_id): bool(aborts) for execution_id, aborts in rows}

    def list_all(self) -> list[tuple[Wait, str, float]]:
        """Return all waits, the state of each, and since when it has that."""
        with self._database.transact() as transaction:
            rows = transaction.execute(
                f"SELECT state, at, {_COLUMNS} FROM pollux_waits ORDER BY at"  # noqa: S608 - of this module
            )
        return [(_read_row(row[2:]), str(row[0]), float(row[1])) for row in rows]

    def count_failure(self, execution_id: str) -> int:
        """Count a failure of a run that is begun again; return how many there were."""
        with self._database.transact() as transaction:
            ((failures,),) = transaction.execute(
                "INSERT INTO pollux_retries (execution_id, failures) VALUES (:id, 1)"
                " ON CONFLICT (execution_id) DO UPDATE SET failures = pollux_retries.failures + 1 RETURNING failures",
                {"id": execution_id},
            )
        return int(failures)

    def read_failures(self, execution_id: str) -> int:
        """Return how often a run was begun again after a failure."""
        with self._database.transact() as transaction:
            rows = transaction.execute(
                "SELECT failures FROM pollux_retries WHERE execution_id = :id", {"id": execution_id}
            )
        return int(rows[0][0]) if rows else 0


def _read_row(row: Row) -> Wait:
    execution_id, step_key, kind, target, wake_at, queue = row
    return Wait(execution_id=execution_id, step_key=step_key, kind=kind, target=target, wake_at=wake_at, queue=queue)
