import ast
import os
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from installing import install
from pollux_sync.hooks.loading import MIDDLEWARE, PROVIDERS

ROOT = Path(__file__).parents[2]
SOURCE = str(ROOT / "src")


@attrs.frozen
class Scaffold:
    """The words that write a distribution, and the plugin that it must have."""

    words: tuple[str, ...]
    package: str
    group: str
    plugin: str

    @property
    def name(self):
        return self.words[1]


SCAFFOLDS = {
    "provider": Scaffold(("new-provider", "birch"), "pollux_birch", PROVIDERS, "Birch"),
    "chat": Scaffold(("new-provider", "my-oak", "--chat-completions"), "pollux_my_oak", PROVIDERS, "MyOak"),
    "middleware": Scaffold(("new-middleware", "elm"), "pollux_elm", MIDDLEWARE, "Elm"),
}


@pytest.fixture(params=SCAFFOLDS.values(), ids=SCAFFOLDS)
def scaffold(request):
    return request.param


@pytest.fixture
def target(scaffold, cli, folder):
    """The folder of a distribution that was written."""
    assert cli(*scaffold.words).code == 0
    return folder / f"pollux-{scaffold.name}"


def run_python(target, *words, path=""):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(target / "src"), str(path)])}
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=target, env=environment, capture_output=True, text=True, check=False)


def run_tests(scaffold, target, *options):
    """Run the tests of a distribution as if it were installed."""
    site = target.parent / "site"
    install(site, target.name, group=scaffold.group, **{scaffold.name: f"{scaffold.package}:{scaffold.plugin}"})
    done = run_python(target, "pytest", "-q", "-W", "error", "-p", "no:xdist", *options, path=site)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


# Each fault waits for timeouts; the soak runs these too.
def test_its_tests_pass_unedited(scaffold, target):
    run_tests(scaffold, target, "-k", "not maps_a_fault")


@pytest.mark.parametrize("command", ["new-provider", "new-middleware"])
@pytest.mark.parametrize("name", ["none", "reply", "http-request", "generator", "call"])
def test_its_class_hides_no_name_that_it_needs(command, name, cli, folder):
    assert cli(command, name).code == 0
    package = f"pollux_{name.replace('-', '_')}"
    source = (folder / f"pollux-{name}" / "src" / package / "__init__.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
    classes = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert not {*imported} & {*classes}
    project = (folder / f"pollux-{name}" / "pyproject.toml").read_text(encoding="utf-8")
    assert f'{name} = "{package}:{classes[0]}"' in project


@pytest.mark.soak
def test_all_its_tests_pass_unedited(scaffold, target):
    run_tests(scaffold, target)


@pytest.mark.soak
def test_it_installs_under_the_name_that_its_project_file_declares(scaffold, target):
    site = target.parent / "site"
    pip = ("pip", "--disable-pip-version-check", "install", "--quiet", "--root-user-action=ignore", "--no-deps")
    done = run_python(target, *pip, "--no-build-isolation", "--no-index", "--target", str(site), ".")
    assert done.returncode == 0, done.stderr
    entries = next(site.glob("*.dist-info/entry_points.txt")).read_text()
    assert f"[{scaffold.group}]\n{scaffold.name} = {scaffold.package}:{scaffold.plugin}\n" in entries
    assert (site / scaffold.package / "py.typed").is_file()
    assert list(site.glob("*.dist-info/licenses/LICENSE"))


@pytest.mark.soak
def test_it_is_typed(target):
    (target.parent / "pyproject.toml").unlink()
    done = run_python(target, "mypy", "--cache-dir", os.devnull, path=SOURCE)
    assert done.returncode == 0, done.stdout


def test_it_is_formatted(target):
    done = run_python(target, "ruff", "format", "--diff", "--isolated", "--no-cache", "--line-length=120", ".")
    assert done.returncode == 0, done.stdout


def test_it_lists_what_it_wrote_and_the_next_step(cli, folder):
    done = cli("new-provider", "birch", "--folder", "tree")
    assert done.code == 0
    assert "src/pollux_birch/__init__.py\n" in done.out
    assert done.out.endswith("next: cd tree, pip install -e '.[test]', pytest\n")
    assert (folder / "tree" / "LICENSE").read_text().startswith("MIT License\n")


def test_it_depends_on_this_version_of_the_core(cli, folder):
    cli("new-middleware", "elm")
    assert '"pollux-sync>=0.1,<0.2"' in (folder / "pollux-elm" / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("My_LLM", "my-llm"),
        ("two words", "two-words"),
        ("grün.", "gr-n"),
        ("a--b", "a-b"),
        ("-", "a letter first"),
        ("9lives", "a letter first"),
        ("../evil", "evil"),
        ("pollux-birch", "name it birch"),
    ],
)
def test_it_refuses_a_name_and_suggests_another(cli, folder, name, hint):
    done = cli("new-provider", "--", name)
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith(f"{hint}\n")
    assert not list(folder.glob("pollux*"))


@pytest.mark.parametrize("name", ["mock", "sync", "acme"])
@pytest.mark.usefixtures("acme")
def test_it_refuses_a_name_that_is_taken(cli, name):
    done = cli("new-provider", name)
    assert done.code == 2
    assert f"{name!r} is taken" in done.err


def test_it_refuses_the_name_of_a_provider_of_this_project_that_is_not_installed(cli, monkeypatch):
    monkeypatch.setattr(sys, "path", [SOURCE, *(path for path in sys.path if "packages" in path)])
    assert "'openrouter' is taken" in cli("new-provider", "openrouter").err


@pytest.mark.parametrize("command", ["new-provider", "new-middleware"])
def test_it_touches_no_folder_that_is_not_empty(cli, folder, command):
    (folder / "pollux-birch").mkdir()
    assert cli(command, "birch", "--folder", "pollux-birch").code == 0
    (folder / "pollux-birch" / "LICENSE").write_text("mine")
    done = cli(command, "birch")
    assert done.code == 2
    assert "not an empty folder\n  hint: choose another --folder" in done.err
    assert (folder / "pollux-birch" / "LICENSE").read_text() == "mine"


def test_it_reports_a_folder_that_cannot_be_written(cli, folder):
    (folder / "file").touch()
    done = cli("new-provider", "birch", "--folder", "file/below")
    assert done.code == 2
    assert "cannot write file/below" in done.err
