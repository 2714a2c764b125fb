"""Servers of tools for the tests of pollux-mcp, and models that call these."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from pollux_sync import Config, Reply, ToolCall
from pollux_sync.testing import Script

SCRIPTED, OFFICIAL = (str(Path(__file__).with_name(f"mcp_{name}_server.py")) for name in ("scripted", "official"))


def list_children():
    """Return the processes that this one started and that have not ended, where the system tells."""
    children = set()
    for task in Path("/proc/self/task").glob("*"):
        with suppress(FileNotFoundError):  # the thread has ended
            children |= {int(pid) for pid in (task / "children").read_text().split()}
    return children


def wait_until(condition, timeout_s=5):
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


class OfficialServer:
    """A server of the official package over HTTP, inside a with block."""

    def __init__(self, *modes):
        self._modes = modes

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, OFFICIAL, "http", *self._modes],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return f"http://127.0.0.1:{self.process.stdout.readline().strip()}/mcp"

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def find(server, name):
    return next(tool for tool in server.tools() if tool.name == name)


def call(name, arguments="{}", call_id="c1"):
    return ToolCall(call_id, name, arguments)


def build_model(*answers):
    """Return a script and its configuration; a ToolCall, or a list of them, is an answer that calls tools."""
    answers = [[one] if isinstance(one, ToolCall) else one for one in answers]
    script = Script(*(Reply(tool_calls=tuple(one)) if isinstance(one, list) else one for one in answers))
    return script, Config(provider="openai", model="m", use_mock=True, plugins=[script])


def read_tool_turns(script):
    return [turn for turn in script.requests[-1]["history"] if turn["role"] == "tool"]


def is_running(pid):
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
