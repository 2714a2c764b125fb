"""Python types <-> canonical JSON Schema 2020-12 <-> the dialect of one provider, without loss.

    type --schema_of--> canonical --lower(dialect)--> what is sent
    value <--structure-- canonical value <--lift-- the model's answer

``answer_format`` combines all of it: it is built once for a response schema and reads every answer.

Names are loaded on first use, and jsonschema and referencing only when a schema is compiled or checked.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pollux_sync.schemas.canonical import schema_hash, schema_of
    from pollux_sync.schemas.dialects import PLAIN, STRICT_SCHEMAS, Finding, LongEnumLimit, SchemaDialect, SchemaLimits
    from pollux_sync.schemas.lowering import Lowered, lint, lower
    from pollux_sync.schemas.mismatch import AnswerMismatch
    from pollux_sync.schemas.reading import AnswerFormat, answer_format, parse_answer
    from pollux_sync.schemas.structuring import structure
    from pollux_sync.schemas.unstructuring import unstructure

__all__ = [
    "PLAIN",
    "STRICT_SCHEMAS",
    "AnswerFormat",
    "AnswerMismatch",
    "Finding",
    "LongEnumLimit",
    "Lowered",
    "SchemaDialect",
    "SchemaLimits",
    "answer_format",
    "lint",
    "lower",
    "parse_answer",
    "schema_hash",
    "schema_of",
    "structure",
    "unstructure",
]

_HOMES = {
    "PLAIN": "dialects",
    "STRICT_SCHEMAS": "dialects",
    "AnswerFormat": "reading",
    "AnswerMismatch": "mismatch",
    "Finding": "dialects",
    "LongEnumLimit": "dialects",
    "Lowered": "lowering",
    "SchemaDialect": "dialects",
    "SchemaLimits": "dialects",
    "answer_format": "reading",
    "lint": "lowering",
    "lower": "lowering",
    "parse_answer": "reading",
    "schema_hash": "canonical",
    "schema_of": "canonical",
    "structure": "structuring",
    "unstructure": "unstructuring",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    # Python calls __getattr__ for missing names only: the next access is a plain look-up.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
