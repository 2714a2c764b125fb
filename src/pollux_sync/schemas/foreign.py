"""Models of other libraries, recognised by their methods: Pydantic models and msgspec Structs.

Neither library is imported here: a class of one exists only where its library has been imported already.
"""

from __future__ import annotations

import copy
import re
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, get_origin

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas.jsontext import round_floats
from pollux_sync.schemas.mismatch import AnswerMismatch, json_path

if TYPE_CHECKING:
    from collections.abc import Iterator

_MSGSPEC_ERROR = re.compile(r"(?P<message>.*) - at `(?P<path>\$.*)`", re.DOTALL)


def is_pydantic_model(cls: Any) -> bool:
    """Return True for a class with the two methods of a Pydantic model that are used here."""
    return isinstance(cls, type) and hasattr(cls, "model_json_schema") and hasattr(cls, "model_validate")


def is_struct(cls: Any) -> bool:
    """Return True for a msgspec Struct class."""
    return isinstance(cls, type) and hasattr(cls, "__struct_fields__")


def is_foreign(tp: Any) -> bool:
    """Return True for a type that has its own schema; it may be parametrised."""
    cls = get_origin(tp) or tp
    return is_pydantic_model(cls) or is_struct(cls)


def read_foreign_schema(tp: Any) -> dict[str, Any]:
    """Return the schema that the model's own library builds, as a new dict.

    Raises ConfigurationError if the library cannot build one.
    """
    build = tp.model_json_schema if is_pydantic_model(tp) else partial(_import_msgspec(tp).json.schema, tp)
    try:
        # A copy, because the caller may change it and the libraries may keep it.
        return copy.deepcopy(dict(build()))
    except Exception as error:
        raise ConfigurationError(
            f"cannot build a JSON Schema of {tp!r}: {error}", hint="change or annotate the field that the error names"
        ) from error


def structure_foreign(value: Any, tp: Any) -> Any:
    """Return the model's instance of a JSON value. Raises AnswerMismatch with the path of the field."""
    build = tp.model_validate if is_pydantic_model(tp) else partial(_import_msgspec(tp).convert, type=tp)
    try:
        # msgspec takes no subclass of float.
        return build(value if is_pydantic_model(tp) else round_floats(value))
    except Exception as error:
        # Validators of a model may raise anything, and one refused answer must not stop the other calls.
        raise _convert_error(error) from error


def unstructure_foreign(value: Any) -> Any:
    """Return the JSON value of a model's instance."""
    # By alias, as the schema names the fields, and with round_trip, so that the written value can be read back.
    if is_pydantic_model(type(value)):
        return value.model_dump(mode="json", by_alias=True, round_trip=True)
    return _import_msgspec(type(value)).to_builtins(value, str_keys=True)


def _import_msgspec(tp: Any) -> Any:
    module = sys.modules.get("msgspec")
    if module is None:
        raise ConfigurationError(
            f"{tp!r} looks like a msgspec Struct, but msgspec is not imported", hint="import msgspec"
        )
    return module


def _convert_error(error: Exception) -> AnswerMismatch:
    for place, message in _iter_pydantic_errors(error):
        return AnswerMismatch(message, path=json_path(place))
    # msgspec has the path in the text only, such as "Expected `int`, got `str` - at `$.counts[1]`".
    match = _MSGSPEC_ERROR.fullmatch(str(error))
    return AnswerMismatch(match["message"], path=match["path"]) if match else AnswerMismatch(str(error))


def _iter_pydantic_errors(error: Exception) -> Iterator[tuple[tuple[str | int, ...], str]]:
    list_errors = getattr(error, "errors", None)
    for item in list_errors() if callable(list_errors) else ():
        yield tuple(item["loc"]), str(item["msg"])
