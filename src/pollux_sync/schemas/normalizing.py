"""Normalizing of references: every schema that one leads to becomes a named definition.

A JSON pointer such as ``#/properties/a`` would break as soon as the schema around its target is rewritten.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import attrs

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas.keywords import map_subschemas, walk_schemas
from pollux_sync.schemas.mismatch import json_path

DEFS = "#/$defs/"


@attrs.frozen(kw_only=True)
class Normalized:
    """A schema in which every ``$ref`` is ``#/$defs/<name>``, with the name in ``defs``."""

    root: Any
    defs: dict[str, Any]


def normalize(schema: Any) -> Normalized:
    """Return the schema with the target of every reference as a named definition.

    Raises ConfigurationError for a reference that is not ``#...``, and for a schema with an inner ``$id``.
    """
    names: dict[str, str] = {}
    targets: dict[str, Any] = {}
    waiting = [schema]
    while waiting:
        for steps, inner in walk_schemas(waiting.pop()):
            reference = _read_reference(inner, steps)
            if reference is not None and reference not in names:
                target = _resolve_reference(schema, reference)
                name = names[reference] = _choose_name(reference, target, targets)
                targets[name] = target
                # A pointer may lead into a keyword that the walk does not know, so the target is walked too.
                waiting.append(target)
    defs = {name: _replace_references(target, names) for name, target in targets.items()}
    return Normalized(root=_replace_references(schema, names), defs=defs)


def attach_definitions(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with those of the definitions to which it leads, directly or through others."""
    used_names: set[str] = set()
    waiting = _list_references(schema)
    while waiting:
        name = waiting.pop()
        if name not in used_names and name in definitions:
            used_names.add(name)
            waiting |= _list_references(definitions[name])
    used = {name: inner for name, inner in definitions.items() if name in used_names}
    return {**schema, "$defs": used} if used else schema


def _list_references(schema: Any) -> set[str]:
    return {
        inner["$ref"].removeprefix(DEFS)
        for _, inner in walk_schemas(schema)
        if isinstance(inner, dict) and "$ref" in inner
    }


def _read_reference(schema: Any, steps: tuple[str | int, ...]) -> str | None:
    if not isinstance(schema, dict):
        return None
    # An inner $id changes the base of every reference below it, and $dynamicRef depends on the path of validation:
    # neither has one fixed target.
    if steps and "$id" in schema:
        raise ConfigurationError(
            f"the schema has an inner $id at {json_path(steps)}", hint="refer to it as '#/$defs/...' instead"
        )
    if "$dynamicRef" in schema:
        raise ConfigurationError(f"the schema has a $dynamicRef at {json_path(steps)}", hint="use $ref instead")
    reference = schema.get("$ref")
    if reference is not None and not str(reference).startswith("#"):
        raise ConfigurationError(
            f"the schema refers to {reference!r} at {json_path(steps)}",
            hint="put it under $defs and refer to it as '#/$defs/...'; nothing is fetched",
        )
    return reference


def _resolve_reference(root: Any, reference: str) -> Any:
    # A JSON pointer in a URI fragment is percent-encoded, and within it ~1 stands for "/" and ~0 for "~".
    pointer = unquote(reference[1:])
    if pointer and not pointer.startswith("/"):
        return _find_anchor(root, pointer)
    target = root
    for token in pointer.split("/")[1:]:
        # ~1 before ~0, or "~01" would become "/" (RFC 6901, section 4).
        key = token.replace("~1", "/").replace("~0", "~")
        try:
            target = target[int(key)] if isinstance(target, list) else target[key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise _build_dangling_error(reference) from None
    return target


def _find_anchor(root: Any, anchor: str) -> Any:
    for _, inner in walk_schemas(root):
        if isinstance(inner, dict) and inner.get("$anchor") == anchor:
            return inner
    raise _build_dangling_error(f"#{anchor}")


def _build_dangling_error(reference: str) -> ConfigurationError:
    return ConfigurationError(f"the schema refers to {reference!r}, which is not part of it", hint="add it under $defs")


def _choose_name(reference: str, target: Any, taken: dict[str, Any]) -> str:
    last = unquote(reference).rsplit("/", 1)[-1].removeprefix("#")
    title = target.get("title") if isinstance(target, dict) else None
    preferred = re.sub(r"[^A-Za-z0-9_.-]+", "_", last or title or "Root")
    name, number = preferred, 1
    while name in taken:
        number += 1
        name = f"{preferred}_{number}"
    return name


def _replace_references(schema: Any, names: dict[str, str]) -> Any:
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key not in ("$defs", "definitions")}
    rewritten = map_subschemas(kept, lambda _, inner: _replace_references(inner, names))
    return {**rewritten, "$ref": DEFS + names[schema["$ref"]]} if "$ref" in schema else rewritten
