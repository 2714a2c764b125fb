"""A reader in a process of its own, which ends when it takes too long or too much memory, or crashes.

Measured on two shared cores: the process takes 50 ms, and its reader's import 40 to 400 ms.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from pollux_convert.tasks import ReadError, dump_task, load_parts

if TYPE_CHECKING:
    from pollux_convert.tasks import Part, Task

#: The variables that a process needs to start; it gets no others, since these hold keys.
_VARIABLES = ("PATH", "SYSTEMROOT", "TEMP", "TMPDIR", "LD_LIBRARY_PATH", "COVERAGE_PROCESS_CONFIG")


def read_apart(data: bytes, task: Task, max_seconds: float) -> list[Part]:
    """Return the parts of a converted document. Raises ReadError."""
    # Not by multiprocessing, which would run the caller's script once more, or copy a process full of threads.
    command = [sys.executable, "-P", "-m", "pollux_convert.reading"]
    try:
        run = subprocess.run(  # noqa: S603 - of our own
            command,
            input=dump_task(task, data),
            capture_output=True,
            timeout=max_seconds,
            env=_build_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ReadError(
            f"reading it takes more than {max_seconds:g} s", hint="pass a part of it, or raise Convert(max_seconds=...)"
        ) from None
    try:
        return load_parts(run.stdout)
    except ValueError:
        raise _build_crash_error(run) from None


def _build_environment() -> dict[str, str]:
    variables = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    # It finds what this process finds, but not what lies in the folder where the script was started.
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    # openpyxl imports numpy, which would take memory for a thread on each core.
    return variables | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _build_crash_error(run: subprocess.CompletedProcess[bytes]) -> ReadError:
    lines = run.stderr.decode("utf-8", "replace").strip().splitlines()
    reason = f": {lines[-1]}" if lines else ""
    return ReadError(
        f"its reader ended with status {run.returncode}{reason}", hint="open it in its program, and save it again"
    )
