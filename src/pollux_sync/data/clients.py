"""Protocols of the clients that `pollux_open` returns. The core's hooks use nothing else of a client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pollux_sync.data.handles import Asset, DeferredJob, JobState
    from pollux_sync.data.provider import HttpRequest, HttpResponse
    from pollux_sync.data.request import DeferredBatch, DeferredRow
    from pollux_sync.data.source import Source
    from pollux_sync.data.streaming import EventStream


class Client(Protocol):
    """A client that sends requests; many threads may use it at once.

    The core's `pollux_send`, `pollux_stream` and `pollux_close` need one. A provider that implements these hooks
    itself may return any object from `pollux_open`.
    """

    def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        """Send one request and return its answer, within ``timeout_s`` seconds. Raise for any status but 2xx."""
        ...

    def stream(self, request: HttpRequest, timeout_s: float) -> EventStream:
        """Send one request and return its answer as events, each within ``timeout_s`` seconds of the one before."""
        ...

    def close(self) -> None:
        """Close the connections, also those in use, whose exchanges fail at once."""
        ...


class FileStore(Protocol):
    """A store of files at the provider."""

    def upload(self, source: Source, timeout_s: float, name: str, lifetime_s: float) -> Asset:
        """Store a source's content under this name, streamed; the provider may delete it after ``lifetime_s``."""
        ...

    def delete(self, asset: Asset, timeout_s: float) -> None:
        """Delete a stored file."""
        ...


class JobStore(FileStore, Protocol):
    """A store of files and deferred jobs at the provider. Each method has the meaning of the hook of its name."""

    def submit(self, batch: DeferredBatch, timeout_s: float) -> DeferredJob:
        """Submit one job."""
        ...

    def find(self, batch: DeferredBatch, timeout_s: float) -> DeferredJob | None:
        """Return the job that an interrupted submission created, or None."""
        ...

    def find_uploads(self, mark: str, timeout_s: float) -> list[Asset]:
        """Return the stored files whose names begin with the mark."""
        ...

    def inspect(self, job: DeferredJob, timeout_s: float) -> JobState:
        """Return the state of a job."""
        ...

    def collect(self, job: DeferredJob, timeout_s: float) -> Iterable[DeferredRow]:
        """Return the rows of a job that has ended."""
        ...

    def cancel(self, job: DeferredJob, timeout_s: float) -> None:
        """Ask the provider to cancel a job. Succeed also for one that has ended."""
        ...

    def release(self, job: DeferredJob, timeout_s: float) -> None:
        """Delete what was stored for a job, except its answers."""
        ...


class FileClient(Client, FileStore, Protocol):
    """A client that also stores files."""


class JobClient(FileClient, Protocol):
    """A client whose ``files`` store files and run jobs: itself, or a client beside it."""

    @property
    def files(self) -> JobStore:
        """The store of files and jobs."""
        ...
