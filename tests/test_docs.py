"""What the documentation shows runs, and prints what it says."""

import contextlib
import inspect
import io
import re
from pathlib import Path

import pytest

from demo_model import packaged_model
from pollux_sync.hooks import specs

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *ROOT.glob("plugins/*/README.md")])

BLOCK = re.compile(
    r"(?P<mark><!-- [a-z ]+ -->\n)?```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<output>.*?)```)?", re.DOTALL
)
EXAMPLES = [
    pytest.param(match, id=f"{page.relative_to(ROOT)}:{page.read_text().count(chr(10), 0, match.start()) + 1}")
    for page in PAGES
    for match in BLOCK.finditer(page.read_text())
    if match["mark"] != "<!-- needs a key -->\n"
]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder that looks to the examples like a user's: the example files and a model."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    model = packaged_model()
    (tmp_path / model.name).symlink_to(model)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("example", EXAMPLES)
def test_example_runs_and_prints_what_is_shown(example):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(example["code"], "example", "exec"), {"__name__": "example"})
    if example["output"] is not None:
        assert printed.getvalue() == example["output"]
    elif example["mark"]:
        assert printed.getvalue().strip()


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
