import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollux_sync.schemas import PLAIN, answer_format
from pollux_sync.schemas.partial import GrowingJson, PartialAnswers

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
ROOTS = st.lists(VALUES, max_size=4) | st.dictionaries(st.text(max_size=4), VALUES, max_size=4)


def read_beginnings(text, step=1):
    """Return the value after each piece of a text."""
    growing = GrowingJson()
    values = []
    for start in range(0, len(text), step):
        growing.add(text[start : start + step])
        values.append(growing.read())
    return values


def is_beginning(part, whole):
    """Return whether a value may grow to another one."""
    if isinstance(part, dict) and isinstance(whole, dict):
        pairs = list(zip(part, whole, strict=False))
        return len(part) <= len(whole) and all(a == b and is_beginning(part[a], whole[b]) for a, b in pairs)
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) <= len(whole) and all(is_beginning(a, b) for a, b in zip(part, whole, strict=False))
    if isinstance(part, str) and isinstance(whole, str):
        return whole.startswith(part)
    return part == whole


def test_long_answer_is_read_now_and_then_and_at_its_end():
    whole = {"words": ["whale"] * 20_000}
    partials, text = PartialAnswers(answer_format(dict, PLAIN)), json.dumps(whole)
    values = [partials.add(text[start : start + 5]) for start in range(0, len(text), 5)]
    shown = [value for value in values if value is not None]
    assert values[-1] == shown[-1] == whole
    # Of 36,000 pieces.
    assert 2_000 < len(shown) < 4_500
    shown.remove({})
    assert max(len(after["words"]) - len(before["words"]) for before, after in pairwise(shown)) < 200


@given(ROOTS, st.booleans(), st.integers(1, 5))
def test_every_beginning_grows_to_the_whole(value, is_ascii, step):
    text = json.dumps(value, ensure_ascii=is_ascii)
    *_, last = values = read_beginnings(text, step)
    assert last == value
    shown = [one for one in values if one is not None]
    assert all(is_beginning(before, after) for before, after in pairwise(shown))
    assert is_beginning(shown[0], value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("Sure: ", None),
        ("{", {}),
        ('{"a', {}),
        ('{"a": ', {}),
        ('{"a": "', {"a": ""}),
        ('{"a": "x', {"a": "x"}),
        ('{"a": 1', {}),
        ('{"a": 12, "b', {"a": 12}),
        ('{"a": tru', {}),
        ('{"a": [1, 2', {"a": [1]}),
        ('{"a": [{"b": "x"}, {"b', {"a": [{"b": "x"}, {}]}),
        ('{"a": "x\\', {"a": "x"}),
        ('{"a": "x\\u00', {"a": "x"}),
        ('{"a": "x\\ud83d', {"a": "x"}),
        ('{"a": "x\\ud83d\\ude0', {"a": "x"}),
        ('{"a": "x\\ud83d\\ude00', {"a": "x😀"}),
        ('{"a": "\\\\u12', {"a": "\\u12"}),
        ('{"a": "}", "b": "{', {"a": "}", "b": "{"}),
        ('```json\n{"a": 1}\n``` "and" {"more": 2', {"a": 1}),
    ],
)
@pytest.mark.parametrize("step", [1, 100])
def test_what_has_arrived_is_shown(text, value, step):
    assert (read_beginnings(text, step) or [None])[-1] == value


@pytest.mark.parametrize("text", ['{"a": x, "b": 1', "{]", "[1 2, "])
def test_text_that_is_no_json(text):
    growing = GrowingJson()
    growing.add(text)
    with pytest.raises(ValueError, match=r"\w"):
        growing.read()
