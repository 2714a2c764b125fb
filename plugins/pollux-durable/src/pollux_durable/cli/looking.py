"""``pollux-sync durable ls``, ``show`` and ``logs``."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING

from pollux_durable.cli.arguments import build_settings
from pollux_durable.cli.formatting import describe_wait, format_error, format_time, format_value
from pollux_durable.durations import format_duration
from pollux_durable.finding import iter_runs
from pollux_durable.opening import open_viewer
from pollux_durable.retrying import list_children
from pollux_durable.timeline import iter_timeline, measure_duration, read_outcome
from pollux_sync.commands import (
    DONE,
    escape_controls,
    flush_output,
    write_json,
    write_line,
    write_remark,
    write_table,
    write_text,
)

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Iterator

    from pollux_durable.data.runs import JsonObject, RunInfo, StepRecord
    from pollux_durable.hosting import Host
    from pollux_durable.timeline import TimelineEntry

_HEADER = ("ID", "WORKFLOW", "STATUS", "CREATED", "TOOK", "WAITS IN")
#: Steps that this package makes by itself. Users know nothing of them.
_OWN = "pollux:"
_VALUE_WIDTH = 80
_TEXT = "text_delta"


def list_runs(arguments: Namespace) -> int:
    """Print runs, the newest first."""
    with open_viewer(build_settings(arguments)) as host:
        found = iter_runs(host, workflow_id=arguments.workflow, status=arguments.status)
        runs = [*islice(found, arguments.limit)]
    if arguments.json:
        write_json([info.to_dict() for info in runs])
    elif runs:
        write_table([_HEADER, *map(_list_cells, runs)])
    else:
        write_remark("no such run")
    return DONE


def _list_cells(info: RunInfo) -> tuple[str, ...]:
    return (
        info.execution_id,
        info.workflow_id,
        info.status,
        format_time(info.created_at),
        format_duration(measure_duration(info.created_at, info.ended_at)),
        info.waits_for or "",
    )


def show(arguments: Namespace) -> int:
    """Print a run, its steps, the runs that it has started, and what it waits for."""
    with open_viewer(build_settings(arguments)) as host:
        info = host.read_run(arguments.id)
        steps = host.engine.list_steps(arguments.id)
        children = list_children(host, arguments.id)
        wait = host.waits.find([arguments.id]).get(arguments.id) if info.status == "waiting" else None
        asked = _find_question(host, info)
    if arguments.json:
        write_json(_describe(info, steps, children, None if wait is None else describe_wait(wait), asked))
        return DONE
    write_table(_list_facts(info, None if wait is None else describe_wait(wait), asked))
    _write_table("steps:", _list_steps(steps))
    _write_table("runs that it has started:", [_list_cells(child)[:5] for child in children])
    return DONE


def _find_question(host: Host, info: RunInfo) -> JsonObject | None:
    """Return what a suspended run shows to whoever answers, None for another one."""
    if info.status != "waiting" or info.waits_for is None:
        return None
    asked = host.events.read(info.topic, event_type=f"suspend_{info.waits_for}")
    questions = [event.data for event in asked if event.execution_id == info.execution_id]
    return questions[-1] if questions else None


def _describe(
    info: RunInfo, steps: list[StepRecord], children: list[RunInfo], wait: str | None, asked: JsonObject | None
) -> JsonObject:
    return {
        **info.to_dict(),
        "waits": wait,
        "asks": asked,
        "steps": [_describe_step(step) for step in steps],
        "children": [{"execution_id": child.execution_id, "status": child.status} for child in children],
    }


def _describe_step(step: StepRecord) -> JsonObject:
    value, error = read_outcome(step)
    duration_s = measure_duration(step.started_at, step.ended_at)
    return {"key": step.key, "result": value, "error": error, "started_at": step.started_at, "duration_s": duration_s}


def _list_facts(info: RunInfo, wait: str | None, asked: JsonObject | None) -> list[tuple[str, str]]:
    took = format_duration(measure_duration(info.created_at, info.ended_at))
    return [
        ("run", info.execution_id),
        ("workflow", info.workflow_id),
        ("status", info.status + (f", after {took}" if took else "")),
        ("created", format_time(info.created_at)),
        ("payload", format_value(info.payload)),
        *([("result", format_value(info.result))] if info.status == "completed" else []),
        *([("error", format_error(info))] if info.error is not None else []),
        *([("waits in", wait)] if wait else []),
        *([] if asked is None else _list_question(info, asked)),
        *_list_origin(info),
    ]


def _list_question(info: RunInfo, asked: JsonObject) -> list[tuple[str, str]]:
    command = f"pollux-sync durable answer {info.execution_id} {info.waits_for} --json DATA"
    return [("asks", format_value(asked.get("data"))), ("answer it", command)]


def _list_origin(info: RunInfo) -> list[tuple[str, str]]:
    names = ("parent_execution_id", "step_key", "session_id", "user_id", "queue", "executor_id", "version")
    labels = ("started by", "in its step", "session", "user", "queue", "worker", "version")
    values = [getattr(info, name) for name in names]
    return [(label, value) for label, value in zip(labels, values, strict=True) if value]


def _list_steps(steps: Iterable[StepRecord]) -> Iterator[tuple[str, str, str]]:
    for step in steps:
        if not step.key.startswith(_OWN):
            value, error = read_outcome(step)
            shown = format_value(value, _VALUE_WIDTH) if error is None else _format_failure(error)
            yield step.key, format_duration(measure_duration(step.started_at, step.ended_at)), shown


def _format_failure(error: JsonObject) -> str:
    return f"failed: {error.get('type')}: {error.get('message')}"


def _write_table(title: str, rows: Iterable[tuple[str, ...]]) -> None:
    rows = [*rows]
    if rows:
        write_line("")
        write_line(title)
        write_table(rows, indent="  ")


def show_logs(arguments: Namespace) -> int:
    """Print steps and events in the order of time; with -f until the run has ended."""
    with open_viewer(build_settings(arguments)) as host:
        info = host.read_run(arguments.id)
        is_in_text = False
        for entry in iter_timeline(host, arguments.id, follow=arguments.follow):
            if arguments.json:
                write_json(entry.to_dict(), indent=None)
            elif not entry.name.startswith(_OWN):
                is_in_text = _write_entry(entry, info, is_in_text=is_in_text)
            flush_output()
        if is_in_text:
            write_line("")
        if arguments.follow and not arguments.json:
            ended = host.read_run(arguments.id)
            write_remark(f"the run is {ended.status}" + (f": {format_error(ended)}" if ended.error else ""))
    return DONE


def _write_entry(entry: TimelineEntry, info: RunInfo, *, is_in_text: bool) -> bool:
    """Print an entry; return whether it is a piece of a text, which the next one may continue."""
    content = entry.data.get("content") if entry.name == _TEXT and isinstance(entry.data, dict) else None
    if isinstance(content, str):
        # Its end is not known yet, and its lines stay lines.
        write_text(sys.stdout, escape_controls(content))
        return True
    if is_in_text:
        write_line("")
    where = (entry.execution_id or info.execution_id).removeprefix(info.execution_id).removeprefix(".")
    name = f"{where}: {entry.name}" if where else entry.name
    shown = format_value(entry.data, _VALUE_WIDTH) if entry.error is None else _format_failure(entry.error)
    took = f"  ({format_duration(entry.duration_s)})" if entry.duration_s is not None else ""
    write_line(f"{format_time(entry.at)}  {entry.kind.ljust(5)}  {name}  {shown}{took}")
    return False
