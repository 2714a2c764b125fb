"""Files of this machine, opened only if they are regular: to open a named pipe would wait for whoever writes it."""

from __future__ import annotations

import errno
import os
from stat import S_ISREG
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

#: Do not wait for the other end of a pipe. It means nothing for a regular file, and Windows has none.
_NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)


def open_file(path: Path, *, buffering: int = -1) -> BinaryIO:
    """Open a regular file for reading. Raises OSError, also for anything else than a regular file."""
    # Looked at after it was opened: between a look and the opening, another file might take its place.
    return open(path, "rb", buffering, opener=_open_regular)


def _open_regular(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | _NONBLOCK)
    if not S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return descriptor
