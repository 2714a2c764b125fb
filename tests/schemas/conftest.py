"""Dialect rows that look like those of the big providers; the core itself names none."""

from __future__ import annotations

from datetime import date

import pytest

from pollux_sync.schemas import PLAIN, SchemaDialect, SchemaLimits

_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}

OPENAI = SchemaDialect(
    name="openai-like",
    needs_object_root=True,
    all_required=True,
    optional_as_nullable=True,
    closes_objects=True,
    allows_open_maps=False,
    allows_tuples=False,
    allows_any=False,
    allows_one_of=False,
    allows_ref_siblings=False,
    unsupported_keywords={"contentEncoding", "default", "examples", "maxLength", "minLength", "uniqueItems"},
    allowed_formats=_FORMATS,
    limits=SchemaLimits(max_depth=10, max_properties=5000, max_enum_values=1000, max_name_chars=120_000),
    as_of=date(2026, 11, 1),
    docs="https://example.com/structured-outputs",
)
ANTHROPIC = SchemaDialect(
    name="anthropic-like",
    needs_object_root=True,
    closes_objects=True,
    allows_open_maps=False,
    allows_tuples=False,
    allows_any=False,
    allows_recursion=False,
    allows_one_of=False,
    unsupported_keywords={
        "exclusiveMaximum",
        "exclusiveMinimum",
        "maxItems",
        "maxLength",
        "maximum",
        "minLength",
        "minimum",
        "multipleOf",
        "uniqueItems",
    },
    allowed_formats=_FORMATS | {"uri"},
    min_items_max=1,
    limits=SchemaLimits(max_optional=24, max_unions=16),
)
GEMINI = SchemaDialect(
    name="gemini-like",
    unsupported_keywords={"contentEncoding", "if", "then", "else", "not", "patternProperties"},
    allowed_formats={"date-time", "date", "time"},
)
DIALECTS = {dialect.name: dialect for dialect in (OPENAI, ANTHROPIC, GEMINI, PLAIN)}


@pytest.fixture(scope="session", params=DIALECTS.values(), ids=DIALECTS.keys())
def dialect(request):
    return request.param


@pytest.fixture(scope="session")
def openai():
    return OPENAI


@pytest.fixture(scope="session")
def anthropic():
    return ANTHROPIC


@pytest.fixture(scope="session")
def gemini():
    return GEMINI
