"""Examples: a small value for a JSON Schema, the same every time. The mock provider answers with it."""

from __future__ import annotations

import math
from datetime import date, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas.keywords import Schema, is_anything
from pollux_sync.schemas.normalizing import DEFS, normalize
from pollux_sync.schemas.patterns import iter_matching_texts
from pollux_sync.schemas.simplifying import Simplifier
from pollux_sync.schemas.validating import compile_validator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: The number of candidates that are validated before the best one is taken.
_TRIES = 200
_DAY = date(2024, 1, 1)
_FORMATS: dict[str, Callable[[int], str]] = {
    "date": lambda n: str(_DAY + timedelta(days=n)),
    "date-time": lambda n: f"{_DAY + timedelta(days=n)}T00:00:00Z",
    "time": lambda n: f"00:00:{n % 60:02}Z",
    "duration": lambda n: f"P{n + 1}D",
    "uuid": lambda n: f"00000000-0000-4000-8000-{n:012x}",
    # Reserved names and addresses (RFC 2606, RFC 5737, RFC 3849), so that no example belongs to anybody.
    "email": lambda n: f"user{n}@example.com",
    "hostname": lambda n: f"host{n}.example.com",
    "ipv4": lambda n: f"192.0.2.{n % 256}",
    "ipv6": lambda n: f"2001:db8::{n:x}",
    "uri": lambda n: f"https://example.com/{n}",
    "regex": lambda n: f"^{n}$",
}


class _NoExampleError(Exception):
    """A schema without an example: it accepts nothing, or it always contains itself."""


def build_example(schema: Any) -> Any:
    """Return a small JSON value that is valid under the schema.

    It has required properties only, the first branch that ends, and the fewest items. ``not``, ``if`` and ``contains``
    are ignored, so it may be invalid under a schema that has them. Raises ConfigurationError if no value is valid.
    """
    normalized = normalize(schema)
    try:
        return _ExampleBuilder(dict(normalized.defs)).build(normalized.root)
    except _NoExampleError as error:
        raise ConfigurationError(
            f"cannot build an example of this schema: {error}", hint="change the schema so that it accepts some value"
        ) from error


