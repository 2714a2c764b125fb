"""The canonical JSON Schema 2020-12 of a Python type."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas.annotations import peel
from pollux_sync.schemas.foreign import foreign_schema
from pollux_sync.schemas.forms import (
    INTEGER_KEY,
    Alias,
    Choice,
    Either,
    FixedTuple,
    Foreign,
    Form,
    Listing,
    Plain,
    Record,
    Table,
    Text,
    form_of,
    type_name,
)
from pollux_sync.schemas.keywords import Schema, map_subschemas
from pollux_sync.schemas.records import RecordField, written_docstring
from pollux_sync.schemas.validating import ensure_schema

_DEFS = "#/$defs/"
_KINDS = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def schema_of(tp: Any) -> Schema:
    """Return the canonical schema of a type, or a copy of a JSON Schema dict after checking it.

    Records and enums inside are under ``$defs``; the root is inline unless it refers to itself.
    Pydantic models and msgspec Structs state their own schema, which is left as it is.
    Raises ConfigurationError for types without a JSON form, naming the field, and for wrong schemas.
    """
    if isinstance(tp, dict):
        ensure_schema(tp)
        return copy.deepcopy(tp)
    form = form_of(tp)
    return foreign_schema(form.cls) if isinstance(form, Foreign) else _Builder().build_root(tp)


def schema_hash(schema: Schema) -> str:
    """Return the sha256 in hex of the schema's JSON: keys sorted, no spaces, ASCII. Handles keep it."""
    text = json.dumps(schema, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class _Builder:
    """Builds one schema; collects the definitions it needs on the way."""

    def __init__(self) -> None:
        self.defs: dict[str, Schema] = {}
        self.names: dict[Any, str] = {}
        self.embedded: dict[str, Schema] = {}
        self.referred_again: set[str] = set()

    def build_root(self, tp: Any) -> Schema:
        root = self.build(tp, type_name(peel(tp)[0]))
        name = root.get("$ref", "").removeprefix(_DEFS)
        if name and name not in self.referred_again:
            root = {**self.defs.pop(name), **_without(root, "$ref")}
        return {**root, "$defs": self.defs} if self.defs else root

    def build(self, tp: Any, place: str) -> Schema:
        """Return the schema of a type found at ``place``, such as ``Invoice.lines[]``."""
        bare, description = peel(tp)
        try:
            form = form_of(bare)
        except ConfigurationError as error:
            raise ConfigurationError(f"{place}: {error.message}", hint=error.hint) from error
        is_named = isinstance(form, Record | Alias) or (isinstance(form, Choice) and form.name is not None)
        schema = self.build_named(bare, form, place) if is_named else self.build_inline(form, place)
        return {**schema, "description": description} if description else schema

    def build_named(self, tp: Any, form: Form, place: str) -> Schema:
        name = self.names.get(tp)
        if name is None:
            name = self.names[tp] = self.reserve(type_name(tp))
            inner = place if isinstance(form, Alias) else name
            self.defs[name] = self.build_inline(form, inner)
        else:
            self.referred_again.add(name)
        return {"$ref": _DEFS + name}

    def reserve(self, wanted: str) -> str:
        """Take a free name under ``$defs``; its place in the order is where it was first needed."""
        name, number = wanted, 1
        while name in self.defs:
            number += 1
            name = f"{wanted}_{number}"
        self.defs[name] = {}
        return name

    def build_inline(self, form: Form, place: str) -> Schema:  # noqa: PLR0911  (one row a form)
        match form:
            case Plain(kind):
                return {} if kind == "any" else {"type": kind}
            case Text(text):
                return dict(text.schema)
            case Choice():
                return _choice_schema(form)
            case Either(branches):
                return {"anyOf": [self.build(branch, place) for branch in branches]}
            case Alias():
                return self.build(form.target, place)
            case Record():
                return self.record_schema(form)
            case Foreign(cls):
                return self.embed(foreign_schema(cls), type_name(cls))
            case _:
                return self.container_schema(form, place)

    def container_schema(self, form: Listing | FixedTuple | Table, place: str) -> Schema:
        if isinstance(form, Listing):
            items: Schema = {"type": "array", "items": self.build(form.item, f"{place}[]")}
            return {**items, "uniqueItems": True} if form.is_unique else items
        if isinstance(form, Table):
            table = {"type": "object", "additionalProperties": self.build(form.value, f"{place}{{}}")}
            names = _key_schema(form_of(form.key))
            return {**table, "propertyNames": names} if names else table
        length = len(form.items)
        if not length:
            return {"type": "array", "maxItems": 0}
        prefix = [self.build(item, f"{place}[{index}]") for index, item in enumerate(form.items)]
        return {"type": "array", "prefixItems": prefix, "items": False, "minItems": length, "maxItems": length}

    def record_schema(self, form: Record) -> Schema:
        schema: Schema = {"type": "object", "title": form.name}
        if docstring := written_docstring(form.cls):
            schema["description"] = docstring
        schema["properties"] = {
            field.key: self.field_schema(field, f"{form.name}.{field.attribute}") for field in form.fields
        }
        schema["required"] = [field.key for field in form.fields if field.is_required]
        return {**schema, "additionalProperties": False}

    def field_schema(self, field: RecordField, place: str) -> Schema:
        schema = self.build(field.type, place)
        if field.description:
            schema = {**schema, "description": field.description}
        if type(field.default) in _KINDS:
            schema = {**schema, "default": field.default}
        return schema

    def embed(self, schema: Schema, name: str) -> Schema:
        """Take over another library's schema, with its definitions among ours."""
        theirs = schema.pop("$defs", {})
        body = _without(schema, "$defs")
        names = {old: self.adopt(old, inner) for old, inner in theirs.items()}
        for old, new in names.items():
            self.defs[new] = _renamed(theirs[old], names)
        if set(body) == {"$ref"}:
            return dict(_renamed(body, names))
        return {"$ref": _DEFS + self.adopt(name, body, _renamed(body, names))}

    def adopt(self, wanted: str, original: Schema, renamed: Schema | None = None) -> str:
        """Take a name for another library's definition; the same definition keeps the name it has."""
        for name, known in self.embedded.items():
            if known == original and (name == wanted or name.startswith(f"{wanted}_")):
                return name
        name = self.reserve(wanted)
        self.embedded[name] = original
        if renamed is not None:
            self.defs[name] = renamed
        return name


def _choice_schema(form: Choice) -> Schema:
    values = [written for written, _ in form.options]
    kinds = list(dict.fromkeys(_KINDS[type(value)] for value in values))
    kind = {"type": kinds[0]} if len(kinds) == 1 else {}
    if len(values) == 1 and form.name is None:
        return {**kind, "const": values[0]}
    return {**kind, "enum": values}


def _key_schema(form: Form) -> Schema | None:
    if isinstance(form, Text):
        return dict(form.form.schema)
    if isinstance(form, Choice):
        return {"enum": [str(written) for written, _ in form.options]}
    return {"pattern": f"^{INTEGER_KEY.pattern}$"} if form == Plain("integer") else None


def _renamed(schema: Any, names: dict[str, str]) -> Any:
    if not isinstance(schema, dict):
        return schema
    changed = map_subschemas(schema, lambda _, inner: _renamed(inner, names))
    old = str(schema.get("$ref", "")).removeprefix(_DEFS)
    return {**changed, "$ref": _DEFS + names[old]} if old in names else changed


def _without(schema: Schema, key: str) -> Schema:
    return {name: value for name, value in schema.items() if name != key}
