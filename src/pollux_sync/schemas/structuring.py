"""Strict building of Python values from JSON values: nothing is guessed, rounded or dropped."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.schemas.canonical import schema_of
from pollux_sync.schemas.foreign import read_foreign_schema, structure_foreign
from pollux_sync.schemas.forms import (
    INTEGER_KEY,
    AliasForm,
    ArrayForm,
    ChoiceForm,
    ForeignForm,
    Form,
    JsonType,
    MapForm,
    PrimitiveForm,
    RecordForm,
    TextForm,
    TupleForm,
    UnionForm,
    build_form,
)
from pollux_sync.schemas.jsontext import round_floats
from pollux_sync.schemas.keywords import map_subschemas
from pollux_sync.schemas.mismatch import AnswerMismatch, json_path, shorten
from pollux_sync.schemas.records import is_typed_dict
from pollux_sync.schemas.textcodecs import TextCodec
from pollux_sync.schemas.validating import check_value, compile_validator

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

Reader = Callable[[Any], Any]


def structure(value: Any, tp: Any) -> Any:
    """Return the instance of ``tp`` that a JSON value describes; a dict ``tp`` is a JSON Schema.

    Refuses ``"false"`` as a boolean, 3.7 and True as integers, and unknown keys; accepts 3 as a float. A union takes
    the branch whose schema accepts the value, more specific branches first. Raises AnswerMismatch with the JSON path,
    and ConfigurationError for a type without a JSON form.
    """
    if isinstance(tp, dict):
        check_value(value, compile_validator(schema_of(tp), checks_formats=True))
        return value
    return _read(value, tp, _make_checking_reader)


def structure_valid(value: Any, tp: Any) -> Any:
    """Do the same as ``structure``, for a value that is known to be valid under the schema of the type."""
    return value if isinstance(tp, dict) else _read(value, tp, _make_trusting_reader)


def _read(value: Any, tp: Any, make_foreign_reader: Callable[[Any], Reader]) -> Any:
    try:
        return _get_reader(tp, make_foreign_reader)(value)
    except RecursionError:
        raise AnswerMismatch("the value is nested too deeply") from None


# Built once for each type: every answer of a call is read with the same one.
@cache
def _get_reader(tp: Any, make_foreign_reader: Callable[[Any], Reader]) -> Reader:
    return _ReaderFactory(make_foreign_reader=make_foreign_reader).make_reader(build_form(tp))


@attrs.frozen(kw_only=True)
class _ReaderFactory:
    """The maker of readers from forms."""

    make_foreign_reader: Callable[[Any], Reader]

    def make_reader(self, form: Form) -> Reader:  # noqa: PLR0911  (one row a form)
        match form:
            case PrimitiveForm(type_name):
                return _PRIMITIVE_READERS[type_name]
            case TextForm(codec):
                return _make_text_reader(codec)
            case ChoiceForm(options):
                return _make_choice_reader(options)
            case UnionForm(branches):
                return self.make_union_reader(branches)
            case AliasForm():
                return self.make_lazy_reader(form.target)
            case ForeignForm(cls):
                return self.make_foreign_reader(cls)
            case RecordForm():
                return self.make_record_reader(form)
            case _:
                return self.make_container_reader(form)

    def make_lazy_reader(self, tp: Any) -> Reader:
        # Looked up on first use, so that a type may contain itself.
        readers: list[Reader] = []

        def read(value: Any) -> Any:
            if not readers:
                readers.append(_get_reader(tp, self.make_foreign_reader))
            return readers[0](value)

        return read

    def make_container_reader(self, form: ArrayForm | TupleForm | MapForm) -> Reader:
        if isinstance(form, ArrayForm):
            return _make_array_reader(self.make_lazy_reader(form.item), form)
        if isinstance(form, MapForm):
            return _make_map_reader(_make_key_reader(build_form(form.key)), self.make_lazy_reader(form.value), form)
        return _make_tuple_reader(tuple(self.make_lazy_reader(item) for item in form.items))

    def make_record_reader(self, form: RecordForm) -> Reader:
        readers = {field.key: (field.argument, self.make_lazy_reader(field.type)) for field in form.fields}
        required = [field.key for field in form.fields if field.is_required]
        make = dict if is_typed_dict(form.cls) else form.cls

        def read(value: Any) -> Any:
            properties = _require_type(value, dict, f"an object for {form.name}")
            for key in properties:
                if key not in readers:
                    raise AnswerMismatch(f"{form.name} has no {key!r}", path=json_path([key]))
            for key in required:
                if key not in properties:
                    raise AnswerMismatch(f"{key!r} is missing from {form.name}")
            arguments = {}
            for key, item in properties.items():
                argument, read_field = readers[key]
                arguments[argument] = _read_part(key, read_field, item)
            return _construct(make, **arguments)

        return read

    def make_union_reader(self, branches: tuple[Any, ...]) -> Reader:
        null = PrimitiveForm("null")
        forms = [(tp, build_form(tp)) for tp in branches]
        is_nullable = any(form == null for _, form in forms)
        others = [_Branch(tp=tp, form=form, read=self.make_lazy_reader(tp)) for tp, form in forms if form != null]
        others.sort(key=_rank)

        def read(value: Any) -> Any:
            if value is None and is_nullable:
                return None
            # Without a choice no schema is compiled, and the branch reports its own mismatch.
            return others[0].read(value) if len(others) == 1 else _read_first_match(others, value)

        return read


@attrs.frozen(kw_only=True, eq=False)
class _Branch:
    """One branch of a union."""

    tp: Any
    form: Form
    read: Reader

    @cached_property
    def validators(self) -> tuple[Draft202012Validator, Draft202012Validator]:
        """Two validators: one that refuses unknown keys everywhere, and one of the schema itself."""
        schema = schema_of(self.tp)
        closed = compile_validator(_close_objects(schema), checks_formats=True)
        return closed, compile_validator(schema, checks_formats=True)

    def accepts(self, value: Any, *, is_closed: bool) -> bool:
        # Types of JSON itself need no schema. A bool is an int in Python, but not in JSON.
        if isinstance(self.form, PrimitiveForm):
            return isinstance(value, _PRIMITIVE_TYPES[self.form.type_name]) and (
                not isinstance(value, bool) or self.form.type_name in ("any", "boolean")
            )
        return self.validators[0 if is_closed else 1].is_valid(value)


def _rank(branch: _Branch) -> int:
    """Return the place of a branch: the fewer values it accepts, the earlier. Sorting keeps the order of equals."""
    match branch.form:
        case ChoiceForm() | TextForm(TextCodec(is_specific=True)):
            return 0
        case PrimitiveForm("integer" | "boolean"):
            return 1
        case PrimitiveForm("any"):
            return 3
        case _:
            return 2


def _read_first_match(branches: list[_Branch], value: Any) -> Any:
    # Models of other libraries accept unknown keys: {"name", "town"} is valid as a Person with a name, too. Branches
    # that know every key come first, then those whose schema accepts the value; if none does, all report why.
    candidates = (
        [branch for branch in branches if branch.accepts(value, is_closed=True)]
        or [branch for branch in branches if branch.accepts(value, is_closed=False)]
        or branches
    )
    mismatches = []
    for branch in candidates:
        try:
            return branch.read(value)
        except AnswerMismatch as mismatch:
            mismatches.append(mismatch)
    if len(mismatches) == 1:
        raise mismatches[0]
    raise AnswerMismatch(f"matches no branch of the union: {'; '.join(map(str, mismatches))}")


def _close_objects(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    changed = map_subschemas(schema, lambda _, inner: _close_objects(inner))
    # A schema that says something about additional properties keeps it.
    return {"additionalProperties": False, **changed} if "properties" in schema else changed


def _make_checking_reader(cls: Any) -> Reader:
    validator = compile_validator(read_foreign_schema(cls), checks_formats=True)

    def read(value: Any) -> Any:
        # Pydantic accepts "3" for an int; the schema does not.
        check_value(value, validator)
        return structure_foreign(value, cls)

    return read


def _make_trusting_reader(cls: Any) -> Reader:
    return lambda value: structure_foreign(value, cls)


def _read_part(step: str | int, read: Reader, value: Any) -> Any:
    # Paths are built only when something fails: reading a valid value pays nothing for them.
    try:
        return read(value)
    except AnswerMismatch as mismatch:
        raise mismatch.prefix_path(step) from mismatch.__cause__


def _construct(make: Callable[..., Any], *args: Any, **fields: Any) -> Any:
    try:
        return make(*args, **fields)
    except Exception as error:
        # Validators of a class may raise anything, and one refused answer must not stop the other calls.
        raise AnswerMismatch(f"{make.__name__} refuses the value: {error}") from error


def _require_type(value: Any, cls: type | tuple[type, ...], expected: str) -> Any:
    # A bool is an int in Python, but not in JSON.
    if isinstance(value, cls) and not (isinstance(value, bool) and cls is not bool):
        return value
    raise AnswerMismatch(f"expected {expected}, got {shorten(repr(value))}")


def _read_null(value: Any) -> None:
    if value is not None:
        raise AnswerMismatch(f"expected null, got {shorten(repr(value))}")


def _read_integer(value: Any) -> int:
    # JSON has one kind of number: 3.0 is the integer 3, in JSON Schema too.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(_require_type(value, int, "an integer"))


def _read_number(value: Any) -> float:
    # float() raises OverflowError for an int that no float can hold.
    return float(_construct(float, _require_type(value, (int, float), "a number")))


_PRIMITIVE_READERS: dict[JsonType, Reader] = {
    "any": round_floats,
    "null": _read_null,
    "boolean": lambda value: _require_type(value, bool, "true or false"),
    "integer": _read_integer,
    "number": _read_number,
    "string": lambda value: _require_type(value, str, "a string"),
}
_PRIMITIVE_TYPES: dict[JsonType, type | tuple[type, ...]] = {
    "any": object,
    "null": type(None),
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "string": str,
}


def _make_text_reader(codec: TextCodec) -> Reader:
    def read(value: Any) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # repr is the shortest text of a float, so that 12.5 becomes Decimal("12.5"); of an exact one it is all digits.
        text = repr(value) if is_number and codec.takes_numbers else _require_type(value, str, "a string")
        try:
            return codec.parse(text)
        except ValueError as error:
            raise AnswerMismatch(str(error)) from error

    return read


def _make_choice_reader(options: tuple[tuple[Any, Any], ...]) -> Reader:
    # True == 1 in Python, so the key says which of the two it is.
    values = {(isinstance(json_value, bool), json_value): value for json_value, value in options}

    def read(value: Any) -> Any:
        key = (isinstance(value, bool), value)
        if isinstance(value, list | dict) or key not in values:
            known = ", ".join(repr(json_value) for json_value, _ in options)
            raise AnswerMismatch(f"{shorten(repr(value))} is not one of: {known}")
        return values[key]

    return read


def _make_array_reader(read_item: Reader, form: ArrayForm) -> Reader:
    def read(value: Any) -> Any:
        items = _require_type(value, list, "an array")
        collection = _construct(form.make, [_read_part(index, read_item, item) for index, item in enumerate(items)])
        # A set would drop a duplicate without notice.
        if form.is_unique and len(collection) != len(items):
            raise AnswerMismatch("the items are not unique")
        return collection

    return read


def _make_tuple_reader(readers: tuple[Reader, ...]) -> Reader:
    def read(value: Any) -> Any:
        items = _require_type(value, list, "an array")
        if len(items) != len(readers):
            raise AnswerMismatch(f"expected {len(readers)} items, got {len(items)}")
        return tuple(_read_part(index, readers[index], item) for index, item in enumerate(items))

    return read


def _make_map_reader(read_key: Reader, read_value: Reader, form: MapForm) -> Reader:
    def read(value: Any) -> Any:
        properties = _require_type(value, dict, "an object")
        table = {_read_part(key, read_key, key): _read_part(key, read_value, item) for key, item in properties.items()}
        # Two texts may be one key in Python, such as "1.0" and "1.00" as Decimal.
        if len(table) != len(properties):
            raise AnswerMismatch("two keys of the object are equal as Python values")
        return form.make(table)

    return read


def _make_key_reader(form: Form) -> Reader:
    """Return the reader of keys, which are strings in JSON whatever their Python type."""
    if isinstance(form, TextForm):
        return _make_text_reader(form.codec)
    if isinstance(form, ChoiceForm):
        return _make_choice_reader(tuple((str(json_value), value) for json_value, value in form.options))
    return _read_integer_key if form == PrimitiveForm("integer") else _PRIMITIVE_READERS["string"]


def _read_integer_key(text: Any) -> int:
    if not INTEGER_KEY.fullmatch(text):
        raise AnswerMismatch(f"expected an integer as key, got {text!r}")
    return int(text)
