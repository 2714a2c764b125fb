"""Models of other libraries, known by what they can do: Pydantic models and msgspec Structs.

Neither library is imported. Whoever defined such a class has imported its library already.
"""

from __future__ import annotations

import copy
import re
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, get_origin

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas.mismatch import AnswerMismatch, json_path

if TYPE_CHECKING:
    from collections.abc import Iterator

_MSGSPEC_PLACE = re.compile(r"(?P<message>.*) - at `(?P<path>\$.*)`", re.DOTALL)


def is_pydantic(cls: Any) -> bool:
    """Whether this is a class with Pydantic's two verbs."""
    return isinstance(cls, type) and hasattr(cls, "model_json_schema") and hasattr(cls, "model_validate")


def is_struct(cls: Any) -> bool:
    """Whether this is a msgspec Struct class."""
    return isinstance(cls, type) and hasattr(cls, "__struct_fields__")


def is_foreign(tp: Any) -> bool:
    """Whether the type states its own schema."""
    cls = get_origin(tp) or tp
    return is_pydantic(cls) or is_struct(cls)


def foreign_schema(tp: Any) -> dict[str, Any]:
    """The schema as the model's own library states it, as a fresh dict.

    Raises ConfigurationError when the library cannot state one.
    """
    state = tp.model_json_schema if is_pydantic(tp) else partial(_msgspec(tp).json.schema, tp)
    try:
        return copy.deepcopy(dict(state()))
    except Exception as error:
        raise ConfigurationError(
            f"{tp!r} cannot state its JSON Schema: {error}", hint="change or annotate the field it names"
        ) from error


def foreign_structure(value: Any, tp: Any) -> Any:
    """Build the model from its JSON value; raises AnswerMismatch naming the field."""
    build = tp.model_validate if is_pydantic(tp) else partial(_msgspec(tp).convert, type=tp)
    try:
        return build(value)
    except Exception as error:
        # A model's own validators may raise anything; one refused answer must not stop the others.
        raise _mismatch(error) from error


def foreign_unstructure(value: Any) -> Any:
    """The JSON value of a model's instance."""
    if is_pydantic(type(value)):
        return value.model_dump(mode="json", by_alias=True, round_trip=True)
    return _msgspec(type(value)).to_builtins(value, str_keys=True)


def _msgspec(tp: Any) -> Any:
    module = sys.modules.get("msgspec")
    if module is None:
        raise ConfigurationError(f"{tp!r} looks like a msgspec Struct, but msgspec is not imported")
    return module


def _mismatch(error: Exception) -> AnswerMismatch:
    for place, message in _pydantic_errors(error):
        return AnswerMismatch(message, path=json_path(place))
    found = _MSGSPEC_PLACE.fullmatch(str(error))
    return AnswerMismatch(found["message"], path=found["path"]) if found else AnswerMismatch(str(error))


def _pydantic_errors(error: Exception) -> Iterator[tuple[tuple[str | int, ...], str]]:
    list_errors = getattr(error, "errors", None)
    for item in list_errors() if callable(list_errors) else ():
        yield tuple(item["loc"]), str(item["msg"])
