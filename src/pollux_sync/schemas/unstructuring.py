"""Writing of Python values as JSON values."""

from __future__ import annotations

import enum
import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from functools import cache
from typing import Any

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas.foreign import is_foreign, unstructure_foreign
from pollux_sync.schemas.mismatch import shorten
from pollux_sync.schemas.records import is_record, read_fields
from pollux_sync.schemas.textcodecs import find_inherited_text_codec

Writer = Callable[[Any], Any]


def unstructure(value: Any) -> Any:
    """Return the JSON value of an instance of any type that ``schema_of`` accepts.

    ``structure(unstructure(x), T) == x`` for an x of type T. Sets are sorted by their JSON text, so that equal values
    have equal JSON. Raises ConfigurationError for a value without a JSON form, such as NaN or a socket.
    """
    return _choose_writer(value.__class__)(value)


@cache
def _choose_writer(cls: type) -> Writer:
    """Return the writer of instances of exactly this class."""
    # Enums before their base classes, so that a StrEnum is written by its value; records before tuples, so that a
    # NamedTuple is an object; dates by codec, datetime before its base date.
    if cls in (str, int, bool, type(None)):
        return _write_unchanged
    if is_foreign(cls):
        return unstructure_foreign
    if issubclass(cls, enum.Enum):
        return _write_enum
    if is_record(cls):
        return _make_record_writer(cls)
    codec = find_inherited_text_codec(cls)
    if codec:
        return codec.write
    return next((writer for base, writer in _WRITERS_BY_BASE if issubclass(cls, base)), _refuse)


def _write_unchanged(value: Any) -> Any:
    return value


def _refuse(value: Any) -> Any:
    raise ConfigurationError(
        f"a {type(value).__name__} has no JSON form: {shorten(repr(value))}",
        hint="use types that schema_of accepts, and finite numbers",
    )


def _write_enum(value: enum.Enum) -> Any:
    return unstructure(value.value)


def _write_float(value: float) -> float:
    return float(value) if math.isfinite(value) else _refuse(value)


def _write_map(value: Mapping[Any, Any]) -> dict[str, Any]:
    written = {_write_key(key): unstructure(item) for key, item in value.items()}
    # 1 and "1" are two keys in Python and one in JSON.
    return written if len(written) == len(value) else _refuse(value)


def _write_key(key: Any) -> str:
    written = unstructure(key)
    if isinstance(written, str):
        return written
    # type(), since a bool is an int: True would be read back as text.
    return str(written) if type(written) is int else _refuse(key)


def _write_list(value: Iterable[Any]) -> list[Any]:
    return [unstructure(item) for item in value]


def _write_set(value: Iterable[Any]) -> list[Any]:
    return sorted(_write_list(value), key=lambda item: json.dumps(item, sort_keys=True))


def _make_record_writer(cls: type) -> Writer:
    names = [(field.key, field.attribute) for field in read_fields(cls)]

    def write_record(value: Any) -> dict[str, Any]:
        return {key: unstructure(getattr(value, attribute)) for key, attribute in names}

    return write_record


_WRITERS_BY_BASE: tuple[tuple[type, Writer], ...] = (
    (str, str.__str__),
    (int, int),
    (float, _write_float),
    (Mapping, _write_map),
    (AbstractSet, _write_set),
    (list, _write_list),
    (tuple, _write_list),
    (deque, _write_list),
)