class _ExampleBuilder:
    """The builder of examples, with the definitions of one schema.

    ``number`` asks for another example than that of number 0, where a schema has more than one: the items of a set
    must differ. ``inside`` names the definitions around, to end a recursion.
    """

    def __init__(self, defs: dict[str, Any]) -> None:
        self.defs = defs
        self.simplifier = Simplifier(defs)

    def build(self, schema: Any, *, number: int = 0, inside: frozenset[str] = frozenset()) -> Any:
        simple = self.simplifier.simplify(schema)
        if simple is False:
            raise _NoExampleError("no value is valid")
        if is_anything(simple):
            return number or None
        if "$ref" in simple:
            name = simple["$ref"].removeprefix(DEFS)
            if name in inside:
                raise _NoExampleError(f"{name} always contains itself")
            return self.build(self.defs[name], number=number, inside=inside | {name})
        if "anyOf" in simple:
            return self.build_union_value(schema, simple["anyOf"], number, inside)
        return self.build_typed_value(simple, number, inside)

    def build_union_value(self, schema: Any, branches: list[Any], number: int, inside: frozenset[str]) -> Any:
        """Return the first example of a branch that the whole schema accepts, or the one of this number."""
        candidates, error = [], _NoExampleError("no value is valid")
        for branch in branches:
            # Numbers up to the one wanted: the branches before may have too few different examples.
            for inner_number in range(number + 1):
                try:
                    candidates.append(self.build(branch, number=inner_number, inside=inside))
                except _NoExampleError as caught:
                    error = caught
        if not candidates:
            raise error
        # The whole schema, since a oneOf refuses a value of two branches.
        return self.choose_candidate(candidates, {**schema, "$defs": self.defs}, number)

    def build_typed_value(self, schema: Schema, number: int, inside: frozenset[str]) -> Any:  # noqa: PLR0911  (a row a type)
        if "const" in schema or "enum" in schema:
            values = [schema["const"]] if "const" in schema else schema["enum"]
            return self.choose_candidate(values, schema, number)
        type_name = schema.get("type", _infer_type(schema))
        type_name = type_name[number % len(type_name)] if isinstance(type_name, list) else type_name
        match type_name:
            case "object":
                return self.build_object(schema, number, inside)
            case "array":
                return self.build_array(schema, number, inside)
            case "string":
                return self.choose_candidate(_iter_texts(schema), schema, number)
            case "integer" | "number":
                return self.choose_candidate(_iter_numbers(schema), schema, number)
            case "boolean":
                return bool(number % 2)
        return None

    def choose_candidate(self, candidates: Iterable[Any], schema: Schema, number: int) -> Any:
        """Return the valid candidate of this number, else the last valid one, else the first of all."""
        validator = compile_validator(schema, checks_formats=True)
        # Checks interact, such as a pattern with a maxLength, so candidates are tried rather than computed. A wrong
        # example is better than none: the mock provider then answers something, and reading reports the mismatch.
        tried = list(islice(candidates, _TRIES))
        valid: list[Any] = []
        for candidate in tried:
            if candidate not in valid and validator.is_valid(candidate):
                valid.append(candidate)
            if len(valid) > number:
                return valid[number]
        if not valid and not tried:
            raise _NoExampleError("no value is valid")
        return valid[-1] if valid else tried[0]

    def build_object(self, schema: Schema, number: int, inside: frozenset[str]) -> dict[str, Any]:
        properties = schema.get("properties", {})
        required = list(schema.get("required", ()))
        optional = [key for key in properties if key not in required]
        missing = max(schema.get("minProperties", 0) - len(required), 0)
        additional = schema.get("additionalProperties", True)
        example = {
            key: self.build(properties.get(key, additional), number=number, inside=inside)
            for key in [*required, *optional[:missing]]
        }
        # For minProperties: optional properties first, and only then names that the schema does not list.
        names = {"type": "string", **schema["propertyNames"]} if "propertyNames" in schema else {"type": "string"}
        for index in range(max(missing - len(optional), 0)):
            key = self.build(names, number=index, inside=inside)
            example[key] = self.build(additional, number=index, inside=inside)
        return example

    def build_array(self, schema: Schema, number: int, inside: frozenset[str]) -> list[Any]:
        prefix = schema.get("prefixItems", [])
        length = schema.get("minItems", 0)
        items = [*prefix[:length], *[schema.get("items", True)] * (length - len(prefix))]
        is_unique = schema.get("uniqueItems", False)
        return [
            self.build(item, number=number + index if is_unique else number, inside=inside)
            for index, item in enumerate(items)
        ]


def _infer_type(schema: Schema) -> str | None:
    for type_name, keywords in (
        ("object", {"properties", "required", "minProperties", "additionalProperties"}),
        ("array", {"items", "prefixItems", "minItems", "uniqueItems"}),
        ("string", {"pattern", "minLength", "format"}),
        ("number", {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
    ):
        if keywords & set(schema):
            return type_name
    return None


def _iter_texts(schema: Schema) -> Iterator[str]:
    if schema.get("format") in _FORMATS:
        yield from (_FORMATS[schema["format"]](number) for number in range(_TRIES))
    if "pattern" in schema:
        yield from iter_matching_texts(schema["pattern"])
    # Texts without a pattern come last; a pattern too complex for samples leaves one of these.
    least, most = schema.get("minLength", 0), schema.get("maxLength", math.inf)
    for number in range(_TRIES):
        text = f"text{number or ''}".ljust(least, "x")
        yield text if len(text) <= most else f"{number:0{most}}"[:most]


def _iter_numbers(schema: Schema) -> Iterator[int | float]:
    least = max((schema[key] for key in ("minimum", "exclusiveMinimum") if key in schema), default=None)
    most = min((schema[key] for key in ("maximum", "exclusiveMaximum") if key in schema), default=None)
    step = schema.get("multipleOf", 1)
    if least is not None:
        first = math.ceil(least / step)
    elif most is not None:
        first = min(0, math.floor(most / step))
    else:
        first = 0
    direction = -1 if least is None and most is not None else 1
    # 0 is the most natural example within bounds such as -5 to 5.
    if first * direction < 0 and (most is None or most >= 0):
        yield 0
    yield from ((first + direction * index) * step for index in range(_TRIES // 2))
    # Between two bounds there may be no multiple of 1, such as between 0 and 1. Eighths are exact floats.
    if least is not None and most is not None:
        yield from (least + (most - least) * part / 8 for part in range(9))
