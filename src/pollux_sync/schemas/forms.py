"""What a Python type looks like as JSON: ``form_of`` turns any type that is understood into one small value.

The schema, reading and writing of a type all start from its form, so they cannot disagree.
A form is one level deep: what it contains stays a type, which is how recursion ends.
"""

from __future__ import annotations

import collections
import collections.abc as cabc
import enum
import re
import types
import typing
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import attrs

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas.annotations import alias_target, fill_in, peel, type_variables
from pollux_sync.schemas.foreign import is_foreign
from pollux_sync.schemas.records import RecordField, is_record, record_fields
from pollux_sync.schemas.textforms import TextForm, text_form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

JsonKind = Literal["any", "null", "boolean", "integer", "number", "string"]


@attrs.frozen
class Plain:
    """What JSON has itself."""

    kind: JsonKind


@attrs.frozen
class Text:
    """A value written as text, such as a date."""

    form: TextForm


@attrs.frozen
class Choice:
    """An enum or a Literal: pairs of JSON value and Python value. ``name`` is set for enums."""

    options: tuple[tuple[Any, Any], ...]
    name: str | None = None


@attrs.frozen
class Either:
    """A union: its branches as declared."""

    branches: tuple[Any, ...]


@attrs.frozen
class Listing:
    """Any number of items of one type; ``make`` builds the collection."""

    item: Any
    make: Callable[[Iterable[Any]], Any]
    is_unique: bool = False


@attrs.frozen
class FixedTuple:
    """A tuple of known length."""

    items: tuple[Any, ...]


@attrs.frozen
class Table:
    """A mapping; keys are JSON strings, whatever their Python type."""

    key: Any
    value: Any
    make: Callable[[dict[Any, Any]], Any]


@attrs.frozen
class Record:
    """A class with named fields."""

    cls: Any
    name: str
    fields: tuple[RecordField, ...]


@attrs.frozen
class Foreign:
    """A model of another library, which states its own schema and builds itself."""

    cls: Any


@attrs.frozen
class Alias:
    """A named type (``type X = ...``), which may refer to itself."""

    name: str
    target: Any


Form = Plain | Text | Choice | Either | Listing | FixedTuple | Table | Record | Foreign | Alias

_PLAIN: dict[Any, Plain] = {
    Any: Plain("any"),
    object: Plain("any"),
    None: Plain("null"),
    type(None): Plain("null"),
    bool: Plain("boolean"),
    int: Plain("integer"),
    float: Plain("number"),
    str: Plain("string"),
}
_LISTS: dict[Any, tuple[Callable[[Iterable[Any]], Any], bool]] = {
    list: (list, False),
    cabc.Sequence: (list, False),
    cabc.MutableSequence: (list, False),
    cabc.Collection: (list, False),
    cabc.Iterable: (list, False),
    collections.deque: (collections.deque, False),
    set: (set, True),
    cabc.MutableSet: (set, True),
    cabc.Set: (frozenset, True),
    frozenset: (frozenset, True),
}
#: How an int is written as the key of a JSON object.
INTEGER_KEY = re.compile(r"-?(0|[1-9][0-9]*)")
_KEY_FORMS = (Plain("string"), Plain("integer"))
_TABLES: dict[Any, Callable[[dict[Any, Any]], Any]] = {
    dict: dict,
    cabc.Mapping: dict,
    cabc.MutableMapping: dict,
    collections.OrderedDict: collections.OrderedDict,
}


def form_of(tp: Any) -> Form:
    """The form of this type.

    Raises ConfigurationError for types that have no JSON form; the message does not say where the
    type was found, the caller does.
    """
    tp, _ = peel(tp)
    try:
        plain = _PLAIN.get(tp)
    except TypeError as error:
        raise ConfigurationError(f"{tp!r}: {error}", hint="metadata inside Annotated must be hashable") from error
    return plain or _compound_form(tp)


def _compound_form(tp: Any) -> Form:
    origin, args = get_origin(tp) or tp, get_args(tp)
    if origin is Literal:
        return Choice(tuple(_json_option(value) for value in args))
    if origin in (Union, types.UnionType):
        return Either(args)
    if type(origin).__name__ == "TypeAliasType":
        return Alias(type_name(tp), fill_in(alias_target(origin), type_variables(tp)))
    form = _class_form(tp, origin, args) if isinstance(origin, type) else None
    if form is None:
        raise ConfigurationError(f"{tp!r} has no JSON form", hint=_hint_for(tp))
    return form


def _class_form(tp: Any, cls: type, args: tuple[Any, ...]) -> Form | None:
    if issubclass(cls, enum.Enum):
        return _enum_form(cls)
    if is_foreign(cls):
        return Foreign(tp)
    if is_record(cls):
        return Record(cls, type_name(tp), record_fields(tp))
    form = text_form(cls)
    return Text(form) if form else _container_form(tp, cls, args)


def _container_form(tp: Any, cls: type, args: tuple[Any, ...]) -> Form | None:
    if cls in _LISTS:
        make, is_unique = _LISTS[cls]
        return Listing(args[0] if args else Any, make, is_unique)
    if cls in _TABLES:
        key, value = args or (str, Any)
        return Table(_checked_key(key), value, _TABLES[cls])
    return _tuple_form(tp, args) if cls is tuple else None


def _tuple_form(tp: Any, args: tuple[Any, ...]) -> Form:
    if len(args) == 2 and args[1] is Ellipsis:  # noqa: PLR2004  (item type and dots)
        return Listing(args[0], tuple)
    return FixedTuple(args) if hasattr(tp, "__args__") else Listing(Any, tuple)


def _enum_form(cls: type[enum.Enum]) -> Choice | None:
    if issubclass(cls, enum.Flag):
        return None
    return Choice(tuple(_json_option(member) for member in cls), cls.__name__)


def _json_option(value: Any) -> tuple[Any, Any]:
    written = value.value if isinstance(value, enum.Enum) else value
    if written is not None and type(written) not in (str, int, float, bool):
        raise ConfigurationError(f"{value!r} is not a JSON value", hint="use text, numbers, booleans or None")
    return written, value


def _checked_key(key: Any) -> Any:
    form = form_of(key)
    if form == Plain("any"):
        return str
    values = [written for written, _ in form.options] if isinstance(form, Choice) else []
    if form in _KEY_FORMS or isinstance(form, Text) or (values and all(type(v) in (str, int) for v in values)):
        return key
    raise ConfigurationError(
        f"{key!r} cannot be the key of a JSON object", hint="use str, int, dates, UUID, or enums of those"
    )


def type_name(tp: Any) -> str:
    """A short name for ``$defs``: ``Box_int`` for ``Box[int]``."""
    parts = [getattr(get_origin(tp) or tp, "__name__", None) or str(tp)]
    parts += [type_name(arg) for arg in get_args(tp)]
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", "_".join(parts)).strip("_")


def _hint_for(tp: Any) -> str:
    if isinstance(tp, str | typing.ForwardRef):
        return "name the class itself, or define the alias with `type X = ...`"
    return "use attrs classes, dataclasses, TypedDict, enums, lists, dicts, unions, dates, or a JSON Schema dict"
