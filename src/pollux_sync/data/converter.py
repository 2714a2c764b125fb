"""Values <-> JSON: the one cattrs converter for everything that is stored.

cattrs generates the functions for each class, follows nested and optional fields and tuples, refuses unknown keys,
and reports every bad field with its path. We replace its readers where they coerce: `pollux_sync.schemas` reads
strings, numbers, literals and plain dicts strictly, and arrays and objects must be lists and dicts.

cattrs is imported inside functions, so that ``import pollux_sync`` does not pay for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, get_origin

import attrs

from pollux_sync._values import Value
from pollux_sync.errors import ConfigurationError, PolluxError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cattrs import Converter

T = TypeVar("T")

#: The version of all stored layouts. Raise it with a change that older code cannot read.
SCHEMA_VERSION = 1
_VERSION_FIELD = "schema_version"
#: The metadata of a field that is left out of what is stored.
NOT_STORED = {"is_stored": False}


class Storable(Value):
    """A value that can be stored as JSON, with the version of its layout as ``schema_version``."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the value as JSON-ready data, without fields that default to None and are None."""
        return {_VERSION_FIELD: SCHEMA_VERSION, **dump_value(self)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the value that `to_dict` wrote. Raises ConfigurationError that names every bad field."""
        return load_value(_strip_version(data, cls), cls)


def dump_value(value: Any) -> Any:
    """Return a value as JSON-ready data. Raises ConfigurationError if a part of it has no JSON form."""
    return _build_converter().unstructure(value)


def load_value(data: Any, value_type: type[T], *, name: str | None = None) -> T:
    """Return the value that `dump_value` wrote. Raises ConfigurationError that names every bad field.

    The error calls the value ``name``, by default the name of its type.
    """
    from cattrs import BaseValidationError, transform_error

    from pollux_sync.schemas import AnswerMismatch

    try:
        return _build_converter().structure(data, value_type)
    except (AnswerMismatch, BaseValidationError) as error:
        # cattrs collects the failures of all fields in one exception group, and adds the path to each.
        problems = "; ".join(transform_error(error, format_exception=_describe_error))
        raise ConfigurationError(
            f"not a stored {name or value_type.__name__}: {problems}", hint="pass the result of to_dict(), unchanged"
        ) from error


def _strip_version(data: Any, value_type: type) -> Any:
    """Check the version; return the data without it if the class has no such field."""
    version = data.get(_VERSION_FIELD) if isinstance(data, dict) else None
    if type(version) is not int:  # isinstance would accept True as a version
        return data  # the converter refuses it, naming the field
    if version > SCHEMA_VERSION:
        raise ConfigurationError(
            f"this {value_type.__name__} has schema version {version}; this release reads up to {SCHEMA_VERSION}",
            hint="upgrade pollux-sync",
        )
    fields = attrs.fields_dict(value_type)
    return data if _VERSION_FIELD in fields else {key: data[key] for key in data if key != _VERSION_FIELD}


def _describe_error(error: BaseException, value_type: type | None) -> str:
    from cattrs.v import format_exception

    from pollux_sync.schemas import AnswerMismatch

    return error.message if isinstance(error, AnswerMismatch | PolluxError) else format_exception(error, value_type)


# Built once, when the first value is stored: importing cattrs and generating functions takes time.
@cache
def _build_converter() -> Converter:
    from cattrs import Converter

    from pollux_sync.schemas import unstructure

    converter = Converter(
        forbid_extra_keys=True,
        unstruct_collection_overrides={tuple: list},
        unstructure_fallback_factory=lambda _: unstructure,
    )
    _add_readers(converter)
    _add_writers(converter)
    return converter


def _add_readers(converter: Converter) -> None:
    """Put strict readers before those of cattrs, which read "false" as True and "ab" as a list of two texts."""
    from decimal import Decimal

    from pollux_sync.data.errorfacts import load_error
    from pollux_sync.schemas import structure

    for leaf in (str, int, float, bytes, Decimal):  # cattrs looks up bool by its base class, int
        converter.register_structure_hook(leaf, structure)
    # cattrs asks the hooks registered last first: classes with a layout of their own come after attrs classes.
    converter.register_structure_hook_func(_is_plain, structure)
    converter.register_structure_hook_factory(_is_array, _make_array_reader)
    converter.register_structure_hook_factory(attrs.has, _make_record_reader)
    converter.register_structure_hook_func(_has_own_layout, lambda data, tp: tp.from_dict(data))
    converter.register_structure_hook(PolluxError, lambda data, _: load_error(data, converter))


def _add_writers(converter: Converter) -> None:
    from pollux_sync.data.errorfacts import dump_error
    from pollux_sync.schemas import unstructure

    converter.register_unstructure_hook_func(_is_plain, unstructure)
    converter.register_unstructure_hook(bytes, unstructure)
    converter.register_unstructure_hook_factory(attrs.has, _make_record_writer)
    converter.register_unstructure_hook_func(_has_own_layout, lambda value: value.to_dict())
    converter.register_unstructure_hook(PolluxError, lambda error: dump_error(error, converter))


def _is_plain(tp: Any) -> bool:
    return tp is Any or get_origin(tp) in (Literal, Mapping, dict)


def _is_array(tp: Any) -> bool:
    return get_origin(tp) in (tuple, list)


def _has_own_layout(tp: Any) -> bool:
    """Return whether a class converts itself, as sources and continuations do."""
    return hasattr(tp, "from_dict") and not issubclass(tp, Storable)


def _make_array_reader(tp: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    from cattrs.cols import list_structure_factory

    make, read = get_origin(tp), list_structure_factory(tp, converter)
    return lambda data, _: make(read(_require_kind(data, list), tp))


def _make_record_reader(cls: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    _resolve_types(cls)
    read = converter.gen_structure_attrs_fromdict(cls)
    return lambda data, _: read(_require_kind(data, dict), cls)


def _resolve_types(cls: Any) -> None:
    """Put the types of the fields in place of their texts, with which every module of ours writes them."""
    # Named here, since its import would cost every script that stores nothing.
    from decimal import Decimal

    attrs.resolve_types(cls, localns={"Decimal": Decimal})


def _require_kind(data: Any, kind: type) -> Any:
    if isinstance(data, kind):
        return data
    from pollux_sync.schemas import AnswerMismatch

    raise AnswerMismatch(f"expected a {kind.__name__}, got {type(data).__name__}")


def _make_record_writer(cls: Any, converter: Converter) -> Callable[[Any], dict[str, Any]]:
    """Return the writer of a class.

    Only a None that is the default is left out. Other defaults are written, since a later release may change them.
    """
    from cattrs.gen import make_dict_unstructure_fn, override

    _resolve_types(cls)
    fields: Any = attrs.fields(cls)
    overrides: dict[str, Any] = {f.name: override(omit_if_default=True) for f in fields if f.default is None}
    overrides |= {f.name: override(omit=True) for f in fields if not f.metadata.get("is_stored", True)}
    return make_dict_unstructure_fn(cls, converter, **overrides)
