"""Request -> response: finds the view that is asked for, and does what a form asks for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import attrs

from pollux_durable.finding import ENGINE_STATUSES
from pollux_durable.page.feeding import RunFeed
from pollux_durable.page.fields import read_answer
from pollux_durable.page.formatting import build_path, format_database, parse_count
from pollux_durable.page.frames import Frame, build_document
from pollux_durable.page.listviews import (
    QUESTIONS_PATH,
    RUNS_PATH,
    SECTIONS_PATH,
    build_questions_view,
    build_runs_view,
    build_sections_view,
)
from pollux_durable.page.reading import (
    RunFilter,
    find_question,
    list_answer_waits,
    list_page,
    list_questions,
    read_run_view,
)
from pollux_durable.page.runview import build_missing_view, build_run_view
from pollux_durable.retrying import retry_run
from pollux_durable.scheduling import pause_schedule, resume_schedule
from pollux_durable.suspending import publish_answer
from pollux_sync.errors import ConfigurationError, PolluxError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pollux_durable.hosting import Host
    from pollux_durable.page.frames import View

EVENTS_PATH = "/events"
_NOTICES = {
    "answered": "The answer was sent.",
    "cancelled": "The run and all that it has started are being cancelled.",
    "resumed": "The run goes on.",
    "queue_paused": "No run of the queue begins until it goes on.",
    "queue_resumed": "The queue goes on.",
    "schedule_paused": "The schedule starts nothing until it goes on.",
    "schedule_resumed": "The schedule goes on.",
}
log = logging.getLogger("pollux_durable")


@attrs.frozen(kw_only=True)
class PageRequest:
    """A request of a browser. ``form`` is empty unless it is a POST."""

    method: str
    path: str
    query: Mapping[str, str]
    form: Mapping[str, str]


@attrs.frozen(kw_only=True)
class PageResponse:
    """A document, or the address of the one to look at instead."""

    status: int = 200
    body: str = ""
    location: str | None = None


class Site:
    """The views of a host, and what can be done on them."""

    def __init__(self, host: Host, form_token: str) -> None:
        self._host = host
        self._form_token = form_token
        self._views: dict[str, Callable[[Mapping[str, str]], View]] = {
            RUNS_PATH: self._show_runs,
            "/run": self._show_run,
            QUESTIONS_PATH: self._show_questions,
            SECTIONS_PATH: self._show_sections,
        }
        self._changes: dict[str, Callable[[Mapping[str, str]], str]] = {
            "/answer": self._answer,
            "/cancel": self._cancel,
            "/resume": self._resume,
            "/retry": self._retry,
            "/queues/pause": self._pause_queue,
            "/queues/resume": self._resume_queue,
            "/schedules/pause": self._pause_schedule,
            "/schedules/resume": self._resume_schedule,
        }

    def respond(self, request: PageRequest, nonce: str) -> PageResponse:
        """Return the response to a request that was admitted."""
        try:
            if request.method == "POST":
                return self._change(request, nonce)
            show = self._views.get(request.path)
            if show is None:
                return self._build_failure(nonce, 404, "There is no such page.")
            body = build_document(
                self._build_frame(nonce), show(request.query), notice=_NOTICES.get(request.query.get("done", ""))
            )
            return PageResponse(body=body)
        except PolluxError as error:
            return self._build_failure(nonce, _find_status(request, error), error.message, error.hint)
        except Exception:
            log.exception("the page failed over %s", request.path)
            return self._build_failure(nonce, 500, "The page failed.", "Its process has logged why.")

    def open_feed(self, query: Mapping[str, str], last_id: str | None) -> RunFeed | None:
        """Return the live events of a run after the last one that was seen, None for an unknown run or place."""
        after = parse_count(last_id or query.get("after") or "0")
        info = self._host.read_runs([query.get("id", "")]).get(query.get("id", ""))
        return None if info is None or after is None else RunFeed(self._host, info, after)

    def _build_frame(self, nonce: str) -> Frame:
        n_questions = len(list_answer_waits(self._host))
        menu = [
            ("Runs", RUNS_PATH),
            (f"Approvals ({n_questions})", QUESTIONS_PATH),
            ("Queues and schedules", SECTIONS_PATH),
        ]
        database = format_database(self._host.settings)
        return Frame(nonce=nonce, form_token=self._form_token, database=database, menu=menu)

    def _build_failure(self, nonce: str, status: int, message: str, hint: str | None = None) -> PageResponse:
        frame = Frame(nonce=nonce, form_token=self._form_token, database="", menu=[("Runs", RUNS_PATH)])
        return PageResponse(status=status, body=build_document(frame, build_missing_view(message, hint)))

    # Views

    def _show_runs(self, query: Mapping[str, str]) -> View:
        chosen = _read_filter(query)
        page = list_page(self._host, chosen)
        known = {workflow.id for workflow in self._host.registry.list_all()} | {info.workflow_id for info in page.runs}
        return build_runs_view(page, chosen, sorted(known))

    def _show_run(self, query: Mapping[str, str]) -> View:
        return build_run_view(read_run_view(self._host, query.get("id", "")), self._form_token)

    def _show_questions(self, query: Mapping[str, str]) -> View:
        return build_questions_view(list_questions(self._host), self._form_token)

    def _show_sections(self, query: Mapping[str, str]) -> View:
        return build_sections_view(self._host.pauses.list_queues(), self._host.schedules.list_all(), self._form_token)

    # Changes

    def _change(self, request: PageRequest, nonce: str) -> PageResponse:
        change = self._changes.get(request.path)
        if change is None:
            return self._build_failure(nonce, 404, "There is no such page.")
        return PageResponse(status=303, location=change(request.form))

    def _answer(self, form: Mapping[str, str]) -> str:
        execution_id, step_key = form.get("id", ""), form.get("step", "")
        question = find_question(self._host, execution_id, step_key)
        if question is None:
            raise ConfigurationError(
                f"run {execution_id!r} does not wait for an answer in step {step_key!r}",
                hint="somebody may have answered, or the run was cancelled: look at it again",
            )
        publish_answer(self._host, execution_id, step_key, read_answer(question.data, form))
        back = form.get("back") or execution_id
        return _add_notice(back if back == QUESTIONS_PATH else build_path("/run", id=back), "answered")

    def _cancel(self, form: Mapping[str, str]) -> str:
        info = self._host.read_run(form.get("id", ""))
        self._host.cancel([info.execution_id])
        return _add_notice(build_path("/run", id=info.execution_id), "cancelled")

    def _resume(self, form: Mapping[str, str]) -> str:
        self._host.resume(form.get("id", ""))
        return _add_notice(build_path("/run", id=form.get("id", "")), "resumed")

    def _retry(self, form: Mapping[str, str]) -> str:
        retry_run(self._host, form.get("id", ""))
        return _add_notice(build_path("/run", id=form.get("id", "")), "resumed")

    def _pause_queue(self, form: Mapping[str, str]) -> str:
        self._host.pauses.pause(self._host.pauses.find_name(form.get("queue", "")), None)
        return _add_notice(SECTIONS_PATH, "queue_paused")

    def _resume_queue(self, form: Mapping[str, str]) -> str:
        self._host.pauses.resume(self._host.pauses.find_name(form.get("queue", "")))
        return _add_notice(SECTIONS_PATH, "queue_resumed")

    def _pause_schedule(self, form: Mapping[str, str]) -> str:
        pause_schedule(self._host, form.get("workflow", ""), form.get("key", ""))
        return _add_notice(SECTIONS_PATH, "schedule_paused")

    def _resume_schedule(self, form: Mapping[str, str]) -> str:
        resume_schedule(self._host, form.get("workflow", ""), form.get("key", ""))
        return _add_notice(SECTIONS_PATH, "schedule_resumed")


def _find_status(request: PageRequest, error: PolluxError) -> int:
    if not isinstance(error, ConfigurationError):
        return 500
    return 404 if request.method == "GET" else 409


def _add_notice(path: str, notice: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}{urlencode({'done': notice})}"


def _read_filter(query: Mapping[str, str]) -> RunFilter:
    """Return the filter that a query asks for. Raises ConfigurationError for one that could find nothing."""
    offset = parse_count(query.get("offset") or "0")
    if offset is None:
        raise ConfigurationError(f"the offset is {query['offset']!r}", hint="use a number from 0 on")
    statuses = {str(status): status for status in ENGINE_STATUSES}
    status = query.get("status") or None
    if status is not None and status not in statuses:
        raise ConfigurationError(f"status {status!r} is not known", hint=f"use one of {', '.join(statuses)}")
    return RunFilter(
        workflow_id=query.get("workflow") or None,
        status=None if status is None else statuses[status],
        offset=offset,
    )
