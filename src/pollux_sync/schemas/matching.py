"""The patterns of JSON Schemas, searched in texts that a model wrote, in a time that no text can make long.

`re` is the fastest for nearly all patterns and texts, but some pairs of both cost it years. It gets the searches that
are bounded, an automaton gets the rest, and what no automaton can do is refused: before anything is sent, if the
pattern alone shows it.
"""

from __future__ import annotations

import re
from functools import lru_cache

import attrs

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas.automata import Automaton, UnsupportedPatternError
from pollux_sync.schemas.patterncosts import Steps, estimate_steps

#: The steps that `re` may take: a step takes it 1 to 10 ns, a character takes the automaton a microsecond.
_FREE_STEPS = 1e6
_STEPS_PER_CHARACTER = 1e3
#: The steps that `re` may take for a pattern that has no automaton: about a second.
_MOST_STEPS = 1e8
#: A pattern without an automaton must be able to search a text of this length.
_LEAST_LENGTH = 1_000


class TextTooLongError(Exception):
    """The pattern has no automaton, and the text is too long to search it with `re`."""


@attrs.frozen
class PatternMatcher:
    """A pattern, how long `re` may search for it, and its automaton; None where it has none."""

    pattern: str
    steps: Steps
    automaton: Automaton | None

    def search(self, text: str) -> bool:
        """Return whether the pattern matches anywhere in the text, as `re.search` does. Raises TextTooLongError."""
        steps = self.steps.bound(len(text))
        if steps <= _FREE_STEPS + _STEPS_PER_CHARACTER * len(text):
            return re.search(self.pattern, text) is not None
        if self.automaton is not None:
            return self.automaton.search(text)
        if steps > _MOST_STEPS:
            raise TextTooLongError(f"a text of {len(text)} characters is too long to search it for {self.pattern!r}")
        return re.search(self.pattern, text) is not None

    @property
    def is_harmless(self) -> bool:
        """True if `re` searches any text in linear time."""
        constant, per_character, *others = (*self.steps.coefficients, 0.0, 0.0)
        return (
            bool(self.steps) and constant <= _FREE_STEPS and per_character <= _STEPS_PER_CHARACTER and not any(others)
        )

    @property
    def is_bounded(self) -> bool:
        """True if texts of a usual length can be searched."""
        return self.automaton is not None or self.steps.bound(_LEAST_LENGTH) <= _MOST_STEPS


@lru_cache(maxsize=256)
def compile_matcher(pattern: str) -> PatternMatcher:
    """Return the matcher of a pattern. Raises ``re.error``."""
    steps = estimate_steps(pattern)
    matcher = PatternMatcher(pattern, steps, None)
    try:
        # Most patterns never need an automaton.
        return matcher if matcher.is_harmless else attrs.evolve(matcher, automaton=Automaton(pattern))
    except UnsupportedPatternError:
        return matcher


def check_pattern(pattern: str, place: str, *, must_be_harmless: bool = False) -> None:
    """Raise ConfigurationError for a pattern that could be searched for years."""
    try:
        matcher = compile_matcher(pattern)
    except (re.error, OverflowError) as error:
        raise ConfigurationError(
            f"the pattern {pattern!r} at {place} is invalid: {error}", hint="write it as Python's re reads it"
        ) from error
    if must_be_harmless and not matcher.is_harmless:
        raise ConfigurationError(
            f"the pattern {pattern!r} at {place} is too complex beside unevaluatedProperties",
            hint="use additionalProperties, or a pattern with ^ and at most one repetition",
        )
    if not matcher.is_bounded:
        raise ConfigurationError(
            f"the pattern {pattern!r} at {place} could take years to search in an answer",
            hint="write it without lookaround, backreferences and atomic groups, or without repetitions in repetitions",
        )
