"""Temporary folders, for the engine and for plugins. One that a killed process leaves is removed at the next use.

Each folder holds a file that its owner has locked. The kernel drops the lock with the process, also on kill -9: a
folder whose lock can be taken has lost its owner.
"""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pollux_sync.errors import PolluxError

if TYPE_CHECKING:
    from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows has no such locks: there, what a killed process leaves stays
    fcntl = None  # type: ignore[assignment]
_HAS_LOCKS = bool(fcntl)

_PREFIX = "pollux-sync-"
#: The names that `tempfile.mkdtemp` makes. A folder that somebody called pollux-sync-something is not ours.
_NAME = re.compile(rf"{_PREFIX}[a-z0-9_]{{8}}")
_OWNER = "owner.lock"


@contextmanager
def open_temporary_folder() -> Iterator[Path]:
    """Make a folder for the length of a ``with`` block, and delete it and the files in it afterwards.

    Raises PolluxError if no folder can be made.
    """
    if not _HAS_LOCKS:
        with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
            yield Path(name)
        return
    folder, owner = _make_owned_folder()
    try:
        yield folder
    finally:
        with suppress(OSError):
            _delete_folder(folder)
        os.close(owner)


def _make_owned_folder() -> tuple[Path, int]:
    """Return a new folder, and the descriptor that holds its lock."""
    try:
        _remove_orphans(tempfile.gettempdir())
        # Until the lock is held another process may take the folder for an orphan and remove it: then make a new one.
        while True:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
            with suppress(FileNotFoundError):
                owner = os.open(folder / _OWNER, os.O_CREAT | os.O_RDWR, 0o600)
                if _lock_owner(owner):
                    return folder, owner
    except OSError as error:
        raise PolluxError(
            f"no temporary folder can be made: {error}", hint="free space there, or let TMPDIR name another folder"
        ) from error


def _lock_owner(owner: int) -> bool:
    """Lock the file of a new folder; return whether it still is in its folder. Closes the descriptor if not."""
    # A file system without locks refuses those who look for orphans too.
    with suppress(OSError):
        fcntl.flock(owner, fcntl.LOCK_EX)
    if os.fstat(owner).st_nlink:
        return True
    os.close(owner)
    return False


def _remove_orphans(root: str) -> None:
    with suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            is_folder = _NAME.fullmatch(entry.name) is not None and entry.is_dir(follow_symlinks=False)
            # Anybody may write into the system's temporary folder: only what is our user's is ours to remove.
            if is_folder and entry.stat(follow_symlinks=False).st_uid == os.getuid():
                with suppress(OSError):
                    _remove_if_orphaned(Path(entry.path))


def _remove_if_orphaned(folder: Path) -> None:
    """Remove a folder whose lock can be taken. Raises OSError for one that has an owner, or is not ours."""
    try:
        owner = os.open(folder / _OWNER, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        folder.rmdir()  # it fails unless the folder is empty: then its owner ended before it could lock anything
        return
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _delete_folder(folder)
    finally:
        os.close(owner)


def _delete_folder(folder: Path) -> None:
    # The locked file last: if this is interrupted too, the next use finds the rest.
    for path in folder.iterdir():
        if path.name != _OWNER:
            path.unlink()
    (folder / _OWNER).unlink()
    folder.rmdir()
