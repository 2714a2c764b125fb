"""The methods that all frozen values share.

attrs would write them anew for each class, at every import: more than half of what the class costs a script.
"""

from __future__ import annotations

from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable


def to_frozenset(names: Iterable[str]) -> frozenset[str]:
    """Return the names as a set: the converter of a field, whose type checkers read."""
    return frozenset(names)


class Value:
    """A base of attrs classes: two values of one class are equal if their fields are.

    Declare one with ``@attrs.frozen(eq=False, repr=False)``. Of a field's own settings, ``eq``, ``hash`` and ``repr``
    are heeded where they are bools, and ``repr`` where it is a function.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        kind: Any = type(self)
        read = _build_reader(kind, for_hash=False)
        return bool(read(self) == read(other))

    def __hash__(self) -> int:
        kind: Any = type(self)
        return hash((kind, _build_reader(kind, for_hash=True)(self)))

    def __repr__(self) -> str:
        kind: Any = type(self)
        fields = ", ".join(f"{name}={show(getattr(self, name))}" for name, show in _list_shown(kind))
        return f"{kind.__name__}({fields})"


@cache
def _build_reader(kind: Any, *, for_hash: bool) -> Any:
    """Return a function that reads the fields of a value that are compared, or hashed."""
    fields = attrs.fields(kind)
    names = [one.name for one in fields if (one.hash if for_hash and one.hash is not None else one.eq)]
    return attrgetter(*names) if names else lambda _: ()


@cache
def _list_shown(kind: Any) -> list[tuple[str, Any]]:
    """Return the names of the fields that the repr shows, each with the function that shows it."""
    return [(one.name, one.repr if callable(one.repr) else repr) for one in attrs.fields(kind) if one.repr]
