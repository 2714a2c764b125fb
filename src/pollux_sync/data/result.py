"""The dict that a call returns. Its types are in `envelope`, which a script without annotations never loads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, cast

# As a module, whose names are loaded on first use: most calls have no schema.
from pollux_sync import schemas

if TYPE_CHECKING:
    from pollux_sync.data.envelope import ResultEnvelope


class Envelope(dict[str, Any]):
    """The dict of a `ResultEnvelope`. Asked for an attribute, as the results of pollux-ai 2.0 have it, it says so."""

    __slots__ = ()

    def __getattr__(self, name: str) -> NoReturn:
        # Libraries ask for special names to find out what they can do with a value.
        if name.startswith("_"):
            raise AttributeError(f"a result has no attribute {name!r}")
        key = f"result[{name!r}]; " if name in self else ""
        raise AttributeError(
            f"a result is a dict, which has no attribute {name!r}; take {key}Output(result) for the attributes "
            "of one answer, or outputs(result) for each of several"
        )

    def _repr_markdown_(self) -> str:
        """Return what a notebook shows."""
        from pollux_sync.data.notebook import format_envelope

        return format_envelope(cast("ResultEnvelope", self))

    def copy(self) -> Envelope:
        """Return a copy that is an Envelope too."""
        return Envelope(self)


def dump_envelope(envelope: ResultEnvelope) -> dict[str, Any]:
    """Return the envelope as JSON-ready data. Typed answers in ``structured`` become dicts, lists and texts."""
    return {key: schemas.unstructure(value) if key == "structured" else value for key, value in envelope.items()}
