"""A schema in a form that can be rewritten piece by piece: definitions by name, nothing by pointer."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import attrs

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas.keywords import map_subschemas, walk
from pollux_sync.schemas.mismatch import json_path

DEFS = "#/$defs/"


@attrs.frozen(kw_only=True)
class Normalized:
    """A schema whose every ``$ref`` is ``#/$defs/<name>`` with the name in ``defs``."""

    root: Any
    defs: dict[str, Any]


def normalize(schema: Any) -> Normalized:
    """Return the schema with everything it refers to as a named definition.

    Raises ConfigurationError for references which are not ``#...``, and for schemas with inner ``$id``.
    """
    names: dict[str, str] = {}
    targets: dict[str, Any] = {}
    waiting = [schema]
    while waiting:
        for steps, inner in walk(waiting.pop()):
            reference = _reference(inner, steps)
            if reference is not None and reference not in names:
                target = _resolve(schema, reference)
                name = names[reference] = _free_name(reference, target, targets)
                targets[name] = target
                waiting.append(target)
    defs = {name: _rewrite(target, names) for name, target in targets.items()}
    return Normalized(root=_rewrite(schema, names), defs=defs)


def with_definitions(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema with those of the definitions that it leads to."""
    found: set[str] = set()
    waiting = _names_in(schema)
    while waiting:
        name = waiting.pop()
        if name not in found and name in definitions:
            found.add(name)
            waiting |= _names_in(definitions[name])
    used = {name: inner for name, inner in definitions.items() if name in found}
    return {**schema, "$defs": used} if used else schema


def _names_in(schema: Any) -> set[str]:
    return {
        inner["$ref"].removeprefix(DEFS) for _, inner in walk(schema) if isinstance(inner, dict) and "$ref" in inner
    }


def _reference(schema: Any, steps: tuple[str | int, ...]) -> str | None:
    if not isinstance(schema, dict):
        return None
    if steps and "$id" in schema:
        raise ConfigurationError(
            f"the schema has an inner $id at {json_path(steps)}", hint="refer to parts as '#/$defs/...' instead"
        )
    if "$dynamicRef" in schema:
        raise ConfigurationError(f"the schema has a $dynamicRef at {json_path(steps)}", hint="use $ref instead")
    reference = schema.get("$ref")
    if reference is not None and not str(reference).startswith("#"):
        raise ConfigurationError(
            f"the schema refers to {reference!r} at {json_path(steps)}",
            hint="put it under $defs and refer to it as '#/$defs/...'; nothing is fetched from elsewhere",
        )
    return reference


def _resolve(root: Any, reference: str) -> Any:
    pointer = unquote(reference[1:])
    if pointer and not pointer.startswith("/"):
        return _anchored(root, pointer)
    target = root
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        try:
            target = target[int(key)] if isinstance(target, list) else target[key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise _dangling(reference) from None
    return target


def _anchored(root: Any, anchor: str) -> Any:
    for _, inner in walk(root):
        if isinstance(inner, dict) and inner.get("$anchor") == anchor:
            return inner
    raise _dangling(f"#{anchor}")


def _dangling(reference: str) -> ConfigurationError:
    return ConfigurationError(f"the schema refers to {reference!r}, which is not part of it", hint="add it under $defs")


def _free_name(reference: str, target: Any, taken: dict[str, Any]) -> str:
    last = unquote(reference).rsplit("/", 1)[-1].removeprefix("#")
    title = target.get("title") if isinstance(target, dict) else None
    wanted = re.sub(r"[^A-Za-z0-9_.-]+", "_", last or title or "Root")
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name


def _rewrite(schema: Any, names: dict[str, str]) -> Any:
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key not in ("$defs", "definitions")}
    rewritten = map_subschemas(kept, lambda _, inner: _rewrite(inner, names))
    return {**rewritten, "$ref": DEFS + names[schema["$ref"]]} if "$ref" in schema else rewritten
