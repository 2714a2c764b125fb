"""The two lists of names that others may import: plugins, and packages that put the stages together anew."""

import ast
from pathlib import Path

import pytest

from pollux_sync import plugin, stages

LISTS = pytest.mark.parametrize("module", [plugin, stages], ids=["plugin", "stages"])


def list_imports_for_type_checkers(module):
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    return {(node.module.removeprefix("pollux_sync."), alias.name) for node in block.body for alias in node.names}


@LISTS
def test_lists_each_name_once(module):
    assert len(module.__all__) == len(set(module.__all__))


@LISTS
def test_loads_the_names_that_it_lists(module):
    assert {name for names in module._HOMES.values() for name in names} == set(module.__all__) == set(dir(module))


@LISTS
def test_shows_type_checkers_the_same_names(module):
    homes = {(home, name) for home, names in module._HOMES.items() for name in names}
    assert list_imports_for_type_checkers(module) == homes


@pytest.mark.parametrize(("module", "name"), [(module, name) for module in (plugin, stages) for name in module.__all__])
def test_name_can_be_used(module, name):
    assert getattr(module, name) is not None


@LISTS
def test_has_no_other_name(module):
    with pytest.raises(AttributeError, match="no attribute 'run_many'"):
        module.run_many  # noqa: B018 - the access is what is tested
