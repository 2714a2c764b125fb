"""The job file: what a submission is about to do and has done, written to disk before and after each step.

A process that is killed at any point leaves a file from which the next call with it continues.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import attrs

from pollux_sync.data.converter import SCHEMA_VERSION, Storable
from pollux_sync.data.files import open_file
from pollux_sync.data.handles import Asset  # noqa: TC001 - read from files
from pollux_sync.data.jobs import DeferredHandle, DeferredJob, SubmissionAttempt  # noqa: TC001 - read from files
from pollux_sync.errors import ConfigurationError, PolluxError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pollux_sync.data.request import UploadPart

try:
    import fcntl
except ImportError:  # Windows has no such locks: there, two processes must not share a job file
    fcntl = None  # type: ignore[assignment]


@attrs.frozen(kw_only=True)
class StoredUpload:
    """A file that has been uploaded for a job. ``identity`` is the hex SHA-256 of its content.

    ``mime_type`` is the type that was sent; None in a job file of an earlier release.
    """

    identity: str
    asset: Asset
    mime_type: str | None = None


@attrs.frozen(kw_only=True)
class JobFile(Storable):
    """The content of a job file. ``content`` identifies the requests, ``mark`` the submission.

    ``titles`` are short names of the requests, if whoever submitted them recorded any.
    """

    content: str
    mark: str
    begun_at: float
    uploads: tuple[StoredUpload, ...] = ()
    jobs: tuple[DeferredJob, ...] = ()
    attempted: SubmissionAttempt | None = None
    handle: DeferredHandle | None = None
    titles: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION


def create_mark(content: str) -> str:
    """Return the mark of a new submission, from a hash over its content and random digits.

    A provider whose jobs have no names may use the digits alone, so marks must be made here.
    """
    return f"pollux-{content[:12]}-{secrets.token_hex(4)}"


class Journal:
    """A job file and its current content. Without a path it is kept in memory only. It is a `SubmissionLog`."""

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
        if stored is not None and stored.handle is None:
            _refuse_hard_links(self._path)
        self.is_resumed = stored is not None
        #: Whether a job may exist that is not recorded, and whether that was ever the case.
        self.is_open = self.was_open = stored is not None and stored.attempted is not None
        self.facts = stored or JobFile(content=content, mark=create_mark(content), begun_at=time.time())
        if stored is None and path is not None:
            try:
                write_atomically(path, self.facts.to_dict())
            except OSError as error:
                raise _build_refusal(path, error) from error

    @property
    def mark(self) -> str:
        """The mark of the submission."""
        return self.facts.mark

    @property
    def jobs(self) -> tuple[DeferredJob, ...]:
        """The jobs that have been submitted."""
        return self.facts.jobs

    @property
    def attempted(self) -> SubmissionAttempt | None:
        """The job whose submission was begun last, None once it is recorded."""
        return self.facts.attempted

    def find_asset(self, part: UploadPart) -> Asset | None:
        """Return the recorded upload of this content and type, or None."""
        for stored in self.facts.uploads:
            # The service may write the type its own way in its answer.
            mime_type = stored.mime_type or stored.asset.mime_type
            if (stored.identity, mime_type) == (part.identity, part.source.mime_type):
                return stored.asset
        return None

    def record_upload(self, part: UploadPart, asset: Asset) -> None:
        """Record a file that has been stored."""
        with self._lock:
            stored = StoredUpload(identity=part.identity, asset=asset, mime_type=part.source.mime_type)
            self._update(uploads=(*self.facts.uploads, stored))

    def record_attempt(self, attempt: SubmissionAttempt) -> None:
        """Record that a job is about to be submitted."""
        self._update(attempted=attempt)

    def mark_open(self) -> None:
        """Note that the submission failed in a way that proves nothing about the job."""
        self.is_open = self.was_open = True

    def record_job(self, job: DeferredJob) -> None:
        """Record a job that has been submitted."""
        self._update(jobs=(*self.facts.jobs, job), attempted=None)
        self.is_open = False

    def record_refusal(self) -> None:
        """Record that nothing was submitted, and that the uploads are about to be deleted."""
        self._update(uploads=(), attempted=None)

    def record_handle(self, handle: DeferredHandle) -> None:
        """Record the handle, once all jobs have been submitted."""
        self._update(handle=handle)

    def discard(self) -> None:
        """Delete the job file, when nothing was submitted and nothing is stored."""
        if self._path is not None:
            # A file that stays is no harm: the next call with it finds that nothing was submitted.
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _update(self, **changes: Any) -> None:
        """Change the facts and write them. Raises PolluxError for a file that cannot be written any more."""
        # Changed first: what has happened is known to this call even if it cannot be written.
        self.facts = attrs.evolve(self.facts, **changes)
        if self._path is None:
            return
        try:
            write_atomically(self._path, self.facts.to_dict())
        # Not a ConfigurationError, which would say that nothing was sent.
        except OSError as error:
            raise PolluxError(
                f"the job file {str(self._path)!r} cannot be written any more: {error.strerror}",
                hint="free space there",
            ) from error


def locate_job_file(job_file: object) -> Path:
    """Return the absolute path of a job file, without links. Raises ConfigurationError for anything else.

    Two names of one file become one path: only then does the lock hold for both, and only then does writing replace
    the file and not a link to it.
    """
    name = os.fspath(job_file) if isinstance(job_file, str | os.PathLike) else job_file
    if not isinstance(name, str):
        raise ConfigurationError(f"job_file must be a path, got {type(job_file).__name__}", hint="pass 'job.json'")
    try:
        path = Path(os.path.realpath(name))
        # What is still a link leads back to itself.
        problem = "is a folder" if path.is_dir() else "is a link to itself" if path.is_symlink() else None
        if problem is None and path.exists() and not path.is_file():
            problem = "is no regular file"
    except (OSError, ValueError) as error:  # a NUL, or half a character
        raise _build_refusal(name, error) from error
    if not name or problem is not None:
        raise ConfigurationError(
            f"the job file {name!r} {problem}" if name else "job_file is empty", hint="name a file, such as job.json"
        )
    return path


def _build_refusal(path: Path | str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"the job file {str(path)!r} cannot be used: {getattr(error, 'strerror', None) or error}",
        hint="name a file in a folder that exists and that you may write to; its name must be short",
    )


def _refuse_hard_links(path: Path | None) -> None:
    # Writing replaces one name of the file, and the other one would keep a state that is no longer true.
    if path is not None and path.stat().st_nlink > 1:
        raise ConfigurationError(
            f"the job file {str(path)!r} has a second name (a hard link)", hint="delete all names but one, and use it"
        )


def read_job_file(path: Path) -> JobFile:
    """Return the content of a job file. Raises ConfigurationError for any other file, or one that cannot be read."""
    content = _read_content(path)
    try:
        return JobFile.from_dict(json.loads(content))
    except ConfigurationError:  # also a ValueError, and names the bad fields
        raise
    except (ValueError, RecursionError) as error:
        problem = f"it holds no JSON ({error})" if content.strip() else "it is empty"
        raise ConfigurationError(
            f"{str(path)!r} is not a job file: {problem}",
            hint="name the file that the submission wrote; for a new job, name a path at which there is no file yet",
        ) from error


def record_titles(path: Path, titles: Sequence[str]) -> None:
    """Record short names of a job's requests in its file, unless it has some.

    Raises ConfigurationError for a file that is no job file, OSError if it cannot be written.
    """
    facts = read_job_file(path)
    if not facts.titles:
        write_atomically(path, attrs.evolve(facts, titles=tuple(titles)).to_dict())


def _read_content(path: Path) -> bytes:
    # The hints fit a script and the command line, which shows them too.
    try:
        with open_file(path) as file:
            return file.read()
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"there is no job file {str(path)!r}", hint="name the file that the submission wrote"
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"the job file {str(path)!r} cannot be read: {error.strerror}", hint="check its permissions"
        ) from error


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
    """Keep other processes from using the job file, and remove what a killed one left beside it.

    Raises ConfigurationError while another process uses it, and where it cannot be written.
    """
    if path is None or fcntl is None:
        yield
        return
    lock = _build_lock_path(path)
    try:
        file = lock.open("a", encoding="utf-8")
    except OSError as error:
        raise _build_refusal(path, error) from error
    with file:
        _acquire_lock(path, lock, file)
        _remove_unfinished(path)
        try:
            yield
        finally:
            with suppress(OSError):
                lock.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove what a killed process left beside the job file, unless another process uses the file now."""
    with suppress(ConfigurationError, OSError):
        if _build_lock_path(path).exists():
            with lock_job_file(path):
                pass


def _build_lock_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _acquire_lock(path: Path, lock: Path, file: TextIO) -> None:
    try:
        # The kernel drops this lock with the process, also on kill -9; a lock file alone would stay.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between open and flock the owner may have removed the file: then we hold a lock that nobody sees.
        is_ours = lock.stat().st_ino == os.fstat(file.fileno()).st_ino
    except (BlockingIOError, FileNotFoundError):
        is_ours = False
    except OSError as error:
        raise _build_refusal(path, error) from error
    if not is_ours:
        raise ConfigurationError(
            f"another process is submitting with {str(path)!r}", hint="wait for it, or pass another job_file"
        )


def _remove_unfinished(path: Path) -> None:
    """Remove the new contents that killed processes wrote beside the job file but did not put in its place."""
    # The names that `write_atomically` uses, and not those for "job.json" where this file is "job".
    name = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}\.tmp")
    with suppress(OSError):
        for other in path.parent.iterdir():
            if name.fullmatch(other.name):
                other.unlink()
