import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pollux_sync import ConfigurationError
from pollux_sync.schemas import AnswerMismatch, schema_of
from pollux_sync.schemas.automata import Automaton, UnsupportedPatternError
from pollux_sync.schemas.matching import compile_matcher
from pollux_sync.schemas.patterns import iter_matching_texts
from pollux_sync.schemas.validating import check_value, compile_validator

LENGTH = 50_000
#: Patterns that cost `re` quadratic to exponential time, with a text that shows it and whether they match.
SLOW = [
    ("(a+)+$", "a" * LENGTH + "b", False),
    ("^(a+)+$", "a" * LENGTH, True),
    ("(a|aa)*b", "a" * LENGTH, False),
    ("^(a|a?)+$", "a" * LENGTH + "b", False),
    ("a*a*a*a*b", "a" * LENGTH, False),
    ("(x+x+)+y", "x" * LENGTH, False),
    ("(x+x+)+y", "x" * LENGTH + "y", True),
    (r"^(\w+\s?)*$", "word " * (LENGTH // 5) + "!", False),
    (r"(.*)*\d", "a" * LENGTH, False),
    (r"^([a-z0-9]+[-.])*[a-z0-9]+@", "a." * (LENGTH // 2), False),
    (r"\b(a+)+\b!", "a" * LENGTH, False),
    ("(?i)(STRASSE|s)*t$", "s" * LENGTH, False),
    ("(a{1,9}){1,9}(a{1,9}){1,9}b", "a" * LENGTH, False),
    (r"\d+x", "1" * LENGTH, False),
    ("(?m)^(a|b|ab)*c$", "ab\n" * (LENGTH // 3), False),
    ("[ab]*a[ab]{300}(c|d)", "abbabaaab" * (LENGTH // 9), False),
]


@pytest.mark.parametrize(("pattern", "text", "is_match"), SLOW)
def test_searches_a_long_text_for_a_pattern_that_would_cost_re_years(pattern, text, is_match):
    assert compile_matcher(pattern).search(text) is is_match


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)*b", "a*a*a*a*b", "(x+x+)+y"])
@pytest.mark.parametrize(
    "build_schema",
    [
        lambda pattern: {"pattern": pattern},
        lambda pattern: {"patternProperties": {pattern: False}},
        lambda pattern: {"patternProperties": {pattern: {}}, "additionalProperties": False},
        lambda pattern: {"propertyNames": {"pattern": pattern}},
        # By its dialect jsonschema chooses a validator of its own where a reference is followed.
        lambda pattern: {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "pattern": pattern,
            "items": {"$ref": "#"},
        },
    ],
    ids=["pattern", "patternProperties", "additionalProperties", "propertyNames", "$ref"],
)
def test_validates_a_long_answer(pattern, build_schema):
    text = "aax" * (LENGTH // 3)
    validator = compile_validator(build_schema(pattern))
    for value in (text, {text: 1}, [text]):
        validator.is_valid(value)


CHARACTERS = st.sampled_from(
    [
        "a",
        "b",
        "é",
        "_",
        "1",
        " ",
        r"\n",
        ".",
        r"\d",
        r"\D",
        r"\w",
        r"\W",
        r"\s",
        r"\S",
        "[ab]",
        "[^a]",
        "[a-c1]",
        r"[\w-]",
    ]
)
POSITIONS = st.sampled_from(["^", "$", r"\A", r"\Z", r"\b", r"\B"])
QUANTIFIERS = st.sampled_from(["*", "+", "?", "*?", "+?", "??", "{2}", "{0,2}", "{1,}", "{,2}?", "{0}"])


# Without (?a:...): `re` overlooks matches of (?a:\W), since its search for a first character forgets the flag.
def extend(inner):
    return st.one_of(
        st.builds("(?:{}){}".format, inner, QUANTIFIERS),
        st.builds("({})".format, inner),
        st.builds("({}|{})".format, inner, inner),
        st.builds("{}{}".format, inner, inner),
        st.builds("(?{}:{})".format, st.sampled_from(["i", "s", "m", "-i", "-s"]), inner),
    )


PATTERNS = st.builds(
    "{}{}".format,
    st.sampled_from(["", "(?i)", "(?m)", "(?s)", "(?a)"]),
    st.recursive(CHARACTERS | POSITIONS | st.just(""), extend, max_leaves=7),
)
TEXTS = st.text(st.sampled_from("abAéÉ_1- \n\u017f"), max_size=8)


@settings(max_examples=1_000)
@given(PATTERNS, st.lists(TEXTS, max_size=5))
def test_an_automaton_finds_what_re_finds(pattern, texts):
    automaton = Automaton(pattern)
    for text in texts:
        assert automaton.search(text) is (re.search(pattern, text) is not None), text


@pytest.mark.parametrize("character", ["s", "S", "\u017f", "k", "K", "İ", "i", "ß", "ẞ", "µ"])
@pytest.mark.parametrize(
    "pattern", ["(?i)(s+)+", "(?i)([k-t]+)+", "(?i)(?a:(s+)+)", r"(?a)(\w+)+", "(?i)(İ+)+", "(?i)(µ+)+"]
)
def test_an_automaton_folds_case_as_re_does(pattern, character):
    assert Automaton(pattern).search(character) is (re.search(pattern, character) is not None)


def test_knows_every_character():
    automaton = Automaton(r"^(\w+)+$")
    assert all(
        automaton.search(chr(code)) is (re.search(r"^\w$", chr(code)) is not None) for code in range(0, 0x11000, 7)
    )


@pytest.mark.parametrize(
    "pattern",
    [r"(a)\1", "(?=a)b", "(?<!a)b", "(?>a+)b", "a++b", "(a)?(?(1)b|c)", "(a{1,60}){1,60}"],
)
def test_is_no_automaton(pattern):
    with pytest.raises(UnsupportedPatternError):
        Automaton(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^\d{4}-\d{2}-\d{2}$",
        "^[a-z]{1,50000}$",
        r"^[^@\s]{1,64}@[a-z.]+$",
        r"^(?=.*\d)(?=.*[a-z]).{8,}$",
        "^(red|green|blue)$",
        r"^(?!-)[a-z-]*$",
        "(^a+$|^b+$)",
        "^(a)?(?(1)b|c)x*$",
        "^(?>a|b)c++$",
        "",
    ],
)
def test_leaves_patterns_to_re_that_cost_linear_time(pattern):
    assert compile_matcher(pattern).automaton is None
    assert compile_matcher(pattern).search("x" * 1_000_000) is (re.search(pattern, "x" * 1_000_000) is not None)


REFUSED = [r"(a+)+\1$", "(?=(a+)+b)a", "(?>(a|aa)+)b", "^(?=(.*)*x)", r"(\w+)\s(\w+)\s\1", "((a{1,50}){1,50}){1,50}"]


@pytest.mark.parametrize("pattern", REFUSED)
@pytest.mark.parametrize("keyword", ["pattern", "patternProperties"])
def test_a_pattern_that_could_take_years_is_refused(pattern, keyword):
    schema = {"properties": {"a": {keyword: pattern if keyword == "pattern" else {pattern: True}}}}
    with pytest.raises(ConfigurationError, match=rf"at \$\.properties\.a\.{keyword} could take years") as caught:
        schema_of(schema)
    assert "repetitions" in caught.value.hint


@pytest.mark.parametrize(
    "pattern",
    [r"foo(?!.*bar)", r"(?<!\d)\d{4}(?!\d)", r"^(['\"]).*\1$", "x{1,50000}y", r"^(?=.{8,}$)(?=.*\d)\w+$", r"(\w)\1"],
)
def test_a_pattern_of_a_usual_kind_is_not_refused(pattern):
    schema_of({"pattern": pattern})


def test_a_pattern_with_lookahead_is_searched_in_texts_of_usual_length():
    check_value("foo and bar", compile_validator({"pattern": "foo(?!.*baz)"}))


def test_a_longer_text_is_still_searched_for_a_pattern_with_lookahead():
    check_value("f" * 2_000 + "foo", compile_validator({"pattern": "foo(?!.*baz)"}))


def test_a_text_that_is_too_long_for_a_pattern_with_lookahead_does_not_fit():
    with pytest.raises(AnswerMismatch, match="100000 characters is too long"):
        check_value("f" * 100_000, compile_validator({"pattern": "foo(?!.*baz)"}))


def test_a_name_that_is_too_long_for_a_pattern_with_lookahead_does_not_fit():
    with pytest.raises(AnswerMismatch, match="100000 characters is too long"):
        check_value({"f" * 100_000: 1}, compile_validator({"patternProperties": {"foo(?!.*baz)": True}}))


def test_a_slow_pattern_beside_unevaluated_properties_is_refused():
    schema = {"patternProperties": {"(a+)+$": True}, "unevaluatedProperties": False}
    with pytest.raises(ConfigurationError, match="too complex beside unevaluatedProperties"):
        schema_of(schema)
    schema_of({"patternProperties": {"^a+$": True}, "unevaluatedProperties": False})


def test_a_pattern_of_another_library_is_checked():
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):
        name: str = pydantic.Field(json_schema_extra={"pattern": r"(a+)+\1$"})

    with pytest.raises(ConfigurationError, match="could take years"):
        schema_of(Model)


def test_a_pattern_of_another_library_that_python_cannot_read_is_refused():
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):
        name: str = pydantic.Field(json_schema_extra={"pattern": r"\p{L}+"})

    with pytest.raises(ConfigurationError, match=r"at \$\.properties\.name\.pattern is invalid"):
        schema_of(Model)


def test_samples_of_a_slow_pattern_come_at_once():
    assert [*iter_matching_texts("(a+)+(?=b)")] == []
    assert "ab" in [*iter_matching_texts("(a+)+b")]


@pytest.mark.parametrize("value", [{}, {"xa": 1}, {"xa": "s"}, {"y": 1}, {"xa": 1, "y": "s"}, {"a": 1}, [], "x"])
@pytest.mark.parametrize(
    "schema",
    [
        {"patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False},
        {"patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": {"type": "string"}},
        {"patternProperties": {"^x": {}}, "properties": {"y": {}}, "additionalProperties": False},
        {"patternProperties": {"^x": False}},
        {"pattern": "^x"},
    ],
)
def test_judges_as_jsonschema_does(schema, value):
    assert compile_validator(schema).is_valid(value) is Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize("text", ["(", "a{99999999999}"])
def test_an_answer_that_is_no_regular_expression_does_not_fit(text):
    with pytest.raises(AnswerMismatch):
        check_value(text, compile_validator({"format": "regex"}, checks_formats=True))
