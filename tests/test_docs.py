"""The code in the documentation runs, and prints the output that it shows."""

import inspect
import re
import signal
from pathlib import Path

import pytest

import pollux_durable
from demo_model import find_demo_model
from doc_blocks import list_chains
from pollux_durable.registry import registry
from pollux_sync.hooks import specs

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("plugins/*/README.md")])

EXAMPLES = [
    pytest.param(chain, id=f"{page.relative_to(ROOT)}:{chain[0].line}") for page in PAGES for chain in list_chains(page)
]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder that looks to the examples like a user's: the example files and a model."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    model = find_demo_model()
    (tmp_path / model.name).symlink_to(model)
    monkeypatch.chdir(tmp_path)
    # Each example declares workflows of its own, and most need no file for them.
    monkeypatch.setenv("POLLUX_DURABLE_URL", "memory:")
    declared = {**registry._workflows}
    yield
    pollux_durable.reset()
    registry._workflows = declared


@pytest.fixture
def handlers():
    """The handlers of signals that an example may replace; they are put back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("workplace", "handlers")
@pytest.mark.parametrize("chain", EXAMPLES)
def test_example_runs_and_prints_what_is_shown(chain):
    namespace = {"__name__": "example"}
    for block in chain:
        printed = block.run(namespace)
        if "output varies" in block.marks:
            assert printed.strip()
        elif block.output is not None:
            assert printed == block.output


def test_first_script_of_the_readme_needs_no_file_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (first,) = list_chains(ROOT / "README.md")[0]
    assert first.run({"__name__": "example"}).strip()


HOOKS = {name: spec for name, spec in vars(specs).items() if name.startswith("pollux_")}
HOOKS_PAGE = (ROOT / "docs" / "reference" / "hooks.md").read_text()


@pytest.mark.parametrize("name", HOOKS)
def test_hook_is_documented_with_its_arguments(name):
    signature = f"{name}({', '.join(inspect.signature(HOOKS[name]).parameters)})"
    assert f"### `{signature}`" in HOOKS_PAGE


def test_no_hook_is_documented_that_does_not_exist():
    assert set(re.findall(r"^### `(\w+)\(", HOOKS_PAGE, re.MULTILINE)) == set(HOOKS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_inside_the_repository_lead_somewhere(page):
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []
