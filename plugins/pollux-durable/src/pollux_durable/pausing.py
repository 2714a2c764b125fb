"""Pauses of queues, kept in every process that uses the database.

The table is what holds. The engine learns of them, so that it takes no runs from a paused queue; another
process that declares its queue at this moment may open it again, so this is repeated. A run that had
been taken from its queue before the engine knew goes back, see `Runner.carry_out`.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from pollux_durable.data.queues import QueueInfo
from pollux_durable.tables.pauses import PauseTable
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from pollux_durable.engines import Engine

_TELL_AGAIN_S = 1.0


class QueuePauses:
    """The pauses of a database, and what the engine of this process knows of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._table = PauseTable(engine.database)
        self._known: set[str] = set()
        self._told_at = 0.0
        self._lock = threading.Lock()

    def pause(self, queue: str, until: float | None) -> None:
        """Pause a queue."""
        self._table.add(queue, until)
        self.keep()

    def resume(self, queue: str) -> None:
        """Let a queue go on."""
        self._table.remove(queue)
        self.keep()

    def is_paused(self, queue: str) -> bool:
        """Return whether no run of a queue may begin."""
        return queue in self._table.list_now(time.time())

    def tell(self, queue: str) -> None:
        """Tell the engine that a queue is paused, as it has taken a run from it."""
        self._engine.pause_queue(queue)

    def find_name(self, name: str) -> str:
        """Return the name of a queue. Raises ConfigurationError if it does not exist."""
        known = [info.name for info in self.list_queues()]
        if name not in known:
            raise ConfigurationError(
                f"there is no queue {name!r}",
                hint=f"import the module that declares it; there are: {', '.join(known) or 'none'}",
            )
        return name

    def list_queues(self) -> list[QueueInfo]:
        """Return all queues, and whether they are paused."""
        paused = self._table.list_now(time.time())
        queues = sorted(self._engine.list_queues(), key=lambda queue: queue.name)
        return [
            QueueInfo(
                name=queue.name,
                concurrency_limit=queue.concurrency_limit,
                rate_limit=queue.rate_limit,
                per_key=queue.per_key,
                per_worker=queue.per_worker,
                is_paused=queue.name in paused,
                paused_until=paused.get(queue.name),
            )
            for queue in queues
        ]

    def keep(self, now: float | None = None) -> None:
        """Tell the engine which queues are paused. ``now`` is in seconds since the epoch."""
        with self._lock:
            paused = {*self._table.list_now(time.time() if now is None else now)}
            is_late = time.monotonic() - self._told_at > _TELL_AGAIN_S
            for queue in paused if is_late else paused - self._known:
                self._engine.pause_queue(queue)
            for queue in self._known - paused:
                self._engine.resume_queue(queue)
            self._known = paused
            self._told_at = time.monotonic() if is_late else self._told_at
