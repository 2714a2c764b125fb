"""The versions that a run is made with: requests may be rendered otherwise with others."""

from __future__ import annotations

from importlib.metadata import distributions

from pollux_sync import stages


def describe_versions() -> dict[str, str]:
    """Return the version of the request key, and of every installed distribution of pollux."""
    found = {
        name: distribution.version
        for distribution in distributions()
        if (name := str(distribution.metadata["Name"] or "")).startswith("pollux-")
    }
    return {"request key": str(stages.KEY_VERSION), **dict(sorted(found.items()))}
