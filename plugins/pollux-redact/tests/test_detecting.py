"""What counts as personal data, and what does not."""

import pytest

from pollux_redact.detecting import DETECTORS, build_detector, build_name_detector, replace_passages
from pollux_sync import ConfigurationError

FOUND = {
    "email": ["ada.morrow+lamp@mail.example.co.uk", "a@b.io", "zo\u00eb@m\u00fcnchen.example", "o'neil@lamp.example"],
    "iban": [
        "DE89 3704 0044 0532 0130 00",
        "GB82WEST12345698765432",
        "NO93 8601 1117 947",
        "de89370400440532013000",
        "BE68\u00a05390\u00a00754\u00a07034",
    ],
    "card": [
        "4111 1111 1111 1111",
        "378282246310005",
        "5555-5555-5555-4444",
        "4111\u00a01111\u00a01111\u00a01111",
        "4111\u20111111\u20111111\u20111111",
    ],
    "phone": [
        "+49\u00a030\u00a0901820",
        "+49 30 901820",
        "+1 (555) 010-9999",
        "(555) 010-9999",
        "555-010-9999",
        "030 901820",
        "0151/2345678",
    ],
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
    "2019 2020 2021 2022 2023 2024 2025 2026",
    "10 20 30 40 50 60 70 80 90",
    "0.4111111111111111",
]


def find(text):
    found = []
    replace_passages(text, list(DETECTORS.values()), lambda name, value: found.append((name, value)) or "X")
    return found


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in FOUND.items() for value in values])
@pytest.mark.parametrize("text", ["{}", "Write to {}.", "({}), please", "a\n{}\nb"])
def test_finds(kind, value, text):
    assert find(text.format(value)) == [(kind.upper(), value)]


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("CARD", "4111 1111 1111 1111", "{} 123"),
        ("CARD", "4111 1111 1111 1111", "{} 12/27"),
        ("CARD", "4111 1111 1111 1111", "12 {}"),
        ("CARD", "4111-1111-1111-1111", "{} 2026-11-27"),
        ("CARD", "3782 822463 10005", "No. 7 {} 1234"),
        ("CARD", "4111111111111111", "Visa-{} 12"),
        ("IBAN", "BE68 5390 0754 7034", "{} PAID"),
        ("IBAN", "BE68539007547034", "{} AB12 now"),
        ("IBAN", "DE89 3704 0044 0532 0130 00", "{} is it"),
        ("EMAIL", "ada@lamp.example", "\u8054\u7cfb{}\u8c22\u8c22"),
        ("EMAIL", "ada@lamp.example", "'{}'"),
    ],
)
def test_finds_what_stands_beside_other_words_and_numbers(kind, value, text):
    assert find(text.format(value)) == [(kind, value)]


def test_finds_each_of_several_cards_in_a_row():
    cards = ["4111 1111 1111 1111", "5555 5555 5555 4444", "4242 4242 4242 4242"]
    assert find(" ".join(cards)) == [("CARD", card) for card in cards]


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
        ("Zoe\u0308 and Zo\u00eb", ["Zoe\u0308", "Zo\u00eb"]),
    ],
)
def test_names_are_whole_words_and_the_longest_counts(text, names):
    found = []
    detector = build_name_detector(["Ada", "Ada Morrow", "O'Neil (jr.)", "Zo\u00eb"])
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
