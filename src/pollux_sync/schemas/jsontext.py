"""Strict parsing of JSON text: NaN, infinity and numbers that a float cannot hold are refused.

The standard library accepts all three. Read into a float they could not be written back as JSON.

A float holds some 16 digits. Where a type wants more, numbers are read as `ExactFloat`.
"""

from __future__ import annotations

import json
import math
from typing import Any, Self


class ExactFloat(float):
    """A float that prints as the digits it was written with, from which a Decimal is built.

    pydantic builds its Decimals from the text of a float, too.
    """

    __slots__ = ("_digits",)
    _digits: str

    def __new__(cls, digits: str) -> Self:  # noqa: D102 - as that of float
        number = super().__new__(cls, digits)
        number._digits = digits
        return number

    def __repr__(self) -> str:
        return self._digits

    __str__ = __repr__


def round_floats(value: Any) -> Any:
    """Return JSON data with a plain float in place of each `ExactFloat`."""
    if isinstance(value, dict):
        return {key: round_floats(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [*map(round_floats, value)]
    return float(value) if isinstance(value, ExactFloat) else value


def parse_json(text: str, *, keeps_digits: bool = False) -> Any:
    """Return the JSON value of the whole text, with ``keeps_digits`` with each float as an `ExactFloat`.

    Raises ValueError for anything else.
    """
    try:
        return _choose_decoder(keeps_digits=keeps_digits).decode(text)
    except RecursionError:
        # A model can write brackets without end; that is one bad answer, not a fault of ours.
        raise ValueError("nested too deeply") from None


def parse_json_prefix(text: str, *, keeps_digits: bool = False) -> tuple[Any, str]:
    """Return the JSON value at the start of the text as `parse_json` does, and the rest. Raises ValueError."""
    try:
        value, end = _choose_decoder(keeps_digits=keeps_digits).raw_decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value, text[end:]


def _parse_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def _parse_exact(text: str) -> ExactFloat:
    _parse_finite(text)
    return ExactFloat(text)


def _choose_decoder(*, keeps_digits: bool) -> json.JSONDecoder:
    return _EXACT_DECODER if keeps_digits else _DECODER


_DECODER = json.JSONDecoder(parse_float=_parse_finite, parse_constant=_parse_finite)
_EXACT_DECODER = json.JSONDecoder(parse_float=_parse_exact, parse_constant=_parse_finite)
