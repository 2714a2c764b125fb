"""``ctx.step``: what a workflow does, each step recorded once under its key."""

from __future__ import annotations

import inspect
import random
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast

from pollux_durable.data.events import EventDraft, EventPayload, Suspension
from pollux_durable.data.results import BatchStepResult, BatchWorkflowInput
from pollux_durable.data.runs import ENDED
from pollux_durable.data.values import convert_to_json, read_result_type, restore_result
from pollux_durable.errors import DuplicateStepError, RunStopped, StepExecutionError, describe_error
from pollux_durable.invoking import ChildSettings, ExecutionHandle, Parent, build_child, check_timeout
from pollux_durable.parking import Waiter
from pollux_durable.suspending import build_answer_topic, build_once, publish_answer
from pollux_durable.tables.waits import Wait
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pollux_durable.activeruns import ActiveRun
    from pollux_durable.data.agents import AgentInput
    from pollux_durable.data.runs import Json, JsonObject, RunInfo, RunRequest
    from pollux_durable.hosting import Host
    from pollux_durable.registry import Declared

T = TypeVar("T")
_SECONDS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86_400, "weeks": 604_800}
_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 10.0


class Steps:
    """The steps of a run. Each needs a key of its own; what it returned is not computed again when the run goes on."""

    def __init__(self, host: Host, run: ActiveRun) -> None:
        self.host = self._host = host
        self._run = run
        self._parent = Parent(host, run)
        self._waiter = Waiter(host, run)

    # Functions

    def run(
        self,
        key: str,
        function: Callable[..., T],
        *args: Any,
        max_retries: int = 2,
        base_delay: float = _FIRST_RETRY_S,
        max_delay: float = _LONGEST_RETRY_S,
        **kwargs: Any,
    ) -> T:
        """Call a function and record what it returns; return the record if there is one.

        A function that raises is called again, up to ``max_retries`` times, after ``base_delay`` seconds, twice as
        long each time and at most ``max_delay``. The last failure is recorded. A process that dies in the middle calls
        the function again: make it so that this does no harm, for one with the key of the step as idempotency key.
        Typed results are restored from the type that the function is declared to return. Raises StepExecutionError.
        """
        _check_function(function)
        call = partial(self._call_until_done, partial(function, *args, **kwargs), max_retries, base_delay, max_delay)
        outcome = self.record(key, partial(call, key))
        return cast("T", _open_outcome(key, outcome, read_result_type(function)))

    def map(
        self,
        key: str,
        function: Callable[[Any], T],
        items: Iterable[Any],
        *,
        max_workers: int = 8,
        max_retries: int = 2,
        base_delay: float = _FIRST_RETRY_S,
        max_delay: float = _LONGEST_RETRY_S,
    ) -> list[T]:
        """Call a function with each item, in several threads, each call a step; return the results in order.

        Raises StepExecutionError for the first call that failed, when all have ended.
        """
        _check_function(function)
        given = [*items]
        keys = [f"{key}[{number}]" for number in range(len(given))]
        self.enter(key)
        steps = self._host.engine.reserve_steps(keys)
        work = []
        for name, step, item in zip(keys, steps, given, strict=True):
            call = partial(self._call_until_done, partial(function, item), max_retries, base_delay, max_delay, name)
            work.append(partial(copy_context().run, step, call))
        with ThreadPoolExecutor(max(1, min(max_workers, len(work))), "pollux-durable map") as pool:
            futures = [pool.submit(call) for call in work]
        outcomes = [future.result() for future in futures]
        tp = read_result_type(function)
        return [_open_outcome(name, outcome, tp) for name, outcome in zip(keys, outcomes, strict=True)]

    def _call_until_done(
        self, function: Callable[[], Any], max_retries: int, base_delay: float, max_delay: float, key: str
    ) -> JsonObject:
        for attempt in range(max_retries + 1):
            try:
                return {"value": convert_to_json(function(), f"the result of step {key!r}")}
            except ConfigurationError:
                # The code is wrong: to call it again would not help, and a mended one should not meet a record.
                raise
            except Exception as error:  # noqa: BLE001 - whatever the function raises is the outcome of the step
                if attempt == max_retries:
                    return {"error": describe_error(error)}
            if self._run.stopping.wait(min(base_delay * 2**attempt, max_delay)):
                raise RunStopped
        raise StepExecutionError("the step was not tried", step_key=key)

    def uuid(self, key: str) -> str:
        """Return a random UUID, the same in each replay."""
        return str(self.record(key, lambda: str(uuid.uuid4())))

    def now(self, key: str) -> int:
        """Return the time in milliseconds since the epoch, the same in each replay."""
        return int(self.record(key, lambda: int(time.time() * 1000)))

    def random(self, key: str) -> float:
        """Return a random number from 0 to 1, the same in each replay."""
        return float(self.record(key, random.random))

    # Runs

    def invoke(
        self, key: str, workflow: Declared | str, payload: Any = None, **settings: Unpack[ChildSettings]
    ) -> ExecutionHandle:
        """Start a workflow; return its handle. It goes on when this run has ended."""
        request = build_child(self._parent, key, workflow, payload, settings)
        return ExecutionHandle(self._host, self.record(key, partial(self._start, [request]))[0])

    def _start(self, requests: Sequence[RunRequest]) -> list[str]:
        """Start runs; return their ids, which are recorded: a fork of this run knows its children by them."""
        self._host.start(requests)
        return [request.execution_id for request in requests]

    def invoke_and_wait(
        self, key: str, workflow: Declared | str, payload: Any = None, **settings: Unpack[ChildSettings]
    ) -> Any:
        """Start a workflow and return its result; no thread is held while it takes long. Raises StepExecutionError."""
        request = build_child(self._parent, key, workflow, payload, settings)

        def start_and_wait() -> list[JsonObject]:
            self._host.start([request])
            return self._wait_runs(key, [request.execution_id])

        (outcome,) = self.record(key, start_and_wait)
        return self._open_run(key, request.workflow_id, outcome)

    def batch_invoke(self, key: str, inputs: Sequence[BatchWorkflowInput]) -> list[ExecutionHandle]:
        """Start many workflows together; return their handles in order."""
        requests = [self._build_batch_child(key, number, given) for number, given in enumerate(inputs)]
        return [ExecutionHandle(self._host, name) for name in self.record(key, partial(self._start, requests))]

    def batch_invoke_and_wait(self, key: str, inputs: Sequence[BatchWorkflowInput]) -> list[BatchStepResult]:
        """Start many workflows together, and return their outcomes in order. A failure is one of them."""
        return [
            BatchStepResult(
                workflow_id=given.id,
                success="error" not in outcome,
                result=self._restore(given.id, outcome.get("value")) if "value" in outcome else None,
                error=outcome["error"]["message"] if "error" in outcome else None,
            )
            for given, outcome in zip(inputs, self.collect(key, inputs), strict=True)
        ]

    def agent_invoke(self, key: str, given: AgentInput) -> ExecutionHandle:
        """Start an agent: ``agent_invoke("ask", agent.with_input("..."))``; return the handle of its run."""
        return self.invoke(key, given.id, given.payload)

    def agent_invoke_and_wait(self, key: str, given: AgentInput) -> Any:
        """Start an agent and return its `AgentResult`. Raises StepExecutionError if it fails."""
        return self.invoke_and_wait(key, given.id, given.payload)

    def batch_agent_invoke(self, key: str, inputs: Sequence[AgentInput]) -> list[ExecutionHandle]:
        """Start agents together; return the handles of their runs in order."""
        return self.batch_invoke(key, [BatchWorkflowInput(given.id, given.payload) for given in inputs])

    def batch_agent_invoke_and_wait(self, key: str, inputs: Sequence[AgentInput]) -> list[BatchStepResult]:
        """Start agents together, and return their outcomes in order. A failure is one of them."""
        return self.batch_invoke_and_wait(key, [BatchWorkflowInput(given.id, given.payload) for given in inputs])

    def collect(self, key: str, inputs: Sequence[BatchWorkflowInput]) -> list[JsonObject]:
        """Start many workflows together; return ``{"value": ...}`` or ``{"error": ...}`` for each, as JSON."""
        requests = [self._build_batch_child(key, number, given) for number, given in enumerate(inputs)]

        def start_and_wait() -> list[JsonObject]:
            self._host.start(requests)
            return self._wait_runs(key, [request.execution_id for request in requests])

        outcomes: list[JsonObject] = self.record(key, start_and_wait)
        return outcomes

    def _build_batch_child(self, key: str, number: int, given: BatchWorkflowInput) -> RunRequest:
        settings: ChildSettings = {"initial_state": given.initial_state}
        if given.run_timeout_seconds is not None:
            settings["run_timeout_seconds"] = given.run_timeout_seconds
        return build_child(self._parent, f"{key}[{number}]", given.id, given.payload, settings)

    def _wait_runs(self, key: str, execution_ids: Sequence[str]) -> list[JsonObject]:
        """Wait until runs have ended; return their outcomes."""
        ended: dict[str, JsonObject] = {}

        def look() -> list[list[JsonObject]]:
            missing = [execution_id for execution_id in execution_ids if execution_id not in ended]
            for info in self._host.read_runs(missing).values():
                if info.status in ENDED:
                    ended[info.execution_id] = _describe_outcome(info)
            return [[ended[name] for name in execution_ids]] if len(ended) == len({*execution_ids}) else []

        found = look()
        if not found:
            # The last one is likely to end last: with it most others have.
            target = next(name for name in reversed(execution_ids) if name not in ended)
            wait = Wait(execution_id=self._run.execution_id, step_key=key, kind="run", target=target)
            found = self._waiter.wait(wait, look)
        return [*found[0]]

    def _open_run(self, key: str, workflow_id: str, outcome: JsonObject) -> Any:
        value = _open_outcome(key, outcome, Any)
        return self._restore(workflow_id, value)

    def _restore(self, workflow_id: str, value: Json) -> Any:
        return self._host.registry.find(workflow_id).restore_result(value)

    # Waiting

    def wait_for(self, key: str | ExecutionHandle, handle: ExecutionHandle | None = None, **duration: float) -> Any:
        """Wait for a run, or for a time: ``wait_for(handle)``, ``wait_for("pause", minutes=5)``.

        Returns the result of the run. Raises StepExecutionError if it fails, ConfigurationError for a duration that is
        not positive. Units are seconds, minutes, hours, days and weeks.
        """
        if isinstance(key, ExecutionHandle):
            return self._wait_handle(f"wait_for:{key.id}", key)
        if handle is not None:
            return self._wait_handle(key, handle)
        unknown = [*duration.keys() - _SECONDS]
        if unknown or not duration:
            raise ConfigurationError(
                f"wait_for got {', '.join(unknown) or 'no duration'}", hint='wait_for("pause", minutes=5)'
            )
        seconds = sum(_SECONDS[unit] * count for unit, count in duration.items())
        if seconds <= 0:
            raise ConfigurationError(f"wait_for {key!r} is to wait {seconds:g} s", hint="wait for a positive time")
        self._sleep(key, lambda: time.time() + seconds)
        return None

    def _wait_handle(self, key: str, handle: ExecutionHandle) -> Any:
        (outcome,) = self.record(key, lambda: self._wait_runs(key, [handle.id]))
        return self._open_run(key, handle.workflow_id, outcome)

    def wait_until(self, key: str, moment: datetime) -> None:
        """Wait until a time; one without time zone is UTC. Raises ConfigurationError for a time that is over."""
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)

        def check() -> float:
            if moment.timestamp() <= time.time():
                raise ConfigurationError(f"wait_until {key!r} is to wait for {moment}, which is over")
            return moment.timestamp()

        self._sleep(key, check)

    def _sleep(self, key: str, find_end: Callable[[], float]) -> None:
        # The end is what is recorded: a run that goes on after a crash or a cancel does not wait anew.
        wake_at = self.record(key, find_end)
        self._waiter.wait(Wait(execution_id=self._run.execution_id, step_key=key, kind="sleep", wake_at=wake_at), list)

    def _is_waiting(self, key: str) -> bool:
        wait = self._host.waits.find([self._run.execution_id]).get(self._run.execution_id)
        return wait is not None and wait.step_key == key

    # Events

    def publish_event(self, key: str, topic: str, data: Any = None, event_type: str | None = None) -> int:
        """Publish an event, exactly once; return its sequence id."""
        return int(self.record(key, lambda: self._publish(key, topic, data, event_type)))

    def publish_workflow_event(self, key: str, data: Any = None, event_type: str | None = None) -> int:
        """Publish an event on the topic of this run, exactly once; return its sequence id."""
        return self.publish_event(key, self._run.topic, data, event_type)

    def _publish(self, key: str, topic: str, data: Any, event_type: str | None) -> int:
        draft = EventDraft(
            topic=topic,
            event_type=event_type,
            data=convert_to_json(data, f"the data of event {key!r}"),
            execution_id=self._run.execution_id,
            once=build_once(self._run.execution_id, key),
        )
        return self._host.publish([draft])[0]

    def wait_for_event(
        self, key: str, topic: str, *, event_type: str | None = None, timeout: float | None = None
    ) -> EventPayload:
        """Return the first event of a topic since this run was created that it has not waited for before.

        Raises StepExecutionError if none comes within ``timeout`` seconds.
        """
        check_timeout(timeout)
        outcome = self.record(key, partial(self._wait_new_event, key, topic, event_type, timeout))
        event = EventPayload.from_dict(_open_outcome(key, outcome, Any))
        self._run.taken_events.setdefault(topic, set()).add(event.sequence_id)
        self._run.newest_taken[topic, event_type] = event.sequence_id
        return event

    def _wait_new_event(self, key: str, topic: str, event_type: str | None, timeout: float | None) -> JsonObject:
        newest = self._run.newest_taken.get((topic, event_type))
        after = self._host.events.find_id_before(self._run.request.created_at) if newest is None else newest
        return self._wait_event(key, topic, event_type, timeout, after=after)

    def _wait_event(
        self,
        key: str,
        topic: str,
        event_type: str | None,
        timeout: float | None,
        *,
        after: int,
        threshold_s: float | None = None,
    ) -> JsonObject:
        # A wait for another type of the topic may have taken some of these.
        taken = {number for number in self._run.taken_events.get(topic, ()) if number > after}

        def look() -> list[JsonObject]:
            events = self._host.events.read(topic, after=after, event_type=event_type, limit=len(taken) + 1)
            return [event.to_dict() for event in events if event.sequence_id not in taken][:1]

        wait = Wait(
            execution_id=self._run.execution_id,
            step_key=key,
            kind="event",
            target=topic,
            wake_at=None if timeout is None else time.time() + timeout,
        )
        found = self._waiter.wait(wait, look, threshold_s=threshold_s)
        if found:
            return {"value": found[0]}
        return {"error": {"type": "TimeoutError", "message": f"no event came on {topic!r} within {timeout:g} s"}}

    def suspend(self, key: str, data: Any = None, *, timeout: float | None = None) -> Any:
        """Wait for an answer from outside, and return it: see `answer`, `resume` and the command of that name.

        ``data`` is shown to whoever answers. No thread is held. Raises StepExecutionError if no answer comes
        within ``timeout`` seconds.
        """
        check_timeout(timeout)
        shown = convert_to_json(data, f"the data of suspend {key!r}")
        outcome = self.record(key, partial(self._wait_answer, key, shown, timeout))
        return _open_outcome(key, outcome, Any)

    def _wait_answer(self, key: str, shown: Json, timeout: float | None) -> JsonObject:
        run = self._run
        if not self._is_waiting(key):
            self._publish(f"suspend:{key}", run.topic, {"step_key": key, "data": shown}, f"suspend_{key}")
            self._host.notify_suspended(
                Suspension(
                    execution_id=run.execution_id,
                    workflow_id=run.request.workflow_id,
                    root_execution_id=run.root_execution_id,
                    root_workflow_id=run.request.root_workflow_id,
                    step_key=key,
                    data=shown,
                )
            )
        topic = build_answer_topic(run.execution_id, key)
        outcome = self._wait_event(key, topic, None, timeout, after=0, threshold_s=0.0)
        return {"value": outcome["value"]["data"]} if "value" in outcome else outcome

    def resume(self, key: str, suspend_step_key: str, suspend_execution_id: str, data: Any = None) -> None:
        """Answer another run that is suspended, exactly once."""
        answer = convert_to_json(data, f"the data of resume {key!r}")
        self.record(key, lambda: publish_answer(self._host, suspend_execution_id, suspend_step_key, answer))

    @contextmanager
    def trace(self, name: str, attributes: dict[str, Any] | None = None) -> Iterator[None]:
        """Put a span of this name around what happens in the block, where tracing is set up."""
        with self._host.tracer.open_span(name, attributes or {}):
            yield

    # All of them

    def record(self, key: str, function: Callable[[], Json]) -> Json:
        """Return what a step returned, or call ``function`` and record its JSON value; nothing if it raises."""
        self.enter(key)
        self._run.current_step = key
        try:
            return self._host.engine.run_step(key, function)
        finally:
            self._run.current_step = None

    def enter(self, key: str) -> str:
        """Take a step key for a step that begins now; return it. Raises DuplicateStepError if it is taken."""
        _check_key(key)
        if threading.get_ident() != self._run.thread_id:
            raise ConfigurationError(
                f"step {key!r} is called in another thread than its workflow",
                hint="use ctx.step.map for work in several threads",
            )
        if self._run.current_step is not None:
            raise ConfigurationError(
                f"step {key!r} is called inside of step {self._run.current_step!r}",
                hint="call one after the other in the workflow",
            )
        if key in self._run.step_keys:
            raise DuplicateStepError(f"two steps have the key {key!r}", hint="number the keys of a loop")
        self._run.step_keys.add(key)
        if self._run.stopping.is_set():
            raise RunStopped
        return key


def _check_key(key: object) -> None:
    if not isinstance(key, str) or not key:
        raise ConfigurationError(f"the key of a step is {key!r}", hint='use a text: ctx.step.run("load", load)')


def _check_function(function: object) -> None:
    if not callable(function):
        raise ConfigurationError(f"a step is to call {function!r}", hint="pass the function: run(key, load, path)")
    if inspect.iscoroutinefunction(function):
        raise ConfigurationError(
            f"a step is to call the coroutine function {getattr(function, '__name__', function)!r}",
            hint="pass a plain function",
        )


def _describe_outcome(info: RunInfo) -> JsonObject:
    if info.status == "completed":
        return {"value": info.result}
    if info.status == "cancelled":
        return {"error": {"type": "RunCancelledError", "message": f"run {info.execution_id!r} was cancelled"}}
    return {"error": {"type": info.error_type, "message": info.error}}


def _open_outcome(key: str, outcome: JsonObject, tp: Any) -> Any:
    if "value" in outcome:
        return restore_result(outcome["value"], tp)
    error = outcome["error"]
    raise StepExecutionError(
        f"step {key!r} failed: {error['type']}: {error['message']}",
        hint=error.get("hint"),
        step_key=key,
        error_type=error["type"],
    )
