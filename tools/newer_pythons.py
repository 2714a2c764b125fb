"""Run a part of the core's tests with each newer Python that this machine has.

A Python counts when it is on PATH, or kept by pyenv, as python3.N, runs, and is one of those that pyproject.toml
declares. The tests run against the wheel in dist/, so `make newer` builds it first. Where there is no newer Python,
this says so and passes.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from environments import ROOT, install, make_environment

#: Values, hooks and plain calls: what a change of Python would break first, within a few seconds.
TESTS = ["tests/data", "tests/hooks", "tests/api/test_asking.py"]
TOOLS = ["pytest", "pytest-xdist", "hypothesis", "pydantic", "msgspec"]


def main() -> None:
    pythons = find_pythons()
    if not pythons:
        print("newer: this machine has no newer Python that runs; nothing to test")
    for version, python in pythons.items():
        print(f"newer: Python {version}", flush=True)
        run_tests(python, ROOT / ".venv" / f"python{version}")


def find_pythons() -> dict[str, Path]:
    """Return the newer Pythons by version, each as it is found first."""
    declared = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())
    newer = [version for version in declared if int(version.partition(".")[2]) > sys.version_info.minor]
    folders = [*map(Path, os.get_exec_path()), *pyenv_folders()]
    candidates = [(version, folder / f"python{version}") for version in newer for folder in folders]
    found: dict[str, Path] = {}
    for version, python in candidates:
        if version not in found and reports(python, version):
            found[version] = python
    return found


def pyenv_folders() -> list[Path]:
    """Return where pyenv keeps its Pythons: its shims on PATH run only those that are switched on."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return sorted(root.glob("versions/*/bin"))


def reports(python: Path, version: str) -> bool:
    """Tell whether this file is a Python of this version that runs: a shim may not."""
    command = [str(python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def run_tests(python: Path, folder: Path) -> None:
    """Run the tests with this Python, in an environment that has the core's wheel and not its sources."""
    (wheel,) = (ROOT / "dist").glob("pollux_sync-*.whl")
    own = make_environment(folder, python=str(python))
    install(own, str(wheel), *TOOLS)
    pytest = [str(own), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0"]
    subprocess.run([*pytest, *TESTS], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
