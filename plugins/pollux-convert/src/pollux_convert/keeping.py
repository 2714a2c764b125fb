"""A cache of converted documents: many prompts over one document convert it once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from pollux_convert.tasks import Part

Parts: TypeAlias = "tuple[Part, ...]"


class PartsCache:
    """A cache of up to ``max_bytes``, which forgets first what was not used for longest. Threads may share it."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Hashable, Parts] = OrderedDict()
        self._lock = threading.Lock()
        # One lock a key, so that threads convert different documents at once, and the same one once.
        self._busy: WeakValueDictionary[Hashable, threading.Lock] = WeakValueDictionary()

    def get(self, key: Hashable, build: Callable[[], Parts]) -> Parts:
        """Return what is kept for a key, else what ``build`` returns. What it raises is not kept."""
        with self._lock:
            busy = self._busy.setdefault(key, threading.Lock())
        with busy:
            with self._lock:
                if (parts := self._kept.get(key)) is not None:
                    self._kept.move_to_end(key)
                    return parts
            parts = build()
            with self._lock:
                self._keep(key, parts)
            return parts

    def _keep(self, key: Hashable, parts: Parts) -> None:
        self._kept[key] = parts
        while sum(map(_measure, self._kept.values())) > self._max_bytes:
            self._kept.popitem(last=False)


def _measure(parts: Parts) -> int:
    return sum(map(len, parts))
