"""The pages of the reference say what the code says: every public name, and every field with its type and default."""

import re
from pathlib import Path

import pytest

import pollux_sync
from fields import find_class, iter_tables, list_fields
from pollux_sync import plugin, testing
from pollux_sync.data import envelope

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
TABLES = [
    pytest.param(name, rows, id=f"{page.stem}:{name}")
    for page in sorted(REFERENCE.glob("*.md"))
    for name, rows in iter_tables(page)
]
TABLED = {table.values[0] for table in TABLES}
DIRECTIVES = {
    name for page in REFERENCE.glob("*.md") for name in re.findall(r"^::: ([\w.]+)$", page.read_text(), re.MULTILINE)
}
#: A type is named in a sentence, a class has no fields, and the version needs no description.
ELSEWHERE = {"StreamEvent", "CodeExecution", "__version__"}


@pytest.mark.parametrize(("name", "rows"), TABLES)
def test_table_shows_every_field_with_its_type_and_default(name, rows):
    assert rows == list_fields(find_class(name))


@pytest.mark.parametrize("package", [pollux_sync, plugin], ids=["pollux_sync", "plugin"])
def test_every_public_name_is_described(package):
    described = TABLED | ELSEWHERE | {name.rpartition(".")[2] for name in DIRECTIVES}
    assert [name for name in package.__all__ if name not in described] == []


def test_every_tool_for_tests_is_described():
    assert {f"pollux_sync.testing.{name}" for name in testing.__all__} <= DIRECTIVES


def test_every_dict_of_the_result_has_a_table():
    dicts = {name for name, one in vars(envelope).items() if hasattr(one, "__total__")}
    assert dicts <= TABLED
