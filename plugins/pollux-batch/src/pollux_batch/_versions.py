"""The versions that a run is made with: requests may be rendered otherwise with others."""

from __future__ import annotations

import re
from importlib.metadata import distributions

from pollux_sync import stages

_NAME = re.compile(r"^Name: *(pollux-.+?)\s*$", re.MULTILINE | re.IGNORECASE)


def describe_versions() -> dict[str, str]:
    """Return the version of the request key, and of every installed distribution of pollux."""
    found: dict[str, str] = {}
    for distribution in distributions():
        # Only the metadata of ours are parsed: those of all take four times as long, at the start of every run.
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        # The description, after the first blank line, may hold anything.
        name = _NAME.search(text.partition("\n\n")[0])
        if name is not None:
            # The first one on the path is the one that an import finds.
            found.setdefault(name[1], distribution.version)
    return {"request key": str(stages.KEY_VERSION), **dict(sorted(found.items()))}
