"""Checks of single values. Each error names the field, what is wrong with the value, and what to pass instead."""

from __future__ import annotations

import json
from math import isfinite
from typing import TYPE_CHECKING, Any

from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from collections.abc import Set as AbstractSet


def check_text(name: str, value: object, *, hint: str = "pass a string that is not blank") -> None:
    """Check that ``value`` is a string with at least one character that is not white space."""
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} must be a string, got {type(value).__name__}", hint=hint)
    if not value.strip():
        raise ConfigurationError(f"{name} must not be empty or blank", hint=hint)


def check_bool(name: str, value: object) -> None:
    """Check that ``value`` is True or False, not merely truthy."""
    if not isinstance(value, bool):
        raise ConfigurationError(
            f"{name} must be True or False, got {type(value).__name__}",
            hint=f"pass {name}=True or {name}=False",
        )


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Check that ``value`` is one of a few texts."""
    if value not in choices:
        raise ConfigurationError(f"{name} {value!r} is not known", hint=f"use one of: {', '.join(choices)}")


def check_int(name: str, value: object, *, minimum: int, maximum: int | None = None) -> None:
    """Check that ``value`` is an integer from ``minimum`` to ``maximum``; a boolean does not count."""
    hint = f"pass a whole number of at least {minimum}"
    # bool is a subclass of int: True must not pass for 1.
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(f"{name} must be an integer, got {type(value).__name__}", hint=hint)
    if value < minimum:
        raise ConfigurationError(f"{name} must be at least {minimum}, got {value}", hint=hint)
    if maximum is not None and value > maximum:
        raise ConfigurationError(f"{name} must be at most {maximum}, got {value}", hint="pass a smaller number")


#: The longest wait or time-out, about three years. Beyond it a value is a mistake, and too large for system clocks.
MAX_SECONDS = 1e8


def check_seconds(name: str, value: object, *, above: bool = False) -> None:
    """Check that ``value`` is a number of seconds from 0 to `MAX_SECONDS`; ``above`` excludes 0."""
    check_number(name, value, minimum=0, maximum=MAX_SECONDS, above=above)


def check_number(
    name: str, value: object, *, minimum: float, maximum: float | None = None, above: bool = False
) -> None:
    """Check that ``value`` is a finite int or float from ``minimum`` to ``maximum``; ``above`` excludes the minimum."""
    span = f"{'above' if above else 'at least'} {minimum:g}" + ("" if maximum is None else f" and at most {maximum:g}")
    hint = f"pass a finite number, {span}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{name} must be a number, got {type(value).__name__}", hint=hint)
    too_low = value <= minimum if above else value < minimum
    if not _is_finite(value) or too_low or (maximum is not None and value > maximum):
        # Cut short: an integer may have thousands of digits.
        raise ConfigurationError(f"{name} must be {span}, got {str(value)[:20]}", hint=hint)


def _is_finite(value: float) -> bool:
    try:
        return isfinite(value)
    except OverflowError:  # an integer too large for a float
        return False


def check_json(name: str, value: object) -> None:
    """Check that ``value`` can be written as UTF-8 JSON, so that encoding a request cannot fail on it later."""
    hint = "pass strings, numbers, booleans, lists and dicts with string keys only"
    try:
        # Encoded too, because json.dumps passes lone surrogates, which UTF-8 cannot hold.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"{name} holds a lone surrogate, which UTF-8 cannot encode", hint=hint) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{name} cannot be written as JSON: {error}", hint=hint) from error


def require_mapping(name: str, value: object) -> dict[str, Any]:
    """Return a shallow copy of ``value``, which must be a dict with string keys."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigurationError(
            f"{name} must be a dict with string keys, got {type(value).__name__}",
            hint=f"pass {name} as a plain dict",
        )
    # A copy, so that the checked value does not change with the caller's dict.
    return dict(value)


def check_keys(
    name: str,
    data: Mapping[str, Any],
    known: AbstractSet[str],
    *,
    other_names: Mapping[str, str] | None = None,
    hint: str | None = None,
) -> None:
    """Check that a dict has no keys beside ``known``.

    By default the hint is the key that was probably meant; ``other_names`` are what other programs call the keys.
    """
    for key, value in data.items():
        # Programs dump their records with every optional key set to null or empty: nothing is lost with these.
        if key not in known and value not in (None, [], {}):
            raise ConfigurationError(
                f"{name} has the key {key!r}, which is not known", hint=hint or suggest_key(key, known, other_names)
            )


def suggest_key(key: str, known: Collection[str], other_names: Mapping[str, str] | None = None) -> str:
    """Return a hint for a name that is not known: the one that was probably meant, and all that are known."""
    # Imported here: only an error needs it.
    from difflib import get_close_matches

    similar = (other_names or {}).get(key) or next(iter(get_close_matches(key, known, n=1)), None)
    question = f"did you mean {similar!r}? " if similar else ""
    return f"{question}known are: {', '.join(sorted(known)) or 'none'}"


def require_each(name: str, values: object, *kinds: type[Any], hint: str) -> tuple[Any, ...]:
    """Return ``values`` as a tuple; each of them must be an instance of one of ``kinds``."""
    # These types are iterable too, but a text or a dict in place of a list is a mistake.
    if isinstance(values, str | bytes | dict) or not hasattr(values, "__iter__"):
        raise ConfigurationError(f"{name} must be a list, got {type(values).__name__}", hint=hint)
    items = tuple(values)
    for index, value in enumerate(items):
        if not isinstance(value, kinds):
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise ConfigurationError(f"{name}[{index}] must be {expected}, got {type(value).__name__}", hint=hint)
    return items
