"""Host -> what a view shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pollux_durable.finding import ENGINE_STATUSES
from pollux_durable.page.folding import fold_events
from pollux_durable.retrying import list_children
from pollux_durable.suspending import build_answer_topic

if TYPE_CHECKING:
    from pollux_durable.data.events import EventPayload
    from pollux_durable.data.runs import Json, RunInfo, RunStatus, StepRecord
    from pollux_durable.hosting import Host
    from pollux_durable.page.folding import LiveView
    from pollux_durable.tables.waits import Wait

PAGE_SIZE = 50
#: So many runs are looked at for one page of a filter that few of them fit.
_MAX_SCANNED = 5000
#: So many events are shown with the page. The rest comes as live events do.
_MAX_EVENTS = 5000
_EVENTS_TOGETHER = 1000
_MAX_OPEN = 1000
#: Begins the keys of steps that this package makes by itself. Users know nothing of them.
_OWN = "pollux:"


@attrs.frozen(kw_only=True)
class RunFilter:
    """The choice of runs that are shown. ``offset`` counts the runs of the engine that are passed over."""

    workflow_id: str | None = None
    status: RunStatus | None = None
    offset: int = 0


@attrs.frozen(kw_only=True)
class RunPage:
    """Some runs. ``next_offset`` is where the next ones begin, None at the end."""

    runs: tuple[RunInfo, ...]
    next_offset: int | None


@attrs.frozen(kw_only=True)
class Question:
    """A run that is suspended, and what it shows to whoever answers."""

    info: RunInfo
    step_key: str
    data: Json


@attrs.frozen(kw_only=True)
class RunView:
    """All that is shown of a run."""

    info: RunInfo
    steps: tuple[StepRecord, ...]
    children: tuple[RunInfo, ...]
    wait: Wait | None
    questions: tuple[Question, ...]
    live: LiveView


def list_page(host: Host, chosen: RunFilter) -> RunPage:
    """Return the runs of one page, the newest first."""
    statuses = () if chosen.status is None else ENGINE_STATUSES[chosen.status]
    found: list[RunInfo] = []
    offset = chosen.offset
    while offset < chosen.offset + _MAX_SCANNED:
        runs = host.list_runs(workflow_id=chosen.workflow_id, statuses=statuses, limit=PAGE_SIZE + 1, offset=offset)
        for info in runs[:PAGE_SIZE]:
            if len(found) == PAGE_SIZE:
                return RunPage(runs=tuple(found), next_offset=offset)
            offset += 1
            if chosen.status in {None, info.status}:
                found.append(info)
        if len(runs) <= PAGE_SIZE:
            return RunPage(runs=tuple(found), next_offset=None)
        if len(found) == PAGE_SIZE:
            break
    return RunPage(runs=tuple(found), next_offset=offset)


def read_run_view(host: Host, execution_id: str) -> RunView:
    """Return all that is shown of a run. Raises ConfigurationError if it does not exist."""
    info = host.read_run(execution_id)
    steps = host.engine.list_steps(execution_id)
    is_waiting = info.status == "waiting"
    return RunView(
        info=info,
        steps=tuple(step for step in steps if not step.key.startswith(_OWN)),
        children=tuple(list_children(host, execution_id)),
        wait=host.waits.find([execution_id]).get(execution_id) if is_waiting else None,
        questions=tuple(list_questions(host, info)),
        live=_read_live(host, info),
    )


def _read_live(host: Host, info: RunInfo) -> LiveView:
    events: list[EventPayload] = []
    last_id = 0
    while len(events) < _MAX_EVENTS:
        read = host.events.read(info.topic, after=last_id, limit=_EVENTS_TOGETHER)
        last_id = read[-1].sequence_id if read else last_id
        events += [event for event in read if is_within(event.execution_id, info)]
        if len(read) < _EVENTS_TOGETHER:
            break
    return fold_events(events, last_id)


def is_within(execution_id: str | None, info: RunInfo) -> bool:
    """Return whether what a run does belongs to this run: it is the same one, or below it."""
    # Other events on the topic come from outside; they are shown with the run at the top.
    if info.parent_execution_id is None:
        return True
    return execution_id is not None and f"{execution_id}.".startswith(f"{info.execution_id}.")


# Children


def list_questions(host: Host, above: RunInfo | None = None) -> list[Question]:
    """Return the open questions, of all runs or of one and of all below it."""
    waits = list_answer_waits(host, above)
    infos = host.read_runs([wait.execution_id for wait in waits])
    questions = []
    for wait in waits:
        info = infos.get(wait.execution_id)
        if info is not None and info.waits_for == wait.step_key:
            data = _read_suspension(host, info, wait.step_key)
            questions.append(Question(info=info, step_key=wait.step_key, data=data))
    return sorted(questions, key=lambda question: question.info.created_at)


def list_answer_waits(host: Host, above: RunInfo | None = None) -> list[Wait]:
    """Return the waits for answers, all of them or those of a run and of all below it."""
    return [
        wait
        for wait in host.waits.find_of_kind("event")
        if wait.target == build_answer_topic(wait.execution_id, wait.step_key)
        and (above is None or f"{wait.execution_id}.".startswith(f"{above.execution_id}."))
    ]


def find_question(host: Host, execution_id: str, step_key: str) -> Question | None:
    """Return the question of a suspended step, None if it is not suspended."""
    info = host.read_runs([execution_id]).get(execution_id)
    if info is None or (info.status, info.waits_for) != ("waiting", step_key):
        return None
    return Question(info=info, step_key=step_key, data=_read_suspension(host, info, step_key))


def _read_suspension(host: Host, info: RunInfo, step_key: str) -> Json:
    events = host.events.read(info.topic, event_type=f"suspend_{step_key}")
    own = [event.data for event in events if event.execution_id == info.execution_id]
    return own[-1].get("data") if own and isinstance(own[-1], dict) else None


# Steps
