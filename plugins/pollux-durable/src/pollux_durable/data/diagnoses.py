"""The findings of a diagnosis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from pollux_durable.data.runs import JsonObject


@attrs.frozen(kw_only=True)
class Problem:
    """One fault that keeps runs from going on or from being read, and its remedy."""

    message: str
    hint: str
    execution_ids: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Diagnosis:
    """Facts by name, in the order in which they are shown, and what is wrong."""

    facts: dict[str, str]
    problems: tuple[Problem, ...] = ()

    def to_dict(self) -> JsonObject:
        """Return the JSON form."""
        return attrs.asdict(self)
