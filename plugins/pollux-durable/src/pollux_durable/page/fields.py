"""Fields of a form: what a suspended run asks for, and what was sent -> the answer."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import attrs

from pollux_durable.page.formatting import parse_count
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pollux_durable.data.runs import Json

#: The name of the one field of a form that asks for JSON.
JSON_NAME = "json"
#: Begins the names of all other fields.
_PREFIX = "field."
YES, NO = "true", "false"
KINDS = ("text", "textarea", "number", "boolean", "select")


@attrs.frozen(kw_only=True)
class FormField:
    """A field of a form. ``options`` are the choices of a select: each a value, and what is shown of it."""

    key: str
    label: str
    kind: str = "text"
    is_required: bool = False
    description: str | None = None
    default: Json = None
    options: tuple[tuple[Json, str], ...] = ()

    @property
    def name(self) -> str:
        """The name under which it is sent."""
        return _PREFIX + self.key


def read_fields(data: Json) -> tuple[FormField, ...] | None:
    """Return the fields that a suspension asks for, None if it does not say them in a form that can be read."""
    given = data.get("fields") if isinstance(data, dict) else None
    if not isinstance(given, list) or not given:
        return None
    fields = [_read_field(one) for one in given]
    known = tuple(field for field in fields if field is not None)
    return known if len(known) == len({field.key for field in known}) == len(given) else None


def _read_field(given: Json) -> FormField | None:
    key = given.get("key") if isinstance(given, dict) else None
    if not isinstance(key, str) or not key:
        return None
    options = given.get("options")
    choices = tuple(map(_read_option, options)) if isinstance(options, list) else ()
    kind = given.get("type", "text")
    is_known = kind in KINDS and (kind != "select" or choices)
    return FormField(
        key=key,
        label=str(given.get("label") or key),
        kind=kind if is_known else "text",
        is_required=given.get("required") is True,
        description=None if given.get("description") is None else str(given["description"]),
        default=given.get("default"),
        options=choices,
    )


def _read_option(given: Json) -> tuple[Json, str]:
    if isinstance(given, dict) and "value" in given:
        return given["value"], str(given.get("label", given["value"]))
    return given, given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)


def read_answer(data: Json, sent: Mapping[str, str]) -> Json:
    """Return the answer that was sent for a suspension. Raises ConfigurationError for one that does not fit."""
    fields = read_fields(data)
    if fields is None:
        return _parse_json(sent.get(JSON_NAME, ""))
    return {field.key: _read_value(field, sent.get(field.name, "")) for field in fields}


def _parse_json(text: str) -> Json:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"the answer is no JSON: {error}", hint='put a text into quotes: "yes"') from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _read_value(field: FormField, text: str) -> Json:
    if not text.strip():
        if field.is_required:
            raise ConfigurationError(f"{field.label!r} is not filled in", hint="fill it in, and send the form again")
        return text if field.kind in {"text", "textarea"} else None
    if field.kind == "number":
        return _read_number(field, text)
    if field.kind == "boolean":
        if text not in {YES, NO}:
            raise ConfigurationError(f"{field.label!r} is neither yes nor no", hint="choose one of them")
        return text == YES
    if field.kind == "select":
        return _read_choice(field, text)
    # Browsers send all ends of lines as CR LF.
    return text.replace("\r\n", "\n")


def _read_number(field: FormField, text: str) -> float:
    try:
        number = float(text)
        whole = int(text) if number.is_integer() and text.strip().lstrip("+-").isdigit() else None
    except (ValueError, OverflowError):
        number, whole = math.nan, None
    if not math.isfinite(number):
        raise ConfigurationError(f"{field.label!r} is {text!r}", hint="use a number, such as 12 or 0.5")
    return number if whole is None else whole


def _read_choice(field: FormField, text: str) -> Json:
    # Choices are sent by their numbers: the values may be of any type.
    number = parse_count(text)
    if number is None or number >= len(field.options):
        raise ConfigurationError(f"{field.label!r} has no such choice", hint="choose one that is shown")
    return field.options[number][0]
