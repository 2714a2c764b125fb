"""Building Python values from JSON values, strictly: nothing is guessed, rounded or dropped."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.schemas.canonical import schema_of
from pollux_sync.schemas.foreign import foreign_schema, foreign_structure
from pollux_sync.schemas.forms import (
    INTEGER_KEY,
    Alias,
    Choice,
    Either,
    FixedTuple,
    Foreign,
    Form,
    JsonKind,
    Listing,
    Plain,
    Record,
    Table,
    Text,
    form_of,
)
from pollux_sync.schemas.keywords import map_subschemas
from pollux_sync.schemas.mismatch import AnswerMismatch, json_path, shortened
from pollux_sync.schemas.records import is_typed_dict
from pollux_sync.schemas.textforms import TextForm
from pollux_sync.schemas.validating import compile_validator, ensure_valid

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

Reader = Callable[[Any], Any]


def structure(value: Any, tp: Any) -> Any:
    """Return the instance of ``tp`` that this JSON value stands for; a dict ``tp`` is a JSON Schema.

    ``"false"`` is no boolean, 3.7 and True are no integers, unknown keys are refused; 3 is a fine float.
    A union takes the branch whose schema accepts the value, the more specific branch first.
    Raises AnswerMismatch with the JSON path, and ConfigurationError for types without a JSON form.
    """
    if isinstance(tp, dict):
        ensure_valid(value, compile_validator(schema_of(tp), checks_formats=True))
        return value
    return _read(value, tp, _checking_reader)


def structure_valid(value: Any, tp: Any) -> Any:
    """As ``structure``, for a value known to be valid under the type's own schema."""
    return value if isinstance(tp, dict) else _read(value, tp, _trusting_reader)


def _read(value: Any, tp: Any, foreign_reader: Callable[[Any], Reader]) -> Any:
    try:
        return _reader_of(tp, foreign_reader)(value)
    except RecursionError:
        raise AnswerMismatch("the value is nested too deeply") from None


@cache
def _reader_of(tp: Any, foreign_reader: Callable[[Any], Reader]) -> Reader:
    return _Readers(foreign_reader=foreign_reader).reader(form_of(tp))


@attrs.frozen(kw_only=True)
class _Readers:
    """Makes the reader of each type, from its form. What a type contains is looked up on first use."""

    foreign_reader: Callable[[Any], Reader]

    def reader(self, form: Form) -> Reader:  # noqa: PLR0911  (one row a form)
        match form:
            case Plain(kind):
                return _PLAIN_READERS[kind]
            case Text(text):
                return _text_reader(text)
            case Choice(options):
                return _choice_reader(options)
            case Either(branches):
                return self.either_reader(branches)
            case Alias():
                return self.inner(form.target)
            case Foreign(cls):
                return self.foreign_reader(cls)
            case Record():
                return self.record_reader(form)
            case _:
                return self.container_reader(form)

    def inner(self, tp: Any) -> Reader:
        readers: list[Reader] = []

        def read(value: Any) -> Any:
            if not readers:
                readers.append(_reader_of(tp, self.foreign_reader))
            return readers[0](value)

        return read

    def container_reader(self, form: Listing | FixedTuple | Table) -> Reader:
        if isinstance(form, Listing):
            return _list_reader(self.inner(form.item), form)
        if isinstance(form, Table):
            return _table_reader(_key_reader(form_of(form.key)), self.inner(form.value), form)
        return _tuple_reader(tuple(self.inner(item) for item in form.items))

    def record_reader(self, form: Record) -> Reader:
        readers = {field.key: (field.argument, self.inner(field.type)) for field in form.fields}
        required = [field.key for field in form.fields if field.is_required]
        make = dict if is_typed_dict(form.cls) else form.cls

        def read(value: Any) -> Any:
            given = _expect(value, dict, f"an object for {form.name}")
            for key in given:
                if key not in readers:
                    raise AnswerMismatch(f"{form.name} has no {key!r}", path=json_path([key]))
            for key in required:
                if key not in given:
                    raise AnswerMismatch(f"{key!r} is missing from {form.name}")
            return _made(make, **{readers[key][0]: _at(key, readers[key][1], item) for key, item in given.items()})

        return read

    def either_reader(self, branches: tuple[Any, ...]) -> Reader:
        forms = [form_of(branch) for branch in branches]
        null = Plain("null") in forms
        rest = [_Branch(tp=tp, form=form, read=self.inner(tp)) for tp, form in zip(branches, forms, strict=True)]
        rest = sorted((branch for branch in rest if branch.form != Plain("null")), key=_rank)

        def read(value: Any) -> Any:
            if value is None and null:
                return None
            return rest[0].read(value) if len(rest) == 1 else _first_fit(rest, value)

        return read


@attrs.frozen(kw_only=True, eq=False)
class _Branch:
    """One branch of a union."""

    tp: Any
    form: Form
    read: Reader

    @cached_property
    def validators(self) -> tuple[Draft202012Validator, Draft202012Validator]:
        """The schema without room for unknown keys, and as it is."""
        schema = schema_of(self.tp)
        return compile_validator(_closed(schema), checks_formats=True), compile_validator(schema, checks_formats=True)

    def fits(self, value: Any, *, is_closed: bool) -> bool:
        if isinstance(self.form, Plain):
            return isinstance(value, _PLAIN_TYPES[self.form.kind]) and (
                not isinstance(value, bool) or self.form.kind in ("any", "boolean")
            )
        return self.validators[0 if is_closed else 1].is_valid(value)


