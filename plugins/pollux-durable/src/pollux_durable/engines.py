"""The interface of engines: they record runs and steps, in a database that they share with our tables.

Two engines ship with this package: one on DBOS, and one in memory for unit tests. A plugin gives another one through
the hook `pollux_durable_engine`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from pollux_durable.data.queues import Queue
    from pollux_durable.data.runs import EngineRun, EngineStatus, Json, JsonObject, RunRequest, StepRecord

#: Carries a run out, given its id and its request. It returns the result, or raises RunFailure or RunStopped.
Body: TypeAlias = "Callable[[str, JsonObject], Json]"
Row: TypeAlias = tuple[Any, ...]


class Transaction(Protocol):
    """Statements that take effect together."""

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """Execute one statement with named parameters (``:name``); return its rows, none for one that has none."""
        ...


class Database(Protocol):
    """The database that holds runs, steps and the tables of this package. Any thread may use it."""

    @property
    def dialect(self) -> Literal["sqlite", "postgresql"]:
        """The dialect of its SQL."""
        ...

    def transact(self) -> AbstractContextManager[Transaction]:
        """Begin a transaction. It is committed at the end of the block, and rolled back if that raises."""
        ...


class Engine(Protocol):
    """Carries runs out and records their steps. All methods may be called from any thread.

    A run is the body of its name, called with the id and the request of the run. Whenever its process dies, or it is
    resumed, the body is called again: `run_step` then returns what the steps have returned before.
    """

    @property
    def database(self) -> Database:
        """The database, for the tables of this package."""
        ...

    @property
    def executor_id(self) -> str:
        """The name of this process among all that use the database."""
        ...

    def register(self, name: str, body: Body) -> None:
        """Add a body. Runs of this name can be carried out here from now on."""
        ...

    def register_queue(self, queue: Queue) -> None:
        """Set the limits of a queue, for all processes. Of limits that differ in this process the lower ones hold."""
        ...

    def list_queues(self) -> list[Queue]:
        """Return all queues that any process has declared."""
        ...

    def pause_queue(self, name: str) -> None:
        """Leave the runs of a queue in it, in all processes, from the next look on. To ask again does no harm.

        May be called before the launch.
        """
        ...

    def resume_queue(self, name: str) -> None:
        """Take runs from a queue again."""
        ...

    def launch(self) -> None:
        """Begin to carry out runs."""
        ...

    def drain(self) -> None:
        """Begin no more runs here. Those that go on are left to."""
        ...

    def describe(self) -> dict[str, str]:
        """Return the versions of the engine and its database, by name, for a diagnosis."""
        ...

    def close(self) -> None:
        """End all threads. Runs that go on are carried on by whoever recovers them."""
        ...

    def start(self, requests: Sequence[RunRequest]) -> None:
        """Start runs, those of a queue when it admits them. A run whose id exists is not started again."""
        ...

    def join(self, execution_id: str, timeout_s: float | None) -> bool:
        """Wait until a run that was started here has left its thread, at most so long; return whether it has.

        Returns False at once for others.
        """
        ...

    def read_runs(self, execution_ids: Sequence[str]) -> dict[str, EngineRun]:
        """Return the runs that exist among these, by id."""
        ...

    def read_statuses(self, execution_ids: Sequence[str]) -> dict[str, EngineStatus]:
        """Return the statuses of those of these runs that exist. Costs much less than to read them."""
        ...

    def list_runs(
        self,
        *,
        name: str | None = None,
        statuses: Sequence[EngineStatus] = (),
        prefix: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[EngineRun]:
        """Return runs, the newest first; with a ``prefix`` those whose ids begin with it."""
        ...

    def list_steps(self, execution_id: str) -> list[StepRecord]:
        """Return the steps of a run that have ended, in their order."""
        ...

    def run_step(self, key: str, function: Callable[[], Json]) -> Json:
        """Return what a step of the current run returned, or call ``function`` and record what it returns.

        Nothing is recorded if it raises. Raises RunStopped if the run was stopped, StepOrderError if the run has
        recorded another step in this place.
        """
        ...

    def reserve_steps(self, keys: Sequence[str]) -> list[Callable[[Callable[[], Json]], Json]]:
        """Return as many `run_step` functions, to be called from any thread, in any order."""
        ...

    def stop(self, execution_id: str) -> None:
        """Stop a run that has not ended: it gives its thread and its place in the queue back at its next step."""
        ...

    def resume(self, queues: Mapping[str, str | None]) -> None:
        """Have stopped runs go on, each through its queue. Other runs do not change."""
        ...

    def note_answer(self) -> None:
        """Note that a waiting run is answered from outside, before `resume`: more answers may follow."""
        ...

    def rewind(self, execution_id: str, position: int, version: str | None = None) -> None:
        """Have an ended run go on from a step, whose record and all later ones are dropped.

        Workers of ``version`` carry it on, by default those of the version that it had.
        """
        ...

    def fork(self, execution_id: str, position: int, fork_id: str, version: str | None = None) -> None:
        """Start another run that has recorded what this one had before a step."""
        ...

    def delete(self, execution_ids: Sequence[str]) -> None:
        """Delete ended runs and their steps."""
        ...

    def recover(self, executor_ids: Sequence[str]) -> None:
        """Have the runs of processes that are gone go on. To ask again does no harm."""
        ...

    def give_back(self) -> None:
        """Put runs back into their queues that were taken here and belong to workflows of other programs."""
        ...

    def has_pending(self, executor_id: str) -> bool:
        """Return whether runs are recorded as going on in a process."""
        ...
