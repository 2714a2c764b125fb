"""The command line: ``pollux-sync COMMAND ...``.

A command is an entry point of the group ``pollux_sync.commands``, a callable ``main(argv) -> int``; the
built-in ones are no exception. It is imported when it is named, so that a broken one hurts nobody else.
"""

from __future__ import annotations

from pollux_sync.cli.dispatching import main

__all__ = ["main"]
