"""Values of Python <-> their JSON forms, by the types that functions declare. No class is found by a stored name."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any, get_type_hints
from weakref import WeakKeyDictionary

from pollux_durable.errors import PayloadError
from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas import AnswerMismatch, structure, unstructure

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_durable.data.runs import Json

_result_types: WeakKeyDictionary[Callable[..., Any], Any] = WeakKeyDictionary()
_PLAIN = (Any, None, type(None), inspect.Parameter.empty, dict, list, str, int, float, bool)


def convert_to_json(value: object, subject: str) -> Json:
    """Return the JSON form of a value. Raises PayloadError if it has none."""
    if value is None or isinstance(value, str | int):
        return value
    try:
        plain = unstructure(value)
        json.dumps(plain, allow_nan=False)
    except (TypeError, ValueError, RecursionError, ConfigurationError) as error:
        raise PayloadError(
            f"{subject} has no JSON form: {getattr(error, 'message', error)}",
            hint="use dicts, lists, texts, numbers, or typed values of these",
        ) from None
    return plain


def convert_to_type(value: Json, tp: Any, subject: str) -> Any:
    """Return the value of a type that has this JSON form. Raises PayloadError if it does not fit."""
    if tp is Any or tp is inspect.Parameter.empty:
        return value
    try:
        return structure(value, tp)
    except AnswerMismatch as error:
        raise PayloadError(
            f"{subject} does not fit its type: {error}", hint="see the declaration of the type"
        ) from None


def read_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of parameters and result that a function declares, as far as they can be read."""
    try:
        return get_type_hints(function, include_extras=True)
    except Exception:  # noqa: BLE001 - what stands in an annotation may raise anything; the JSON form is used then
        return {}


def read_result_type(function: Callable[..., Any]) -> Any:
    """Return the type that a function is declared to return, Any if it is plain JSON or cannot be read."""
    # Most functions of steps declare nothing; to resolve what the others do takes as long as half a step.
    if "return" not in (getattr(function, "__annotations__", None) or {}):
        return Any
    known = _result_types.get(function)
    if known is None:
        hint = read_hints(function).get("return", Any)
        known = _result_types[function] = Any if hint in _PLAIN else hint
    return known


def restore_result(value: Json, tp: Any) -> Any:
    """Return a result as its declared type, or unchanged if it does not fit."""
    try:
        return value if tp is Any else structure(value, tp)
    except AnswerMismatch:
        return value
