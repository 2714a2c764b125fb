"""``--schema``: a list of fields, or a file of JSON Schema -> the schema."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pollux_sync.errors import ConfigurationError

_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_FIELD = re.compile(r"(?P<name>[^\W\d]\w*)(?:\s+(?P<type>[a-z]+(?:\[.*\])?))?\s*(?P<optional>\?)?")
_LIST = re.compile(r"list\[(?P<items>.+)\]")
_HINT = "write e.g. 'name str, age int?, tags list[str]', or name a file: schema.json"


def schema_from(text: str) -> dict[str, Any]:
    """The JSON Schema that ``text`` writes out or names: with a dot or a slash in it, it is a path.

    Raises ConfigurationError.
    """
    return _from_file(Path(text)) if re.search(r"[./\\]", text) else _from_fields(text)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        schema = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"cannot read the schema {path}: {error.strerror}", hint=_HINT) from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} is not JSON: {error}", hint="--schema takes a file of JSON Schema") from error
    if not isinstance(schema, dict):
        raise ConfigurationError(
            f"{path} holds a {type(schema).__name__}, not a JSON Schema", hint='start with {"type": "object", ...}'
        )
    return schema


def _from_fields(text: str) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required = []
    for part in text.split(","):
        match = _FIELD.fullmatch(part.strip())
        if match is None:
            raise ConfigurationError(f"--schema has no field in {part.strip()!r}", hint=_HINT)
        name, schema = match["name"], _typed(match["type"] or "str")
        if name in properties:
            raise ConfigurationError(f"--schema has the field {name!r} twice", hint="name each field once")
        properties[name] = {"anyOf": [schema, {"type": "null"}]} if match["optional"] else schema
        required += [] if match["optional"] else [name]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _typed(name: str) -> dict[str, Any]:
    if name in _TYPES:
        return {"type": _TYPES[name]}
    items = _LIST.fullmatch("list[str]" if name == "list" else name)
    if items is None:
        raise ConfigurationError(
            f"--schema does not know the type {name!r}", hint=f"use {', '.join(_TYPES)} or list[...]; {_HINT}"
        )
    return {"type": "array", "items": _typed(items["items"].strip())}
