"""Model calls as steps: the answer is stored the moment it arrives, and taken from there in each replay.

A replay renders the request again. The same request has the stored answer; another one is not asked unless the caller
says so, since the run would go on from an answer to a question that its code no longer asks.
"""

from __future__ import annotations

import threading
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

from pollux_durable.errors import RequestChangedError
from pollux_sync import stages
from pollux_sync.data.differences import find_differences
from pollux_sync.data.reply import Failure
from pollux_sync.errors import APIError
from pollux_sync.plugin import HttpResponse, Reply, TextDelta

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pollux_durable.activeruns import ActiveRun
    from pollux_durable.data.runs import JsonObject
    from pollux_durable.hosting import Host
    from pollux_durable.lanes import Lane
    from pollux_sync import Config, Options, Source
    from pollux_sync.data.request import Call, Plan, Prepared
    from pollux_sync.data.streaming import StreamEvent
    from pollux_sync.schemas import AnswerFormat

    #: Receives the events of an answer while it arrives; None before the first one of each attempt.
    Show: TypeAlias = Callable[[StreamEvent | None], None]

OnChange: TypeAlias = Literal["fail", "ask"]


@attrs.frozen(kw_only=True)
class Question:
    """One request to a model, made in one step."""

    prompt: str | None = None
    sources: tuple[Source, ...] = ()
    config: Config
    options: Options


@attrs.frozen
class ModelAnswer:
    """A reply, and the format in which it was asked for if there was a schema."""

    reply: Reply
    answer_format: AnswerFormat | None = None

    def read(self) -> Any:
        """Return the answer as the type of its schema, or its text. Raises AnswerMismatch."""
        return self.reply.text if self.answer_format is None else self.answer_format.read(self.reply.text)


class ModelCaller:
    """The model calls of one run."""

    def __init__(self, host: Host, run: ActiveRun, *, on_change: OnChange = "fail") -> None:
        self._host = host
        self._run = run
        self._on_change = on_change

    def ask(self, key: str, question: Question, show: Show | None = None) -> ModelAnswer:
        """Return the answer to a question, as a step. ``show`` has it streamed.

        Raises what the core raises for a call that fails, and RequestChangedError.
        """
        with self._host.lanes.lease(question.config) as lane:
            forget = self._run.add_aborter(lane.hooks.abort)
            try:
                return _Step(self._host, self._run.execution_id, key, lane, question).take(self._on_change, show)
            finally:
                forget()


