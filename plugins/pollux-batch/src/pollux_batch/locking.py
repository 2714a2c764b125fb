"""Locks on files, which end with the process that holds them, however that ends."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has none of these: there two runs on one file are not kept apart
    HAS_LOCKS = False
else:
    HAS_LOCKS = True


def try_lock(file: Any) -> bool:
    """Lock an open file; return False if another process, or another open file, holds its lock.

    Return True also where there are no locks, such as on some network drives.
    """
    if not HAS_LOCKS:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # the folder has no locks
        return True
    return True


def open_locked(path: Path, open_file: Callable[[], Any]) -> Any:
    """Return the locked file at ``path``, as ``open_file`` opens it; None if another one holds its lock.

    The file may be moved or deleted while its lock is held, here or by another process.
    """
    while True:
        file = open_file()
        if not try_lock(file):
            file.close()
            return None
        # Another process may have moved or deleted it between the two steps: whoever comes next would lock a new one.
        if is_file_at(file, path):
            return file
        file.close()


def is_file_at(file: Any, path: Path) -> bool:
    """Return whether an open file is the one at a path."""
    if file.closed:
        return False
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def discard_locked(file: Any, path: Path) -> None:
    """Delete a locked file, unless another one is at its path by now, and close it."""
    if HAS_LOCKS:
        # While the lock is held: afterwards the name may be another process's.
        if is_file_at(file, path):
            path.unlink()
        close_quietly(file)
    else:
        close_quietly(file)
        path.unlink(missing_ok=True)


def close_quietly(file: Any) -> None:
    """Close a file whose content does not matter any more."""
    with suppress(OSError):  # a full disk takes nothing of what is still buffered either
        file.close()
