"""Tools for the tests of users and plugin authors: scripted answers and jobs, recordings, and a scripted HTTP server.

The names are loaded when they are first used: pytest imports this package in every run of whoever has installed it.
"""

from __future__ import annotations

from pollux_sync._lazy import build_getattr

TYPE_CHECKING = False  # as in typing, whose import would cost more than everything here
if TYPE_CHECKING:
    from pollux_sync.testing.recording import Recorder, Recording, Replayer
    from pollux_sync.testing.script import BrokenOff, JobScript, Script, failing

_HOMES = {
    "testing.recording": ("Recorder", "Recording", "Replayer"),
    "testing.script": ("BrokenOff", "JobScript", "Script", "failing"),
}

__all__ = ["BrokenOff", "JobScript", "Recorder", "Recording", "Replayer", "Script", "failing"]

__getattr__ = build_getattr(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
