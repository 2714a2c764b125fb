"""Write docs/reference/hookspecs.json, the interface of the hooks, or print what has changed in it.

Usage: ``python tools/hookspecs.py`` prints the differences between the file and the code, and fails if there are any;
with ``--write`` it writes the file. Plugins rely on what is in it: see docs/explanation/compatibility.md.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pollux_sync.data.provider import API_VERSION
from pollux_sync.hooks import specs
from pollux_sync.hooks.relay import REQUIRED_HOOKS

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = Path(__file__).parents[1] / "docs" / "reference" / "hookspecs.json"


def describe_hooks() -> dict[str, Any]:
    """Return the interface as data: each hook with its arguments, their types, and what it returns."""
    hooks = {name: _describe(name, spec) for name, spec in vars(specs).items() if name.startswith("pollux_")}
    return {"api": list(API_VERSION), "hooks": dict(sorted(hooks.items()))}


def _describe(name: str, spec: Any) -> dict[str, Any]:
    signature = inspect.signature(spec)
    marks = getattr(spec, f"{specs.PROJECT}_spec")
    return {
        "arguments": {argument.name: argument.annotation for argument in signature.parameters.values()},
        "returns": signature.return_annotation,
        "first_result": bool(marks["firstresult"]),
        "required": name in REQUIRED_HOOKS,
    }


def list_changes(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each change. One that begins with "breaks" asks for a new major version of the interface."""
    old, new = before["hooks"], after["hooks"]
    yield from (f"breaks: {name} is gone" for name in sorted(old.keys() - new.keys()))
    for name in sorted(new.keys() - old.keys()):
        yield f"{'breaks' if new[name]['required'] else 'adds'}: {name} is new"
    for name in sorted(old.keys() & new.keys()):
        yield from _list_changes_of_hook(name, old[name], new[name])


def _list_changes_of_hook(name: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    before, after = old["arguments"], new["arguments"]
    yield from (f"breaks: {name} has lost {argument}" for argument in sorted(before.keys() - after.keys()))
    # A plugin names only the arguments that it wants.
    yield from (f"adds: {name} has {argument}" for argument in sorted(after.keys() - before.keys()))
    for argument in sorted(before.keys() & after.keys()):
        if before[argument] != after[argument]:
            yield f"look: {argument} of {name} was {before[argument]}, and is {after[argument]}"
    yield from (
        f"{'look' if field == 'returns' else 'breaks'}: {field} of {name} was {old[field]}, and is {new[field]}"
        for field in ("returns", "first_result", "required")
        if old[field] != new[field]
    )


def main() -> int:
    """Write the file, or print the changes since it was written."""
    if "--write" in sys.argv[1:]:
        FILE.write_text(json.dumps(describe_hooks(), indent=2) + "\n")
        return 0
    changes = list(list_changes(json.loads(FILE.read_text()), describe_hooks()))
    print("\n".join(changes))
    return bool(changes)


if __name__ == "__main__":
    sys.exit(main())
