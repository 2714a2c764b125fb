"""The first item of a shared prefix goes ahead, so that the provider's cache is warm for the others."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_batch.data.work import Work


class Warmer:
    """Holds works back until the first one with their prefix has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._warm: set[bytes] = set()
        self._held: dict[bytes, list[Work]] = {}

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._held.values()))

    def choose(self, works: Sequence[Work]) -> list[Work]:
        """Return the works that may go now; the others are held."""
        chosen = []
        with self._lock:
            for work in works:
                if work.prefix in self._held:
                    self._held[work.prefix].append(work)
                    continue
                if work.prefix and work.prefix not in self._warm:
                    self._held[work.prefix] = []
                chosen.append(work)
        return chosen

    def release(self, work: Work) -> list[Work]:
        """Return the works that waited for this one, which has ended."""
        if not work.prefix:
            return []
        with self._lock:
            # Also after a failure: the next ones may do better, and none must wait for ever.
            self._warm.add(work.prefix)
            return self._held.pop(work.prefix, [])
