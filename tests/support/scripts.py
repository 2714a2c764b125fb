"""Scripts in processes of their own, which use the test provider and are stopped from outside."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

SUPPORT = Path(__file__).parent


@contextmanager
def start_scripts(text, folder):
    """Yield a function that starts a script with arguments, and its files last. The processes end with the block."""
    pictures = [folder / name for name in ("a.png", "b.png")]
    for path in pictures:
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + path.name.encode())
    started = []

    def start(*arguments):
        ours = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}  # it gets killed
        process = subprocess.Popen(
            [sys.executable, "-c", text, *arguments, *map(str, pictures)],
            env=ours | {"PYTHONPATH": os.pathsep.join([str(folder / "site"), str(SUPPORT)])},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "go\n"
        return process

    try:
        yield start
    finally:
        for process in started:
            process.kill()
            process.communicate()
