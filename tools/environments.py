"""Virtual environments for what the packages must do on their own."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def make_environment(folder: Path, *, python: str = sys.executable) -> Path:
    """Make an empty environment, in place of one that is there; return its Python."""
    subprocess.run([python, "-m", "venv", "--clear", "--without-pip", str(folder)], check=True)
    return folder / "bin" / "python"


def install(python: Path, *requirements: str) -> None:
    """Install into the environment of this Python, by the pip of the running one."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", str(python)]
    # Compiling all of the vendors' SDKs takes longer than every check.
    options = ["--no-compile", "--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, "install", *options, *requirements], check=True)
