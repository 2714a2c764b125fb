"""The time that the standard library's `re` may search for a pattern: an upper bound, from the pattern alone.

`re` tries one way to match after the other. The bound counts these ways: they multiply along a sequence, and add up
over alternatives. A repetition whose content can match in several ways has exponentially many.
"""

from __future__ import annotations

from functools import reduce
from importlib import import_module
from itertools import product, zip_longest
from math import inf
from operator import mul
from typing import Any, NamedTuple

import attrs

#: Nodes of a parsed pattern that match one character, or none, in one way.
_SINGLE = frozenset({"LITERAL", "NOT_LITERAL", "ANY", "IN", "AT", "FAILURE"})
_STARTS = frozenset({"AT_BEGINNING", "AT_BEGINNING_STRING"})
#: From this number of rounds on a repetition counts as one without a limit: the text is likely to be shorter.
_MANY_ROUNDS = 1_000
#: A polynomial of a higher degree, or with a larger coefficient, counts as endless.
_MAX_DEGREE = 8
_MAX_COEFFICIENT = 1e100


@attrs.frozen
class Steps:
    """A number of steps as a polynomial in the length of the text, its coefficients from the constant one upwards.

    Without coefficients it is endless: exponential, or too large to matter.
    """

    coefficients: tuple[float, ...]

    def __add__(self, other: Steps) -> Steps:
        if not (self.coefficients and other.coefficients):
            return _ENDLESS
        return Steps(tuple(map(sum, zip_longest(self.coefficients, other.coefficients, fillvalue=0.0))))

    def __mul__(self, other: Steps) -> Steps:
        if not (self.coefficients and other.coefficients):
            return _ENDLESS
        products = [0.0] * (len(self.coefficients) + len(other.coefficients) - 1)
        for (low, first), (high, second) in product(enumerate(self.coefficients), enumerate(other.coefficients)):
            products[low + high] += first * second
        is_small = len(products) <= _MAX_DEGREE + 1 and max(products) <= _MAX_COEFFICIENT
        return Steps(tuple(products)) if is_small else _ENDLESS

    def bound(self, length: int) -> float:
        """Return the steps for a text of this length."""
        return sum(factor * float(length) ** degree for degree, factor in enumerate(self.coefficients)) if self else inf

    def __bool__(self) -> bool:
        return bool(self.coefficients)


_ENDLESS = Steps(())
_NONE, _ONE, _LENGTH = Steps((0.0,)), Steps((1.0,)), Steps((0.0, 1.0))


class _Bound(NamedTuple):
    """The cost of matching a node from one position: the ways in which it can match, and the work of all of them."""

    ways: Steps
    work: Steps


def estimate_steps(pattern: str) -> Steps:
    """Return an upper bound of the steps that ``re.search(pattern, text)`` takes. Raises ``re.error``."""
    # Imported by name, since the module is private and has no type stubs.
    tree = import_module("re._parser").parse(pattern)
    bound = _bound_sequence(tree)
    each = bound.work + bound.ways
    # Elsewhere than at its start a pattern that is bound to the start of the text fails at once.
    is_multiline = tree.state.flags & import_module("re._constants").SRE_FLAG_MULTILINE
    return each + _LENGTH if _is_anchored(tree) and not is_multiline else each * _LENGTH


def _is_anchored(tree: Any) -> bool:
    if not len(tree):
        return False
    name, argument = tree[0]
    match str(name):
        case "AT":
            return str(argument) in _STARTS
        case "SUBPATTERN":
            return not argument[1] and _is_anchored(argument[3])  # without flags of its own, such as (?m:^a)
        case "BRANCH":
            return all(_is_anchored(branch) for branch in argument[1])
        case _:
            return False


def _bound_sequence(nodes: Any) -> _Bound:
    ways, work = _ONE, _NONE
    for name, argument in nodes:
        node = _bound_node(str(name), argument)
        # A node is tried once for each way in which all before it can match.
        work += ways * node.work
        ways *= node.ways
    return _Bound(ways, work)


def _bound_node(name: str, argument: Any) -> _Bound:  # noqa: PLR0911  (one row a kind of node)
    if name in _SINGLE:
        return _Bound(_ONE, _ONE)
    match name:
        case "BRANCH":
            return _bound_branches(argument[1])
        case "SUBPATTERN":
            return _bound_sequence(argument[3])
        case "MAX_REPEAT" | "MIN_REPEAT":
            return _bound_repetition(*argument)
        case "POSSESSIVE_REPEAT":
            return _Bound(_ONE, _bound_repetition(*argument).work)
        case "ATOMIC_GROUP":
            return _Bound(_ONE, _bound_sequence(argument).work)
        case "ASSERT" | "ASSERT_NOT":
            return _Bound(_ONE, _bound_sequence(argument[1]).work)
        case "GROUPREF":
            return _Bound(_ONE, _LENGTH)
        case "GROUPREF_EXISTS":
            return _bound_branches([branch for branch in argument[1:] if branch is not None])
        case _:  # a kind that a later Python adds
            return _Bound(_ENDLESS, _ENDLESS)


def _bound_branches(branches: list[Any]) -> _Bound:
    bounds = [_bound_sequence(branch) for branch in branches]
    # One more for the choice itself, and for a condition without an alternative.
    return _Bound(sum((bound.ways for bound in bounds), _ONE), sum((bound.work for bound in bounds), _ONE))


def _bound_repetition(least: int, most: int, nodes: Any) -> _Bound:
    body = _bound_sequence(nodes)
    is_long = str(most) == "MAXREPEAT" or most > _MANY_ROUNDS
    rounds = _LENGTH if is_long else Steps((float(most),))
    # It may end after any of its rounds.
    ends = _LENGTH + _ONE if is_long else Steps((float(most - least + 1),))
    if body.ways == _ONE:
        return _Bound(ends, rounds * body.work + _ONE)
    # The ways of all rounds multiply.
    ways = _ENDLESS if is_long else reduce(mul, [body.ways] * most, _ONE)
    return _Bound(ends * ways, rounds * ways * body.work + _ONE)
