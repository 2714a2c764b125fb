"""The code in the documentation runs, and prints the output that it shows."""

import inspect
import logging
import re
import signal
import tomllib
from pathlib import Path

import pytest

import pollux_durable
from demo_model import find_demo_model
from doc_blocks import list_chains
from pollux_durable.registry import registry
from pollux_sync.hooks import specs
from pollux_sync.hooks.loading import PROVIDERS, load
from pollux_sync.hooks.relay import read_provider_info

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
REPOSITORY = PROJECT["project"]["urls"]["Repository"]
PYPI_README = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
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


@pytest.fixture
def loggers():
    """The loggers that an example may set up; they are put back."""
    log = logging.getLogger("pollux_sync")
    before = log.level, [*log.handlers]
    yield
    log.level, log.handlers[:] = before


@pytest.mark.usefixtures("workplace", "handlers", "loggers")
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


@pytest.mark.parametrize("name", ["anthropic", "gemini", "local", "openai", "openrouter"])
def test_variables_of_the_key_are_those_of_the_provider(name):
    (row,) = re.findall(rf"^\| `{name}` \| (.+) \|$", (ROOT / "docs" / "how-to" / "keys.md").read_text(), re.MULTILINE)
    info = read_provider_info(load(PROVIDERS, name))
    assert tuple(re.findall(r"`([A-Z_]+)`", row)) == info.credential_env


LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_inside_the_repository_lead_somewhere(page):
    wrong = []
    for link in LINK.finditer(_drop_code(page.read_text())):
        target = page.parent / link[1] if link[1] else page
        if not target.exists() or (link[2] and link[2] not in list_anchors(target)):
            wrong.append(link[0])
    assert wrong == []


@pytest.mark.parametrize("readme", [*ROOT.glob("README.md"), *ROOT.glob("plugins/*/README.md")], ids=str)
def test_links_of_a_published_readme_lead_to_files_of_the_repository(readme):
    text = readme.read_text()
    for one in PYPI_README["substitutions"]:
        text = re.sub(one["pattern"], one["replacement"], text)
    paths = re.findall(rf"{re.escape(REPOSITORY)}/blob/main/([^)#\s]+)", text)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def list_anchors(page):
    """Return the anchors of a page's headings, as GitHub and mkdocs both spell them."""
    headings = re.findall(r"^#+ (.+)$", _drop_code(page.read_text()), re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in plain}


def _drop_code(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
