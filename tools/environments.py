"""Virtual environments in which packages are tested without the sources."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def make_environment(folder: Path, *, python: str = sys.executable) -> Path:
    """Create an empty environment, replacing an existing one, and return its Python."""
    subprocess.run([python, "-m", "venv", "--clear", "--without-pip", str(folder)], check=True)
    return folder / "bin" / "python"


def install(python: Path, *requirements: str) -> None:
    """Install requirements for this Python, by means of the pip of the running one."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", str(python)]
    # Not compiled: for the vendors' SDKs that would take longer than all of the checks.
    options = ["--no-compile", "--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, "install", *options, *requirements], check=True)
