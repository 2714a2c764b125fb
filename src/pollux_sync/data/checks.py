"""Checks on single values, so that every refusal names the field, what was wrong and what is right."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

from pollux_sync.errors import ConfigurationError


def check_text(name: str, value: object, *, hint: str = "pass a string that is not blank") -> None:
    """``value`` is a string with at least one character that is not white space."""
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} must be a string, got {type(value).__name__}", hint=hint)
    if not value.strip():
        raise ConfigurationError(f"{name} must not be empty or blank", hint=hint)


def check_bool(name: str, value: object) -> None:
    """``value`` is True or False, not merely truthy."""
    if not isinstance(value, bool):
        raise ConfigurationError(
            f"{name} must be True or False, got {type(value).__name__}",
            hint=f"pass {name}=True or {name}=False",
        )


def check_int(name: str, value: object, *, minimum: int) -> None:
    """``value`` is an integer of at least ``minimum``; booleans are not integers."""
    hint = f"pass a whole number of at least {minimum}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(f"{name} must be an integer, got {type(value).__name__}", hint=hint)
    if value < minimum:
        raise ConfigurationError(f"{name} must be at least {minimum}, got {value}", hint=hint)


#: Waits and time-outs above this (three years) are mistakes, and more than the system's clocks take.
MAX_SECONDS = 1e8


def check_seconds(name: str, value: object, *, above: bool = False) -> None:
    """``value`` is a number of seconds from 0 (excluded when ``above``) to `MAX_SECONDS`."""
    check_number(name, value, minimum=0, maximum=MAX_SECONDS, above=above)


def check_number(
    name: str, value: object, *, minimum: float, maximum: float | None = None, above: bool = False
) -> None:
    """``value`` is a finite int or float from ``minimum`` (excluded when ``above``) to ``maximum``."""
    span = f"{'above' if above else 'at least'} {minimum:g}" + ("" if maximum is None else f" and at most {maximum:g}")
    hint = f"pass a finite number {span}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{name} must be a number, got {type(value).__name__}", hint=hint)
    too_low = value <= minimum if above else value < minimum
    if not _is_finite(value) or too_low or (maximum is not None and value > maximum):
        raise ConfigurationError(f"{name} must be {span}, got {str(value)[:20]}", hint=hint)


def _is_finite(value: float) -> bool:
    try:
        return isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False


def check_json(name: str, value: object) -> None:
    """``value`` can be written as UTF-8 JSON, so that no provider stumbles over it later."""
    hint = "pass strings, numbers, booleans, lists and dicts with string keys only"
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"{name} holds a lone surrogate, which is no character", hint=hint) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{name} cannot be written as JSON: {error}", hint=hint) from error


def require_mapping(name: str, value: object) -> dict[str, Any]:
    """A shallow copy of ``value``, which is a mapping with string keys."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigurationError(
            f"{name} must be a dict with string keys, got {type(value).__name__}",
            hint=f"pass {name} as a plain dict",
        )
    return dict(value)


def require_each(name: str, values: object, *kinds: type[Any], hint: str) -> tuple[Any, ...]:
    """``values`` as a tuple, each of them one of ``kinds``."""
    if isinstance(values, str | bytes | dict) or not hasattr(values, "__iter__"):
        raise ConfigurationError(f"{name} must be a list, got {type(values).__name__}", hint=hint)
    given = tuple(values)
    for index, value in enumerate(given):
        if not isinstance(value, kinds):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise ConfigurationError(f"{name}[{index}] must be {wanted}, got {type(value).__name__}", hint=hint)
    return given
