"""The table of states: what each scope of a workflow keeps between runs, and the run that has it now."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pollux_durable.codecs import JsonStore
    from pollux_durable.data.runs import JsonObject
    from pollux_durable.engines import Database


class StateTable:
    """The states of a database. One run at a time has the state of a scope."""

    def __init__(self, database: Database, store: JsonStore) -> None:
        self._database = database
        self._store = store

    def acquire(self, workflow_id: str, scope: str, execution_id: str) -> tuple[JsonObject | None, str]:
        """Take a state for a run; return it, or None for a new one, and the run that has it now."""
        names = {"workflow_id": workflow_id, "scope": scope, "execution_id": execution_id}
        with self._database.transact() as transaction:
            transaction.execute(
                "INSERT INTO pollux_states (workflow_id, scope, data, execution_id)"
                " VALUES (:workflow_id, :scope, '', :execution_id) ON CONFLICT (workflow_id, scope) DO UPDATE"
                " SET execution_id = :execution_id WHERE pollux_states.execution_id = ''",
                names,
            )
            ((data, holder),) = transaction.execute(
                "SELECT data, execution_id FROM pollux_states WHERE workflow_id = :workflow_id AND scope = :scope",
                {"workflow_id": workflow_id, "scope": scope},
            )
        return self._store.load(data) if data else None, holder

    def save(self, workflow_id: str, scope: str, execution_id: str, state: JsonObject) -> None:
        """Store the state of a run, and let the next one have it."""
        with self._database.transact() as transaction:
            transaction.execute(
                "UPDATE pollux_states SET data = :data, execution_id = '' WHERE workflow_id = :workflow_id"
                " AND scope = :scope AND execution_id = :execution_id",
                {
                    "workflow_id": workflow_id,
                    "scope": scope,
                    "execution_id": execution_id,
                    "data": self._store.dump(state, "the state"),
                },
            )

    def release(self, workflow_id: str, scope: str, execution_id: str) -> None:
        """Let the next run have a state, which stays as it was."""
        with self._database.transact() as transaction:
            transaction.execute(
                "UPDATE pollux_states SET execution_id = '' WHERE workflow_id = :workflow_id AND scope = :scope"
                " AND execution_id = :execution_id",
                {"workflow_id": workflow_id, "scope": scope, "execution_id": execution_id},
            )

    def release_all(self, execution_id: str) -> list[tuple[str, str]]:
        """Let others have what a run has; return the workflow and the scope of each state."""
        with self._database.transact() as transaction:
            rows = transaction.execute(
                "UPDATE pollux_states SET execution_id = '' WHERE execution_id = :execution_id"
                " RETURNING workflow_id, scope",
                {"execution_id": execution_id},
            )
        return [(str(workflow_id), str(scope)) for workflow_id, scope in rows]

    def list_held(self) -> list[tuple[str, str, str]]:
        """Return workflow, scope and run of each state that a run has."""
        with self._database.transact() as transaction:
            rows = transaction.execute(
                "SELECT workflow_id, scope, execution_id FROM pollux_states WHERE execution_id <> ''"
            )
        return [(str(workflow_id), str(scope), str(execution_id)) for workflow_id, scope, execution_id in rows]
