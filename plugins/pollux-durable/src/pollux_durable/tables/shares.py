"""The table of shares: which part of the limits of a provider and model each chunk of a fleet has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pollux_durable.engines import Database

_LOCK = "SELECT pg_advisory_xact_lock(7653213)"


class ShareTable:
    """The shares of a database. Those of one scope never sum up to more than one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, scope: str, execution_id: str, wanted: float) -> float:
        """Take what is left of a scope, at most ``wanted``; return how much that is. What the run had is given back."""
        with self._database.transact() as transaction:
            if self._database.dialect == "postgresql":
                transaction.execute(_LOCK)
            transaction.execute("DELETE FROM pollux_shares WHERE execution_id = :id", {"id": execution_id})
            ((taken,),) = transaction.execute(
                "SELECT COALESCE(SUM(share), 0) FROM pollux_shares WHERE scope = :scope", {"scope": scope}
            )
            share = min(wanted, 1 - float(taken))
            if share > 0:
                transaction.execute(
                    "INSERT INTO pollux_shares (execution_id, scope, share) VALUES (:id, :scope, :share)",
                    {"id": execution_id, "scope": scope, "share": share},
                )
        return share

    def give_back(self, execution_id: str) -> None:
        """Give the share of a run back."""
        with self._database.transact() as transaction:
            transaction.execute("DELETE FROM pollux_shares WHERE execution_id = :id", {"id": execution_id})

    def list_holders(self, scope: str) -> list[str]:
        """Return the runs that have a share of a scope."""
        with self._database.transact() as transaction:
            rows = transaction.execute("SELECT execution_id FROM pollux_shares WHERE scope = :scope", {"scope": scope})
        return [str(row[0]) for row in rows]
