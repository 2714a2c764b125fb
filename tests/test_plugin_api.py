"""The one list of names that plugins may import."""

import ast
from pathlib import Path

import pytest

from pollux_sync import plugin


def list_imports_for_type_checkers():
    tree = ast.parse(Path(plugin.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    return {(node.module.removeprefix("pollux_sync."), alias.name) for node in block.body for alias in node.names}


def test_lists_each_name_once():
    assert len(plugin.__all__) == len(set(plugin.__all__))


def test_loads_the_names_that_it_lists():
    assert {name for names in plugin._HOMES.values() for name in names} == set(plugin.__all__)


def test_shows_type_checkers_the_same_names():
    homes = {(home, name) for home, names in plugin._HOMES.items() for name in names}
    assert list_imports_for_type_checkers() == homes


@pytest.mark.parametrize("name", plugin.__all__)
def test_name_can_be_used(name):
    assert getattr(plugin, name) is not None


def test_has_no_other_name():
    with pytest.raises(AttributeError, match="no attribute 'run_many'"):
        plugin.run_many  # noqa: B018 - the access is what is tested
