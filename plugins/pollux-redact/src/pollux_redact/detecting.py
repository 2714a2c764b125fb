"""Text -> the passages in it that are personal data."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator  # noqa: TC003 - the type of a field
from typing import TypeAlias

import attrs

from pollux_sync.plugin import ConfigurationError

_NAME = re.compile(r"[A-Z][A-Z0-9]{0,19}")
_LUHN_BASE, _IBAN_BASE = 10, 97
_IBAN_REST = 1
#: The digits of a card number, and the characters of an IBAN, without what stands between their groups. Of a number
#: among others fewer lengths count, since many more are tried.
_CARD_DIGITS, _INNER_CARD_DIGITS, _IBAN_CHARS = range(12, 20), range(14, 20), range(15, 35)
#: The most groups in which a card number is printed, and the fewest digits of one behind the first.
_CARD_GROUPS, _GROUP_DIGITS = 5, 3
#: The letters of scripts that put blanks between words, in which an address ends where its word ends.
_LETTERS = "A-Za-z0-9_\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0300-\u036f\u0370-\u04ff"
#: What may stand between two groups of digits: also the blanks and hyphens of PDFs, at which no line ends.
_BLANKS, _HYPHENS = " \u00a0\u2007\u2009\u202f", "\u2010\u2011\\-"

#: The beginning and end of each passage in a text.
Spans: TypeAlias = "Iterator[tuple[int, int]]"


@attrs.frozen
class Detector:
    """A kind of data: the ``name`` that stands in its placeholders, and how it is found.

    ``pattern`` finds passages. Where more than its form decides, ``choose`` returns the spans in a passage that count.
    """

    name: str
    pattern: re.Pattern[str]
    choose: Callable[[str], Spans] | None = None

    def find(self, text: str) -> Spans:
        """Yield the spans of the data in a text."""
        for found in self.pattern.finditer(text):
            inside = [(0, len(found[0]))] if self.choose is None else self.choose(found[0])
            for start, end in inside:
                yield found.start() + start, found.start() + end


def _has_check_digit(text: str, lengths: range = _CARD_DIGITS) -> bool:
    """Return whether a number has one of these lengths, and the right last digit (ISO/IEC 7812).

    By chance one number of ten has it.
    """
    digits = [int(character) for character in text if character.isdigit()]
    # Every second digit from the right is doubled, and its digits are added.
    doubled = [sum(divmod(2 * digit, _LUHN_BASE)) for digit in digits[-2::-2]]
    return len(digits) in lengths and (sum(digits[-1::-2]) + sum(doubled)) % _LUHN_BASE == 0


def _choose_cards(text: str) -> Spans:
    """Yield the card numbers in digits, before and behind which other numbers may stand, such as an expiry date."""
    if _has_check_digit(text):
        yield 0, len(text)
        return
    groups = [found.span() for found in re.finditer(r"\d+", text)]
    index = 0
    while index < len(groups):
        # The longest first.
        counts = range(min(_CARD_GROUPS, len(groups) - index), 0, -1)
        count = next((count for count in counts if _is_card(text, groups[index : index + count])), None)
        if count:
            yield groups[index][0], groups[index + count - 1][1]
        index += count or 1


def _is_card(text: str, groups: list[tuple[int, int]]) -> bool:
    """Return whether some of many numbers look like a card: it begins like one, in groups as they are printed."""
    (start, first_end), (_, end) = groups[0], groups[-1]
    has_form = len(groups) == 1 or first_end - start in {4, 6}
    has_form &= all(stop - begin >= _GROUP_DIGITS for begin, stop in groups[1:])
    return (
        has_form and _begins_like_card(text[start:first_end]) and _has_check_digit(text[start:end], _INNER_CARD_DIGITS)
    )


def _begins_like_card(digits: str) -> bool:
    # 3 to 6 are the networks of cards; of 2 there is Mastercard's range, without the years of our time.
    return digits[0] in "3456" or "2221" <= digits[:4] <= "2720"


def _choose_ibans(text: str) -> Spans:
    """Yield the IBAN at the beginning of a text, behind which other words may stand."""
    ends = [found.end() for found in re.finditer(rf"[^{_BLANKS}]+", text)]
    end = next((end for end in reversed(ends) if _is_iban(text[:end])), None)
    if end is not None:
        yield 0, end


def _is_iban(text: str) -> bool:
    """Return whether the check digits are right (ISO 13616)."""
    compact = re.sub(rf"[{_BLANKS}]", "", text)
    if len(compact) not in _IBAN_CHARS:
        return False
    number = "".join(str(int(character, 36)) for character in compact[4:] + compact[:4])
    return int(number) % _IBAN_BASE == _IBAN_REST


#: What is known without a pattern of the user's. The earlier ones take what several would match.
DETECTORS = {
    "email": Detector(
        "EMAIL",
        re.compile(
            # From the beginning of a word alone: a long word without an address is looked at once.
            rf"(?<![{_LETTERS}.%+-])[{_LETTERS}.%+-]++(?:['\u2019][{_LETTERS}.%+-]++)?"
            rf"@[{_LETTERS}-]{{1,63}}(?:\.[{_LETTERS}-]{{1,63}})+"
        ),
    ),
    "iban": Detector(
        "IBAN",
        re.compile(
            rf"\b[A-Z]{{2}}\d{{2}}(?:[{_BLANKS}]?[A-Z0-9]{{4}}){{2,7}}(?:[{_BLANKS}]?[A-Z0-9]{{1,3}})?\b",
            re.IGNORECASE | re.ASCII,
        ),
        _choose_ibans,
    ),
    "card": Detector(
        "CARD", re.compile(rf"(?<![\d.])\d(?:[{_BLANKS}{_HYPHENS}]?\d){{11,}}(?!\.\d)", re.ASCII), _choose_cards
    ),
    "phone": Detector(
        "PHONE",
        re.compile(
            # +49 30 901820, +1 (555) 010-9999
            rf"(?<![\w+])\+\d(?:[{_BLANKS}{_HYPHENS}./()]{{0,2}}\d){{6,14}}(?!\d)"
            # (555) 010-9999, 555-010-9999
            rf"|(?<![\w.-])(?:\(\d{{3}}\)[{_BLANKS}]?|\d{{3}}[{_BLANKS}{_HYPHENS}.])\d{{3}}[{_BLANKS}{_HYPHENS}.]\d{{4}}(?![\w-])"
            # 030 901820, 0151/2345678: with a trunk prefix
            rf"|(?<![\w.-])(?:\(0\d{{1,4}}\)|0\d{{1,4}})[{_BLANKS}{_HYPHENS}/]\d{{3,8}}(?:[{_BLANKS}{_HYPHENS}]\d{{1,5}})?(?![\w-])"
        ),
    ),
}


def build_detector(name: str, pattern: str) -> Detector:
    """Return the detector of a pattern of the user's. Raises ConfigurationError for one that is not valid."""
    label = name.upper()
    if not _NAME.fullmatch(label):
        raise ConfigurationError(
            f"a pattern cannot be called {name!r}", hint="use up to 20 letters and digits, beginning with a letter"
        )
    try:
        compiled = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ConfigurationError(
            f"the pattern {name!r} is not valid: {error}", hint="see Python's re module"
        ) from error
    if compiled.fullmatch(""):
        raise ConfigurationError(f"the pattern {name!r} matches the empty text", hint="write + in place of *")
    return Detector(label, compiled)


