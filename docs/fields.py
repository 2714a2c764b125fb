"""The fields of public classes as the tables of the reference show them: name, type and default in plain text."""

from __future__ import annotations

import json
import re
from importlib import import_module
from inspect import get_annotations
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin, is_typeddict

import attrs

import pollux_sync
from pollux_sync import plugin
from pollux_sync.data import envelope

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Where a heading of the reference looks for its class.
_HOMES = (pollux_sync, plugin, envelope)
#: How the tables of fields begin.
_HEADS = ("| field | type |", "| key | type |", "| class | field | type |")
#: A longer choice stands by its name, whose values the page lists once.
_MAX_CHOICES = 5
_MODULES = ("config", "envelope", "jobs", "message", "options", "provider", "reply", "source")
_CHOICES = {
    name: [json.dumps(choice) for choice in get_args(value)]
    for module in _MODULES
    for name, value in vars(import_module(f"pollux_sync.data.{module}")).items()
    if get_origin(value) is Literal
}
#: Defaults that are shown by the name that a plugin imports.
_CONSTANTS = {id(getattr(plugin, name)): name for name in ("API_VERSION", "PLAIN", "TEXT_RULE", "TEXT_FILE_RULE")}


class FieldRow(NamedTuple):
    """A field as its row shows it; ``default`` is "" for one that must be passed.

    For a key of a dict, ``default`` is "always" where the key is always there, else "".
    """

    name: str
    type: str
    default: str


def find_class(name: str) -> type[Any] | None:
    """Return the public class of this name, None if there is none."""
    found = (getattr(home, name, None) for home in _HOMES)
    return next((one for one in found if isinstance(one, type)), None)


def list_fields(cls: type[Any]) -> list[FieldRow]:
    """Return the public fields of an attrs class, or the keys of a TypedDict, in their order."""
    if is_typeddict(cls):
        hints = {name: hint.__forward_arg__ for name, hint in cls.__annotations__.items()}
        return [FieldRow(name, render_type(hint), _render_presence(hint)) for name, hint in hints.items()]
    fields = [field for field in attrs.fields(cls) if field.init and not field.name.startswith("_")]
    # Not field.type, which becomes a class once values are stored.
    written = {name: hint for base in reversed(cls.__mro__) for name, hint in get_annotations(base).items()}
    return [FieldRow(field.alias, render_type(written[field.name]), _render_default(field)) for field in fields]


def _render_presence(hint: str) -> str:
    return "" if hint.startswith("NotRequired[") else "always"


def render_type(annotation: str) -> str:
    """Return an annotation as the tables show it: "or" between alternatives, and short choices by their values."""
    text = re.sub(r"^NotRequired\[(.*)\]$", r"\1", annotation)
    for name, choices in _CHOICES.items():
        if len(choices) <= _MAX_CHOICES:
            text = re.sub(rf"\b{name}\b", " or ".join(choices), text)
    text = re.sub(r"Literal\[([^]]*)\]", lambda match: match[1].replace(", ", " or ").replace("'", '"'), text)
    return text.replace(" | ", " or ")


def _render_default(field: attrs.Attribute[Any]) -> str:
    default: Any = field.default
    if default is attrs.NOTHING:
        return ""
    return _render_value(default.factory() if isinstance(default, attrs.Factory) else default)  # type: ignore[arg-type]


def _render_value(value: Any) -> str:
    if id(value) in _CONSTANTS:
        return _CONSTANTS[id(value)]
    if isinstance(value, tuple):
        return repr(value) if not value else f"({', '.join(map(_render_value, value))})"
    if attrs.has(type(value)):
        return f"{type(value).__name__}()"
    return json.dumps(value) if isinstance(value, str | dict) else repr(value)


def iter_tables(page: Path) -> Iterator[tuple[str, list[FieldRow]]]:
    """Yield the name of each class that a page has a table of, with its rows.

    A table stands under the heading of its class; one of several classes names each in its first column.
    """
    heading = owner = ""
    rows: dict[str, list[FieldRow]] = {}
    for line in page.read_text().splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        if line.startswith("#"):
            heading, owner = line.strip("# `"), ""
        elif line.startswith(_HEADS):
            owner = heading
        elif not line.startswith("| `"):
            owner = owner if line.startswith("|") else ""
        elif owner:
            if len(cells) > len(FieldRow._fields) + 1:
                owner, *cells = cells
            rows.setdefault(owner, []).append(FieldRow(*cells[: len(FieldRow._fields)]))
    yield from rows.items()
