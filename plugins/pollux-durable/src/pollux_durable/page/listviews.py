"""The views that list: runs, questions, queues and schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_durable.durations import format_duration
from pollux_durable.finding import ENGINE_STATUSES
from pollux_durable.page.formatting import build_badge, build_link, build_run_link, build_time
from pollux_durable.page.forms import build_action, build_question
from pollux_durable.page.frames import View, build_part
from pollux_durable.page.markup import Html, build_element, build_section, build_table, join

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_durable.data.queues import QueueInfo
    from pollux_durable.data.runs import RunInfo
    from pollux_durable.data.schedules import Schedule
    from pollux_durable.page.reading import Question, RunFilter, RunPage

RUNS_PATH, QUESTIONS_PATH, SECTIONS_PATH = "/", "/questions", "/queues"


# Runs


def build_runs_view(page: RunPage, chosen: RunFilter, workflow_ids: Sequence[str]) -> View:
    """Return the view of a page of runs."""
    table = build_run_table(page.runs)
    content = join(
        _build_filter(chosen, workflow_ids),
        build_part("runs", table or build_element("p", "There is no such run.", class_="note")),
        build_part("pages", _build_pages(page, chosen)),
    )
    return View(title="Runs", path=RUNS_PATH, content=content, is_refreshed=True)


def build_run_table(runs: Sequence[RunInfo]) -> Html:
    """Return a table of runs, or nothing without any."""
    heads = ("Run", "Workflow", "Status", "Created", "Took", "Waits in")
    return build_table(heads, map(_build_run_cells, runs))


def _build_run_cells(info: RunInfo) -> tuple[object, ...]:
    return (
        build_run_link(info.execution_id),
        info.workflow_id,
        build_badge(info.status),
        build_time(info.created_at),
        format_duration(None if info.ended_at is None else max(0.0, info.ended_at - info.created_at)),
        info.waits_for or "",
    )


def _build_filter(chosen: RunFilter, workflow_ids: Sequence[str]) -> Html:
    options = [
        build_element("option", status.replace("_", " "), value=status, selected=status == chosen.status)
        for status in ENGINE_STATUSES
    ]
    return build_element(
        "form",
        build_element("label", "Status", for_="status"),
        build_element("select", build_element("option", "any", value=""), *options, id="status", name="status"),
        build_element("label", "Workflow", for_="workflow"),
        build_element("input", id="workflow", name="workflow", list="workflows", value=chosen.workflow_id or ""),
        build_element("datalist", *(build_element("option", value=name) for name in workflow_ids), id="workflows"),
        build_element("button", "Show", type="submit"),
        method="get",
        action=RUNS_PATH,
        class_="filter",
        role="search",
    )


def _build_pages(page: RunPage, chosen: RunFilter) -> Html | None:
    facts = {"status": chosen.status, "workflow": chosen.workflow_id}
    first = build_link("Newest runs", RUNS_PATH, **facts) if chosen.offset else None
    following = page.next_offset
    older = None if following is None else build_link("Older runs", RUNS_PATH, **facts, offset=following)
    return build_element("nav", first, older, aria_label="Pages", class_="pages") if first or older else None


# Questions


def build_questions_view(questions: Sequence[Question], form_token: str) -> View:
    """Return the view of all open questions."""
    forms = [build_question(question, form_token, back=QUESTIONS_PATH) for question in questions]
    none = build_element("p", "No run waits for an answer.", class_="note")
    content = build_part("questions", *(forms or [none]))
    return View(title="Approvals", path=QUESTIONS_PATH, content=content, is_refreshed=True)


# Queues and schedules


def build_sections_view(queues: Sequence[QueueInfo], schedules: Sequence[Schedule], form_token: str) -> View:
    """Return the view of queues and schedules."""
    none = build_element("p", "There are none.", class_="note")
    queue_rows = [_build_queue(queue, form_token) for queue in queues]
    schedule_rows = [_build_schedule(schedule, form_token) for schedule in schedules]
    content = join(
        build_section("Queues", build_part("queues", build_table(_QUEUE_HEADS, queue_rows) or none)),
        build_section("Schedules", build_part("schedules", build_table(_SCHEDULE_HEADS, schedule_rows) or none)),
    )
    return View(title="Queues and schedules", path=SECTIONS_PATH, content=content, is_refreshed=True)


_QUEUE_HEADS = ("Queue", "At a time", "Of one key", "Rate", "State", "")
_SCHEDULE_HEADS = ("Workflow", "Key", "Times", "State", "Next", "Last", "")


def _build_queue(queue: QueueInfo, form_token: str) -> tuple[object, ...]:
    rate = "" if queue.rate_limit is None else f"{queue.rate_limit[0]} in {queue.rate_limit[1]:g} s"
    state: object = "open"
    if queue.is_paused:
        until = build_time(queue.paused_until)
        state = "paused" if until is None else join("paused until ", until)
    button = _build_switch("/queues", form_token, is_paused=queue.is_paused, queue=queue.name)
    return (queue.name, queue.concurrency_limit or "", queue.per_key or "", rate, state, button)


def _build_schedule(schedule: Schedule, form_token: str) -> tuple[object, ...]:
    return (
        schedule.workflow_id,
        schedule.key,
        join(build_element("code", schedule.cron), f" {schedule.timezone}"),
        "paused" if schedule.is_paused else "on",
        None if schedule.is_paused else build_time(schedule.next_at),
        build_time(schedule.last_at),
        _build_switch(
            "/schedules", form_token, is_paused=schedule.is_paused, workflow=schedule.workflow_id, key=schedule.key
        ),
    )


def _build_switch(path: str, form_token: str, *, is_paused: bool, **fields: str) -> Html:
    if is_paused:
        return build_action(f"{path}/resume", "Let it go on", form_token, **fields)
    return build_action(f"{path}/pause", "Pause", form_token, **fields)
