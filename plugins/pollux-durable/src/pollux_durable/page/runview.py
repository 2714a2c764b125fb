"""The view of one run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pollux_durable.data.runs import ENDED
from pollux_durable.durations import format_duration
from pollux_durable.page.folding import find_round
from pollux_durable.page.formatting import (
    build_badge,
    build_path,
    build_run_link,
    build_time,
    build_value,
    describe_wait,
    format_short,
)
from pollux_durable.page.forms import build_action, build_question
from pollux_durable.page.frames import View, build_part
from pollux_durable.page.listviews import build_run_table
from pollux_durable.page.markup import Html, build_element, build_facts, build_section, join
from pollux_durable.timeline import read_outcome

if TYPE_CHECKING:
    from pollux_durable.data.events import EventPayload
    from pollux_durable.data.runs import RunInfo, StepRecord
    from pollux_durable.page.folding import LiveView, Round
    from pollux_durable.page.reading import RunView

_MAX_STEPS = 500
_MAX_EVENTS = 500
_WIDTH = 1000
_SHORT = 200


def build_run_view(shown: RunView, form_token: str) -> View:
    """Return the view of a run."""
    info = shown.info
    forms = [build_question(question, form_token, back=info.execution_id) for question in shown.questions]
    content = join(
        build_part("state", _build_state(shown, form_token)),
        build_part("questions", build_section("Waits for an answer", *forms)),
        build_part("values", *_build_values(info)),
        build_part("steps", build_section("Steps", _build_steps(shown))),
        build_part("children", build_section("Runs that it has started", build_run_table(shown.children))),
        _build_live(info, shown.live),
    )
    return View(title=info.workflow_id, content=content)


# The state


def _build_state(shown: RunView, form_token: str) -> Html:
    info, wait = shown.info, shown.wait
    parent = None if info.parent_execution_id is None else build_run_link(info.parent_execution_id)
    is_below_parent = info.root_execution_id not in {info.execution_id, info.parent_execution_id}
    waits = None
    if wait is not None:
        until = None if wait.wake_at is None else join(", until ", build_time(wait.wake_at))
        waits = join(f"in step {wait.step_key}, {describe_wait(wait)}", until)
    facts = build_facts(
        [
            ("Status", build_badge(info.status)),
            ("Waits", waits),
            ("Run", build_element("code", info.execution_id)),
            ("Started by", parent if parent is None else join(parent, f" in step {info.step_key}")),
            ("At the top", build_run_link(info.root_execution_id) if is_below_parent else None),
            ("Created", build_time(info.created_at)),
            ("Began", build_time(info.started_at)),
            ("Ended", build_time(info.ended_at)),
            ("Took", format_duration(None if info.ended_at is None else max(0.0, info.ended_at - info.created_at))),
            ("Session", info.session_id),
            ("User", info.user_id),
            ("Queue", info.queue),
            ("Worker", info.executor_id),
            ("Version", info.version),
        ]
    )
    return build_element("section", facts, _build_buttons(info, form_token))


def _build_buttons(info: RunInfo, form_token: str) -> Html | None:
    if info.status == "cancelled":
        return build_action("/resume", "Resume the run", form_token, id=info.execution_id)
    if info.status == "failed":
        return build_action("/retry", "Try the failed step again", form_token, id=info.execution_id)
    if info.status in ENDED or info.status == "pending_cancel":
        return None
    question = "Cancel this run and all that it has started?"
    return build_action("/cancel", "Cancel the run", form_token, confirm=question, id=info.execution_id)


def _build_values(info: RunInfo) -> list[Html]:
    parts = [build_section("Payload", build_value(info.payload))]
    if info.status == "completed":
        parts.append(build_section("Result", build_value(info.result)))
    if info.error is not None:
        message = f"{info.error_type}: {info.error}" if info.error_type else info.error
        parts.append(build_section("Error", build_value(message), class_="error"))
    return parts


# Steps


def _build_steps(shown: RunView) -> Html:
    if not shown.steps:
        return build_element("p", "No step has ended.", class_="note")
    steps = shown.steps[-_MAX_STEPS:]
    starts = [step.started_at for step in steps if step.started_at is not None]
    ends = [step.ended_at for step in steps if step.ended_at is not None]
    first = min(starts, default=shown.info.created_at)
    span_s = max([*ends, first], default=time.time()) - first
    left_out = len(shown.steps) - len(steps)
    note = build_element("p", f"The {left_out:,} steps before these are not shown.", class_="note")
    rows = [_build_step(step, first, span_s) for step in steps]
    return join(note if left_out else None, build_element("ol", *rows, class_="steps"))


def _build_step(step: StepRecord, first: float, span_s: float) -> Html:
    value, error = read_outcome(step)
    duration_s = None
    if step.started_at is not None and step.ended_at is not None:
        duration_s = max(0.0, step.ended_at - step.started_at)
    length = format_duration(duration_s) or "unknown"
    mark = None if error is None else join(" ", build_element("span", "failed", class_="badge failed"))
    summary = build_element(
        "summary",
        build_element("span", step.key, mark, class_="key"),
        _build_bar(step, first, span_s, length),
        build_element("span", length, class_="length"),
    )
    return build_element(
        "li",
        build_element(
            "details", summary, build_value(value if error is None else error), data_key=f"{step.position}/{step.key}"
        ),
        class_="failed" if error is not None else None,
    )


def _build_bar(step: StepRecord, first: float, span_s: float, length: str) -> Html:
    # In SVG, as the policy of the page admits no style of a single element.
    start_s = max(0.0, (step.started_at or first) - first)
    end_s = max(start_s, (step.ended_at or first) - first)
    scale = _WIDTH / span_s if span_s > 0 else 0.0
    x, width = min(start_s * scale, _WIDTH - 4), max(4.0, (end_s - start_s) * scale)
    bar = build_element("rect", x=f"{x:.1f}", y="0", width=f"{min(width, _WIDTH - x):.1f}", height="10")
    label = f"began {format_duration(start_s)} after the first step, took {length}"
    return build_element(
        "svg", bar, viewBox=f"0 0 {_WIDTH} 10", preserveAspectRatio="none", role="img", aria_label=label
    )


# Live


def _build_live(info: RunInfo, live: LiveView) -> Html:
    texts = [_build_text(name, text) for name, text in live.texts.items()]
    rows = [_build_event(event) for event in live.events[-_MAX_EVENTS:]]
    heads = (build_element("th", name, scope="col") for name in ("No.", "Time", "Run", "Event", "Data"))
    events = build_element(
        "table",
        build_element("thead", build_element("tr", *heads)),
        build_element("tbody", *rows, id="events"),
        hidden=not rows,
    )
    is_over = info.status in ENDED
    return build_element(
        "section",
        build_element("h2", "Live"),
        build_element("p", "The run has ended." if is_over else "Follows the run.", class_="note", id="following"),
        build_element("div", *texts, id="texts", aria_live="polite"),
        events,
        id="live",
        data_follow=build_path("/events", id=info.execution_id),
        data_after=str(live.last_id),
    )


def _build_text(name: Round, text: str) -> Html:
    execution_id, step = name
    return build_element(
        "figure",
        build_element("figcaption", f"Text of step {step} of {execution_id}"),
        build_element("pre", text, tabindex="0"),
        data_run=execution_id or "",
        data_step=str(step),
    )


def _build_event(event: EventPayload) -> Html:
    name = find_round(event)
    cells = (
        ("No.", str(event.sequence_id)),
        ("Time", build_time(event.created_at)),
        ("Run", build_element("code", event.execution_id or "")),
        ("Event", event.event_type or ""),
        ("Data", build_element("code", format_short(event.data, _SHORT))),
    )
    return build_element(
        "tr",
        *(build_element("td", cell, data_head=head) for head, cell in cells),
        data_run=event.execution_id or "",
        data_step=None if name is None else str(name[1]),
    )


def build_missing_view(message: str, hint: str | None) -> View:
    """Return the view of a failure, with the next step."""
    return View(title="That did not work", content=join(build_element("p", message), build_element("p", hint)))
