"""A part of the tests with the oldest dependencies that the core admits, which `make soak` installs."""

import json
import runpy
from importlib.metadata import version
from pathlib import Path

from packaging.version import Version

from oldest import run_tests_with, run_with

HERE = Path(__file__).parent
ROOT = HERE.parent
FOLDER = "oldest-core"
OLDEST = dict(
    requirement.split("==")
    for requirement in runpy.run_path(str(ROOT / "tools" / "oldest.py"))["list_oldest"](ROOT / "pyproject.toml")
)
#: Each dependency is used by some of these: values, conversion, validation, hooks, HTTP.
FILES = [
    *["data/test_options.py", "data/test_tool.py", "data/test_source.py", "data/test_interaction.py"],
    *["data/test_golden.py", "data/test_round_trips.py", "data/test_handles.py"],
    *["schemas/test_schema_structuring.py", "schemas/test_schema_round_trips.py"],
    *["hooks/test_relay.py", "hooks/test_config.py"],
    *["api/test_asking.py", "engine/test_repairing.py", "wire/test_http_client.py"],
]


def test_oldest_are_those_that_the_project_declares():
    names = list(OLDEST)
    code = f"import importlib.metadata as m, json; print(json.dumps([m.version(name) for name in {names}]))"
    installed = json.loads(run_with(FOLDER, "-c", code).stdout)
    assert [Version(found) for found in installed] == [Version(wanted) for wanted in OLDEST.values()], (
        f"run `make soak`, which installs {FOLDER}"
    )


def test_every_dependency_has_an_oldest_version():
    assert sorted(OLDEST) == ["attrs", "cattrs", "jsonschema", "pluggy", "requests"]


def test_oldest_are_older_than_what_the_other_tests_use():
    assert [name for name, oldest in OLDEST.items() if Version(version(name)) <= Version(oldest)] == []


def test_oldest_dependencies_give_the_same():
    code, printed = run_tests_with(FOLDER, [HERE / file for file in FILES])
    assert code == 0, printed
