"""The processes of the MCP servers that tests start."""

import os
import time
from pathlib import Path

#: The folder of the servers.
SERVERS = Path(__file__).parents[2] / "plugins" / "pollux-mcp" / "tests"
#: Marks the servers that many tests share.
SHARED = "--shared"


def wait_for_end():
    """Return the children of this process that still run after 2 s, by their command lines."""
    deadline = time.monotonic() + 2
    while (children := list_children()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return children


def list_children():
    """Return the command lines of the servers that this process has started."""
    return [
        line
        for _, parent, line in iter_processes()
        if parent == os.getpid() and str(SERVERS) in line and SHARED not in line
    ]


def find_child(text):
    """Return the id of the child of this process with this text in its command line."""
    return next(process for process, parent, line in iter_processes() if parent == os.getpid() and text in line)


def is_running(text):
    """Return whether a process has this text in its command line."""
    return any(text in line for _, _, line in iter_processes())


def iter_processes():
    """Yield id, parent and command line of each process that has not ended."""
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            process = int(entry.name)
        except (OSError, ValueError):
            continue
        if state != "Z":
            yield process, int(parent), line
