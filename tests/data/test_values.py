"""Values of the core: compared, hashed and shown by their fields, as attrs would do it."""

import pkgutil
from importlib import import_module

import attrs
import pytest

import pollux_sync.data
from pollux_sync._values import Value


@attrs.frozen(eq=False, repr=False)
class Place(Value):
    name: str
    notes: dict = attrs.field(factory=dict, hash=False)
    cache: list = attrs.field(factory=list, eq=False, repr=False)
    secret: str = attrs.field(default="", repr=lambda _: "***")


@attrs.frozen(eq=False, repr=False)
class Nothing(Value):
    pass


@attrs.frozen(eq=False, repr=False)
class Elsewhere(Place):
    pass


def list_classes():
    modules = pkgutil.iter_modules(pollux_sync.data.__path__, "pollux_sync.data.")
    members = [(module.name, member) for module in modules for member in vars(import_module(module.name)).values()]
    return [kind for home, kind in members if isinstance(kind, type) and attrs.has(kind) and kind.__module__ == home]


def test_values_of_one_class_are_equal_if_their_fields_are():
    assert Place("harbour", {"a": 1}, [1]) == Place("harbour", {"a": 1}, [2])
    assert Place("harbour", {"a": 1}) != Place("harbour", {"a": 2})
    assert Place("harbour") != Elsewhere("harbour")
    assert Place("harbour") != "harbour"
    assert Nothing() == Nothing()


def test_equal_values_have_one_hash():
    assert hash(Place("harbour", {"a": 1})) == hash(Place("harbour", {"a": 1}))
    assert {Nothing(), Nothing()} == {Nothing()}
    assert len({Place("harbour"), Place("quay"), Place("harbour")}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(Place(["no", "text"]))


def test_the_repr_shows_fields_in_the_way_that_each_asks_for():
    assert repr(Place("harbour", secret="key")) == "Place(name='harbour', notes={}, secret=***)"
    assert repr(Nothing()) == "Nothing()"


def test_all_data_is_compared_and_shown_by_its_fields():
    classes = list_classes()
    assert len(classes) > 80
    for kind in classes:
        assert kind.__eq__ is not object.__eq__, kind
        assert kind.__repr__ is not object.__repr__, kind


def test_no_value_has_a_field_that_is_compared_by_a_function():
    # Value reads fields as they are.
    values = [kind for kind in list_classes() if kind.__eq__ is Value.__eq__]
    assert not [(kind, one.name) for kind in values for one in attrs.fields(kind) if one.eq_key]
