"""Strict parsing of JSON text: NaN, infinity and numbers that a float cannot hold are refused.

The standard library accepts all three. Read into a float they could not be written back as JSON.
"""

from __future__ import annotations

import json
import math
from typing import Any


def parse_json(text: str) -> Any:
    """Return the JSON value of the whole text. Raises ValueError for anything else."""
    try:
        return _DECODER.decode(text)
    except RecursionError:
        # A model can write brackets without end; that is one bad answer, not a fault of ours.
        raise ValueError("nested too deeply") from None


def parse_json_prefix(text: str) -> tuple[Any, str]:
    """Return the JSON value at the start of the text, and the rest of the text. Raises ValueError."""
    try:
        value, end = _DECODER.raw_decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value, text[end:]


def _parse_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


_DECODER = json.JSONDecoder(parse_float=_parse_finite, parse_constant=_parse_finite)
