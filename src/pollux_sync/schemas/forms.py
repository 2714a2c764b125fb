"""JSON forms of Python types: ``build_form`` turns every supported type into one small value.

The schema of a type and the reading of its values both start from its form, so that they cannot disagree. A form is
one level deep: the types inside it stay types, so that a type may contain itself.
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
from pollux_sync.schemas.annotations import map_type_variables, resolve_alias, substitute_variables, unwrap_type
from pollux_sync.schemas.foreign import is_foreign
from pollux_sync.schemas.records import RecordField, is_record, read_fields
from pollux_sync.schemas.textcodecs import TextCodec, find_text_codec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

JsonType = Literal["any", "null", "boolean", "integer", "number", "string"]


@attrs.frozen
class PrimitiveForm:
    """A type that JSON has: null, a boolean, a number, a string; or any JSON value."""

    type_name: JsonType


@attrs.frozen
class TextForm:
    """A value that JSON holds as text, such as a date."""

    codec: TextCodec


@attrs.frozen
class ChoiceForm:
    """An enum or a Literal: pairs of JSON value and Python value. Only an enum has a ``name``."""

    options: tuple[tuple[Any, Any], ...]
    name: str | None = None


@attrs.frozen
class UnionForm:
    """A union: its branches in the order of the declaration."""

    branches: tuple[Any, ...]


@attrs.frozen
class ArrayForm:
    """A collection of items of one type; ``make`` builds it."""

    item: Any
    make: Callable[[Iterable[Any]], Any]
    is_unique: bool = False


@attrs.frozen
class TupleForm:
    """A tuple of fixed length."""

    items: tuple[Any, ...]


@attrs.frozen
class MapForm:
    """A mapping. Its keys are strings in JSON, whatever their Python type."""

    key: Any
    value: Any
    make: Callable[[dict[Any, Any]], Any]


@attrs.frozen
class RecordForm:
    """A class with named fields."""

    cls: Any
    name: str
    fields: tuple[RecordField, ...]


@attrs.frozen
class ForeignForm:
    """A model of another library, which has its own schema and its own reader."""

    cls: Any


@attrs.frozen
class AliasForm:
    """A named type (``type X = ...``), which may refer to itself."""

    name: str
    target: Any


Form = (
    PrimitiveForm
    | TextForm
    | ChoiceForm
    | UnionForm
    | ArrayForm
    | TupleForm
    | MapForm
    | RecordForm
    | ForeignForm
    | AliasForm
)

_PRIMITIVES: dict[Any, PrimitiveForm] = {
    Any: PrimitiveForm("any"),
    object: PrimitiveForm("any"),
    None: PrimitiveForm("null"),
    type(None): PrimitiveForm("null"),
    bool: PrimitiveForm("boolean"),
    int: PrimitiveForm("integer"),
    float: PrimitiveForm("number"),
    str: PrimitiveForm("string"),
}
_ARRAYS: dict[Any, tuple[Callable[[Iterable[Any]], Any], bool]] = {
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
#: An int as the key of a JSON object. Leading zeros are refused: "01" and "1" would be one key.
INTEGER_KEY = re.compile(r"-?(0|[1-9][0-9]*)")
_KEY_FORMS = (PrimitiveForm("string"), PrimitiveForm("integer"))
_MAPS: dict[Any, Callable[[dict[Any, Any]], Any]] = {
    dict: dict,
    cabc.Mapping: dict,
    cabc.MutableMapping: dict,
    collections.OrderedDict: collections.OrderedDict,
}


def build_form(tp: Any) -> Form:
    """Return the form of this type.

    Raises ConfigurationError for a type without a JSON form. The caller adds the place of the type to the message.
    """
    tp, _ = unwrap_type(tp)
    try:
        primitive = _PRIMITIVES.get(tp)
    except TypeError as error:
        raise ConfigurationError(f"{tp!r}: {error}", hint="use hashable metadata inside Annotated") from error
    return primitive or _build_compound_form(tp)


def _build_compound_form(tp: Any) -> Form:
    origin, args = get_origin(tp) or tp, get_args(tp)
    if origin is Literal:
        return ChoiceForm(tuple(_build_option(value) for value in args))
    if origin in (Union, types.UnionType):
        return UnionForm(args)
    # By name, since typing and typing_extensions each have a TypeAliasType.
    if type(origin).__name__ == "TypeAliasType":
        return AliasForm(build_type_name(tp), substitute_variables(resolve_alias(origin), map_type_variables(tp)))
    form = _build_class_form(tp, origin, args) if isinstance(origin, type) else None
    if form is None:
        raise ConfigurationError(f"{tp!r} has no JSON form", hint=_choose_hint(tp))
    return form


def _build_class_form(tp: Any, cls: type, args: tuple[Any, ...]) -> Form | None:
    if issubclass(cls, enum.Enum):
        return _build_enum_form(cls)
    if is_foreign(cls):
        return ForeignForm(tp)
    if is_record(cls):
        return RecordForm(cls, build_type_name(tp), read_fields(tp))
    codec = find_text_codec(cls)
    return TextForm(codec) if codec else _build_container_form(tp, cls, args)


def _build_container_form(tp: Any, cls: type, args: tuple[Any, ...]) -> Form | None:
    if cls in _ARRAYS:
        make, is_unique = _ARRAYS[cls]
        return ArrayForm(args[0] if args else Any, make, is_unique)
    if cls in _MAPS:
        key, value = args or (str, Any)
        return MapForm(_require_key(key), value, _MAPS[cls])
    return _build_tuple_form(tp, args) if cls is tuple else None


def _build_tuple_form(tp: Any, args: tuple[Any, ...]) -> Form:
    if len(args) == 2 and args[1] is Ellipsis:  # noqa: PLR2004  (item type and dots)
        return ArrayForm(args[0], tuple)
    # tuple[()] has no arguments but is subscripted: it is the empty tuple, and a bare tuple is one of any items.
    return TupleForm(args) if hasattr(tp, "__args__") else ArrayForm(Any, tuple)


def _build_enum_form(cls: type[enum.Enum]) -> ChoiceForm | None:
    # A Flag has combinations of its members as values, which no list of options holds.
    if issubclass(cls, enum.Flag):
        return None
    return ChoiceForm(tuple(_build_option(member) for member in cls), cls.__name__)


def _build_option(value: Any) -> tuple[Any, Any]:
    json_value = value.value if isinstance(value, enum.Enum) else value
    if json_value is not None and type(json_value) not in (str, int, float, bool):
        raise ConfigurationError(
            f"the option {value!r} is not a JSON value", hint="use strings, numbers, booleans or None"
        )
    return json_value, value


def _require_key(key: Any) -> Any:
    form = build_form(key)
    # dict[Any, int] reads its keys as JSON has them.
    if form == PrimitiveForm("any"):
        return str
    values = [value for value, _ in form.options] if isinstance(form, ChoiceForm) else []
    if form in _KEY_FORMS or isinstance(form, TextForm) or (values and all(type(v) in (str, int) for v in values)):
        return key
    raise ConfigurationError(
        f"{key!r} cannot be the key of a JSON object", hint="use str, int, date, UUID, or an enum of str or int"
    )


def build_type_name(tp: Any) -> str:
    """Return a short name for ``$defs``, such as ``Box_int`` for ``Box[int]``."""
    parts = [getattr(get_origin(tp) or tp, "__name__", None) or str(tp)]
    parts += [build_type_name(arg) for arg in get_args(tp)]
    # Other characters would need escapes in a reference.
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", "_".join(parts)).strip("_")


def _choose_hint(tp: Any) -> str:
    if isinstance(tp, str | typing.ForwardRef):
        return "name the class itself, or define the alias with `type X = ...`"
    return "use attrs classes, dataclasses, TypedDict, enums, lists, dicts, unions, dates, or a JSON Schema dict"
