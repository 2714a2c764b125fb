"""The format of answers: the schema that is sent for a response schema, and the reading of each answer."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.schemas.canonical import schema_hash, schema_of
from pollux_sync.schemas.dialects import PLAIN
from pollux_sync.schemas.jsontext import parse_json, parse_json_prefix
from pollux_sync.schemas.lowering import Lowered, lower
from pollux_sync.schemas.mismatch import AnswerMismatch
from pollux_sync.schemas.structuring import structure_valid
from pollux_sync.schemas.textcodecs import holds_decimals
from pollux_sync.schemas.validating import check_value, compile_validator

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

    from pollux_sync.schemas.dialects import SchemaDialect
    from pollux_sync.schemas.keywords import Schema

#: The start of a fenced block. A model may wrap its JSON in one, with or without the name of a language.
_FENCE = re.compile(r"```[ \t]*(?:[A-Za-z][\w+.-]*)?[ \t]*\r?\n?\s*")


@attrs.frozen(kw_only=True, eq=False)
class AnswerFormat:
    """A response schema in one dialect. Build it once, and read any number of answers in any thread.

    ``type`` is the class or the JSON Schema dict of the caller, ``canonical`` its canonical schema, and
    ``lowered.schema`` that schema in the dialect.
    """

    type: Any
    canonical: Schema
    lowered: Lowered

    @property
    def sent_schema(self) -> Schema | None:
        """The schema to send; None for the type ``dict``, which is asked for in JSON mode, without a schema."""
        return None if self.type is dict else self.lowered.schema

    def read(self, text: str) -> Any:
        """Return the instance of ``type`` in a model's answer, or the JSON value if ``type`` is a dict.

        The whole text is read as JSON, or else its first fenced block. Raises AnswerMismatch with the path in the
        answer, or in the canonical value if the answer is valid under the schema that was sent.
        """
        answer = parse_answer(text, keeps_digits=self._wants_digits)
        # Validated twice: under the schema that was sent, so that the transform meets the shapes it expects and a path
        # fits the answer; and under the canonical one, which has the checks that the dialect could not express.
        if self._is_rewritten:
            check_value(answer, self._lowered_validator)
        value = self.lift(answer)
        check_value(value, self._canonical_validator)
        return structure_valid(value, self.type)

    def lift(self, answer: Any) -> Any:
        """Return the canonical JSON value of an answer that is valid under ``lowered.schema``."""
        try:
            return self.lowered.lift(answer)
        except RecursionError:
            raise AnswerMismatch("the answer is nested too deeply") from None

    @cached_property
    def schema_hash(self) -> str:
        """The hash of the canonical schema, which handles store."""
        return schema_hash(self.canonical)

    @cached_property
    def _wants_digits(self) -> bool:
        # Only a class has fields of Decimals; for all others floats stay floats.
        return not isinstance(self.type, dict) and holds_decimals(self.canonical)

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
    """Return the answer format of a class or a JSON Schema dict in a dialect.

    Raises ConfigurationError for a type without a JSON form. What the dialect cannot express raises nothing; it is
    listed in ``lowered.findings``.
    """
    canonical = schema_of(response_schema)
    # JSON mode sends no schema that a dialect would have to hold.
    lowered = lower(canonical, PLAIN if response_schema is dict else dialect)
    return AnswerFormat(type=response_schema, canonical=canonical, lowered=lowered)


def parse_answer(text: str, *, keeps_digits: bool = False) -> Any:
    """Return the JSON value of the whole text, or else of its first fenced block, as `parse_json` reads it.

    Raises AnswerMismatch for anything else, and for NaN, infinity and numbers too large for a float.
    """
    # The parser of the standard library refuses a byte order mark.
    text = text.strip().removeprefix("\ufeff")
    try:
        return parse_json(text, keeps_digits=keeps_digits)
    except ValueError as error:
        fence = _FENCE.search(text)
        if fence is None:
            reason = f"the answer is not JSON: {error}" if text else "the answer is empty"
            raise AnswerMismatch(reason) from error
    return _parse_fenced(text[fence.end() :], keeps_digits=keeps_digits)


def _parse_fenced(text: str, *, keeps_digits: bool) -> Any:
    # The JSON ends where the parser says, not at the next fence: a string inside may contain one. The closing fence
    # may be missing, when the answer was cut off right after the JSON.
    try:
        value, rest = parse_json_prefix(text, keeps_digits=keeps_digits)
    except ValueError as error:
        raise AnswerMismatch(f"the fenced block of the answer is not JSON: {error}") from error
    if rest.strip() and not rest.lstrip().startswith("```"):
        raise AnswerMismatch("the fenced block of the answer has more text after its JSON")
    return value
