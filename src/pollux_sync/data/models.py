"""A model in a provider's list, and the readiness of a configuration."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol, TypeVar

import attrs

from pollux_sync._values import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_sync.errors import FaultKind


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ModelInfo(Value):
    """A model as its provider lists it; fields that the provider does not report are None.

    ``id`` is the value for `Config.model`. ``context_tokens`` is the size of the model's context,
    ``max_output_tokens`` the limit of one answer, ``created_at`` is in seconds since the epoch.
    """

    id: str
    display_name: str | None = None
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    created_at: float | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Readiness(Value):
    """The readiness of a configuration; true in an ``if`` when the configuration can be used now.

    If it cannot, ``reason`` says why, ``hint`` is the next step if one is known, and ``kind`` is the category, one of
    `FaultKind`. ``latency_s`` is the duration of the check in seconds.
    """

    is_ready: bool
    reason: str | None = None
    hint: str | None = None
    kind: FaultKind | None = None
    latency_s: float

    def __bool__(self) -> bool:
        """Return whether the configuration can be used now."""
        return self.is_ready


class ModelRow(Protocol):
    """A row of a provider's facts about models. It holds for names in which ``pattern`` is found."""

    @property
    def pattern(self) -> str:
        """A regular expression for lower-case names."""
        ...


Row = TypeVar("Row", bound=ModelRow)


def find_model_row(rows: Sequence[Row], model: str) -> Row:
    """Return the first row that matches a model's name. The last row must match every name."""
    name = model.lower()
    return next(row for row in rows if re.search(row.pattern, name))
