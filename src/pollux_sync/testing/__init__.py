"""For tests, users' and plugin authors': scripted answers and a scripted HTTP server."""

from pollux_sync.testing.script import Script, failing

__all__ = ["Script", "failing"]
