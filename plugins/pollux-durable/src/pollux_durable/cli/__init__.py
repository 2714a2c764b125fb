"""The command ``pollux-sync durable``: an entry point of the group ``pollux_sync.commands``.

The core finds it by name, reports what it raises, and exits with what it returns.
"""

from __future__ import annotations

from pollux_durable.cli.dispatching import main

__all__ = ["main"]
