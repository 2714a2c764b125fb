"""Clients that outlive a call: one a configuration, shared by the whole process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_sync.data.config import ConfigValues
    from pollux_sync.hooks.relay import Hooks


@attrs.define
class _Line:
    hooks: Hooks
    users: int = 0


class Connections:
    """Open hooks by configuration, at most ``capacity`` of them idle or busy where that is possible.

    The least recently used idle one is closed to make room; one in use never is.
    """

    def __init__(self, open_hooks: Callable[[ConfigValues], Hooks], *, capacity: int = 16) -> None:
        self._open_hooks = open_hooks
        self._capacity = capacity
        self._lock = threading.Lock()
        self._lines: OrderedDict[ConfigValues, _Line] = OrderedDict()

    def lease(self, config: ConfigValues) -> Lease:
        """The configuration's hooks for a ``with`` block, kept open at least until it ends."""
        return Lease(self, config)

    def taken(self, config: ConfigValues) -> _Line:
        """The line of a configuration, in use until `give_back`."""
        with self._lock:
            line = self._lines.get(config)
            if line is None:
                line = self._lines[config] = _Line(self._open_hooks(config))
            line.users += 1
            self._lines.move_to_end(config)
            surplus = self._surplus()
        for idle in surplus:
            idle.hooks.close()
        return line

    def give_back(self, line: _Line) -> None:
        """The end of what `taken` began."""
        with self._lock:
            line.users -= 1

    def _surplus(self) -> list[_Line]:
        excess = len(self._lines) - self._capacity
        if excess <= 0:
            return []
        idle = [config for config, line in self._lines.items() if not line.users]
        return [self._lines.pop(config) for config in idle[:excess]]

    def close(self) -> None:
        """Close every client; the next call opens a new one."""
        with self._lock:
            lines, self._lines = self._lines, OrderedDict()
        for line in lines.values():
            line.hooks.close()

    def forget(self) -> None:
        """Drop every client unclosed: in a forked child the sockets belong to the parent."""
        self._lock = threading.Lock()
        self._lines = OrderedDict()


class Lease:
    """One user of an open line; entered once. A class, since a generator's context costs every call more."""

    def __init__(self, connections: Connections, config: ConfigValues) -> None:
        self._connections = connections
        self._config = config

    def __enter__(self) -> Hooks:
        self._line = self._connections.taken(self._config)
        return self._line.hooks

    def __exit__(self, *_: object) -> None:
        self._connections.give_back(self._line)
