"""Many runs at once, from outside of workflows: start them, wait for all, answer them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_durable import configuring
from pollux_durable.data.results import BatchStepResult
from pollux_durable.data.values import convert_to_json
from pollux_durable.invoking import ExecutionHandle, build_root
from pollux_durable.suspending import publish_answers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pollux_durable.data.runs import RunInfo
    from pollux_durable.hosting import Host


def invoke(workflow_id: str, inputs: Iterable[Any]) -> list[ExecutionHandle]:
    """Start a run for each input; return their handles in order."""
    host = configuring.find_host()
    workflow = host.registry.find(workflow_id)
    requests = [build_root(workflow, payload, {}) for payload in inputs]
    host.start(requests)
    return [ExecutionHandle(host, request.execution_id) for request in requests]


def run(workflow_id: str, inputs: Iterable[Any], *, timeout: float | None = None) -> list[BatchStepResult]:
    """Start a run for each input and wait for all; return their outcomes in order. A failure is one of them.

    Raises WorkflowTimeoutError if one of them has not ended within ``timeout`` seconds.
    """
    host = configuring.find_host()
    handles = invoke(workflow_id, inputs)
    infos = host.wait_all_ended([handle.id for handle in handles], timeout)
    return [_build_result(host, infos[handle.id]) for handle in handles]


def answer(step_key: str, answers: Mapping[str, Any]) -> None:
    """Answer the step in which many runs are suspended, by the ids of the runs, all together.

    Raises ConfigurationError before anything is written if one of them is not suspended in it, and after all others
    have their answers if one was answered otherwise.
    """
    given = {execution_id: convert_to_json(data, "the answer") for execution_id, data in answers.items()}
    publish_answers(configuring.find_host(), step_key, given)


def _build_result(host: Host, info: RunInfo) -> BatchStepResult:
    is_completed = info.status == "completed"
    return BatchStepResult(
        workflow_id=info.workflow_id,
        success=is_completed,
        result=host.open_result(info) if is_completed else None,
        error=None if is_completed else info.error or f"it was {info.status}",
    )
