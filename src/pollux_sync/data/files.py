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
#: Without it, Windows changes the ends of lines.
_BINARY: int = getattr(os, "O_BINARY", 0)


#: A file below this size is read in one piece.
_SMALL_BYTES = 1024 * 1024


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading. Raises OSError, also for anything else than a regular file."""
    # Looked at after it was opened: between a look and the opening, another file might take its place.
    return open(path, "rb", opener=lambda name, flags: _open_regular(name, flags)[0])


def read_file(path: Path) -> bytes:
    """Return the content of a regular file. Raises OSError as `open_file`."""
    content, _ = read_beginning(path, _SMALL_BYTES)
    if len(content) < _SMALL_BYTES:
        return content
    with open_file(path) as stream:
        return stream.read()


def read_beginning(path: Path, n_bytes: int) -> tuple[bytes, int]:
    """Return up to ``n_bytes`` from the beginning of a regular file, and the size of all of it in bytes.

    For a small file this takes two thirds of the time that a file object takes. Raises OSError as `open_file`.
    """
    descriptor, status = _open_regular(path, os.O_RDONLY | _BINARY)
    try:
        # No more than the file has, and one byte to see whether it has grown: the memory is taken before the reading.
        content = os.read(descriptor, min(n_bytes, status.st_size + 1))
        # Networks and signals can make a read shorter.
        while len(content) < n_bytes and (piece := os.read(descriptor, n_bytes - len(content))):
            content += piece
        return content, status.st_size
    finally:
        os.close(descriptor)


def _open_regular(path: str | Path, flags: int) -> tuple[int, os.stat_result]:
    descriptor = os.open(path, flags | _NONBLOCK)
    status = os.fstat(descriptor)
    if not S_ISREG(status.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor, status
