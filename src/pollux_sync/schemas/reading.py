"""A response schema ready for use: what is sent, and how every answer is read."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.schemas.canonical import schema_hash, schema_of
from pollux_sync.schemas.jsontext import parse_json, parse_json_prefix
from pollux_sync.schemas.lowering import Lowered, lower
from pollux_sync.schemas.mismatch import AnswerMismatch
from pollux_sync.schemas.structuring import structure_valid
from pollux_sync.schemas.validating import compile_validator, ensure_valid

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

    from pollux_sync.schemas.dialects import SchemaDialect
    from pollux_sync.schemas.keywords import Schema

_FENCE = re.compile(r"```[ \t]*(?:[A-Za-z][\w+.-]*)?[ \t]*\r?\n?\s*")


@attrs.frozen(kw_only=True, eq=False)
class AnswerFormat:
    """One response schema in one dialect. Build it once, read any number of answers, from any thread.

    ``type`` is the class or the JSON Schema dict as given, ``canonical`` its schema, ``lowered.schema``
    what is sent.
    """

    type: Any
    canonical: Schema
    lowered: Lowered

    def read(self, text: str) -> Any:
        """Return the instance of ``type`` in a model's answer; plain JSON where ``type`` is a dict.

        The whole text is read as JSON, else its first fenced block. Raises AnswerMismatch with the place
        in the answer, or in the canonical value where the answer itself is of the right shape.
        """
        answer = parse_answer(text)
        if self._is_rewritten:
            ensure_valid(answer, self._lowered_validator)
        value = self.lift(answer)
        ensure_valid(value, self._canonical_validator)
        return structure_valid(value, self.type)

    def lift(self, answer: Any) -> Any:
        """Return the canonical JSON value of an answer that is valid under ``lowered.schema``."""
        try:
            return self.lowered.lift(answer)
        except RecursionError:
            raise AnswerMismatch("the answer is nested too deeply") from None

    @cached_property
    def schema_hash(self) -> str:
        """The hash of the canonical schema, as handles keep it."""
        return schema_hash(self.canonical)

    @cached_property
    def _is_rewritten(self) -> bool:
        return self.lowered.schema != self.canonical

    @cached_property
    def _lowered_validator(self) -> Draft202012Validator:
        return compile_validator(self.lowered.schema)

    @cached_property
    def _canonical_validator(self) -> Draft202012Validator:
        return compile_validator(self.canonical, checks_formats=True)


def answer_format(response_schema: Any, dialect: SchemaDialect) -> AnswerFormat:
    """Build the format of a class or JSON Schema dict in a dialect.

    Raises ConfigurationError for what has no schema. What the dialect cannot express is in
    ``lowered.findings`` and raises nothing.
    """
    canonical = schema_of(response_schema)
    return AnswerFormat(type=response_schema, canonical=canonical, lowered=lower(canonical, dialect))


def parse_answer(text: str) -> Any:
    """Return the JSON value of the whole text, or else of its first fenced block.

    Raises AnswerMismatch for anything else, and for NaN, infinity and numbers too big for a float.
    """
    text = text.strip().removeprefix("\ufeff")
    try:
        return parse_json(text)
    except ValueError as error:
        fence = _FENCE.search(text)
        if fence is None:
            reason = f"the answer is not JSON: {error}" if text else "the answer is empty"
            raise AnswerMismatch(reason) from error
    return _fenced(text[fence.end() :])


def _fenced(text: str) -> Any:
    try:
        value, rest = parse_json_prefix(text)
    except ValueError as error:
        raise AnswerMismatch(f"the fenced block of the answer is not JSON: {error}") from error
    if rest.strip() and not rest.lstrip().startswith("```"):
        raise AnswerMismatch("the fenced block of the answer goes on after its JSON")
    return value
