"""Reading answers: the fence, the two validations, the errors."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import date  # noqa: TC003  (resolved from the annotation)
from decimal import Decimal
from typing import Any

import attrs
import pydantic
import pytest

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas import PLAIN, AnswerFormat, AnswerMismatch, answer_format, schema_hash, schema_of


@attrs.frozen
class Item:
    name: str
    price: float
    day: date | None = None


@attrs.frozen
class Invoice:
    items: list[Item]
    totals: dict[str, float] = attrs.field(factory=dict)


class Person(pydantic.BaseModel):
    name: str

    @pydantic.field_validator("name")
    @classmethod
    def no_digits(cls, value):
        if any(letter.isdigit() for letter in value):
            raise ValueError("no digits, please")
        return value


NUMBER = answer_format(int, PLAIN)
GOOD = '{"items": [{"name": "a", "price": 1.5}]}'


def test_a_format_has_type_schemas_and_hash(openai):
    answers = answer_format(Invoice, openai)
    assert isinstance(answers, AnswerFormat)
    assert answers.type is Invoice
    assert answers.canonical == schema_of(Invoice)
    assert answers.lowered.schema["required"] == ["items", "totals"]
    assert answers.schema_hash == schema_hash(schema_of(Invoice))


DIGITS = "1234567890123456.78"


class Priced(pydantic.BaseModel):
    price: Decimal
    weight: float
    rest: Any = None


def test_a_decimal_keeps_the_digits_of_a_number():
    answer = f'{{"price": {DIGITS}, "weight": 0.10}}'
    value = answer_format(Priced, PLAIN).read(f"```json\n{answer}\n```")
    assert (value.price, value.weight, type(value.weight)) == (Decimal(DIGITS), 0.1, float)


def test_other_numbers_of_a_type_with_decimals_are_plain_floats():
    @attrs.frozen
    class Line:
        price: Decimal
        weight: float
        rest: Any

    value = answer_format(Line, PLAIN).read(f'{{"price": "{DIGITS}", "weight": 0.10, "rest": [{{"a": 0.10}}]}}')
    assert value == Line(Decimal(DIGITS), 0.1, [{"a": 0.1}])
    assert (type(value.weight), type(value.rest[0]["a"])) == (float, float)


def test_numbers_of_a_type_without_decimals_are_plain_floats():
    assert type(answer_format(dict[str, Any], PLAIN).read('{"a": 0.10}')["a"]) is float
    assert type(answer_format({"type": "number"}, PLAIN).read("0.10")) is float


@pytest.mark.parametrize("number", ["NaN", "1e999"])
def test_a_number_that_is_not_finite_is_refused_for_a_decimal_too(number):
    with pytest.raises(AnswerMismatch, match="finite"):
        answer_format(Priced, PLAIN).read(f'{{"price": {number}, "weight": 1}}')


def test_a_dict_schema_gives_plain_json():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    answers = answer_format(schema, PLAIN)
    assert answers.type is schema
    assert answers.read('{"a": 3, "b": null}') == {"a": 3, "b": None}


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"\n  {GOOD}\n",
        f"\ufeff{GOOD}",
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}```",
        f"```JSON {GOOD} ```",
        f"Here it is:\n\n```json\r\n{GOOD}\r\n```\nAnything else?",
        f"```json\n{GOOD}\n```\nor\n```json\n{{}}\n```",
        f"```json\n{GOOD}",
    ],
)
def test_an_answer_is_found_alone_or_in_its_first_fence(text):
    assert answer_format(Invoice, PLAIN).read(text) == Invoice([Item("a", 1.5)])


def test_a_fence_inside_a_string_does_not_end_the_block():
    text = '```json\n{"items": [{"name": "```", "price": 1}]}\n```'
    assert answer_format(Invoice, PLAIN).read(text).items[0].name == "```"


@pytest.mark.parametrize("text", ["```\ntrue\n```", "true", "```json\ntrue```"])
def test_a_json_word_after_a_fence_is_read_as_json(text):
    assert answer_format(bool, PLAIN).read(text) is True


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the answer is empty"),
        ("  \n", "the answer is empty"),
        ("I cannot do that", "the answer is not JSON"),
        ("{", "the answer is not JSON"),
        ("1 2", "the answer is not JSON"),
        ("NaN", "is not a finite number"),
        ("-Infinity", "is not a finite number"),
        ("1e999", "is not a finite number"),
        ("9" * 5000, "the answer is not JSON"),
        ("[" * 100_000, "the answer is not JSON"),
        ("```json\n{\n```", "the fenced block of the answer is not JSON"),
        ("```json\n1 2\n```", "has more text after its JSON"),
    ],
)
def test_text_that_is_not_json_is_a_mismatch(text, reason):
    with pytest.raises(AnswerMismatch, match=reason) as caught:
        NUMBER.read(text)
    assert caught.value.path == "$"


def test_an_answer_of_another_shape_names_its_place():
    with pytest.raises(AnswerMismatch) as caught:
        answer_format(Invoice, PLAIN).read('{"items": [{"name": "a", "price": 1}, {"name": "b", "price": "2"}]}')
    assert caught.value.path == "$.items[1].price"
    assert "is not of type 'number'" in caught.value.message


def test_an_answer_of_another_shape_names_its_place_as_answered(openai):
    with pytest.raises(AnswerMismatch) as caught:
        answer_format(Invoice, openai).read('{"items": [], "totals": [{"key": "a", "value": "x"}]}')
    assert caught.value.path == "$.totals[0].value"


def test_checks_a_dialect_lacks_are_made_after_the_answer(openai):
    answers = answer_format({"type": "string", "minLength": 3}, openai)
    with pytest.raises(AnswerMismatch, match="too short") as caught:
        answers.read('{"value": "ab"}')
    assert caught.value.path == "$"


def test_formats_are_checked():
    with pytest.raises(AnswerMismatch) as caught:
        answer_format(Invoice, PLAIN).read('{"items": [{"name": "a", "price": 1, "day": "1.1.2024"}]}')
    assert caught.value.path == "$.items[0].day"


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date-time", "2024-01-01T00:00:00Z", "2024-01-01"),
        ("ipv4", "192.0.2.1", "300.0.0.1"),
        ("ipv6", "::1", "1"),
        ("email", "a@example.com", "a"),
        ("regex", "^a$", "("),
        ("unknown", "a", 1),
    ],
)
def test_formats_are_checked_whatever_is_installed(name, good, bad):
    answers = answer_format({"type": "string", "format": name}, PLAIN)
    assert answers.read(json.dumps(good)) == good
    with pytest.raises(AnswerMismatch):
        answers.read(json.dumps(bad))


def test_a_format_says_nothing_about_other_types():
    assert answer_format({"format": "date"}, PLAIN).read("3") == 3


def test_the_validators_of_a_model_are_asked():
    with pytest.raises(AnswerMismatch, match="no digits, please") as caught:
        answer_format(list[Person], PLAIN).read('[{"name": "a"}, {"name": "b2"}]')
    assert caught.value.path == "$[1].name"


def test_a_type_without_a_schema_is_refused_at_once():
    with pytest.raises(ConfigurationError):
        answer_format(complex, PLAIN)


@pytest.mark.parametrize("place", ["$ref", "$dynamicRef"])
def test_a_reference_to_elsewhere_is_never_fetched(place, monkeypatch, dialect):
    def refuse(*_):
        raise AssertionError("the network was used")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    schema = {"type": "object", "properties": {"a": {place: "http://127.0.0.1:9/schema.json"}}}
    with pytest.raises(ConfigurationError):
        answer_format(schema, dialect)


def test_an_answer_nested_without_end_is_a_mismatch():
    schema = {"type": "array", "items": {"$ref": "#"}}
    with pytest.raises(AnswerMismatch, match="nested too deeply"):
        answer_format(schema, PLAIN).read("[" * 900 + "]" * 900)


def test_an_answer_nested_without_end_cannot_be_lifted(openai):
    answers = answer_format({"type": "object", "properties": {"a": {"$ref": "#"}, "b": {}}}, openai)
    deep: Any = {}
    for _ in range(5000):
        deep = {"a": deep}
    with pytest.raises(AnswerMismatch, match="nested too deeply"):
        answers.lift(deep)


def test_one_format_reads_in_many_threads():
    answers = answer_format(Invoice, PLAIN)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(answers.read, [GOOD] * 200))
    assert read == [Invoice([Item("a", 1.5)])] * 200


def test_validators_are_compiled_once():
    answers = answer_format(Invoice, PLAIN)
    answers.read(GOOD)
    first = answers._canonical_validator
    answers.read(GOOD)
    assert answers._canonical_validator is first
