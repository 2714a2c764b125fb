"""The progress of several calls, as one value."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

from pollux_sync._values import Value

if TYPE_CHECKING:
    from collections.abc import Callable


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Progress(Value):
    """The calls that have ended, of ``total``; ``failed`` of them without an answer; after ``duration_s`` seconds."""

    total: int
    done: int = 0
    failed: int = 0
    duration_s: float = 0.0

    @property
    def left_s(self) -> float | None:
        """The seconds that the rest takes at the pace so far; None before the first call has ended."""
        return self.duration_s * (self.total - self.done) / self.done if self.done else None

    def __str__(self) -> str:
        """Return it as a line for people, such as ``3/20 done, 1 failed, 12 s``."""
        failed = f", {self.failed} failed" if self.failed else ""
        left_s = self.left_s
        left = f", about {left_s:.0f} s left" if left_s and left_s >= 1 else ""
        return f"{self.done}/{self.total} done{failed}, {self.duration_s:.0f} s{left}"


#: Who wants to know: True shows it to people, a function is called with each `Progress`.
ProgressOption: TypeAlias = "bool | Callable[[Progress], object]"
