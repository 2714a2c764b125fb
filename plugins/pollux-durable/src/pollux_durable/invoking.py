"""Workflow and payload -> a run, and the handle that stands for it."""

from __future__ import annotations

import math
import time
import uuid
from typing import TYPE_CHECKING, Any, TypedDict

import attrs

from pollux_durable.data.runs import RunRequest
from pollux_durable.data.values import convert_to_json
from pollux_durable.following import follow_run
from pollux_durable.retrying import fork_run, list_children, retry_run
from pollux_durable.suspending import publish_answer
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pollux_durable.activeruns import ActiveRun
    from pollux_durable.data.events import EventPayload
    from pollux_durable.data.runs import RunInfo, RunStatus, StepRecord
    from pollux_durable.hosting import Host
    from pollux_durable.registry import Declared


class ExecutionHandle:
    """Stands for a run. It can be made from the id of one in any process: ``get_handle(id)``."""

    def __init__(self, host: Host, execution_id: str) -> None:
        self._host = host
        self.id = execution_id

    def __repr__(self) -> str:
        return f"ExecutionHandle({self.id!r})"

    def get(self) -> RunInfo:
        """Return the state of the run. Raises ConfigurationError if it does not exist."""
        return self._host.read_run(self.id)

    @property
    def status(self) -> RunStatus:
        """The status of the run."""
        return self.get().status

    @property
    def workflow_id(self) -> str:
        """The id of its workflow."""
        return self.get().workflow_id

    @property
    def session_id(self) -> str:
        """The id of its session."""
        return self.get().session_id

    @property
    def user_id(self) -> str | None:
        """The id of its user."""
        return self.get().user_id

    @property
    def created_at(self) -> float:
        """When it was created, in seconds since the epoch."""
        return self.get().created_at

    @property
    def parent_execution_id(self) -> str | None:
        """The run that started it."""
        return self.get().parent_execution_id

    @property
    def root_execution_id(self) -> str:
        """The run at the top of those that started it."""
        return self.get().root_execution_id

    @property
    def root_workflow_id(self) -> str:
        """The workflow of the run at the top."""
        return self.get().root_workflow_id

    @property
    def step_key(self) -> str | None:
        """The step that started it."""
        return self.get().step_key

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the run, at most ``timeout`` seconds, and return its result.

        Raises RunFailedError if it failed or was cancelled, WorkflowTimeoutError if it goes on.
        """
        check_timeout(timeout)
        return self._host.open_result(self._host.wait_ended(self.id, timeout))

    def cancel(self, *, abort: bool = False) -> None:
        """Cancel the run and all that it has started, at the next step of each.

        A model call in flight ends and its answer is kept, so that `resume` does not pay for it again; with ``abort``
        it is ended at once.
        """
        self._host.cancel([self.id], aborts=abort)

    def resume(self) -> None:
        """Have a cancelled run go on after its last step. Raises ConfigurationError if it was not cancelled."""
        self._host.resume(self.id)

    def answer(self, step_key: str, data: Any = None) -> None:
        """Answer the step in which the run is suspended. Raises ConfigurationError if it is not."""
        publish_answer(self._host, self.id, step_key, convert_to_json(data, "the answer"))

    def retry(self, *, from_step: str | None = None, version: str | None = None) -> None:
        """Have the run, which has ended, go on from a step, by default from the one that ended it.

        What the step and all later ones have recorded is dropped, and so are the runs that they have started. Workers
        of ``version`` carry it on, by default those of the version that it had. Raises ConfigurationError for a run
        that goes on, and for a step that it has not recorded.
        """
        retry_run(self._host, self.id, from_step=from_step, version=version)

    def fork(self, *, from_step: str, execution_id: str | None = None, version: str | None = None) -> ExecutionHandle:
        """Start another run that has the records of this one up to a step; return its handle.

        Raises ConfigurationError for a step that the run has not recorded, and for an id that is taken.
        """
        fork_id = fork_run(self._host, self.id, from_step=from_step, fork_id=execution_id, version=version)
        return ExecutionHandle(self._host, fork_id)

    def steps(self) -> list[StepRecord]:
        """Return the steps of the run that have ended, in their order."""
        return self._host.engine.list_steps(self.id)

    def children(self) -> list[RunInfo]:
        """Return the runs that its steps have started, the oldest first."""
        return list_children(self._host, self.id)

    def events(self, *, last_sequence_id: int = 0, timeout: float | None = None) -> Iterator[EventPayload]:
        """Yield the events of the run and of all below its root, from the first on, until the run has ended."""
        return follow_run(self._host, self.id, last_sequence_id, timeout)


class StartSettings(TypedDict, total=False):
    """The options of a new run: its id, queue, session, user and time limit."""

    execution_id: str
    queue: str
    concurrency_key: str
    priority: int
    session_id: str
    user_id: str
    initial_state: Any
    run_timeout_seconds: float


def build_root(workflow: Declared, payload: Any, settings: StartSettings) -> RunRequest:
    """Return the request of a run without a parent. Raises ConfigurationError for a bad payload or option."""
    _check_names(workflow.id, settings, StartSettings)
    check_timeout(settings.get("run_timeout_seconds"))
    execution_id = _check_text("the id of a run", settings.get("execution_id")) or str(uuid.uuid4())
    session_id = _check_text("the id of a session", settings.get("session_id"))
    return RunRequest(
        execution_id=execution_id,
        workflow_id=workflow.id,
        payload=workflow.check_payload(payload),
        root_execution_id=execution_id,
        root_workflow_id=workflow.id,
        session_id=session_id or str(uuid.uuid4()),
        state_scope=session_id or "",
        user_id=settings.get("user_id"),
        initial_state=workflow.check_state(settings.get("initial_state")),
        timeout_s=settings.get("run_timeout_seconds"),
        created_at=time.time(),
        queue=settings.get("queue") or workflow.queue_name,
        concurrency_key=settings.get("concurrency_key"),
        priority=settings.get("priority", 0),
    )


class ChildSettings(TypedDict, total=False):
    """The options of a run that a step starts."""

    initial_state: Any
    queue: str
    concurrency_key: str
    run_timeout_seconds: float


@attrs.frozen
class Parent:
    """The run that starts others, and the host that carries it out."""

    host: Host
    run: ActiveRun


def build_child(
    parent: Parent, key: str, workflow: Declared | str, payload: Any, settings: ChildSettings
) -> RunRequest:
    """Return the request of a run that a step of another one starts. Its id is that of the step, so it starts once.

    Raises ConfigurationError for a bad payload or option.
    """
    run = parent.run
    found = parent.host.registry.find(workflow) if isinstance(workflow, str) else workflow
    _check_names(found.id, settings, ChildSettings)
    check_timeout(settings.get("run_timeout_seconds"))
    return RunRequest(
        execution_id=f"{run.execution_id}.{key}",
        workflow_id=found.id,
        payload=found.check_payload(payload),
        root_execution_id=run.root_execution_id,
        root_workflow_id=run.request.root_workflow_id,
        parent_execution_id=run.execution_id,
        step_key=key,
        session_id=run.request.session_id,
        state_scope=run.request.state_scope,
        user_id=run.request.user_id,
        initial_state=found.check_state(settings.get("initial_state")),
        timeout_s=settings.get("run_timeout_seconds"),
        created_at=time.time(),
        queue=settings.get("queue") or found.queue_name,
        concurrency_key=settings.get("concurrency_key"),
    )


def _check_names(workflow_id: str, settings: Mapping[str, Any], known: type) -> None:
    unknown = sorted(settings.keys() - known.__annotations__.keys())
    if unknown:
        raise ConfigurationError(
            f"a run of {workflow_id!r} got {', '.join(unknown)}", hint=f"known are: {', '.join(known.__annotations__)}"
        )


def _check_text(subject: str, given: object) -> str | None:
    if given is None or (isinstance(given, str) and given.strip()):
        return given
    raise ConfigurationError(f"{subject} is {given!r}", hint="use a text, or leave it out")


def check_timeout(timeout: object) -> None:
    """Raise ConfigurationError for a time that nothing could keep."""
    if timeout is None:
        return
    if not isinstance(timeout, int | float) or isinstance(timeout, bool) or not 0 < timeout < math.inf:
        raise ConfigurationError(
            f"the timeout is {timeout!r}", hint="use a positive number of seconds, or leave it out"
        )
