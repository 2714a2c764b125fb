"""The job file: what a submission is about to do and has done, written to disk before and after each step.

A process that is killed at any point leaves a file from which the next call with it continues.
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

from pollux_sync.data.converter import SCHEMA_VERSION, Storable
from pollux_sync.data.handles import (  # noqa: TC001 - read from files
    Asset,
    DeferredHandle,
    DeferredJob,
)
from pollux_sync.data.request import DeferredBatch, UploadPart  # noqa: TC001 - the first is read from files
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows has no such locks: there, two processes must not share a job file
    fcntl = None  # type: ignore[assignment]


@attrs.frozen(kw_only=True)
class StoredUpload:
    """A file that has been uploaded for a job. ``identity`` is the hex SHA-256 of its content."""

    identity: str
    asset: Asset


@attrs.frozen(kw_only=True)
class Attempted:
    """A job whose submission was begun, so that it may exist."""

    first: int
    request_count: int
    created_at: float
    bookmark: str | None = None


@attrs.frozen(kw_only=True)
class JobFile(Storable):
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
    """A job file and its current content. Without a path it is kept in memory only."""

    def __init__(self, path: Path | None, content: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        stored = read_job_file(path) if path is not None and path.exists() else None
        # Going on with other prompts would return answers to questions that were never asked.
        if stored is not None and stored.content != content:
            raise ConfigurationError(
                f"the job file {str(path)!r} is for other requests",
                hint="pass another job_file, or delete this one if you do not need its job",
            )
        self.is_resumed = stored is not None
        #: Whether a job may exist that is not recorded, and whether that was ever the case.
        self.is_open = self.was_open = stored is not None and stored.attempted is not None
        self.facts = stored or JobFile(
            content=content, mark=f"pollux-{content[:12]}-{secrets.token_hex(4)}", begun_at=time.time()
        )
        if stored is None:
            self._write()

    def find_asset(self, part: UploadPart) -> Asset | None:
        """Return the recorded upload of this content and type, or None."""
        for stored in self.facts.uploads:
            if (stored.identity, stored.asset.mime_type) == (part.identity, part.source.mime_type):
                return stored.asset
        return None

    def record_upload(self, part: UploadPart, asset: Asset) -> None:
        """Record a file that has been stored."""
        with self._lock:
            stored = StoredUpload(identity=part.identity, asset=asset)
            self._update(uploads=(*self.facts.uploads, stored))

    def record_attempt(self, batch: DeferredBatch) -> None:
        """Record that a job is about to be submitted."""
        # A job that may exist keeps the facts of its first attempt: by them it is looked up.
        if not self.is_open:
            attempted = Attempted(
                first=batch.first,
                request_count=batch.request_count,
                created_at=batch.created_at,
                bookmark=batch.bookmark,
            )
            self._update(attempted=attempted)

    def mark_open(self) -> None:
        """Note that the submission failed in a way that proves nothing about the job."""
        self.is_open = self.was_open = True

    def record_job(self, job: DeferredJob) -> None:
        """Record a job that has been submitted."""
        self._update(jobs=(*self.facts.jobs, job), attempted=None)
        self.is_open = False

    def record_handle(self, handle: DeferredHandle) -> None:
        """Record the handle, once all jobs have been submitted."""
        self._update(handle=handle)

    def discard(self) -> None:
        """Delete the job file, when nothing was submitted and nothing is stored."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _update(self, **changes: Any) -> None:
        self.facts = attrs.evolve(self.facts, **changes)
        self._write()

    def _write(self) -> None:
        if self._path is not None:
            write_atomically(self._path, self.facts.to_dict())


def read_job_file(path: Path) -> JobFile:
    """Return the content of a job file. Raises ConfigurationError for any other file, or one that cannot be read."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{str(path)!r} is not a job file: {error}", hint="pass the job_file that defer_many was given"
        ) from error
    return JobFile.from_dict(data)


def write_atomically(path: Path, data: dict[str, Any]) -> None:
    """Write JSON so that the file has either its old or its new content, even when the machine stops.

    The new content is synced to disk before it replaces the old one, and the folder after it: a rename alone may be
    lost, or survive without its content.
    """
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
    # The rename itself is durable only once the folder is synced. Windows cannot open a folder.
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def lock_job_file(path: Path | None) -> Iterator[None]:
    """Keep other processes from using the job file. Raises ConfigurationError while one uses it."""
    if path is None or fcntl is None:
        yield
        return
    busy = ConfigurationError(
        f"another process is submitting with {str(path)!r}", hint="wait for it, or pass another job_file"
    )
    lock = path.with_name(f".{path.name}.lock")
    with lock.open("a", encoding="utf-8") as file:
        try:
            # The kernel drops this lock with the process, also on kill -9; a lock file alone would stay.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between open and flock the owner may have removed the file: then we hold a lock that nobody sees.
            is_ours = lock.stat().st_ino == os.fstat(file.fileno()).st_ino
        except OSError as error:
            raise busy from error
        if not is_ours:  # its owner removed it, and another process created it again
            raise busy
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
