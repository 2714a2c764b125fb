"""The one converter through which values become JSON data and come back."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from cattrs.preconf.json import JsonConverter

T = TypeVar("T")


@cache
def converter() -> JsonConverter:
    """The shared cattrs converter, built on first use: unknown keys are refused."""
    from cattrs.preconf.json import make_converter

    return make_converter(forbid_extra_keys=True)


def structure(data: Any, value_type: type[T]) -> T:
    """``data`` as a ``value_type``. Raises ConfigurationError that names the bad field."""
    from cattrs import transform_error

    try:
        return converter().structure(data, value_type)
    except Exception as error:
        problems = "; ".join(transform_error(error))
        raise ConfigurationError(
            f"not a stored {value_type.__name__}: {problems}", hint="pass what to_dict() gave, unchanged"
        ) from error
