"""The fields of records: attrs classes, dataclasses, TypedDicts and NamedTuples, all as ``RecordField``."""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, Any, get_origin

import attrs

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas.annotations import find_qualifier, resolve_hints

if TYPE_CHECKING:
    from collections.abc import Iterator


@attrs.frozen(kw_only=True)
class RecordField:
    """One field: its ``attribute`` in Python, its ``key`` in JSON, and the ``argument`` of the constructor."""

    attribute: str
    key: str
    argument: str
    type: Any
    is_required: bool
    # attrs.NOTHING for a field without a default, or with a default factory: the schema needs one fixed value.
    default: Any
    description: str | None = None


def is_typed_dict(cls: Any) -> bool:
    """Return True for a TypedDict of typing or of typing_extensions."""
    return isinstance(cls, type) and issubclass(cls, dict) and hasattr(cls, "__required_keys__")


def is_named_tuple(cls: Any) -> bool:
    """Return True for a NamedTuple, typed or not."""
    return isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields")


def is_record(cls: type) -> bool:
    """Return True for a class of one of these four kinds."""
    return attrs.has(cls) or dataclasses.is_dataclass(cls) or is_typed_dict(cls) or is_named_tuple(cls)


def read_fields(tp: Any) -> tuple[RecordField, ...]:
    """Return the fields of the constructor, in order. ``tp`` may be parametrised, as ``Box[int]``.

    A field with ``init=False`` is left out: no reader could set it. Raises ConfigurationError for an annotation that
    cannot be resolved.
    """
    cls, hints = get_origin(tp) or tp, resolve_hints(tp)
    return tuple(_iter_fields(cls, hints))


def _iter_fields(cls: Any, hints: dict[str, Any]) -> Iterator[RecordField]:
    if attrs.has(cls):
        return _iter_attrs_fields(cls, hints)
    if dataclasses.is_dataclass(cls):
        return _iter_dataclass_fields(cls, hints)
    return _iter_typed_dict_fields(cls, hints) if is_typed_dict(cls) else _iter_named_tuple_fields(cls, hints)


def _iter_attrs_fields(cls: Any, hints: dict[str, Any]) -> Iterator[RecordField]:
    for field in attrs.fields(cls):
        if field.init:
            has_factory = isinstance(field.default, attrs.Factory)  # type: ignore[arg-type]
            # The alias is the name of the constructor's argument: `_price` is `price` there, and so in JSON.
            yield RecordField(
                attribute=field.name,
                key=field.alias,
                argument=field.alias,
                type=hints.get(field.name, field.type or Any),
                is_required=field.default is attrs.NOTHING,
                default=attrs.NOTHING if has_factory else field.default,
                description=field.metadata.get("description"),
            )


def _iter_dataclass_fields(cls: Any, hints: dict[str, Any]) -> Iterator[RecordField]:
    init_only = [name for name, hint in hints.items() if isinstance(hint, dataclasses.InitVar)]
    if init_only:
        raise ConfigurationError(
            f"{cls.__name__}.{init_only[0]} is an InitVar, which an instance does not keep",
            hint="make it a field, or compute it in a classmethod",
        )
    for field in dataclasses.fields(cls):
        if field.init:
            default = attrs.NOTHING if field.default is dataclasses.MISSING else field.default
            has_factory = field.default_factory is not dataclasses.MISSING
            yield RecordField(
                attribute=field.name,
                key=field.name,
                argument=field.name,
                type=hints[field.name],
                is_required=default is attrs.NOTHING and not has_factory,
                default=default,
                description=field.metadata.get("description"),
            )


def _iter_typed_dict_fields(cls: Any, hints: dict[str, Any]) -> Iterator[RecordField]:
    for name, hint in hints.items():
        # __required_keys__ misses a NotRequired in an annotation of text (`from __future__ import annotations`).
        qualifiers = _list_qualifiers(hint)
        is_required = name in cls.__required_keys__ if not qualifiers else "NotRequired" not in qualifiers
        yield RecordField(
            attribute=name,
            key=name,
            argument=name,
            type=hint,
            is_required=is_required,
            default=attrs.NOTHING,
        )


def _list_qualifiers(hint: Any) -> set[str]:
    names = set()
    while name := find_qualifier(hint):
        names.add(name)
        (hint,) = hint.__args__
    # ReadOnly does not decide whether a field is required.
    return names - {"ReadOnly"}


def _iter_named_tuple_fields(cls: Any, hints: dict[str, Any]) -> Iterator[RecordField]:
    for name in cls._fields:
        default = cls._field_defaults.get(name, attrs.NOTHING)
        yield RecordField(
            attribute=name,
            key=name,
            argument=name,
            type=hints.get(name, Any),
            is_required=default is attrs.NOTHING,
            default=default,
        )


def read_docstring(cls: Any) -> str | None:
    """Return the class's own docstring, unless a decorator wrote it."""
    text = cls.__dict__.get("__doc__")
    # dataclass and NamedTuple generate "Point(x: int, y: int)", which tells a model nothing that the schema does not.
    if not isinstance(text, str) or text.startswith(f"{cls.__name__}("):
        return None
    return inspect.cleandoc(text) or None
