"""What a provider tells about itself: its models, and whether it can be used now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from pollux_sync.errors import FaultKind


@attrs.frozen(kw_only=True)
class ModelInfo:
    """A model as its provider lists it; None where the provider does not say.

    ``id`` is what `Config.model` takes. ``context_tokens`` is how much the model reads at once,
    ``max_output_tokens`` how much it writes at most, ``created_at`` is in seconds since the epoch.
    """

    id: str
    display_name: str | None = None
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    created_at: float | None = None


@attrs.frozen(kw_only=True)
class Readiness:
    """Whether a configuration can be used now; true in an ``if`` when it can.

    Where it cannot, ``reason`` says why, ``hint`` the next step where one is known, and ``kind`` is the category, one
    of `FaultKind`. ``latency_s`` is how many seconds it took to find out.
    """

    is_ready: bool
    reason: str | None = None
    hint: str | None = None
    kind: FaultKind | None = None
    latency_s: float

    def __bool__(self) -> bool:
        """Whether it is ready."""
        return self.is_ready
