"""The contract passes providers that keep it, and fails each defect by the test that names it."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from installing import install
from pollux_sync.cli import main
from pollux_sync.testing import contract

SUPPORT = Path(__file__).parents[1] / "support"

#: The tests of a scaffold, once for each provider that is made from it.
TESTS = """
from defects import DEFECTS, Chat
import {module} as scaffold

CONTRACTS = [value for name, value in vars(scaffold).items() if name.startswith("Test")]
for _name, (_provider, _) in DEFECTS.items():
    if issubclass(_provider, Chat) == {is_chat}:
        for _contract in CONTRACTS:
            _title = f"Test{{_name}}{{_contract.__name__}}"
            globals()[_title] = type(_title, (_contract,), {{"provider": _name}})
del scaffold, CONTRACTS, _contract
"""


def read_defects():
    """Return the tests that each defect must fail, by its name, from the decorators: the module cannot be imported."""
    tree = ast.parse((SUPPORT / "defects.py").read_text())
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.decorator_list]
    return {node.name: [test.value for test in node.decorator_list[0].args] for node in classes}


DEFECTS = read_defects()
#: A defect is not a provider that fails at everything: it passes these, except for those that it must fail.
CONTROLS = ("test_answers_prompts_in_order[direct]", "test_retries_a_stream_that_ends_before_its_first_event[direct]")
PROVEN = sorted({test for tests in DEFECTS.values() for test in tests})


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """The outcome of every test that a defect must fail, for all providers: True if it passed."""
    folder = tmp_path_factory.mktemp("contract")
    for words in (["birch"], ["oak", "--chat-completions"]):
        target = folder / f"pollux-{words[0]}"
        assert main(["new-provider", *words, "--folder", str(target)]) == 0
        module = f"test_pollux_{words[0]}"
        (target / "tests" / f"{module}.py").rename(folder / f"scaffold_{words[0]}.py")
        (folder / f"{module}.py").write_text(TESTS.format(module=f"scaffold_{words[0]}", is_chat=words[0] == "oak"))
    (folder / "pytest.ini").write_text("[pytest]\n")
    install(folder, "defects", **{name.lower(): f"defects:{name}" for name in DEFECTS})
    path = [str(SUPPORT), str(folder), *(str(folder / f"pollux-{name}" / "src") for name in ("birch", "oak"))]
    (folder / "conftest.py").write_text(SELECTION.format(proven=PROVEN, controls=CONTROLS))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-rA"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout[-3000:]
    found = re.findall(r"^(PASSED|FAILED) \S+\.py::Test([a-z]+)Test\w+::(\w+(?:\[.*?\])?)", done.stdout, re.MULTILINE)
    return {(provider, test): outcome == "PASSED" for outcome, provider, test in found}


#: Each defect runs the tests that it must fail and the controls, a sound provider those of all defects.
SELECTION = """
from defects import DEFECTS

PROVEN = {proven}
CONTROLS = {controls}

def is_wanted(item):
    name, tests = next((name, tests) for name, (_, tests) in DEFECTS.items() if item.cls.provider == name)
    return item.name.startswith((*(tests or PROVEN), *CONTROLS))

def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if is_wanted(item)]
"""


@pytest.mark.parametrize("provider", [name for name, tests in DEFECTS.items() if not tests])
def test_passes_a_sound_provider(outcomes, provider):
    mine = {test: passed for (name, test), passed in outcomes.items() if name == provider.lower()}
    assert len(mine) >= 10
    assert [test for test, passed in mine.items() if not passed] == []


@pytest.mark.parametrize(
    ("provider", "test"), [pytest.param(name, test, id=f"{name}-{test}") for name in DEFECTS for test in DEFECTS[name]]
)
def test_fails_a_defect(outcomes, provider, test):
    found = [passed for (name, case), passed in outcomes.items() if name == provider.lower() and case.startswith(test)]
    assert found
    assert not all(found)


@pytest.mark.parametrize("provider", DEFECTS)
def test_a_defect_is_one_alone(outcomes, provider):
    controls = [test for test in CONTROLS if not test.startswith(tuple(DEFECTS[provider]))]
    assert [outcomes[provider.lower(), test] for test in controls] == [True] * len(controls)


def test_defects_name_tests_of_the_contract():
    ours = {name for kind in vars(contract).values() if isinstance(kind, type) for name in vars(kind)}
    assert [test for test in PROVEN if test.partition("[")[0] not in ours] == []
