"""All that can be run here, by id."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_durable.data.events import Trigger
    from pollux_durable.data.queues import Queue
    from pollux_durable.data.runs import Json
    from pollux_durable.data.schedules import Timetable
    from pollux_durable.data.states import WorkflowState


class Declared(Protocol):
    """A workflow, an agent or a tool, as those see it that start its runs, carry them out and read their results."""

    @property
    def id(self) -> str:
        """The id, under which its runs are kept."""
        ...

    @property
    def queue(self) -> Queue | None:
        """The queue of its runs, None for none of their own."""
        ...

    @property
    def queue_name(self) -> str | None:
        """The name of that queue."""
        ...

    @property
    def state_schema(self) -> type[WorkflowState] | None:
        """The class of its state, None without one."""
        ...

    @property
    def state_scope(self) -> str:
        """True if runs of a session share the state."""
        ...

    @property
    def max_retries(self) -> int:
        """The number of times that a run begins again after a failure."""
        ...

    @property
    def on_start(self) -> tuple[Any, ...]:
        """The hooks before its function."""
        ...

    @property
    def on_end(self) -> tuple[Any, ...]:
        """The hooks after its function."""
        ...

    @property
    def schedule(self) -> object:
        """The schedule that its code declares, or None."""
        ...

    @property
    def timetable(self) -> Timetable | None:
        """The times of its schedule, None without any."""
        ...

    @property
    def trigger(self) -> Trigger | None:
        """The topic whose events start it, None without one."""
        ...

    def check_payload(self, payload: Any) -> Json:
        """Return the JSON form of a payload. Raises PayloadError if it does not fit."""
        ...

    def check_state(self, initial: Any) -> Json:
        """Return the JSON form of an initial state. Raises PayloadError if it does not fit."""
        ...

    def build_context(self, **facts: Any) -> Any:
        """Return the context that a run is handed."""
        ...

    def execute(self, context: Any, payload: Json) -> Json:
        """Carry a run out; return the JSON form of its result."""
        ...

    def restore_result(self, value: Json) -> Any:
        """Return a result as its declared type."""
        ...


class Registry:
    """The workflows, agents and tools that this process has declared."""

    def __init__(self) -> None:
        self._workflows: dict[str, Declared] = {}
        self._lock = threading.Lock()
        #: Called with each workflow that is declared after the engine was launched.
        self.announce: Callable[[Declared], None] | None = None

    def add(self, workflow: Declared) -> None:
        """Add a workflow, once. Raises ConfigurationError if another one has its id."""
        with self._lock:
            known = self._workflows.get(workflow.id)
            if known is workflow:
                return
            if known is not None:
                raise ConfigurationError(
                    f"two workflows have the id {workflow.id!r}", hint="pass another id=; runs are kept under it"
                )
            self._workflows[workflow.id] = workflow
            announce = self.announce
        if announce is not None:
            announce(workflow)

    def find(self, workflow_id: str) -> Declared:
        """Return the workflow of an id. Raises ConfigurationError for an unknown id."""
        workflow = self._workflows.get(workflow_id)
        if workflow is None:
            known = ", ".join(sorted(self._workflows)) or "none"
            raise ConfigurationError(
                f"no workflow {workflow_id!r} is declared", hint=f"import the module that has it; declared: {known}"
            )
        return workflow

    def get(self, workflow_id: str) -> Declared | None:
        """Return the workflow of an id, None if it is not declared here."""
        return self._workflows.get(workflow_id)

    def list_all(self) -> list[Declared]:
        """Return all workflows."""
        return [*self._workflows.values()]

    def clear(self) -> None:
        """Forget all workflows."""
        with self._lock:
            self._workflows.clear()


registry = Registry()
