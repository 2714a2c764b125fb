"""The command line: ``pollux-sync COMMAND ...``.

A command is an entry point of the group ``pollux_sync.commands``: a callable ``main(argv) -> int``. The built-in
commands are found the same way. A command is imported only when it is called, so that a broken one cannot stop the
others.
"""

from __future__ import annotations

from pollux_sync.cli.dispatching import main

__all__ = ["main"]
