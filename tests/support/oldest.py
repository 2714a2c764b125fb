"""Python with the oldest dependencies that the project admits in front of the newest; `make soak` installs them."""

import os
import subprocess
import sys
from pathlib import Path


def run_with(folder, *command):
    """Run this Python with the packages in a folder of the environment, such as ``oldest-sdks``, in front."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    environment["PYTHONPATH"] = str(Path(sys.prefix) / folder)
    command = [sys.executable, *command]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def run_tests_with(folder, files):
    """Run tests in that Python; return its exit code and the end of its output."""
    options = ["-q", "-p", "no:cacheprovider", "-n", "0", "-W", "error"]
    done = run_with(folder, "-m", "pytest", *options, *map(str, files))
    return done.returncode, done.stdout[-3000:]
