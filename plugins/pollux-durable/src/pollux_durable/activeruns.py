"""The runs that threads of this process carry out."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING

from pollux_durable.data.runs import build_topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_durable.data.runs import RunRequest

#: The run that this thread carries out.
current_run: ContextVar[ActiveRun | None] = ContextVar("pollux_durable_run", default=None)


class ActiveRun:
    """A run that a thread of this process carries out."""

    def __init__(self, execution_id: str, request: RunRequest, read_failures: Callable[[], int]) -> None:
        self.execution_id = execution_id
        self.request = request
        #: Returns how often the run began again after a failure.
        self.read_failures = read_failures
        self.thread_id = threading.get_ident()
        #: Set when the run is cancelled here: waits in the thread end.
        self.stopping = threading.Event()
        #: When the run has to end, in seconds since the epoch.
        self.deadline: float | None = None
        self.step_keys: set[str] = set()
        #: The key of the step that is carried out, None between steps.
        self.current_step: str | None = None
        #: The events of each topic that the run has waited for, and the newest of each topic and type.
        self.taken_events: dict[str, set[int]] = {}
        self.newest_taken: dict[tuple[str, str | None], int] = {}
        self._aborters: list[Callable[[], None]] = []

    @property
    def topic(self) -> str:
        """The topic that the run shares with all runs below its root."""
        return build_topic(self.request.root_workflow_id, self.root_execution_id)

    @property
    def root_execution_id(self) -> str:
        """The id of the run at the top. A fork of a root is a root."""
        is_root = self.request.parent_execution_id is None
        return self.execution_id if is_root else self.request.root_execution_id

    def stop(self) -> None:
        """End waits in the thread."""
        self.stopping.set()

    def abort(self) -> None:
        """End waits in the thread, and model calls in flight."""
        self.stopping.set()
        for abort in [*self._aborters]:
            abort()

    def add_aborter(self, abort: Callable[[], None]) -> Callable[[], None]:
        """Have a function called by `abort`; return what takes it back."""
        self._aborters.append(abort)
        return lambda: self._aborters.remove(abort)
