"""Open clients of models, each leased to one run at a time, so that a run can be ended with its calls."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from pollux_sync import stages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync import Config

#: So many clients of one configuration stay open while no run uses them.
_MAX_IDLE = 16


@attrs.frozen(eq=False)
class Lane:
    """An open client of a configuration, and the files that were stored with it."""

    hooks: stages.Hooks
    uploads: stages.SharedUploads

    def close(self) -> None:
        """Delete the files and close the client."""
        self.uploads.__exit__(None, None, None)
        self.hooks.close()


class LanePool:
    """The open clients of this process."""

    def __init__(self) -> None:
        self._idle: dict[Config, list[Lane]] = {}
        self._lock = threading.Lock()
        self._is_closed = False

    @contextmanager
    def lease(self, config: Config) -> Iterator[Lane]:
        """Give a client to the block alone. Raises ConfigurationError for a configuration that cannot work."""
        lane = self._take(config)
        try:
            yield lane
        finally:
            self._give_back(config, lane)

    def _take(self, config: Config) -> Lane:
        with self._lock:
            idle = self._idle.get(config)
            if idle:
                return idle.pop()
        hooks = stages.open_hooks(config)
        return Lane(hooks, stages.SharedUploads(hooks))

    def _give_back(self, config: Config, lane: Lane) -> None:
        with self._lock:
            idle = self._idle.setdefault(config, [])
            if not (lane.hooks.is_aborted or self._is_closed or len(idle) >= _MAX_IDLE):
                idle.append(lane)
                return
        lane.close()

    def close(self) -> None:
        """Close all clients that no run uses; the others when they are given back."""
        with self._lock:
            self._is_closed = True
            lanes = [lane for idle in self._idle.values() for lane in idle]
            self._idle.clear()
        for lane in lanes:
            lane.close()
