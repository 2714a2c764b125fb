"""Request -> result: carries a run out from its beginning, over what it has recorded."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, cast

import attrs

from pollux_durable.activeruns import ActiveRun, current_run
from pollux_durable.data.runs import RunRequest
from pollux_durable.errors import (
    PayloadError,
    RunFailure,
    RunStopped,
    StepExecutionError,
    StepOrderError,
    StoredDataError,
    describe_error,
)
from pollux_durable.hooks import HookContext, run_hooks
from pollux_durable.hosting import build_state_target
from pollux_durable.parking import Waiter, park
from pollux_durable.stepping import Steps
from pollux_durable.tables.waits import Wait
from pollux_sync.errors import APIError, ConfigurationError

if TYPE_CHECKING:
    from pollux_durable.contexts import WorkflowContext
    from pollux_durable.data.runs import Json, JsonObject
    from pollux_durable.hosting import Host
    from pollux_durable.registry import Declared

#: Failures that would only come again.
_FINAL = (StepExecutionError, StepOrderError, StoredDataError, ConfigurationError)
_STATE_STEP = "pollux:state"
_PAUSE_STEP = "pollux:pause"


class Runner:
    """Carries the runs of a host out. It is the body of every workflow."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def carry_out(self, execution_id: str, data: JsonObject) -> Json:
        """Carry a run out; return its result. Raises RunFailure if it failed, RunStopped if it goes on later."""
        request = RunRequest.from_dict(data)
        run = ActiveRun(execution_id, request, partial(self._host.waits.read_failures, execution_id))
        self._host.active[execution_id] = run
        token = current_run.set(run)
        try:
            self._hold_back(run)
            result = self._carry_out(run)
        except RunStopped:
            raise
        except Exception as error:
            self._fail(run, error)
            self._announce_end(run)
            raise RunFailure(describe_error(error)) from error
        finally:
            current_run.reset(token)
            if self._host.active.get(execution_id) is run:
                del self._host.active[execution_id]
        self._announce_end(run)
        return result

    def _carry_out(self, run: ActiveRun) -> Json:
        workflow = self._host.registry.find(run.request.workflow_id)
        self._keep_deadline(run)
        steps = Steps(self._host, run)
        context = workflow.build_context(**self._describe(run, steps))
        context.state = self._open_state(run, workflow)
        try:
            result = self._execute(workflow, context, run.request.payload)
        except Exception as error:
            if self._is_last(run, error):
                with suppress(PayloadError):  # of the two the first one is told
                    self._save_state(run, workflow, context)
            raise
        self._save_state(run, workflow, context)
        return result

    def _execute(self, workflow: Declared, context: WorkflowContext, payload: Json) -> Json:
        seen = HookContext(
            workflow_id=workflow.id,
            session_id=context.session_id,
            user_id=context.user_id,
            current_payload=payload,
        )
        seen = run_hooks(context, "on_start", workflow.on_start, seen)
        result = workflow.execute(context, seen.current_payload)
        return run_hooks(context, "on_end", workflow.on_end, attrs.evolve(seen, current_output=result)).current_output

    def _describe(self, run: ActiveRun, steps: Steps) -> dict[str, Any]:
        request = run.request
        return {
            "workflow_id": request.workflow_id,
            "execution_id": run.execution_id,
            "root_execution_id": run.root_execution_id,
            "root_workflow_id": request.root_workflow_id,
            "parent_execution_id": request.parent_execution_id,
            "session_id": request.session_id,
            "user_id": request.user_id,
            "created_at": request.created_at,
            "state": None,
            "step": steps,
            "run": run,
        }

    def _keep_deadline(self, run: ActiveRun) -> None:
        """Find the time when the run has to end, and cancel it if that is over."""
        timeout_s = run.request.timeout_s
        if timeout_s is None:
            return
        run.deadline = self._host.engine.run_step("pollux:deadline", lambda: time.time() + timeout_s)
        if run.deadline is not None and time.time() >= run.deadline:
            self._host.cancel([run.execution_id])
            raise RunStopped

    # State

    def _open_state(self, run: ActiveRun, workflow: Declared) -> Any:
        schema, initial = workflow.state_schema, run.request.initial_state
        if schema is None:
            return None
        if workflow.state_scope == "execution":
            return schema(**(initial or {}))
        acquired = []

        def acquire() -> Json:
            acquired.append(self._acquire_state(run, workflow))
            return acquired[0]

        kept = self._host.engine.run_step(_STATE_STEP, acquire)
        if not acquired:  # a run that was cancelled has given it back
            self._acquire_state(run, workflow)
        return schema(**(initial if initial is not None else kept or {}))

    def _acquire_state(self, run: ActiveRun, workflow: Declared) -> JsonObject | None:
        scope = run.request.state_scope

        def look() -> list[JsonObject | None]:
            state, holder = self._host.states.acquire(workflow.id, scope, run.execution_id)
            return [state] if holder == run.execution_id else []

        wait = Wait(
            execution_id=run.execution_id,
            step_key=_STATE_STEP,
            kind="state",
            target=build_state_target(workflow.id, scope),
        )
        (state,) = Waiter(self._host, run).wait(wait, look)
        return cast("JsonObject | None", state)

    def _save_state(self, run: ActiveRun, workflow: Declared, context: WorkflowContext) -> None:
        if workflow.state_schema is None or workflow.state_scope == "execution":
            return
        scope, state = run.request.state_scope, context.state.to_dict()
        self._host.engine.run_step(
            f"{_STATE_STEP}:save",
            lambda: self._host.states.save(workflow.id, scope, run.execution_id, state),
        )
        # Where the step is replayed, the run has taken the state once more.
        self._host.states.release(workflow.id, scope, run.execution_id)
        self._host.wake_waiting_for({build_state_target(workflow.id, scope)})

    # Ends

    def _is_last(self, run: ActiveRun, error: Exception) -> bool:
        workflow = self._host.registry.find(run.request.workflow_id)
        # The core has tried again already where that may help.
        is_final = isinstance(error, _FINAL) or (isinstance(error, APIError) and not error.retryable)
        return is_final or run.read_failures() >= workflow.max_retries

    def _fail(self, run: ActiveRun, error: Exception) -> None:
        """Begin the run again where that may help: raises RunStopped then, and for a run that was cancelled."""
        if self._host.waits.find_cancelled([run.execution_id]):
            raise RunStopped
        try:
            is_last = self._is_last(run, error)
        except ConfigurationError:  # the workflow itself is not declared here
            return
        if is_last:
            return
        self._host.waits.count_failure(run.execution_id)
        self._begin_again(run, "pollux:retry")

    def _hold_back(self, run: ActiveRun) -> None:
        """Put a run back into its queue if that was paused as it was taken from it. Raises RunStopped then."""
        queue = run.request.queue
        if queue is None or not self._host.pauses.is_paused(queue):
            return
        wait = self._host.waits.find([run.execution_id]).get(run.execution_id)
        if wait is None or wait.step_key == _PAUSE_STEP:  # else it has begun before the pause
            self._host.pauses.tell(queue)
            self._begin_again(run, _PAUSE_STEP)

    def _begin_again(self, run: ActiveRun, step_key: str) -> NoReturn:
        wait = Wait(execution_id=run.execution_id, step_key=step_key, kind="retry", wake_at=time.time())
        park(self._host, run, wait, lambda: True)

    def _announce_end(self, run: ActiveRun) -> None:
        self._host.changes.announce()
        if run.request.parent_execution_id is not None:
            self._host.wake_waiting_for({run.execution_id})