class _Step:
    """One step that asks a model."""

    def __init__(self, host: Host, execution_id: str, key: str, lane: Lane, question: Question) -> None:
        self._host = host
        self._execution_id = execution_id
        self._key = key
        self._lane = lane
        self._hooks = lane.hooks
        self._plan = _plan(question, lane.hooks)
        self._call = lane.hooks.rewrite_call(self._plan.calls[0])
        self._request_key = stages.request_key(self._call, lane.hooks)
        self._reply: Reply | None = None
        self._stop = threading.Event()
        lane.hooks.link_stop(self._stop)

    def take(self, on_change: OnChange, show: Show | None) -> ModelAnswer:
        """Return the answer, from the record of the step or the model."""
        return ModelAnswer(self._take_reply(on_change, show), self._plan.answer_format)

    def _take_reply(self, on_change: OnChange, show: Show | None) -> Reply:
        # The step records the key alone: the answer is in the table of calls, where it is written once.
        recorded = self._host.engine.run_step(self._key, partial(self._ask_and_name, show))
        if self._reply is not None:
            return self._reply
        if recorded["request_key"] != self._request_key and self._find(self._call) is None:
            if on_change == "fail":
                raise self._build_change(recorded["request_key"])
            return self._ask_now(show)
        return self._fit(self._call, self._take_stored)

    def _ask_and_name(self, show: Show | None) -> JsonObject:
        self._reply = self._ask_now(show)
        return {"request_key": self._request_key, "usage": self._reply.usage.to_dict()}

    def _fit(self, call: Call, ask: Callable[[Call], Reply]) -> Reply:
        return stages.ask_until_fitting(call, self._plan.answer_format, ask)

    # What is stored

    def _take_stored(self, call: Call) -> Reply:
        reply = self._find(call)
        if reply is None:
            raise APIError("this answer is not stored", phase="generate")
        return reply

    def _find(self, call: Call) -> Reply | None:
        stored = self._host.calls.find(self._execution_id, self._key, self._find_key(call))
        return None if stored is None else _read_answer(stored, call, self._hooks)

    def _find_key(self, call: Call) -> str:
        return self._request_key if call is self._call else stages.request_key(call, self._hooks)

    def _keep(self, call: Call, answer: JsonObject) -> None:
        request = stages.render_request(call, self._hooks)
        self._host.calls.keep(
            self._execution_id,
            self._key,
            self._find_key(call),
            request={"method": request.method, "path": request.path, "body": request.body},
            reply=answer,
        )

    def _build_change(self, old_key: str) -> RequestChangedError:
        old = self._host.calls.find_request(self._execution_id, self._key, old_key)
        request = stages.render_request(self._call, self._hooks)
        now = {"method": request.method, "path": request.path, "body": request.body}
        path, was, is_now = next(find_differences(old, now), ("the request", "unknown", "another one"))
        return RequestChangedError(
            f"step {self._key!r} of run {self._execution_id!r} is answered, but would ask otherwise now: "
            f"{path} was {was}, and is {is_now}",
            hint="on_change='ask' asks it anew; or go back to the code with which the run began",
            step_key=self._key,
            path=path,
            old=was,
            new=is_now,
        )

    # Asking

    def _ask_now(self, show: Show | None) -> Reply:
        """Return the reply of the model, unless it is stored: a run that was stopped in this step has paid for it."""
        if show is None:
            ask = partial(self._fit, ask=self._find_or_request)
            outcome = stages.execute_call(self._call, self._hooks, ask, is_rewritten=True, stop=self._stop)
        else:
            found = self._find(self._call)
            outcome = self._stream(show) if found is None else _show_stored(found, show)
        if isinstance(outcome, Failure):
            raise outcome.error
        return outcome

    def _find_or_request(self, call: Call) -> Reply:
        found = self._find(call)
        if found is not None:
            return found
        prepared = self._prepare(call)
        return stages.request_delivered(
            prepared.calls[0], prepared.redelivery, self._stop, partial(self._request, call)
        )

    def _prepare(self, call: Call) -> Prepared:
        prepared = stages.prepare_plan(attrs.evolve(self._plan, calls=(call,)), self._hooks, self._lane.uploads)
        error = prepared.blocked.get(call.index)
        if error is not None:
            raise error
        return prepared

    def _request(self, planned: Call, call: Call) -> Reply:
        request = stages.encode_request(call, self._hooks)

        def attempt() -> tuple[Reply, HttpResponse]:
            response = self._hooks.send(request, self._hooks.config.timeout_s)
            if response.body is not None:
                # Before it is read: it is paid for, whatever is in it.
                self._keep(planned, {"response": response.to_dict()})
            reply = stages.decode_reply(response, call, self._hooks)
            if response.body is None:  # it came as events, which are kept as the reply that they make
                self._keep(planned, {"reply": reply.to_dict()})
            return reply, response

        reply, attempts = stages.call_with_retries(attempt, self._hooks, self._stop, phase="generate", call=call)
        return reply.with_attempts(attempts)

    def _stream(self, show: Show) -> Reply | Failure:
        prepared = self._prepare(self._call)
        kept: list[HttpResponse] = []

        def keep(response: HttpResponse) -> None:
            kept.append(response)
            self._keep(self._call, {"response": response.to_dict()})

        show(None)
        events = stages.stream_call(
            prepared.calls[0],
            self._hooks,
            stages.ActiveStreams(),
            keep=keep,
            redelivery=prepared.redelivery,
        )
        with closing(events):
            outcome = _show_all(events, show)
        # A plugin that does not join its events has kept nothing.
        if isinstance(outcome, Reply) and not kept:
            self._keep(self._call, {"reply": outcome.to_dict()})
        return outcome


def _show_stored(reply: Reply, show: Show) -> Reply:
    """Show an answer whose step had not ended: its readers may have seen a part of it."""
    show(None)
    show(TextDelta(reply.text))
    return reply


def _show_all(events: Generator[StreamEvent, None, Reply | Failure], show: Show) -> Reply | Failure:
    while True:
        try:
            show(next(events))
        except StopIteration as end:
            outcome: Reply | Failure = end.value
            return outcome


def _plan(question: Question, hooks: stages.Hooks) -> Plan:
    request = stages.build_request([question.prompt], question.sources, question.config, question.options)
    return stages.plan_calls(request, hooks)


def _read_answer(stored: JsonObject, call: Call, hooks: stages.Hooks) -> Reply:
    if "reply" in stored:
        return Reply.from_dict(stored["reply"])
    return stages.decode_reply(HttpResponse.from_dict(stored["response"]), call, hooks)
