"""From stored data back to values: strictly, and with a clear word about what does not fit."""

from __future__ import annotations

from typing import Any, TypeVar

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas import AnswerMismatch, structure

T = TypeVar("T")


def restored(data: Any, value_type: type[T], *, newest: int) -> T:
    """``data`` as a ``value_type`` of a schema version up to ``newest``.

    Raises ConfigurationError that names the bad field, or asks for an upgrade.
    """
    version = data.get("schema_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > newest:
        raise ConfigurationError(
            f"this {value_type.__name__} has schema version {version}, known are up to {newest}",
            hint="upgrade pollux-sync",
        )
    try:
        value: T = structure(data, value_type)
    except AnswerMismatch as mismatch:
        raise ConfigurationError(
            f"not a stored {value_type.__name__}: {mismatch}", hint="pass what to_dict() gave, unchanged"
        ) from mismatch
    return value
