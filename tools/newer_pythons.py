"""Run a part of the core's tests with each newer Python that this machine has.

A Python is used if it is named python3.N, is on PATH or installed by pyenv, runs, and is declared in pyproject.toml.
The tests run against the wheel in dist/, so `make newer` builds it first. Without a newer Python this prints a line
and passes.
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
    """Return the newer Pythons by version; of several with one version, the first."""
    declared = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())
    newer = [version for version in declared if int(version.partition(".")[2]) > sys.version_info.minor]
    folders = [*map(Path, os.get_exec_path()), *list_pyenv_folders()]
    candidates = [(version, folder / f"python{version}") for version in newer for folder in folders]
    pythons: dict[str, Path] = {}
    for version, python in candidates:
        if version not in pythons and is_python(python, version):
            pythons[version] = python
    return pythons


def list_pyenv_folders() -> list[Path]:
    """Return the folders of pyenv's Pythons, since its shims on PATH run only those that are switched on."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return sorted(root.glob("versions/*/bin"))


def is_python(python: Path, version: str) -> bool:
    """Return True if this file is a Python of this version that runs; a shim may fail."""
    command = [str(python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return False
    return process.returncode == 0 and process.stdout.strip() == version


def run_tests(python: Path, folder: Path) -> None:
    """Run the tests with this Python, in an environment with the wheel of the core and without its sources."""
    (wheel,) = (ROOT / "dist").glob("pollux_sync-*.whl")
    environment_python = make_environment(folder, python=str(python))
    install(environment_python, str(wheel), *TOOLS)
    pytest = [str(environment_python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0"]
    subprocess.run([*pytest, *TESTS], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
