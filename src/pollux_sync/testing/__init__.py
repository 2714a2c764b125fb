"""Tools for the tests of users and plugin authors: scripted answers and jobs, and a scripted HTTP server."""

from pollux_sync.testing.script import BrokenOff, JobScript, Script, failing

__all__ = ["BrokenOff", "JobScript", "Script", "failing"]
