"""Writing Python values as JSON values."""

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
from pollux_sync.schemas.foreign import foreign_unstructure, is_foreign
from pollux_sync.schemas.mismatch import shortened
from pollux_sync.schemas.records import is_record, record_fields
from pollux_sync.schemas.textforms import nearest_text_form

Hook = Callable[[Any], Any]


def unstructure(value: Any) -> Any:
    """Return the JSON value of any instance ``schema_of`` has a schema for; JSON values stay as they are.

    ``structure(unstructure(x), T) == x`` for an x of type T. Sets are sorted by their JSON text.
    Raises ConfigurationError for values without a JSON form, such as NaN or a socket.
    """
    return _hook(value.__class__)(value)


@cache
def _hook(cls: type) -> Hook:
    """Choose how instances of exactly this class are written."""
    if cls in (str, int, bool, type(None)):
        return _as_is
    if is_foreign(cls):
        return foreign_unstructure
    if issubclass(cls, enum.Enum):
        return _write_enum
    if is_record(cls):
        return _record_hook(cls)
    form = nearest_text_form(cls)
    return form.write if form else next((hook for base, hook in _BY_BASE if issubclass(cls, base)), _refuse)


def _as_is(value: Any) -> Any:
    return value


def _refuse(value: Any) -> Any:
    raise ConfigurationError(
        f"a {type(value).__name__} has no JSON form: {shortened(repr(value))}",
        hint="use the types schema_of knows, and finite numbers",
    )


def _write_enum(value: enum.Enum) -> Any:
    return unstructure(value.value)


def _write_float(value: float) -> float:
    return float(value) if math.isfinite(value) else _refuse(value)


def _write_table(value: Mapping[Any, Any]) -> dict[str, Any]:
    written = {_write_key(key): unstructure(item) for key, item in value.items()}
    return written if len(written) == len(value) else _refuse(value)


def _write_key(key: Any) -> str:
    written = unstructure(key)
    if isinstance(written, str):
        return written
    return str(written) if type(written) is int else _refuse(key)


def _write_list(value: Iterable[Any]) -> list[Any]:
    return [unstructure(item) for item in value]


def _write_set(value: Iterable[Any]) -> list[Any]:
    return sorted(_write_list(value), key=lambda item: json.dumps(item, sort_keys=True))


def _record_hook(cls: type) -> Hook:
    names = [(field.key, field.attribute) for field in record_fields(cls)]

    def write_record(value: Any) -> dict[str, Any]:
        return {key: unstructure(getattr(value, attribute)) for key, attribute in names}

    return write_record


_BY_BASE: tuple[tuple[type, Hook], ...] = (
    (str, str.__str__),
    (int, int),
    (float, _write_float),
    (Mapping, _write_table),
    (AbstractSet, _write_set),
    (list, _write_list),
    (tuple, _write_list),
    (deque, _write_list),
)
