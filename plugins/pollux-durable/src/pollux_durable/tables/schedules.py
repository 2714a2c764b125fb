"""The table of schedules: when each is due next, and the time for which its workflow was started last.

A time is claimed before the run of it is started: only one process changes ``next_at`` from it to the next one. Until
the run is there the row says so by ``claimed_at``, so that another process can start it if that one died in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pollux_durable.data.schedules import Schedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_durable.data.schedules import Timetable
    from pollux_durable.engines import Database, Row

_COLUMNS = "workflow_id, schedule_key, cron, timezone, backfill, is_paused, next_at, last_at, previous_at, claimed_at"
_NAMED = "workflow_id = :workflow_id AND schedule_key = :key"


@attrs.frozen(kw_only=True)
class ScheduleRow(Schedule):
    """A schedule with what only its scheduler needs: the time before ``last_at``, and when that was claimed."""

    previous_at: float | None = None
    claimed_at: float | None = None


class ScheduleTable:
    """The schedules of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def declare(self, workflow_id: str, timetable: Timetable | None, next_at: float) -> None:
        """Store what the code of a workflow declares, and remove what it declared before.

        One that is stored with the same cron and time zone is not changed, paused or not.
        """
        with self._database.transact() as transaction:
            declared = transaction.execute(
                "SELECT schedule_key FROM pollux_schedules WHERE workflow_id = :workflow_id AND is_declared = 1",
                {"workflow_id": workflow_id},
            )
            for (key,) in declared:
                if timetable is None or key != timetable.key:
                    transaction.execute(_DELETE, {"workflow_id": workflow_id, "key": key})
            if timetable is not None:
                transaction.execute(
                    f"{_INSERT} DO UPDATE SET cron = :cron, timezone = :timezone, backfill = :backfill,"
                    " is_declared = 1, next_at = CASE WHEN pollux_schedules.cron = :cron"
                    " AND pollux_schedules.timezone = :timezone THEN pollux_schedules.next_at ELSE :next_at END",
                    {"workflow_id": workflow_id, "next_at": next_at, "is_declared": 1, **_write(timetable)},
                )

    def save(self, workflow_id: str, timetable: Timetable, next_at: float) -> None:
        """Store a schedule in place of the one with its key. It is not paused."""
        with self._database.transact() as transaction:
            transaction.execute(
                f"{_INSERT} DO UPDATE SET cron = :cron, timezone = :timezone, backfill = :backfill, is_paused = 0,"
                " next_at = :next_at",
                {"workflow_id": workflow_id, "next_at": next_at, "is_declared": 0, **_write(timetable)},
            )

    def list_all(self, workflow_id: str | None = None) -> list[Schedule]:
        """Return all schedules, or those of a workflow."""
        rows = self._select("(CAST(:id AS TEXT) IS NULL OR workflow_id = :id)", {"id": workflow_id})
        names = [field.name for field in attrs.fields(Schedule)]
        return [Schedule(**{name: getattr(row, name) for name in names}) for row in rows]

    def find_due(self, now: float) -> list[ScheduleRow]:
        """Return the schedules whose time has come, and those whose run may not have been started."""
        return self._select("(next_at <= :now AND is_paused = 0) OR claimed_at IS NOT NULL", {"now": now})

    def _select(self, condition: str, parameters: dict[str, object]) -> list[ScheduleRow]:
        with self._database.transact() as transaction:
            rows = transaction.execute(
                f"SELECT {_COLUMNS} FROM pollux_schedules WHERE {condition}"  # noqa: S608 - of this module
                " ORDER BY workflow_id, schedule_key",
                parameters,
            )
        return [_read_row(row) for row in rows]

    def set_paused(self, workflow_id: str, key: str, *, is_paused: bool, next_at: float | None = None) -> bool:
        """Pause a schedule, or let it go on; return whether there is one."""
        return self._update(
            workflow_id,
            key,
            "is_paused = :is_paused, next_at = COALESCE(:next_at, next_at)",
            is_paused=int(is_paused),
            next_at=next_at,
        )

    def claim(self, row: ScheduleRow, slot: float, next_at: float, now: float) -> bool:
        """Return whether the caller is the one to start the run of a time."""
        return self._update(
            row.workflow_id,
            row.key,
            "previous_at = last_at, last_at = :slot, next_at = :next_at, claimed_at = :now",
            "next_at = :old AND is_paused = 0 AND claimed_at IS NULL",
            slot=slot,
            next_at=next_at,
            now=now,
            old=row.next_at,
        )

    def skip(self, row: ScheduleRow, next_at: float) -> None:
        """Leave a time out."""
        self._update(row.workflow_id, row.key, "next_at = :next_at", "next_at = :old", next_at=next_at, old=row.next_at)

    def confirm(self, rows: Sequence[ScheduleRow]) -> None:
        """Note that the runs of the last times are started."""
        with self._database.transact() as transaction:
            for row in rows:
                transaction.execute(
                    f"UPDATE pollux_schedules SET claimed_at = NULL WHERE {_NAMED} AND last_at = :last_at",  # noqa: S608
                    {"workflow_id": row.workflow_id, "key": row.key, "last_at": row.last_at},
                )

    def _update(self, workflow_id: str, key: str, change: str, condition: str = "1 = 1", **values: object) -> bool:
        with self._database.transact() as transaction:
            return bool(
                transaction.execute(
                    f"UPDATE pollux_schedules SET {change} WHERE {_NAMED} AND {condition}"  # noqa: S608 - as above
                    " RETURNING workflow_id",
                    {"workflow_id": workflow_id, "key": key, **values},
                )
            )

    def remove(self, workflow_id: str, key: str) -> bool:
        """Remove a schedule; return whether there was one."""
        with self._database.transact() as transaction:
            return bool(transaction.execute(_DELETE, {"workflow_id": workflow_id, "key": key}))


_DELETE = f"DELETE FROM pollux_schedules WHERE {_NAMED} RETURNING workflow_id"  # noqa: S608 - as above
_INSERT = (
    "INSERT INTO pollux_schedules (workflow_id, schedule_key, cron, timezone, backfill, is_declared, is_paused,"
    " next_at) VALUES (:workflow_id, :key, :cron, :timezone, :backfill, :is_declared, 0, :next_at)"
    " ON CONFLICT (workflow_id, schedule_key)"
)


def _write(timetable: Timetable) -> dict[str, object]:
    return {**attrs.asdict(timetable), "backfill": int(timetable.backfill)}


def _read_row(row: Row) -> ScheduleRow:
    workflow_id, key, cron, timezone, backfill, is_paused, next_at, last_at, previous_at, claimed_at = row
    return ScheduleRow(
        workflow_id=workflow_id,
        key=key,
        cron=cron,
        timezone=timezone,
        backfill=bool(backfill),
        is_paused=bool(is_paused),
        next_at=next_at,
        last_at=last_at,
        previous_at=previous_at,
        claimed_at=claimed_at,
    )
