"""Errors <-> JSON: the name of the error's class, and its facts under the names of the constructor's arguments."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, get_type_hints

import attrs

from pollux_sync.errors import Attempt, PolluxError
from pollux_sync.schemas import AnswerMismatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cattrs import Converter

#: Facts that are set on an error after its construction. ``partial_result`` holds whole answers and is not stored.
_LATE_FACTS: dict[str, Any] = {"call_idx": int | None, "partial_text": str, "attempts": tuple[Attempt, ...]}


def dump_error(error: PolluxError, converter: Converter) -> dict[str, Any]:
    """Return an error as JSON-ready data, without its cause and ``partial_result``."""
    error_type: Any = type(error)
    facts_type = _make_facts_type(error_type)
    facts = facts_type(**{field.name: getattr(error, field.name) for field in attrs.fields(facts_type)})
    return {"type": error_type.__name__, **converter.unstructure(facts)}


def load_error(data: Any, converter: Converter) -> PolluxError:
    """Return the error that `dump_error` wrote. Raises AnswerMismatch if no imported error class has its name."""
    name = data.get("type") if isinstance(data, dict) else None
    # Only subclasses of PolluxError are searched: stored data must not choose any class to construct.
    error_type: Any = next((tp for tp in _iter_types(PolluxError) if tp.__name__ == name), None)
    if error_type is None:
        raise AnswerMismatch(f"no error is called {name!r}")
    stored = {key: value for key, value in data.items() if key != "type"}
    facts = attrs.asdict(converter.structure(stored, _make_facts_type(error_type)), recurse=False)
    # Facts are set one by one: constructors differ in their arguments, but each works with the message alone.
    error: PolluxError = error_type(facts.pop("message"))
    for fact, value in facts.items():
        if value is not None:
            setattr(error, fact, value)
    return error


def _iter_types(error_type: type[PolluxError]) -> Iterator[type[PolluxError]]:
    yield error_type
    for derived in error_type.__subclasses__():
        yield from _iter_types(derived)


@cache
def _make_facts_type(error_type: Any) -> Any:
    """Make an attrs class whose fields are the facts of an error, so that they are stored like any other value.

    The facts are the arguments of all constructors along the class tree, so that no second list can disagree with them.
    """
    # errors.py imports this type for type checkers only, so its annotations do not resolve without a stand-in.
    names = {"DeferredSnapshot": Any}
    hints = dict(_LATE_FACTS)
    for base in error_type.__mro__:
        if issubclass(base, PolluxError) and "__init__" in vars(base):
            hints |= get_type_hints(base.__init__, localns=names)
    # "facts" is the ** argument of a subclass; the names behind it come from the base class. A snapshot belongs to a
    # wait, not to a failed call, and is not stored.
    facts = {name: hint for name, hint in hints.items() if name not in {"message", "facts", "return", "snapshot"}}
    fields = {name: attrs.field(type=hint, default=None) for name, hint in facts.items()}
    return attrs.make_class(error_type.__name__, {"message": attrs.field(type=str)} | fields, frozen=True, kw_only=True)
