"""JSON Schema validation without network: remote references are never fetched."""

from __future__ import annotations

import ipaddress
import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas.keywords import ANNOTATIONS, IGNORED, drop_keywords, map_subschemas, walk_schemas
from pollux_sync.schemas.matching import TextTooLongError, check_pattern, compile_matcher
from pollux_sync.schemas.mismatch import AnswerMismatch, json_path, shorten
from pollux_sync.schemas.textcodecs import parse_date, parse_datetime, parse_duration, parse_time, parse_uuid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jsonschema import Draft202012Validator, FormatChecker


def _compile_regex(text: str) -> None:
    try:
        re.compile(text)
    except (re.error, OverflowError) as error:  # too many repetitions are an OverflowError
        raise ValueError(str(error)) from error


_FORMATS: dict[str, Callable[[str], Any]] = {
    "date-time": parse_datetime,
    "date": parse_date,
    "time": parse_time,
    "duration": parse_duration,
    "uuid": parse_uuid,
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
    "regex": _compile_regex,
}


def compile_validator(schema: Any, *, checks_formats: bool = False) -> Draft202012Validator:
    """Return a validator of a schema. It resolves references inside the schema only."""
    # Imported here, since jsonschema and referencing are slow to import and most calls have no schema.
    from referencing import Registry

    checker = build_format_checker() if checks_formats else None
    # The default registry of jsonschema fetches remote references; an empty one refuses them.
    return _build_validator_class()(_drop_dialects(schema), registry=Registry(), format_checker=checker)


@cache
def _build_validator_class() -> type[Draft202012Validator]:
    """Return jsonschema's validator with our search for patterns: a model writes the texts that they search."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    checks = {
        "additionalProperties": _check_additional_properties,
        "pattern": _check_pattern,
        "patternProperties": _check_pattern_properties,
    }
    build: Any = extend  # has no type stubs
    return cast("type[Draft202012Validator]", build(Draft202012Validator, checks))


def _drop_dialects(schema: Any) -> Any:
    """Return the schema without ``$schema``, by which jsonschema would choose a validator with its own search."""
    if not isinstance(schema, dict):
        return schema
    return drop_keywords(map_subschemas(schema, lambda _, inner: _drop_dialects(inner)), "$schema")


def _check_pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[Exception]:
    from jsonschema import ValidationError

    if not isinstance(value, str):
        return
    try:
        if not compile_matcher(pattern).search(value):
            yield ValidationError(f"{value!r} does not match {pattern!r}")
    except TextTooLongError as error:
        yield ValidationError(str(error))


def _check_pattern_properties(validator: Any, patterns: dict[str, Any], value: Any, _: Any) -> Iterator[Exception]:
    if isinstance(value, dict):
        for pattern, inner in patterns.items():
            for name in filter(compile_matcher(pattern).search, value):
                yield from validator.descend(value[name], inner, path=name, schema_path=pattern)


def _check_additional_properties(validator: Any, allowed: Any, value: Any, schema: Any) -> Iterator[Exception]:
    from jsonschema import Draft202012Validator

    patterns = [*map(compile_matcher, schema.get("patternProperties", ()))]
    if patterns and isinstance(value, dict):
        value = {name: item for name, item in value.items() if not any(pattern.search(name) for pattern in patterns)}
        schema = drop_keywords(schema, "patternProperties")
    yield from Draft202012Validator.VALIDATORS["additionalProperties"](validator, allowed, value, schema)


@cache
def build_format_checker() -> FormatChecker:
    """Return the checker of formats."""
    from jsonschema import FormatChecker

    # jsonschema checks more formats when optional packages are installed. A fixed list keeps answers valid or invalid
    # on every machine alike.
    checker = FormatChecker(formats=["email"])
    for name, parse in _FORMATS.items():
        checker.checks(name, raises=ValueError)(_make_check(parse))
    return checker


def _make_check(parse: Callable[[str], Any]) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        if isinstance(value, str):
            parse(value)
        return True

    return check


def check_value(value: Any, validator: Draft202012Validator) -> None:
    """Raise AnswerMismatch with the most relevant error, unless the value is valid."""
    from jsonschema.exceptions import best_match

    try:
        error = best_match(validator.iter_errors(value))
    except RecursionError:
        raise AnswerMismatch("the answer is nested too deeply") from None
    except TextTooLongError as error:  # the name of a property
        raise AnswerMismatch(str(error)) from None
    if error is not None:
        raise AnswerMismatch(error.message, path=json_path(error.absolute_path)) from None


def check_json_schema(schema: Any) -> None:
    """Raise ConfigurationError unless this is a JSON Schema 2020-12 whose references all lead into itself."""
    from jsonschema import Draft202012Validator, SchemaError

    try:
        json.dumps(schema, allow_nan=False)
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ConfigurationError(
            f"the JSON Schema is invalid at {json_path(error.absolute_path)}: {shorten(error.message)}",
            hint="write it in JSON Schema draft 2020-12",
        ) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"the JSON Schema is not JSON: {error}", hint="use dicts, lists, strings, numbers, booleans and None"
        ) from error
    _check_keywords(schema, {*Draft202012Validator.VALIDATORS, *ANNOTATIONS, *IGNORED})
    _check_references(schema)


def _check_keywords(schema: Any, known: set[str]) -> None:
    """Raise ConfigurationError for a dict of other keys alone: it would be valid, and admit every answer."""
    if not isinstance(schema, dict) or not schema or any(key.startswith("$") or key in known for key in schema):
        return
    inner = next((key for key in ("schema", "json_schema", "input_schema") if isinstance(schema.get(key), dict)), None)
    raise ConfigurationError(
        f"the JSON Schema has no keyword of one, only {', '.join(map(repr, schema))}",
        hint=f"pass the dict under {inner!r} itself" if inner else "pass {'type': 'object', 'properties': {...}}",
    )


def check_patterns(schema: Any) -> None:
    """Raise ConfigurationError for a pattern that could take years to search in an answer."""
    schemas = [(steps, inner) for steps, inner in walk_schemas(schema) if isinstance(inner, dict)]
    # The only check of jsonschema that searches by itself, and that cannot be replaced alone.
    searches_itself = any("unevaluatedProperties" in inner for _, inner in schemas)
    for steps, inner in schemas:
        if "pattern" in inner:
            check_pattern(inner["pattern"], json_path((*steps, "pattern")))
        for pattern in inner.get("patternProperties", ()):
            check_pattern(pattern, json_path((*steps, "patternProperties")), must_be_harmless=searches_itself)


def _check_references(schema: Any) -> None:
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    resource = DRAFT202012.create_resource(schema)
    root = Registry().resolver_with_root(resource)
    # Checked before anything is sent: a validator would find an unresolvable reference only when a value reaches it.
    for steps, inner in walk_schemas(schema):
        keywords = ("$ref", "$dynamicRef") if isinstance(inner, dict) else ()
        reference = next((inner[keyword] for keyword in keywords if keyword in inner), "#")
        try:
            root.lookup(reference)
        except Unresolvable as error:
            raise ConfigurationError(
                f"the JSON Schema refers to {reference!r} at {json_path(steps)}, which is not part of it",
                hint="put it under $defs and refer to it as '#/$defs/...'; nothing is fetched",
            ) from error
