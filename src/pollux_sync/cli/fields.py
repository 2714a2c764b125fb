"""The argument of ``--schema``, a list of fields or a file -> its JSON Schema."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pollux_sync.errors import ConfigurationError

_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_FIELD = re.compile(r"(?P<name>[^\W\d]\w*)(?:\s+(?P<type>[a-z]+(?:\[.*\])?))?\s*(?P<optional>\?)?")
_LIST = re.compile(r"list\[(?P<items>.+)\]")
_HINT = "write for example 'name str, age int?, tags list[str]', or name a file: schema.json"


def read_schema(text: str) -> dict[str, Any]:
    """Return the JSON Schema of a list of fields, or that of a file if ``text`` contains a dot or a slash.

    Raises ConfigurationError.
    """
    # No field and no type contains these characters, so a path cannot be taken for a list of fields.
    return _read_file(Path(text)) if re.search(r"[./\\]", text) else _parse_fields(text)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        # utf-8-sig, because editors on Windows begin a text file with a byte order mark.
        schema = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"cannot read the schema {path}: {error.strerror}", hint=_HINT) from error
    except (ValueError, RecursionError) as error:  # json gives up on deep nesting with a RecursionError
        raise ConfigurationError(f"{path} is not JSON: {error}", hint="--schema takes a file of JSON Schema") from error
    if not isinstance(schema, dict):
        raise ConfigurationError(
            f"{path} contains a {type(schema).__name__}, not a JSON Schema", hint='start with {"type": "object", ...}'
        )
    return schema


def _parse_fields(text: str) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required = []
    for part in text.split(","):
        match = _FIELD.fullmatch(part.strip())
        if match is None:
            raise ConfigurationError(f"--schema: {part.strip()!r} is not a field", hint=_HINT)
        name, schema = match["name"], _build_type(match["type"] or "str")
        if name in properties:
            raise ConfigurationError(f"--schema: the field {name!r} occurs twice", hint="name each field once")
        # Optional means both: the model may leave the field out, or answer null.
        properties[name] = {"anyOf": [schema, {"type": "null"}]} if match["optional"] else schema
        required += [] if match["optional"] else [name]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _build_type(name: str) -> dict[str, Any]:
    if name in _TYPES:
        return {"type": _TYPES[name]}
    items = _LIST.fullmatch("list[str]" if name == "list" else name)
    if items is None:
        raise ConfigurationError(
            f"--schema: unknown type {name!r}", hint=f"use {', '.join(_TYPES)} or list[...]; {_HINT}"
        )
    return {"type": "array", "items": _build_type(items["items"].strip())}
