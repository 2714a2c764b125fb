"""The table of workers: which processes carry runs out, and when each was last heard of."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from pollux_durable.engines import Database


@attrs.frozen(kw_only=True)
class Worker:
    """A process that carries runs out. ``beat`` is when it was last heard of, in seconds since the epoch."""

    executor_id: str
    version: str
    host: str
    pid: int
    beat: float


@cache
def find_host_name() -> str:
    """Return a name within which process ids are unique: the machine since its start, and the container in it."""
    names = [socket.gethostname()]
    with suppress(OSError):  # only on Linux
        names.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        names.append(str(Path("/proc/self/ns/pid").readlink()))
    return "/".join(names)


class WorkerTable:
    """The workers of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def beat(self, executor_id: str, version: str) -> None:
        """Note that this process is alive."""
        with self._database.transact() as transaction:
            transaction.execute(
                "INSERT INTO pollux_workers (executor_id, version, host, pid, beat)"
                " VALUES (:executor_id, :version, :host, :pid, :beat)"
                " ON CONFLICT (executor_id) DO UPDATE SET beat = :beat",
                {
                    "executor_id": executor_id,
                    "version": version,
                    "host": find_host_name(),
                    "pid": os.getpid(),
                    "beat": time.time(),
                },
            )

    def list_all(self) -> list[Worker]:
        """Return all workers, also those that are gone."""
        with self._database.transact() as transaction:
            rows = transaction.execute("SELECT executor_id, version, host, pid, beat FROM pollux_workers")
        return [
            Worker(executor_id=executor_id, version=version, host=host, pid=pid, beat=beat)
            for executor_id, version, host, pid, beat in rows
        ]

    def mark_gone(self, executor_id: str) -> None:
        """Let others take over at once what a worker has not ended."""
        with self._database.transact() as transaction:
            transaction.execute("UPDATE pollux_workers SET beat = 0 WHERE executor_id = :id", {"id": executor_id})

    def remove(self, executor_id: str) -> None:
        """Forget a worker."""
        with self._database.transact() as transaction:
            transaction.execute("DELETE FROM pollux_workers WHERE executor_id = :id", {"id": executor_id})
