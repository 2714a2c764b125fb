"""All that can be run here, by id."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pollux_durable.declaring import Workflow


class Registry:
    """The workflows, agents and tools that this process has declared."""

    def __init__(self) -> None:
        self._workflows: dict[str, Workflow] = {}
        self._lock = threading.Lock()
        #: Called with each workflow that is declared after the engine was launched.
        self.announce: Callable[[Workflow], None] | None = None

    def add(self, workflow: Workflow) -> None:
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

    def find(self, workflow_id: str) -> Workflow:
        """Return the workflow of an id. Raises ConfigurationError if there is none."""
        workflow = self._workflows.get(workflow_id)
        if workflow is None:
            known = ", ".join(sorted(self._workflows)) or "none"
            raise ConfigurationError(
                f"no workflow {workflow_id!r} is declared", hint=f"import the module that has it; declared: {known}"
            )
        return workflow

    def get(self, workflow_id: str) -> Workflow | None:
        """Return the workflow of an id, None if it is not declared here."""
        return self._workflows.get(workflow_id)

    def list_all(self) -> list[Workflow]:
        """Return all workflows."""
        return [*self._workflows.values()]

    def clear(self) -> None:
        """Forget all workflows."""
        with self._lock:
            self._workflows.clear()


registry = Registry()
