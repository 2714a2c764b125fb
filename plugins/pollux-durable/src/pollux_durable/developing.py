"""A worker that starts again when its sources change."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from pollux_durable.importing import find_source_folder
from pollux_durable.opening import MEMORY_URL
from pollux_durable.working import DRAIN_S
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pollux_durable.working import WorkerOrder

#: How often the times of the files are looked at.
_LOOK_S = 0.5
#: Tells the worker the URL. Not an argument: it may have a password, and arguments show in the list of processes.
URL_VARIABLE = "POLLUX_DURABLE_DEV_URL"
#: Folders with sources of others.
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})


def develop(order: WorkerOrder, tell: Callable[[str], None]) -> int:
    """Keep a worker going, with each change of its sources in a new process, until SIGINT or SIGTERM.

    A worker that ends by itself, over a mistake in its module for one, is started again after the next change.
    """
    if order.url == MEMORY_URL:
        raise ConfigurationError("a worker that starts again would lose memory:", hint="name a database")
    folder = find_source_folder(order.module)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    tell(f"watching {folder}")
    while not stop.is_set():
        process = _start(order)
        seen = read_times(folder)
        while not stop.wait(_LOOK_S):
            changed = find_changes(seen, read_times(folder))
            if changed:
                tell(f"{_name_files(changed, folder)} changed: starting again")
                break
        _end(process)
    return 0


def read_times(folder: Path) -> dict[Path, int]:
    """Return when each source file below a folder was changed."""
    times = {}
    for path in _iter_sources(folder):
        try:
            times[path] = path.stat().st_mtime_ns
        except OSError:  # editors replace files
            continue
    return times


def _iter_sources(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED and not name.startswith(".")]
        yield from (Path(parent, name) for name in files if name.endswith(".py"))


def find_changes(before: dict[Path, int], after: dict[Path, int]) -> list[Path]:
    """Return the files that were changed, added or removed."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def _name_files(paths: Sequence[Path], folder: Path) -> str:
    first = paths[0].relative_to(folder)
    return str(first) if len(paths) == 1 else f"{first} and {len(paths) - 1} more"


def _start(order: WorkerOrder) -> subprocess.Popen[bytes]:
    options = {"--version": order.version, "--name": order.name, "--queues": ",".join(order.queues or ())}
    words = [word for name, value in options.items() if value for word in (name, value)]
    address = {} if order.url is None else {URL_VARIABLE: order.url}
    return subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "pollux_durable.worker", order.module, *words, "--parent", str(os.getpid())],
        env={**os.environ, **address},
        # Ctrl-C is for this process, which hands it on once: a second signal would cut steps off.
        start_new_session=True,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(DRAIN_S + 5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
