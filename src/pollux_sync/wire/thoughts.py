"""Thoughts that a model writes into the text of its answer, split from the answer after them.

Servers without a parser for the model's format send the tags as text. Only thoughts at the beginning count: a text that
mentions a tag later is an answer about tags.
"""

from __future__ import annotations

#: The tags around thoughts: those of most open models, of Gemini's Chat Completions endpoint, and of Mistral's models.
_TAGS = {"<think>": "</think>", "<thought>": "</thought>", "[THINK]": "[/THINK]"}
_TAG_STARTS = frozenset(tag[0] for tag in _TAGS)
#: Blanks before the first tag; a text that begins with more is an answer, so that a stream need not hold it back.
_MAX_BLANKS = 100
#: Between thoughts that follow each other.
_SEPARATOR = "\n\n"


def split_thoughts(text: str) -> tuple[str, str]:
    """Return the thoughts at the beginning of a text, and the answer after them."""
    # Nearly every text has none.
    if text.lstrip()[:1] not in _TAG_STARTS:
        return "", text
    splitter = ThoughtSplitter()
    thoughts, answer = splitter.split(text)
    last_thoughts, rest = splitter.end()
    return thoughts + last_thoughts, answer + rest


class ThoughtSplitter:
    """Does what `split_thoughts` does to a text that arrives in pieces, cut anywhere."""

    def __init__(self) -> None:
        #: True once the answer itself has begun; all that follows belongs to it.
        self.is_answer = False
        self._held = ""
        #: The tag that ends the thoughts, "" outside of thoughts.
        self._closing = ""
        self._has_closed = False
        self._has_thoughts = False
        #: True while the thoughts of this pair of tags are blank.
        self._is_blank = True

    def split(self, piece: str) -> tuple[str, str]:
        """Return the thoughts and the text that are certain now. What may be a part of a tag is held back."""
        if self.is_answer:
            return "", piece
        text, self._held = self._held + piece, ""
        thoughts: list[str] = []
        while text and not self.is_answer:
            text = self._leave_thoughts(text, thoughts) if self._closing else self._enter_thoughts(text)
        return "".join(thoughts), text

    def end(self) -> tuple[str, str]:
        """Return what was held back of a text that has ended."""
        held, self._held = self._held, ""
        # Blanks at the end of thoughts, or between thoughts and an answer that never came, say nothing.
        if self._closing:
            return held.rstrip(), ""
        return "", held.lstrip() if self._has_closed else held

    def _enter_thoughts(self, text: str) -> str:
        """Return the text after an opening tag; "" if more must arrive to decide, the text itself for an answer."""
        start = text.lstrip()
        tag = next((tag for tag in _TAGS if start.startswith(tag)), None)
        if tag and self._is_near(text, start):
            self._closing, self._is_blank = _TAGS[tag], True
            return start.removeprefix(tag)
        if any(tag.startswith(start) for tag in _TAGS) and self._is_near(text, start):
            self._held = start if self._has_closed else text
            return ""
        self.is_answer = True
        # The blanks between thoughts and answer belong to neither.
        return start if self._has_closed else text

    def _is_near(self, text: str, start: str) -> bool:
        return self._has_closed or len(text) - len(start) <= _MAX_BLANKS

    def _leave_thoughts(self, text: str, thoughts: list[str]) -> str:
        """Add the thoughts in a text to ``thoughts``; return what follows them, "" if they go on."""
        before, closing, rest = text.partition(self._closing)
        end = len(before) if closing else len(before) - _measure_partial_tag(before, self._closing)
        thought = before[:end].rstrip()
        self._add_thought(thought, thoughts)
        if closing:
            self._closing, self._has_closed = "", True
        else:
            # With the blanks, which are dropped if the thoughts end here.
            self._held = before[len(thought) :] if thought or not self._is_blank else before[end:]
        return rest

    def _add_thought(self, thought: str, thoughts: list[str]) -> None:
        if self._is_blank:
            thought = thought.lstrip()
        if not thought:
            return
        thoughts.append(_SEPARATOR + thought if self._is_blank and self._has_thoughts else thought)
        self._is_blank, self._has_thoughts = False, True


def _measure_partial_tag(text: str, tag: str) -> int:
    """Return how many characters at the end of a text may be the beginning of the tag."""
    return next((size for size in range(len(tag) - 1, 0, -1) if text.endswith(tag[:size])), 0)
