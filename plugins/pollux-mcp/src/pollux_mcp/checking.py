"""The schemas of tools, which a server may get wrong or build to exhaust whoever reads them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pollux_sync.plugin import ConfigurationError, ToolDeclaration, schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: The most nodes that a schema may have when its references are replaced by what they refer to. Providers replace them.
_MAX_NODES = 20_000
_MAX_DEPTH = 100
#: The keywords that apply a schema to the same value as the schema around it.
_IN_PLACE = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"})


def find_schema_problem(name: str, schema: Mapping[str, Any], max_bytes: int) -> str | None:
    """Return why the schema of a tool's arguments cannot be used, or None."""
    try:
        if len(json.dumps(schema)) > max_bytes:
            return f"its schema has more than {max_bytes} bytes"
        references = _References(schema)
        if references.measure(schema) > _MAX_NODES:
            return "its schema becomes too large when references are replaced by what they refer to"
        if references.has_loop():
            return "its schema refers to itself without an end"
        ToolDeclaration(name, None, dict(schema))
        schema_of(dict(schema))
    except RecursionError:
        return "its schema is nested too deeply"
    except (ConfigurationError, LookupError) as error:
        return f"its schema is invalid: {getattr(error, 'message', error)}"
    return None


class _References:
    """The references inside one schema. All methods raise LookupError for one that leads nowhere."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._sizes: dict[str, int] = {}
        self._edges: dict[str, list[str]] = {}

    def measure(self, node: Any, depth: int = 0) -> int:
        """Return the number of nodes, each reference counted as what it refers to, a recursion once."""
        if depth > _MAX_DEPTH:
            raise RecursionError
        if isinstance(node, list):
            return 1 + sum(self.measure(one, depth + 1) for one in node)
        if not isinstance(node, dict):
            return 1
        size = 1 + sum(self.measure(one, depth + 1) for one in node.values())
        return size + self._measure_target(node["$ref"], depth) if isinstance(node.get("$ref"), str) else size

    def has_loop(self) -> bool:
        """Return whether a reference leads back to itself on the same value, so that checking it would not end."""
        seen: dict[str, bool] = {}
        return any(self._leads_back(reference, seen) for reference in self._edges)

    def _measure_target(self, reference: str, depth: int) -> int:
        if reference not in self._sizes:
            # What is counted here already, and is met again, is a recursion.
            self._sizes[reference] = 1
            target = self._find(reference)
            self._edges[reference] = [*_iter_in_place(target)]
            self._sizes[reference] = self.measure(target, depth + 1)
        return self._sizes[reference]

    def _leads_back(self, reference: str, seen: dict[str, bool]) -> bool:
        """Return whether a loop is met. ``seen`` is True for the references on the way here, False for the others."""
        if reference not in seen:
            seen[reference] = True
            if any(self._leads_back(one, seen) for one in self._edges[reference]):
                return True
            seen[reference] = False
        return seen[reference]

    def _find(self, reference: str) -> Any:
        if not reference.startswith("#"):
            raise LookupError("it refers to another document")
        node: Any = self._root
        for part in reference[1:].split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            try:
                node = node[int(key)] if isinstance(node, list) else node[key]
            except (KeyError, IndexError, TypeError, ValueError):
                raise LookupError("a reference leads nowhere") from None
        return node


def _iter_in_place(node: Any) -> Iterator[str]:
    """Yield the references that apply to the same value as a schema."""
    if not isinstance(node, dict):
        return
    if isinstance(node.get("$ref"), str):
        yield node["$ref"]
    for keyword in _IN_PLACE & node.keys():
        below = node[keyword]
        for one in below if isinstance(below, list) else below.values() if keyword == "dependentSchemas" else [below]:
            yield from _iter_in_place(one)
