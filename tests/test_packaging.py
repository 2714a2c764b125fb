"""All distributions of this repository agree on what they say of themselves."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from pollux_sync import __version__

ROOT = Path(__file__).parents[1]
VERSION_FILE = ROOT / "src" / "pollux_sync" / "_version.py"
CORE = tomllib.loads((ROOT / "pyproject.toml").read_text())
PLUGINS = sorted(ROOT.glob("plugins/*/pyproject.toml"))


@pytest.fixture(params=PLUGINS, ids=[path.parent.name for path in PLUGINS])
def folder(request):
    return request.param.parent


@pytest.fixture
def plugin(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text())


def test_version_is_read_from_the_one_file(plugin, folder):
    assert "version" in plugin["project"]["dynamic"]
    assert (folder / plugin["tool"]["hatch"]["version"]["path"]).resolve() == VERSION_FILE


def test_version_of_the_core_fits_the_plugin(plugin):
    (core,) = [wanted for wanted in map(Requirement, plugin["project"]["dependencies"]) if wanted.name == "pollux-sync"]
    assert core.specifier.contains(__version__, prereleases=True)


def test_plugin_says_the_same_of_itself_as_the_core(plugin):
    same = ("license", "license-files", "authors", "requires-python", "classifiers", "dynamic")
    assert {name: plugin["project"][name] for name in same} == {name: CORE["project"][name] for name in same}


def test_plugin_is_of_the_same_repository(plugin):
    urls = ("Repository", "Issues", "Changelog")
    assert [plugin["project"]["urls"][name] for name in urls] == [CORE["project"]["urls"][name] for name in urls]


def test_plugin_is_documented_by_its_own_page(plugin, folder):
    repository = CORE["project"]["urls"]["Repository"]
    page = plugin["project"]["urls"]["Documentation"].removeprefix(f"{repository}/blob/main/")
    assert (ROOT / page).is_file()
    assert Path(page).stem == folder.name.removeprefix("pollux-")


def test_plugin_is_built_as_the_core_is(plugin):
    assert plugin["build-system"] == CORE["build-system"]
    assert plugin["tool"]["hatch"]["metadata"] == CORE["tool"]["hatch"]["metadata"]


def test_plugin_has_the_licence(folder):
    assert (folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_addresses_are_below_the_repository():
    repository = CORE["project"]["urls"]["Repository"]
    assert [url for url in CORE["project"]["urls"].values() if not url.startswith(repository)] == []
    (links,) = CORE["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]
    assert links["replacement"] == f"]({repository}/blob/main/"
