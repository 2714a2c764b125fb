"""JSON text as values, strictly: no NaN, no infinity, no number that a float cannot hold."""

from __future__ import annotations

import json
import math
from typing import Any


def parse_json(text: str) -> Any:
    """Return the value of the whole text; raises ValueError for anything else."""
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_json_prefix(text: str) -> tuple[Any, str]:
    """Return the value the text begins with, and the rest of the text; raises ValueError."""
    try:
        value, end = _DECODER.raw_decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value, text[end:]


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a number JSON can hold")
    return number


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)
