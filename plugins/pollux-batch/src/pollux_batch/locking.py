"""Locks on files, which end with the process that holds them, however that ends."""

from __future__ import annotations

from typing import Any

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
