"""Goes on from a step: in the same run (`retry`), or in another one that has the same records (`fork`)."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from pollux_durable.data.runs import ENDED
from pollux_durable.tables.cleaning import copy_calls, forget_progress, forget_runs, forget_steps
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_durable.data.runs import RunInfo, StepRecord
    from pollux_durable.hosting import Host

#: Begins the keys of steps that this package makes by itself.
_OWN = "pollux:"
_MANY = 100_000


def retry_run(host: Host, execution_id: str, *, from_step: str | None = None, version: str | None = None) -> None:
    """Have an ended run go on from a step, by default from the one that ended it.

    The records of the step and of all later ones are dropped, with the model answers and the answers from outside that
    they have stored. Runs that the dropped steps have started are cancelled where they go on, and deleted with all
    below them: their ids are those of the steps, so that the steps would find them again instead of starting them.
    Events that were published stay. Raises ConfigurationError for a run that goes on, and for a step that it does not
    have.
    """
    host.check_process()
    info = host.read_run(execution_id)
    if info.status not in ENDED:
        raise ConfigurationError(
            f"run {execution_id!r} is {info.status}", hint="cancel it first; then it can be retried from any step"
        )
    steps = host.engine.list_steps(execution_id)
    if from_step is None and info.status == "completed":
        raise ConfigurationError(
            f"run {execution_id!r} is completed", hint=f"say from which step to repeat it: {_list_keys(steps)}"
        )
    position = _find_failure(info, steps) if from_step is None else find_position(info, steps, from_step)
    dropped = [step.key for step in steps if step.position >= position]
    _delete_children(host, info, [step.key for step in steps if step.position < position])
    forget_steps(host.engine.database, execution_id, dropped)
    forget_progress(host.engine.database, execution_id)
    host.engine.rewind(execution_id, position, version)


def fork_run(
    host: Host, execution_id: str, *, from_step: str, fork_id: str | None = None, version: str | None = None
) -> str:
    """Start another run that goes on from a step of this one; return its id.

    It has the records and the model answers of the steps before. Runs that those have started are shared with it, not
    started again. Raises ConfigurationError for a step that the run does not have, and for an id that is taken.
    """
    host.check_process()
    info = host.read_run(execution_id)
    steps = host.engine.list_steps(execution_id)
    position = find_position(info, steps, from_step)
    fork_id = fork_id or str(uuid.uuid4())
    if host.read_runs([fork_id]):
        raise ConfigurationError(f"there is a run {fork_id!r} already", hint="leave the id out, or choose another one")
    copy_calls(host.engine.database, execution_id, fork_id, [step.key for step in steps if step.position < position])
    host.engine.fork(execution_id, position, fork_id, version)
    return fork_id


def find_position(info: RunInfo, steps: Sequence[StepRecord], key: str) -> int:
    """Return the position of a step; for a `map` that of its first call. Raises ConfigurationError for a bad key."""
    exact = [step.position for step in steps if step.key == key]
    positions = exact or [step.position for step in steps if step.key.startswith(f"{key}[")]
    if not positions:
        raise ConfigurationError(
            f"run {info.execution_id!r} has recorded no step {key!r}", hint=f"its steps are: {_list_keys(steps)}"
        )
    return positions[0]


def list_children(host: Host, execution_id: str) -> list[RunInfo]:
    """Return the runs that steps of a run have started, the oldest first."""
    return [info for info in list_below(host, execution_id) if info.parent_execution_id == execution_id]


def list_below(host: Host, execution_id: str) -> list[RunInfo]:
    """Return the runs whose ids begin with that of a run and of one of its steps."""
    return [*reversed(host.list_runs(prefix=f"{execution_id}.", limit=_MANY))]


def _find_failure(info: RunInfo, steps: Sequence[StepRecord]) -> int:
    """Return the position from which a run goes on: that of its last step if it failed, else the one after it."""
    # What was recorded while the run ended belongs to its end.
    done = [*steps]
    while done and done[-1].key.startswith(f"{_OWN}state:save"):
        done.pop()
    if not done:
        return 1
    is_failed = info.status == "failed" and _has_failed(done[-1])
    return done[-1].position + (0 if is_failed else 1)


def _has_failed(step: StepRecord) -> bool:
    # A step that waits for one run has a list of one. Of many runs, some may fail, which does not fail the step.
    outcomes = step.result if isinstance(step.result, list) else [step.result]
    is_failed = len(outcomes) == 1 and isinstance(outcomes[0], dict) and outcomes[0].keys() == {"error"}
    return step.error is not None or is_failed


def _delete_children(host: Host, info: RunInfo, kept: Sequence[str]) -> None:
    below = list_below(host, info.execution_id)
    dropped = {
        child.execution_id
        for child in below
        if child.parent_execution_id == info.execution_id and not _find_keys(child) & {*kept}
    }
    # From the top down: a run is dropped with the one that has started it.
    for one in sorted(below, key=lambda one: len(one.execution_id)):
        if one.parent_execution_id in dropped:
            dropped.add(one.execution_id)
    if not dropped:
        return
    host.cancel(sorted(dropped), aborts=True)
    host.engine.delete(sorted(dropped))
    forget_runs(host.engine.database, sorted(dropped))


def _find_keys(child: RunInfo) -> set[str]:
    """Return the keys that the step may have which has started a run. Of many runs of one step each has a number."""
    key = child.step_key or ""
    return {key, key.rpartition("[")[0]} if key.endswith("]") else {key}


def _list_keys(steps: Sequence[StepRecord]) -> str:
    return ", ".join(step.key for step in steps if not step.key.startswith(_OWN)) or "none"
