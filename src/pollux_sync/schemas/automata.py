"""Pattern search in time linear in the text: all ways to match are followed at once, as Thompson's automata do.

The standard library's parser reads the pattern, and its compiler answers for single characters and positions. So a
pattern means exactly what it means to `re`, case folding and word boundaries included.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    import re

#: The largest automaton that is built. A repetition {1,500} needs 500 copies of its content, and the time for each
#: character grows with the size.
_MAX_NODES = 1_000
#: What has been computed is kept for so many characters and positions, then dropped.
_MAX_KEPT = 10_000
_CHARACTERS = frozenset({"LITERAL", "NOT_LITERAL", "ANY", "IN"})


class UnsupportedPatternError(Exception):
    """The pattern has lookaround, backreferences or atomic groups, or its automaton is too large."""


@attrs.define
class _Node:
    """A state of the automaton, from which ``targets`` are reached.

    ``bit`` is that of a state that consumes a character. ``position`` is the index of the condition that must hold at
    the position, None for a state without one.
    """

    targets: list[_Node] = attrs.field(factory=list)
    bit: int = 0
    position: int | None = None


@attrs.frozen
class _Moves:
    """The states that are reached from each state, where the same conditions hold.

    Most states of long patterns are followed by the one that was built before them: from these, ``shifted``, all moves
    are one shift. ``others`` has what else is reached, with the states from which it is.
    """

    start: tuple[int, bool]
    shifted: int
    others: list[tuple[int, int, bool]]


class Automaton:
    """The automaton of one pattern. Sets of states that consume a character are integers, one bit a state."""

    def __init__(self, pattern: str) -> None:
        builder = _AutomatonBuilder()
        # Imported by name, since the module is private and has no type stubs.
        tree = import_module("re._parser").parse(pattern)
        self._end = _Node()
        self._start = _Node([builder.build_sequence(tree, self._end, tree.state.flags)])
        self._nodes = builder.consuming
        self._characters = [(matcher, mask) for matcher, mask in builder.characters.values()]
        self._positions = [*builder.positions.values()]
        self._known_characters: dict[str, int] = {}
        self._known_contexts: dict[tuple[str, int], int] = {}
        self._known_moves: dict[int, _Moves] = {}

    def search(self, text: str) -> bool:
        """Return whether the pattern matches anywhere in the text."""
        states = conditions = 0
        for index in range(len(text) + 1):
            if self._positions:
                # Beside the characters around the position, the one after them tells a final line end from others.
                conditions = self._read_conditions(text[max(0, index - 1) : index + 2], min(index, 1))
            reached, is_match = self._follow(states, conditions)
            if is_match:
                return True
            if index < len(text):
                states = reached & self._find_consumers(text[index])
        return False

    def _follow(self, states: int, conditions: int) -> tuple[int, bool]:
        """Return the states that can consume the next character, and whether the end is reached.

        ``states`` have consumed the character before. A match may also begin here.
        """
        moves = self._known_moves.get(conditions)
        if moves is None:
            moves = self._known_moves[conditions] = self._build_moves(conditions)
        reached, is_match = moves.start
        reached |= (states & moves.shifted) >> 1
        for members, more, is_end in moves.others:
            if states & members:
                reached, is_match = reached | more, is_match or is_end
        return reached, is_match

    def _build_moves(self, conditions: int) -> _Moves:
        shifted = 0
        others: dict[tuple[int, bool], int] = {}
        for number, node in enumerate(self._nodes):
            reached, is_match = self._walk(node, conditions)
            before = node.bit >> 1
            shifted |= node.bit if reached & before else 0
            rest = (reached & ~before, is_match)
            others[rest] = others.get(rest, 0) | 1 << number
        others.pop((0, False), None)
        return _Moves(
            self._walk(self._start, conditions), shifted, [(members, *rest) for rest, members in others.items()]
        )

    def _walk(self, origin: _Node, conditions: int) -> tuple[int, bool]:
        """Return the same for one state, or for the start."""
        waiting = [*origin.targets]
        seen: set[int] = set()
        reached, is_match = 0, False
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            reached |= node.bit
            is_match = is_match or node is self._end
            if not node.bit and (node.position is None or conditions >> node.position & 1):
                waiting += node.targets
        return reached, is_match

    def _find_consumers(self, character: str) -> int:
        known = self._known_characters.get(character)
        if known is None:
            if len(self._known_characters) >= _MAX_KEPT:
                self._known_characters.clear()
            known = sum(mask for matcher, mask in self._characters if matcher.match(character))
            self._known_characters[character] = known
        return known

    def _read_conditions(self, context: str, index: int) -> int:
        key = (context, index)
        known = self._known_contexts.get(key)
        if known is None:
            if len(self._known_contexts) >= _MAX_KEPT:
                self._known_contexts.clear()
            known = sum(1 << number for number, matcher in enumerate(self._positions) if matcher.match(context, index))
            self._known_contexts[key] = known
        return known


class _AutomatonBuilder:
    """The builder of one automaton, from the end of its pattern to the start."""

    def __init__(self) -> None:
        self.consuming: list[_Node] = []
        #: The matcher of each kind of character, with the bits of the states that consume it.
        self.characters: dict[tuple[str, int], tuple[re.Pattern[str], int]] = {}
        self.positions: dict[tuple[str, int], re.Pattern[str]] = {}
        self._count = 0

    def build_sequence(self, nodes: Any, after: _Node, flags: int) -> _Node:
        """Return the first state of a sequence that goes on with ``after``."""
        for name, argument in reversed(nodes):
            after = self._build_node(str(name), argument, after, flags)
        return after

    def _build_node(self, name: str, argument: Any, after: _Node, flags: int) -> _Node:
        if name in _CHARACTERS:
            return self._build_character(name, argument, after, flags)
        match name:
            case "AT":
                return self._build_position(argument, after, flags)
            case "BRANCH":
                return self._add_node(*(self.build_sequence(branch, after, flags) for branch in argument[1]))
            case "SUBPATTERN":
                _, added, removed, inner = argument
                return self.build_sequence(inner, after, _combine_flags(flags, added, removed))
            case "MAX_REPEAT" | "MIN_REPEAT":
                least, most, inner = argument
                return self._build_repetition(least, most, inner, after, flags)
            case _:
                raise UnsupportedPatternError(f"{name.lower()} is not supported")

    def _build_character(self, name: str, argument: Any, after: _Node, flags: int) -> _Node:
        node = self._add_node(after)
        node.bit = 1 << len(self.consuming)
        self.consuming.append(node)
        key = (f"{name} {argument}", flags)
        matcher, mask = self.characters.get(key) or (_compile_node(name, argument, flags), 0)
        self.characters[key] = (matcher, mask | node.bit)
        return node

    def _build_position(self, argument: Any, after: _Node, flags: int) -> _Node:
        node = self._add_node(after)
        key = (str(argument), flags)
        self.positions.setdefault(key, _compile_node("AT", argument, flags))
        node.position = [*self.positions].index(key)
        return node

    def _build_repetition(self, least: int, most: int, nodes: Any, after: _Node, flags: int) -> _Node:
        end = after
        if str(most) == "MAXREPEAT":
            after = self._add_node(end)
            after.targets.append(self.build_sequence(nodes, after, flags))
        else:
            for _ in range(most - least):
                # a{0,2} is (a(a)?)?
                after = self._add_node(self.build_sequence(nodes, after, flags), end)
        for _ in range(least):
            after = self.build_sequence(nodes, after, flags)
        return after

    def _add_node(self, *targets: _Node) -> _Node:
        self._count += 1
        if self._count > _MAX_NODES:
            raise UnsupportedPatternError("it is too large")
        return _Node([*targets])


def _combine_flags(flags: int, added: int, removed: int) -> int:
    kinds = import_module("re._parser").TYPE_FLAGS
    # (?a:...) takes the place of the whole pattern's Unicode.
    return (flags & ~kinds if added & kinds else flags) & ~removed | added


def _compile_node(name: str, argument: Any, flags: int) -> re.Pattern[str]:
    """Compile one node of a parsed pattern by itself."""
    parser, constants = import_module("re._parser"), import_module("re._constants")
    state = parser.State()
    state.flags = flags
    compiled: re.Pattern[str] = import_module("re._compiler").compile(
        parser.SubPattern(state, [(getattr(constants, name), argument)])
    )
    return compiled