def build_name_detector(names: Iterable[str]) -> Detector:
    """Return the detector of names, in upper or lower case and with any blanks between their words."""
    given: list[object] = [names] if isinstance(names, str) else [*names]
    words = [name.split() if isinstance(name, str) else [] for name in given]
    if not all(words):
        raise ConfigurationError("a name is an empty text, or none at all", hint='names=["Ada Morrow", "Morrow"]')
    # The longest first: "Ada Morrow" is one name, also where "Ada" is another.
    spelled = sorted((r"\s+".join(map(_spell, parts)) for parts in words), key=len, reverse=True)
    return Detector("NAME", re.compile(rf"(?<!\w)(?:{'|'.join(spelled)})(?!\w)", re.IGNORECASE))


def _spell(word: str) -> str:
    """Return a pattern of a word, whether its accents are letters or marks of their own, as in the names of files."""
    forms = {unicodedata.normalize(form, word) for form in ("NFC", "NFD")} | {word}
    return re.escape(word) if len(forms) == 1 else f"(?:{'|'.join(map(re.escape, sorted(forms)))})"


def replace_passages(text: str, detectors: list[Detector], replace: Callable[[str, str], str]) -> str:
    """Return the text with ``replace(name, passage)`` in place of each passage that a detector finds.

    What one has replaced, the others do not look into.
    """
    # Plain pieces and replacements alternate.
    pieces = [text]
    for detector in detectors:
        split: list[str] = []
        for index, piece in enumerate(pieces):
            split += [piece] if index % 2 else _split(piece, detector, replace)
        pieces = split
    return "".join(pieces)


def _split(text: str, detector: Detector, replace: Callable[[str, str], str]) -> list[str]:
    pieces, done = [], 0
    for start, end in detector.find(text):
        pieces += [text[done:start], replace(detector.name, text[start:end])]
        done = end
    return [*pieces, text[done:]]
