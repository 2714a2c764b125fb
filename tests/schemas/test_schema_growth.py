"""Schemas that grow without end when they are put into a dialect: servers of tools, and generators, write them."""

import time

import pytest

from pollux_sync import ConfigurationError
from pollux_sync.plugin import STRICT_SCHEMAS, lower

OBJECT = {"type": "object", "properties": {"x": {"type": "string"}}}


def build_levels(join):
    """Return a schema of 18 definitions, each of which builds on the one before."""
    definitions = {"a0": OBJECT, "b0": {"type": "object", "properties": {"y": {"type": "string"}}}}
    for level in range(1, 19):
        definitions |= join(level)
    return {"type": "object", "properties": {"a": {"$ref": "#/$defs/a18"}}, "$defs": definitions}


def refer(name, level):
    return {"$ref": f"#/$defs/{name}{level}"}


def join_twice(level):
    return {f"a{level}": {"allOf": [refer("a", level - 1), refer("a", level - 1)]}}


def join_two(level):
    both = [refer("a", level - 1), refer("b", level - 1)]
    extra = {"properties": {f"z{level}": {"type": "string"}}}
    return {f"a{level}": {"allOf": both}, f"b{level}": {"allOf": [*both, extra]}}


def test_definition_that_is_joined_with_itself_stays_small():
    started = time.monotonic()
    lowered = lower(build_levels(join_twice), STRICT_SCHEMAS)
    assert len(str(lowered.schema)) < 10_000
    assert time.monotonic() - started < 10


def test_levels_of_two_definitions_end():
    started = time.monotonic()
    lowered = lower(build_levels(join_two), STRICT_SCHEMAS)
    assert len(str(lowered.schema)) < 1_000_000
    assert time.monotonic() - started < 10


def test_definition_that_refers_to_itself_in_place_is_refused():
    inner = {"allOf": [{"$ref": "#/$defs/n"}, OBJECT]}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": inner}}
    with pytest.raises(ConfigurationError, match="nested too deeply"):
        lower(schema, STRICT_SCHEMAS)


def test_schema_that_is_nested_too_deeply_is_refused_with_a_hint():
    schema = OBJECT
    for _ in range(5000):
        schema = {"type": "object", "properties": {"a": schema}}
    with pytest.raises(ConfigurationError) as caught:
        lower(schema, STRICT_SCHEMAS)
    assert caught.value.hint
