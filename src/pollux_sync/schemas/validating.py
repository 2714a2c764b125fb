"""JSON Schema validation without network: remote references are never fetched."""

from __future__ import annotations

import ipaddress
import json
from functools import cache
from typing import TYPE_CHECKING, Any

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas.keywords import walk_schemas
from pollux_sync.schemas.mismatch import AnswerMismatch, json_path, shorten
from pollux_sync.schemas.textcodecs import parse_date, parse_datetime, parse_duration, parse_time, parse_uuid

if TYPE_CHECKING:
    from collections.abc import Callable

    from jsonschema import Draft202012Validator, FormatChecker

_FORMATS: dict[str, Callable[[str], Any]] = {
    "date-time": parse_datetime,
    "date": parse_date,
    "time": parse_time,
    "duration": parse_duration,
    "uuid": parse_uuid,
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
}


def compile_validator(schema: Any, *, checks_formats: bool = False) -> Draft202012Validator:
    """Return a validator of a schema. It resolves references inside the schema only."""
    # Imported here, since jsonschema and referencing are slow to import and most calls have no schema.
    from jsonschema import Draft202012Validator
    from referencing import Registry

    checker = build_format_checker() if checks_formats else None
    # The default registry of jsonschema fetches remote references; an empty one refuses them.
    return Draft202012Validator(schema, registry=Registry(), format_checker=checker)


@cache
def build_format_checker() -> FormatChecker:
    """Return the checker of formats."""
    from jsonschema import FormatChecker

    # jsonschema checks more formats when optional packages are installed. A fixed list keeps answers valid or invalid
    # on every machine alike.
    checker = FormatChecker(formats=["regex", "email"])
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
    _check_references(schema)


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
