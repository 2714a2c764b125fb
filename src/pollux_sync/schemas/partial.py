"""A JSON answer that still grows: its beginning -> the value as far as it has come."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pollux_sync.schemas.jsontext import parse_json
from pollux_sync.schemas.mismatch import AnswerMismatch

if TYPE_CHECKING:
    from pollux_sync.schemas.reading import AnswerFormat

_CLOSERS = {"{": "}", "[": "]"}
#: The next character that means something outside of a text, and inside of one.
_OUTSIDE = re.compile(r'[{}\[\]",:]')
_INSIDE = re.compile(r'["\\]')
#: An answer up to this length is read with each piece, a longer one when it has grown by a share of its length: to read
#: all of it with each piece takes quadratic time.
_SHORT_CHARS = 16_000
_GROWN_SHARE = 1 / 256
#: The first half of a character that is written as two escapes.
_HALF = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}")
#: An escape, or such a pair of them, of which something is missing.
_INCOMPLETE = re.compile(rf"\\(?:u[0-9a-fA-F]{{0,3}})?|{_HALF.pattern}(?:\\(?:u[0-9a-fA-F]{{0,3}})?)?")


class GrowingJson:
    """The text of a JSON object or array that arrives in pieces. What stands before and after it is left out.

    A text shows the part that has arrived; a number, a name or a word only when it is complete.
    """

    def __init__(self) -> None:
        self._text = ""
        self._place = 0
        # The brackets that are open, from outer to inner.
        self._open: list[str] = []
        self._is_in_text = False
        self._is_key = False
        # The end of what is complete up to its open brackets, and the beginning of the last escape.
        self._sound_end = 0
        self._escape = 0

    def add(self, piece: str) -> None:
        """Append the next piece."""
        if not self._text:
            start = re.search(r"[{\[]", piece)
            piece = piece[start.start() :] if start else ""
        self._text += piece
        while not self.is_complete and self._step():
            pass

    def read(self) -> Any:
        """Return the value so far; None before its beginning. Raises ValueError for a text that is not JSON."""
        if self._is_in_text and not self._is_key:
            is_cut = _INCOMPLETE.fullmatch(self._text, self._escape)
            beginning = self._text[: self._escape] if is_cut else self._text
            return self._close(f'{beginning}"')
        return self._close(self._text[: self._sound_end]) if self._sound_end else None

    @property
    def n_chars(self) -> int:
        """The length of the text so far."""
        return len(self._text)

    @property
    def is_complete(self) -> bool:
        """True once the object or array has ended."""
        return bool(self._sound_end) and not self._open

    def _close(self, beginning: str) -> Any:
        return parse_json(beginning + "".join(_CLOSERS[bracket] for bracket in reversed(self._open)))

    def _step(self) -> bool:
        """Take the next character that means something. Return False if it has not arrived."""
        found = (_INSIDE if self._is_in_text else _OUTSIDE).search(self._text, self._place)
        if found is None:
            self._place = len(self._text)
            return False
        if found[0] == "\\":
            return self._take_escape(found.start())
        self._place = found.end()
        if found[0] == '"':
            self._take_quote()
        else:
            self._take_mark(found[0])
        return True

    def _take_escape(self, start: int) -> bool:
        is_second_half = _HALF.fullmatch(self._text, self._escape, start)
        self._escape = self._escape if is_second_half else start
        # The character after the backslash may be a quote.
        has_arrived = start + 1 < len(self._text)
        self._place = start + 2 if has_arrived else start
        return has_arrived

    def _take_quote(self) -> None:
        self._is_in_text = not self._is_in_text
        self._escape = self._place
        if not (self._is_in_text or self._is_key):
            self._sound_end = self._place

    def _take_mark(self, mark: str) -> None:
        if mark in _CLOSERS:
            self._open.append(mark)
        elif mark in "}]":
            self._open.pop()
        if mark == ",":
            # A number or a word before the comma is complete.
            self._sound_end = self._place - 1
        elif mark != ":":
            self._sound_end = self._place
        self._is_key = mark in "{," and self._open[-1] == "{"


class PartialAnswers:
    """The values of a structured answer while it grows, each as plain JSON data."""

    def __init__(self, answers: AnswerFormat) -> None:
        self._answers = answers
        self._json = GrowingJson()
        self._last: Any = None
        self._next_chars = 0

    def add(self, piece: str) -> Any:
        """Return the value so far with the next piece; None if it is as before, or not known or looked at yet."""
        self._json.add(piece)
        n_chars = self._json.n_chars
        if n_chars < self._next_chars and not self._json.is_complete:
            return None
        self._next_chars = 0 if n_chars < _SHORT_CHARS else n_chars + int(n_chars * _GROWN_SHARE)
        try:
            grown = self._json.read()
            value = None if grown is None else self._answers.lift(grown)
        # What the provider's form of the schema needs has not arrived, such as the value of a key; or it is no JSON.
        except (AnswerMismatch, ValueError, LookupError, TypeError):
            return None
        if value == self._last:
            return None
        self._last = value
        return value
