"""The fields of attrs classes, dataclasses, TypedDicts and NamedTuples, seen alike."""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, Any, get_origin

import attrs

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas.annotations import hints_of, qualifier

if TYPE_CHECKING:
    from collections.abc import Iterator


@attrs.frozen(kw_only=True)
class RecordField:
    """One field: ``attribute`` in Python, ``key`` in JSON, ``argument`` of the constructor."""

    attribute: str
    key: str
    argument: str
    type: Any
    is_required: bool
    default: Any  # attrs.NOTHING where there is none, or a factory makes it
    description: str | None = None


def is_typed_dict(cls: Any) -> bool:
    """Whether this is a TypedDict, of typing or typing_extensions."""
    return isinstance(cls, type) and issubclass(cls, dict) and hasattr(cls, "__required_keys__")


def is_named_tuple(cls: Any) -> bool:
    """Whether this is a NamedTuple, typed or not."""
    return isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields")


def is_record(cls: type) -> bool:
    """Whether the class has named fields that are known here."""
    return attrs.has(cls) or dataclasses.is_dataclass(cls) or is_typed_dict(cls) or is_named_tuple(cls)


def record_fields(tp: Any) -> tuple[RecordField, ...]:
    """The fields that are written and read, in order; ``tp`` may be parametrised, as ``Box[int]``.

    Raises ConfigurationError when an annotation cannot be resolved.
    """
    cls, hints = get_origin(tp) or tp, hints_of(tp)
    return tuple(_fields(cls, hints))


def _fields(cls: Any, hints: dict[str, Any]) -> Iterator[RecordField]:
    if attrs.has(cls):
        return _attrs_fields(cls, hints)
    if dataclasses.is_dataclass(cls):
        return _dataclass_fields(cls, hints)
    return _typed_dict_fields(cls, hints) if is_typed_dict(cls) else _named_tuple_fields(cls, hints)


def _attrs_fields(cls: Any, hints: dict[str, Any]) -> Iterator[RecordField]:
    for field in attrs.fields(cls):
        if field.init:
            has_factory = isinstance(field.default, attrs.Factory)  # type: ignore[arg-type]
            yield RecordField(
                attribute=field.name,
                key=field.alias,
                argument=field.alias,
                type=hints.get(field.name, field.type or Any),
                is_required=field.default is attrs.NOTHING,
                default=attrs.NOTHING if has_factory else field.default,
                description=field.metadata.get("description"),
            )


def _dataclass_fields(cls: Any, hints: dict[str, Any]) -> Iterator[RecordField]:
    init_only = [name for name, hint in hints.items() if isinstance(hint, dataclasses.InitVar)]
    if init_only:
        raise ConfigurationError(
            f"{cls.__name__}.{init_only[0]} is an InitVar, which cannot be written back",
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


def _typed_dict_fields(cls: Any, hints: dict[str, Any]) -> Iterator[RecordField]:
    for name, hint in hints.items():
        # Written as text (`from __future__ import annotations`), NotRequired is missed by __required_keys__.
        words = _qualifiers(hint)
        is_required = name in cls.__required_keys__ if not words else "NotRequired" not in words
        yield RecordField(
            attribute=name,
            key=name,
            argument=name,
            type=hint,
            is_required=is_required,
            default=attrs.NOTHING,
        )


def _qualifiers(hint: Any) -> set[str]:
    found = set()
    while word := qualifier(hint):
        found.add(word)
        (hint,) = hint.__args__
    return found - {"ReadOnly"}


def _named_tuple_fields(cls: Any, hints: dict[str, Any]) -> Iterator[RecordField]:
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


def written_docstring(cls: Any) -> str | None:
    """The class's own docstring, unless dataclass or NamedTuple wrote it."""
    text = cls.__dict__.get("__doc__")
    if not isinstance(text, str) or text.startswith(f"{cls.__name__}("):
        return None
    return inspect.cleandoc(text) or None