def _rank(branch: _Branch) -> int:
    """Branches which few values fit come first, else in the order of the union."""
    match branch.form:
        case Choice() | Text(TextForm(is_specific=True)):
            return 0
        case Plain("integer" | "boolean"):
            return 1
        case Plain("any"):
            return 3
        case _:
            return 2


def _first_fit(branches: list[_Branch], value: Any) -> Any:
    fitting = (
        [branch for branch in branches if branch.fits(value, is_closed=True)]
        or [branch for branch in branches if branch.fits(value, is_closed=False)]
        or branches
    )
    mismatches = []
    for branch in fitting:
        try:
            return branch.read(value)
        except AnswerMismatch as mismatch:
            mismatches.append(mismatch)
    if len(mismatches) == 1:
        raise mismatches[0]
    raise AnswerMismatch(f"fits no branch of the union: {'; '.join(map(str, mismatches))}")


def _closed(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    changed = map_subschemas(schema, lambda _, inner: _closed(inner))
    return {"additionalProperties": False, **changed} if "properties" in schema else changed


def _checking_reader(cls: Any) -> Reader:
    validator = compile_validator(foreign_schema(cls), checks_formats=True)

    def read(value: Any) -> Any:
        ensure_valid(value, validator)
        return foreign_structure(value, cls)

    return read


def _trusting_reader(cls: Any) -> Reader:
    return lambda value: foreign_structure(value, cls)


def _at(step: str | int, read: Reader, value: Any) -> Any:
    try:
        return read(value)
    except AnswerMismatch as mismatch:
        raise mismatch.under(step) from mismatch.__cause__


def _made(make: Callable[..., Any], *args: Any, **fields: Any) -> Any:
    try:
        return make(*args, **fields)
    except Exception as error:
        # A class's own checks may raise anything; one refused answer must not stop the others.
        raise AnswerMismatch(f"{make.__name__} refuses the value: {error}") from error


def _expect(value: Any, cls: type | tuple[type, ...], wanted: str) -> Any:
    if isinstance(value, cls) and not (isinstance(value, bool) and cls is not bool):
        return value
    raise AnswerMismatch(f"expected {wanted}, got {shortened(repr(value))}")


def _read_null(value: Any) -> None:
    if value is not None:
        raise AnswerMismatch(f"expected null, got {shortened(repr(value))}")


def _read_integer(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)  # JSON has one kind of number: 3.0 is the integer 3
    return int(_expect(value, int, "an integer"))


def _read_number(value: Any) -> float:
    return float(_made(float, _expect(value, (int, float), "a number")))


_PLAIN_READERS: dict[JsonKind, Reader] = {
    "any": lambda value: value,
    "null": _read_null,
    "boolean": lambda value: _expect(value, bool, "true or false"),
    "integer": _read_integer,
    "number": _read_number,
    "string": lambda value: _expect(value, str, "a string"),
}
_PLAIN_TYPES: dict[JsonKind, type | tuple[type, ...]] = {
    "any": object,
    "null": type(None),
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "string": str,
}


def _text_reader(form: TextForm) -> Reader:
    def read(value: Any) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        text = repr(value) if is_number and form.takes_numbers else _expect(value, str, "a string")
        try:
            return form.parse(text)
        except ValueError as error:
            raise AnswerMismatch(str(error)) from error

    return read


def _choice_reader(options: tuple[tuple[Any, Any], ...]) -> Reader:
    values = {(isinstance(written, bool), written): value for written, value in options}

    def read(value: Any) -> Any:
        key = (isinstance(value, bool), value)
        if isinstance(value, list | dict) or key not in values:
            known = ", ".join(repr(written) for written, _ in options)
            raise AnswerMismatch(f"{shortened(repr(value))} is not one of: {known}")
        return values[key]

    return read


def _list_reader(read_item: Reader, form: Listing) -> Reader:
    def read(value: Any) -> Any:
        given = _expect(value, list, "an array")
        made = _made(form.make, [_at(index, read_item, item) for index, item in enumerate(given)])
        if form.is_unique and len(made) != len(given):
            raise AnswerMismatch("the items are not unique")
        return made

    return read


def _tuple_reader(readers: tuple[Reader, ...]) -> Reader:
    def read(value: Any) -> Any:
        given = _expect(value, list, "an array")
        if len(given) != len(readers):
            raise AnswerMismatch(f"expected {len(readers)} items, got {len(given)}")
        return tuple(_at(index, readers[index], item) for index, item in enumerate(given))

    return read


def _table_reader(read_key: Reader, read_value: Reader, form: Table) -> Reader:
    def read(value: Any) -> Any:
        given = _expect(value, dict, "an object")
        table = {_at(key, read_key, key): _at(key, read_value, item) for key, item in given.items()}
        if len(table) != len(given):
            raise AnswerMismatch("two keys mean the same")
        return form.make(table)

    return read


def _key_reader(form: Form) -> Reader:
    """Read a key, which is text in JSON whatever it is in Python."""
    if isinstance(form, Text):
        return _text_reader(form.form)
    if isinstance(form, Choice):
        return _choice_reader(tuple((str(written), value) for written, value in form.options))
    return _read_integer_key if form == Plain("integer") else _PLAIN_READERS["string"]


def _read_integer_key(text: Any) -> int:
    if not INTEGER_KEY.fullmatch(text):
        raise AnswerMismatch(f"expected an integer as key, got {text!r}")
    return int(text)
