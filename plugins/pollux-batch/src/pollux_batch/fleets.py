"""The hooks of fleets: many machines that carry out the calls of one job.

A job plans, encodes and reads; a fleet takes its calls in chunks and returns the raw answers. A package offers a
fleet by an entry point in the group ``pollux_batch.fleets``: a function without arguments that returns a `Fleet`.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from importlib.metadata import EntryPoint

    from pollux_batch.data.chunks import ChunkState, FleetAnswer, FleetChunk

_GROUP = "pollux_batch.fleets"


@runtime_checkable
class Fleet(Protocol):
    """Carries out chunks of calls on machines of its own. One thread of a job calls it.

    What a method has done must outlive the process when it returns. An exception ends the run, and the next one asks
    again.
    """

    @property
    def name(self) -> str:
        """The name by which a journal knows the fleet; the same in every run."""
        ...

    def submit(self, chunk: FleetChunk) -> None:
        """Take a chunk. One whose mark it has already taken is not taken again: nothing is paid twice.

        The worker that gets it calls `carry_out_chunk`.
        """
        ...

    def inspect(self, marks: Sequence[str]) -> Mapping[str, ChunkState]:
        """Return the states of chunks; those that were never taken are left out."""
        ...

    def collect(self, mark: str) -> Iterable[FleetAnswer]:
        """Yield the answers of a chunk that has ended, in any order. Calls without an answer are left out."""
        ...

    def release(self, mark: str) -> None:
        """Forget a chunk and its answers, which are all in the journal of the job now. Ignore an unknown mark."""
        ...


def find_fleet(fleet: object) -> Fleet:
    """Return a fleet, given as itself or by its name. Raises ConfigurationError if no package has it."""
    if isinstance(fleet, str):
        fleet = find_entry_point(fleet).load()()
    if not isinstance(fleet, Fleet):
        raise ConfigurationError(
            f"fleet must be a Fleet or the name of one, got {type(fleet).__name__}", hint="leave fleet out"
        )
    return fleet


def find_entry_point(name: str) -> EntryPoint:
    """Return the entry point of a fleet. Raises ConfigurationError if no installed package has it."""
    known = {point.name: point for point in entry_points(group=_GROUP)}
    if name not in known:
        names = ", ".join(sorted(known)) or "none is installed"
        raise ConfigurationError(f"no plugin provides the fleet {name!r}", hint=f"known are: {names}")
    return known[name]
