"""What counts as personal data, and what does not."""

import pytest

from pollux_redact.detecting import DETECTORS, build_detector, build_name_detector, replace_passages
from pollux_sync import ConfigurationError

FOUND = {
    "email": ["ada.morrow+lamp@mail.example.co.uk", "a@b.io"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "NO93 8601 1117 947"],
    "card": ["4111 1111 1111 1111", "378282246310005", "5555-5555-5555-4444"],
    "phone": ["+49 30 901820", "+1 (555) 010-9999", "(555) 010-9999", "555-010-9999", "030 901820", "0151/2345678"],
}
NOT_FOUND = [
    "2026-11-27",
    "10.0.0.1",
    "12:30:45",
    "1234 5678 9012 3456",
    "4111 1111 1111 1112",
    "DE89370400440532013001",
    "3.14159265358979",
    "version 1.2.3-4567",
    "1,234,567",
    "a @ b",
    "ISBN 978-3-16-148410-0",
    "[EMAIL_1A2B3C4D]",
    "[CARD_12345678]",
]


def find(text):
    found = []
    replace_passages(text, list(DETECTORS.values()), lambda name, value: found.append((name, value)) or "X")
    return found


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in FOUND.items() for value in values])
@pytest.mark.parametrize("text", ["{}", "Write to {}.", "({}), please", "a\n{}\nb"])
def test_finds(kind, value, text):
    assert find(text.format(value)) == [(kind.upper(), value)]


@pytest.mark.parametrize("text", NOT_FOUND)
def test_does_not_find(text):
    assert find(f"It says {text} here.") == []


def test_does_not_look_into_what_another_has_replaced():
    detectors = [build_detector("a", r"\d+"), build_detector("b", r"[0-9A-Z]+")]
    assert replace_passages("7 x Y", detectors, lambda name, _: f"<{name}9Z>") == "<A9Z> x <B9Z>"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Ada Morrow's lamp", ["Ada Morrow"]),
        ("ADA  morrow\nand Ada", ["ADA  morrow", "Ada"]),
        ("Adam and Canada", []),
        ("by O'Neil (jr.) himself", ["O'Neil (jr.)"]),
    ],
)
def test_names_are_whole_words_and_the_longest_counts(text, names):
    found = []
    detector = build_name_detector(["Ada", "Ada Morrow", "O'Neil (jr.)"])
    replace_passages(text, [detector], lambda name, value: found.append(value) or name)
    assert found == names


@pytest.mark.parametrize("names", [[""], ["Ada", " "], [3]])
def test_empty_name_is_refused(names):
    with pytest.raises(ConfigurationError, match="a name is an empty text"):
        build_name_detector(names)


@pytest.mark.parametrize("size", [10_000, 100_000])
def test_long_text_of_one_character_takes_no_time(size):
    for character in "a1+ .@A-(0":
        find(character * size)


@pytest.mark.parametrize(
    ("name", "pattern", "message"),
    [
        ("id", "(", "the pattern 'id' is not valid"),
        ("id", "a*", "matches the empty text"),
        ("my id", "a", "a pattern cannot be called 'my id'"),
        ("id", 3, "the pattern 'id' is not valid"),
    ],
)
def test_bad_pattern_is_refused(name, pattern, message):
    with pytest.raises(ConfigurationError, match=message):
        build_detector(name, pattern)
