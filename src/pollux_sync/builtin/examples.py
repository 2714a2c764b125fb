"""A small instance of a JSON Schema, the same every time; the mock provider answers with it."""

from __future__ import annotations

import math
from datetime import date, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas.keywords import Schema, is_anything
from pollux_sync.schemas.normalizing import DEFS, normalize
from pollux_sync.schemas.patterns import matching_texts
from pollux_sync.schemas.simplifying import Simplifier
from pollux_sync.schemas.validating import compile_validator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_TRIES = 200
_DAY = date(2024, 1, 1)
_FORMATS: dict[str, Callable[[int], str]] = {
    "date": lambda n: str(_DAY + timedelta(days=n)),
    "date-time": lambda n: f"{_DAY + timedelta(days=n)}T00:00:00Z",
    "time": lambda n: f"00:00:{n % 60:02}Z",
    "duration": lambda n: f"P{n + 1}D",
    "uuid": lambda n: f"00000000-0000-4000-8000-{n:012x}",
    "email": lambda n: f"user{n}@example.com",
    "hostname": lambda n: f"host{n}.example.com",
    "ipv4": lambda n: f"192.0.2.{n % 256}",
    "ipv6": lambda n: f"2001:db8::{n:x}",
    "uri": lambda n: f"https://example.com/{n}",
    "regex": lambda n: f"^{n}$",
}


class _NoExample(Exception):  # noqa: N818  (a signal between branches, never seen outside)
    """No value can be made here: nothing is valid, or the schema leads back into itself."""


def build_example(schema: Any) -> Any:
    """Return a small JSON value that is valid under the schema, as far as can be seen from it.

    Required properties only, the first branch that ends, the fewest items. ``not``, ``if`` and
    ``contains`` are not looked at. Raises ConfigurationError when no value is valid.
    """
    normalized = normalize(schema)
    try:
        return _Maker(dict(normalized.defs)).make(normalized.root)
    except _NoExample as error:
        raise ConfigurationError(
            f"no example of this schema can be made: {error}", hint="is there any value it accepts?"
        ) from error


class _Maker:
    """Makes examples against these definitions."""

    def __init__(self, defs: dict[str, Any]) -> None:
        self.defs = defs
        self.simplifier = Simplifier(defs)

    def make(self, schema: Any, *, number: int = 0, inside: frozenset[str] = frozenset()) -> Any:
        """Return an example; another ``number`` gives another one where the schema has more than one."""
        simple = self.simplifier.simplified(schema)
        if simple is False:
            raise _NoExample("nothing is valid")
        if is_anything(simple):
            return number or None
        if "$ref" in simple:
            name = simple["$ref"].removeprefix(DEFS)
            if name in inside:
                raise _NoExample(f"{name} always contains itself")
            return self.make(self.defs[name], number=number, inside=inside | {name})
        if "anyOf" in simple:
            return self.of_union(schema, simple["anyOf"], number, inside)
        return self.of_type(simple, number, inside)

    def of_union(self, schema: Any, branches: list[Any], number: int, inside: frozenset[str]) -> Any:
        """Take the first branch whose example the whole schema accepts; a second number takes the second."""
        made, error = [], _NoExample("nothing is valid")
        for branch in branches:
            for inner_number in range(number + 1):
                try:
                    made.append(self.make(branch, number=inner_number, inside=inside))
                except _NoExample as caught:
                    error = caught
        if not made:
            raise error
        return self.pick(made, {**schema, "$defs": self.defs}, number)

    def of_type(self, schema: Schema, number: int, inside: frozenset[str]) -> Any:  # noqa: PLR0911  (a row a type)
        if "const" in schema or "enum" in schema:
            values = [schema["const"]] if "const" in schema else schema["enum"]
            return self.pick(values, schema, number)
        kind = schema.get("type", _kind_of(schema))
        kind = kind[number % len(kind)] if isinstance(kind, list) else kind
        match kind:
            case "object":
                return self.of_object(schema, number, inside)
            case "array":
                return self.of_array(schema, number, inside)
            case "string":
                return self.pick(_texts(schema), schema, number)
            case "integer" | "number":
                return self.pick(_numbers(schema), schema, number)
            case "boolean":
                return bool(number % 2)
        return None

    def pick(self, candidates: Iterable[Any], schema: Schema, number: int) -> Any:
        """Return the valid candidate of this number, or the last valid one, or the first of all."""
        validator = compile_validator(schema, checks_formats=True)
        tried = list(islice(candidates, _TRIES))
        valid: list[Any] = []
        for candidate in tried:
            if candidate not in valid and validator.is_valid(candidate):
                valid.append(candidate)
            if len(valid) > number:
                return valid[number]
        if not valid and not tried:
            raise _NoExample("nothing is valid")
        return valid[-1] if valid else tried[0]

    def of_object(self, schema: Schema, number: int, inside: frozenset[str]) -> dict[str, Any]:
        properties = schema.get("properties", {})
        wanted = list(schema.get("required", ()))
        spare = [key for key in properties if key not in wanted]
        missing = max(schema.get("minProperties", 0) - len(wanted), 0)
        others = schema.get("additionalProperties", True)
        made = {
            key: self.make(properties.get(key, others), number=number, inside=inside)
            for key in [*wanted, *spare[:missing]]
        }
        names = {"type": "string", **schema["propertyNames"]} if "propertyNames" in schema else {"type": "string"}
        for index in range(max(missing - len(spare), 0)):
            made[self.make(names, number=index, inside=inside)] = self.make(others, number=index, inside=inside)
        return made

    def of_array(self, schema: Schema, number: int, inside: frozenset[str]) -> list[Any]:
        prefix = schema.get("prefixItems", [])
        length = schema.get("minItems", 0)
        items = [*prefix[:length], *[schema.get("items", True)] * (length - len(prefix))]
        is_unique = schema.get("uniqueItems", False)
        return [
            self.make(item, number=number + index if is_unique else number, inside=inside)
            for index, item in enumerate(items)
        ]


def _kind_of(schema: Schema) -> str | None:
    for kind, words in (
        ("object", {"properties", "required", "minProperties", "additionalProperties"}),
        ("array", {"items", "prefixItems", "minItems", "uniqueItems"}),
        ("string", {"pattern", "minLength", "format"}),
        ("number", {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
    ):
        if words & set(schema):
            return kind
    return None


def _texts(schema: Schema) -> Iterator[str]:
    if schema.get("format") in _FORMATS:
        yield from (_FORMATS[schema["format"]](number) for number in range(_TRIES))
    if "pattern" in schema:
        yield from matching_texts(schema["pattern"])
    least, most = schema.get("minLength", 0), schema.get("maxLength", math.inf)
    for number in range(_TRIES):
        text = f"text{number or ''}".ljust(least, "x")
        yield text if len(text) <= most else f"{number:0{most}}"[:most]


def _numbers(schema: Schema) -> Iterator[int | float]:
    least = max((schema[word] for word in ("minimum", "exclusiveMinimum") if word in schema), default=None)
    most = min((schema[word] for word in ("maximum", "exclusiveMaximum") if word in schema), default=None)
    step = schema.get("multipleOf", 1)
    if least is not None:
        first = math.ceil(least / step)
    elif most is not None:
        first = min(0, math.floor(most / step))
    else:
        first = 0
    direction = -1 if least is None and most is not None else 1
    if first * direction < 0 and (most is None or most >= 0):
        yield 0
    yield from ((first + direction * index) * step for index in range(_TRIES // 2))
    if least is not None and most is not None:
        yield from (least + (most - least) * part / 8 for part in range(9))
