"""Every example runs offline, without a key, prints what it shows, and stands in the table."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SCRIPTS = sorted([*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.sh")])

PRINTS = "# prints:\n"
#: What a model says differs between machines, so these show no output.
OF_THE_MODEL = {"demo.py", "local_model.py"}


@pytest.fixture
def environment(tmp_path):
    """A shell's environment with the commands of this Python, and nothing by which a provider could be reached."""
    settings = ("_KEY", "_BASE_URL", "_PROXY")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().endswith(settings) and not name.startswith("POLLUX_SYNC_")
    }
    commands = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return kept | {"PATH": commands, "HOME": str(tmp_path), "HTTPS_PROXY": "http://127.0.0.1:9"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_runs_and_prints_what_it_shows(script, environment):
    command = ["sh"] if script.suffix == ".sh" else [sys.executable, "-W", "error"]
    ran = subprocess.run(
        [*command, str(script.relative_to(ROOT))],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    if script.name in OF_THE_MODEL:
        assert ran.stdout.strip()
    else:
        assert ran.stdout == shown_in(script)


def shown_in(script):
    """The output that a script's last comment shows."""
    lines = script.read_text().partition(PRINTS)[2].splitlines()
    return "".join(f"{line.removeprefix('#').removeprefix(' ')}\n" for line in lines)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_begins_by_saying_what_it_shows(script):
    first = script.read_text().removeprefix("#!/bin/sh\n").splitlines()[0]
    assert re.fullmatch(r'("""|# ).{20,}\.', first)


def test_readme_lists_exactly_what_is_there():
    listed = re.findall(r"^\| \[`(.+?)`\]", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted([*(script.name for script in SCRIPTS), "pollux-acme/"])
