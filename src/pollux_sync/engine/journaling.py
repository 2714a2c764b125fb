"""The job file: what a submission was about to do and has done, on disk before and after each step.

A process that is killed at any point leaves a file from which the next call with it goes on.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.data.converter import restored
from pollux_sync.data.handles import SCHEMA_VERSION, DeferredHandle, DeferredJob
from pollux_sync.data.request import Asset, DeferredBatch, UploadPart  # noqa: TC001 - the first is read from files
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows has no such locks: there, two processes must not share a job file
    fcntl = None  # type: ignore[assignment]


@attrs.frozen(kw_only=True)
class StoredUpload:
    """A file that has been uploaded for a job: by content and type."""

    identity: str
    asset: Asset


@attrs.frozen(kw_only=True)
class Attempted:
    """A job that was about to be submitted, and may have been."""

    first: int
    request_count: int
    created_at: float


@attrs.frozen(kw_only=True)
class JobFile:
    """The content of a job file. ``content`` identifies the requests, ``mark`` the submission."""

    content: str
    mark: str
    begun_at: float
    uploads: tuple[StoredUpload, ...] = ()
    jobs: tuple[DeferredJob, ...] = ()
    attempted: Attempted | None = None
    handle: DeferredHandle | None = None
    schema_version: int = SCHEMA_VERSION


class Journal:
    """A job file and what it says now; without a path it is kept in memory alone."""

    def __init__(self, path: Path | None, content: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        stored = read_job_file(path) if path is not None and path.exists() else None
        if stored is not None and stored.content != content:
            raise ConfigurationError(
                f"the job file {str(path)!r} is for other requests",
                hint="pass another job_file, or delete this one if its job is of no interest",
            )
        self.is_resumed = stored is not None
        #: Whether a job may exist that is not noted, and whether it ever was so.
        self.is_open = self.was_open = stored is not None and stored.attempted is not None
        self.facts = stored or JobFile(
            content=content, mark=f"pollux-{content[:12]}-{secrets.token_hex(4)}", begun_at=time.time()
        )
        if stored is None:
            self._write()

    def asset_of(self, part: UploadPart) -> Asset | None:
        """The upload of this content, if there is one that will last."""
        for stored in self.facts.uploads:
            if (stored.identity, stored.asset.mime_type) == (part.identity, part.source.mime_type):
                return stored.asset
        return None

    def uploaded(self, part: UploadPart, asset: Asset) -> None:
        """A file has been stored."""
        with self._lock:
            stored = StoredUpload(identity=part.identity, asset=asset)
            self._note(uploads=(*self.facts.uploads, stored))

    def attempting(self, batch: DeferredBatch) -> None:
        """A job is about to be submitted."""
        if not self.is_open:
            count, created_at = batch.request_count, batch.created_at
            self._note(attempted=Attempted(first=batch.first, request_count=count, created_at=created_at))

    def left_open(self) -> None:
        """The submission failed in a way that says nothing about the job."""
        self.is_open = self.was_open = True

    def submitted(self, job: DeferredJob) -> None:
        """A job has been submitted."""
        self._note(jobs=(*self.facts.jobs, job), attempted=None)
        self.is_open = False

    def finished(self, handle: DeferredHandle) -> None:
        """All jobs have been submitted."""
        self._note(handle=handle)

    def discard(self) -> None:
        """Nothing was submitted, and nothing is stored: there is nothing to go on from."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _note(self, **changes: Any) -> None:
        self.facts = attrs.evolve(self.facts, **changes)
        self._write()

    def _write(self) -> None:
        if self._path is not None:
            write_whole(self._path, attrs.asdict(self.facts))


def read_job_file(path: Path) -> JobFile:
    """The content of a job file. Raises ConfigurationError for a file that is none, or cannot be read."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{str(path)!r} is no job file: {error}", hint="pass the job_file that defer_many was given"
        ) from error
    return restored(data, JobFile, newest=SCHEMA_VERSION)


def write_whole(path: Path, data: dict[str, Any]) -> None:
    """Write JSON so that the file is either as it was or as it shall be, also when the machine stops."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(data, file)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def alone(path: Path | None) -> Iterator[None]:
    """Keep other processes from the job file. Raises ConfigurationError while one is at it."""
    if path is None or fcntl is None:
        yield
        return
    busy = ConfigurationError(
        f"another process is submitting with {str(path)!r}", hint="wait for it, or pass another job_file"
    )
    lock = path.with_name(f".{path.name}.lock")
    with lock.open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = lock.stat().st_ino == os.fstat(file.fileno()).st_ino
        except OSError as error:
            raise busy from error
        if not is_ours:  # it was removed by the one who had it, and made again by somebody else
            raise busy
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
