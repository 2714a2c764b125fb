"""The table of pauses: queues of which no run begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pollux_durable.engines import Database


class PauseTable:
    """The paused queues of a database. Times are in seconds since the epoch."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, queue: str, until: float | None) -> None:
        """Note that a queue is paused, until a time or, with None, until it is resumed."""
        with self._database.transact() as transaction:
            transaction.execute(
                "INSERT INTO pollux_pauses (queue, until) VALUES (:queue, :until)"
                " ON CONFLICT (queue) DO UPDATE SET until = :until",
                {"queue": queue, "until": until},
            )

    def remove(self, queue: str) -> None:
        """Note that a queue goes on."""
        with self._database.transact() as transaction:
            transaction.execute("DELETE FROM pollux_pauses WHERE queue = :queue", {"queue": queue})

    def list_now(self, now: float) -> dict[str, float | None]:
        """Return the queues that are paused, and until when."""
        with self._database.transact() as transaction:
            rows = transaction.execute(
                "SELECT queue, until FROM pollux_pauses WHERE until IS NULL OR until > :now", {"now": now}
            )
        return {str(queue): until for queue, until in rows}
