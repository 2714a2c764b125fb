"""Every example runs offline, without a key, prints what it shows, and stands in the table."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from explained_examples import FOUND
from installing import install

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SUPPORT = ROOT / "tests" / "support"
SCRIPTS = sorted([*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.sh")])

PRINTS = "# prints:\n"
#: What a model says differs between machines, so these show no output.
OF_THE_MODEL = {"demo.py", "local_model.py"}
#: It plans the next calls while others are sent, which the plugin that compares does not follow.
AHEAD = {"bulk.py"}
#: These ask nobody within the call.
OF_NO_CALL = {"check_setup.py", "convert.py", "deferred.py", "explain.py"}


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


def run_script(command, environment):
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran


@pytest.fixture
def comparing(environment, tmp_path):
    """An environment in which the plugin that compares is installed."""
    install(tmp_path, "comparing", group="pollux_sync.plugins", comparing="explained_examples:Comparing")
    (tmp_path / "found").touch()
    path = os.pathsep.join([str(SUPPORT), str(tmp_path)])
    return environment | {"PYTHONPATH": path, FOUND: str(tmp_path / "found")}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_prints_what_it_shows_and_sends_what_explain_says_to_the_byte(script, comparing):
    path = str(script.relative_to(ROOT))
    if script.suffix == ".sh":
        ran = run_script(["sh", path], comparing | {"POLLUX_SYNC_PLUGINS": "comparing"})
    else:
        ran = run_script([sys.executable, "-W", "error", str(SUPPORT / "explained_examples.py"), path], comparing)
    if script.name in OF_THE_MODEL:
        assert ran.stdout.strip()
    else:
        assert ran.stdout == shown_in(script)
    if script.name in AHEAD:
        return
    found = [json.loads(line) for line in Path(comparing[FOUND]).read_text().splitlines()]
    assert [call["explained"] for call in found] == [call["sent"] for call in found]
    assert bool(found) == (script.name not in OF_NO_CALL)


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
