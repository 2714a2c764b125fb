"""The canonical JSON Schema 2020-12 of a Python type."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas.annotations import unwrap_type
from pollux_sync.schemas.foreign import read_foreign_schema
from pollux_sync.schemas.forms import (
    INTEGER_KEY,
    AliasForm,
    ArrayForm,
    ChoiceForm,
    ForeignForm,
    Form,
    MapForm,
    PrimitiveForm,
    RecordForm,
    TextForm,
    TupleForm,
    UnionForm,
    build_form,
    build_type_name,
)
from pollux_sync.schemas.keywords import Schema, drop_keywords, map_subschemas
from pollux_sync.schemas.records import RecordField, read_docstring
from pollux_sync.schemas.validating import check_json_schema, check_patterns

_DEFS = "#/$defs/"
_TYPE_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def schema_of(tp: Any) -> Schema:
    """Return the canonical schema of a type, or a copy of a JSON Schema dict after checking it.

    Records and enums inside the type are under ``$defs``; the root is inline unless it refers to itself. Pydantic
    models and msgspec Structs have their own schema, which is returned unchanged. Raises ConfigurationError for a type
    without a JSON form, with the name of the field, for an invalid JSON Schema, and for a pattern that could take years
    to search in an answer.
    """
    schema = _build_schema(tp)
    check_patterns(schema)
    return schema


def _build_schema(tp: Any) -> Schema:
    if isinstance(tp, dict):
        check_json_schema(tp)
        return copy.deepcopy(tp)
    form = build_form(tp)
    return read_foreign_schema(form.cls) if isinstance(form, ForeignForm) else _SchemaBuilder().build_root(tp)


def schema_hash(schema: Schema) -> str:
    """Return the sha256 in hex of the schema's JSON: keys sorted, no spaces, ASCII."""
    # Handles and job files store this hash, and a later version compares it: the spelling may never change.
    text = json.dumps(schema, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class _SchemaBuilder:
    """The builder of one schema, which collects the definitions that the schema refers to."""

    def __init__(self) -> None:
        self.defs: dict[str, Schema] = {}
        self.names: dict[Any, str] = {}
        # Definitions of other libraries by their name in `defs`, before their references were renamed.
        self.embedded: dict[str, Schema] = {}
        # Names with more than one reference: the root may stay inline only if it is none of them.
        self.shared_names: set[str] = set()

    def build_root(self, tp: Any) -> Schema:
        root = self.build(tp, build_type_name(unwrap_type(tp)[0]))
        name = root.get("$ref", "").removeprefix(_DEFS)
        # A root that nothing refers to is inlined, so that the schema shows its object at the top.
        if name and name not in self.shared_names:
            root = {**self.defs.pop(name), **drop_keywords(root, "$ref")}
        return {**root, "$defs": self.defs} if self.defs else root

    def build(self, tp: Any, place: str) -> Schema:
        """Return the schema of a type found at ``place``, such as ``Invoice.lines[]``."""
        bare, description = unwrap_type(tp)
        try:
            form = build_form(bare)
        except ConfigurationError as error:
            raise ConfigurationError(f"{place}: {error.message}", hint=error.hint) from error
        is_named = isinstance(form, RecordForm | AliasForm) or (isinstance(form, ChoiceForm) and form.name is not None)
        schema = self.build_named(bare, form, place) if is_named else self.build_inline(form, place)
        return {**schema, "description": description} if description else schema

    def build_named(self, tp: Any, form: Form, place: str) -> Schema:
        name = self.names.get(tp)
        if name is None:
            # The name is known before the fields are built, so that a type which contains itself ends here.
            name = self.names[tp] = self.reserve_name(build_type_name(tp))
            inner = place if isinstance(form, AliasForm) else name
            self.defs[name] = self.build_inline(form, inner)
        else:
            self.shared_names.add(name)
        return {"$ref": _DEFS + name}

    def reserve_name(self, preferred: str) -> str:
        """Return a free name under ``$defs``, and take it."""
        name, number = preferred, 1
        while name in self.defs:
            number += 1
            name = f"{preferred}_{number}"
        # The empty entry keeps the name, and its place among the definitions.
        self.defs[name] = {}
        return name

    def build_inline(self, form: Form, place: str) -> Schema:  # noqa: PLR0911  (one row a form)
        match form:
            case PrimitiveForm(type_name):
                return {} if type_name == "any" else {"type": type_name}
            case TextForm(codec):
                return dict(codec.schema)
            case ChoiceForm():
                return _build_choice(form)
            case UnionForm(branches):
                return {"anyOf": [self.build(branch, place) for branch in branches]}
            case AliasForm():
                return self.build(form.target, place)
            case RecordForm():
                return self.build_record(form)
            case ForeignForm(cls):
                return self.embed_schema(read_foreign_schema(cls), build_type_name(cls))
            case _:
                return self.build_container(form, place)

    def build_container(self, form: ArrayForm | TupleForm | MapForm, place: str) -> Schema:
        if isinstance(form, ArrayForm):
            items: Schema = {"type": "array", "items": self.build(form.item, f"{place}[]")}
            return {**items, "uniqueItems": True} if form.is_unique else items
        if isinstance(form, MapForm):
            table = {"type": "object", "additionalProperties": self.build(form.value, f"{place}{{}}")}
            names = _build_key_schema(build_form(form.key))
            return {**table, "propertyNames": names} if names else table
        length = len(form.items)
        # Draft 2020-12 refuses empty prefixItems.
        if not length:
            return {"type": "array", "maxItems": 0}
        prefix = [self.build(item, f"{place}[{index}]") for index, item in enumerate(form.items)]
        return {"type": "array", "prefixItems": prefix, "items": False, "minItems": length, "maxItems": length}

    def build_record(self, form: RecordForm) -> Schema:
        schema: Schema = {"type": "object", "title": form.name}
        if docstring := read_docstring(form.cls):
            schema["description"] = docstring
        schema["properties"] = {
            field.key: self.build_field(field, f"{form.name}.{field.attribute}") for field in form.fields
        }
        schema["required"] = [field.key for field in form.fields if field.is_required]
        return {**schema, "additionalProperties": False}

    def build_field(self, field: RecordField, place: str) -> Schema:
        schema = self.build(field.type, place)
        if field.description:
            schema = {**schema, "description": field.description}
        # A default of another type, such as a date, need not be valid JSON.
        if type(field.default) in _TYPE_NAMES:
            schema = {**schema, "default": field.default}
        return schema

    def embed_schema(self, schema: Schema, name: str) -> Schema:
        """Return a reference to another library's schema, after adding it and its definitions to ours."""
        definitions = schema.pop("$defs", {})
        body = drop_keywords(schema, "$defs")
        # All names first: a definition may refer to any other one.
        names = {old: self.adopt_definition(old, inner) for old, inner in definitions.items()}
        for old, new in names.items():
            self.defs[new] = _rename_references(definitions[old], names)
        # msgspec, and Pydantic for a model that contains itself, return a reference as the root.
        if set(body) == {"$ref"}:
            return dict(_rename_references(body, names))
        return {"$ref": _DEFS + self.adopt_definition(name, body, _rename_references(body, names))}

    def adopt_definition(self, preferred: str, original: Schema, renamed: Schema | None = None) -> str:
        """Return the name of another library's definition under ``$defs``; equal definitions share one."""
        for name, known in self.embedded.items():
            # Equal content alone is not enough: two classes may look alike, and their names are sent to the model.
            if known == original and (name == preferred or name.startswith(f"{preferred}_")):
                return name
        name = self.reserve_name(preferred)
        self.embedded[name] = original
        if renamed is not None:
            self.defs[name] = renamed
        return name


def _build_choice(form: ChoiceForm) -> Schema:
    values = [value for value, _ in form.options]
    types = list(dict.fromkeys(_TYPE_NAMES[type(value)] for value in values))
    type_keyword = {"type": types[0]} if len(types) == 1 else {}
    if len(values) == 1 and form.name is None:
        return {**type_keyword, "const": values[0]}
    return {**type_keyword, "enum": values}


def _build_key_schema(form: Form) -> Schema | None:
    if isinstance(form, TextForm):
        return dict(form.codec.schema)
    # JSON has strings as keys only: an int among the options is spelled as text.
    if isinstance(form, ChoiceForm):
        return {"enum": [str(value) for value, _ in form.options]}
    return {"pattern": f"^{INTEGER_KEY.pattern}$"} if form == PrimitiveForm("integer") else None


def _rename_references(schema: Any, names: dict[str, str]) -> Any:
    if not isinstance(schema, dict):
        return schema
    changed = map_subschemas(schema, lambda _, inner: _rename_references(inner, names))
    old = str(schema.get("$ref", "")).removeprefix(_DEFS)
    return {**changed, "$ref": _DEFS + names[old]} if old in names else changed
