"""A file that appears whole or not at all: written beside its place, and moved there at the end."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from pollux_batch.locking import HAS_LOCKS, close_quietly, discard_locked, open_locked
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


def check_place(path: Path, *, overwrite: bool) -> None:
    """Raise ConfigurationError for a path at which no file can be put, or for one in use."""
    if not path.parent.is_dir():
        raise ConfigurationError(f"the folder of {str(path)!r} does not exist", hint=f"make {str(path.parent)!r}")
    if path.is_dir() or (path.exists() and not overwrite):
        raise ConfigurationError(
            f"{str(path)!r} exists already", hint="pass another path, or overwrite=True (--overwrite)"
        )


class Draft:
    """The text of one file, until it is put in its place. Leaving the ``with`` block without `commit` drops it.

    One at a time is written for a path. Raises ConfigurationError while another run writes one, and as `check_place`.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        check_place(path, overwrite=overwrite)
        self.path = path
        self.part = path.with_name(f".{path.name}.part")
        self._overwrite = overwrite
        self.file = _open_locked(self.part, path)

    def commit(self, content: Path | None = None) -> None:
        """Put the text, or the file ``content`` that was made of it, in its place.

        Raises ConfigurationError if another file is there by now.
        """
        sync(self.file)
        check_place(self.path, overwrite=self._overwrite)
        if not HAS_LOCKS:
            close_quietly(self.file)  # Windows moves no open file
        (content or self.part).replace(self.path)
        _sync_folder(self.path.parent)

    def discard(self) -> None:
        """Drop what was not put in its place."""
        discard_locked(self.file, self.part)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


def _open_locked(part: Path, path: Path) -> Any:
    """Return the empty, locked file ``part``. One that a killed run left behind is used again."""
    file = open_locked(part, lambda: _open(part, path))
    if file is None:
        raise ConfigurationError(
            f"{str(path)!r} is being written by another run", hint="wait for its end, or pass another path"
        )
    file.truncate(0)
    return file


def _open(part: Path, path: Path) -> Any:
    try:
        # Not by tempfile, whose files nobody else may read. To append, so that a file in use stays as it is.
        return part.open("a", encoding="utf-8", newline="\n")
    except OSError as error:
        raise ConfigurationError(
            f"{str(path)!r} cannot be written: {error.strerror}", hint="check the permissions of its folder"
        ) from error


def sync(file: Any) -> None:
    """Have an open file on disk."""
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    # After a power failure the new name would be missing otherwise. Windows opens no folders.
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
