"""Text -> the passages in it that are personal data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable  # noqa: TC003 - the type of a field

import attrs

from pollux_sync.plugin import ConfigurationError

_NAME = re.compile(r"[A-Z][A-Z0-9]{0,19}")
_LUHN_BASE, _IBAN_BASE = 10, 97
_IBAN_REST = 1


@attrs.frozen
class Detector:
    """A kind of data: the ``name`` that stands in its placeholders, and how it is found."""

    name: str
    pattern: re.Pattern[str]
    is_valid: Callable[[str], bool] | None = None


def _is_card(text: str) -> bool:
    """Return whether the check digit is right, as that of one number in ten is by chance (ISO/IEC 7812)."""
    digits = [int(character) for character in text if character.isdigit()]
    # Every second digit from the right is doubled, and its digits are added.
    doubled = [sum(divmod(2 * digit, _LUHN_BASE)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % _LUHN_BASE == 0


def _is_iban(text: str) -> bool:
    """Return whether the check digits are right (ISO 13616)."""
    compact = text.replace(" ", "")
    number = "".join(str(int(character, 36)) for character in compact[4:] + compact[:4])
    return int(number) % _IBAN_BASE == _IBAN_REST


#: What is known without a pattern of the user's. The earlier ones take what several would match.
DETECTORS = {
    "email": Detector("EMAIL", re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")),
    "iban": Detector("IBAN", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"), _is_iban),
    "card": Detector("CARD", re.compile(r"(?<![\d.-])\d(?:[ -]?\d){11,18}(?![\d.-]?\d)"), _is_card),
    "phone": Detector(
        "PHONE",
        re.compile(
            # +49 30 901820, +1 (555) 010-9999
            r"(?<![\w+])\+\d(?:[ ./()-]{0,2}\d){6,14}(?!\d)"
            # (555) 010-9999, 555-010-9999
            r"|(?<![\w.-])(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}(?![\w-])"
            # 030 901820, 0151/2345678: with a trunk prefix
            r"|(?<![\w.-])(?:\(0\d{1,4}\)|0\d{1,4})[ /-]\d{3,8}(?:[ -]\d{1,5})?(?![\w-])"
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
    spelled = sorted((r"\s+".join(map(re.escape, parts)) for parts in words), key=len, reverse=True)
    return Detector("NAME", re.compile(rf"(?<!\w)(?:{'|'.join(spelled)})(?!\w)", re.IGNORECASE))


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
    pieces, end = [], 0
    for found in detector.pattern.finditer(text):
        if detector.is_valid is None or detector.is_valid(found[0]):
            pieces += [text[end : found.start()], replace(detector.name, found[0])]
            end = found.end()
    return [*pieces, text[end:]]
