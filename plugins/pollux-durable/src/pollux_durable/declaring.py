"""A function -> a workflow: its id, what it takes and returns, and how its runs go on."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from pollux_durable import configuring
from pollux_durable.activeruns import current_run
from pollux_durable.contexts import WorkflowContext
from pollux_durable.data.queues import Queue
from pollux_durable.data.states import WorkflowState
from pollux_durable.data.values import (
    convert_to_json,
    convert_to_type,
    read_hints,
    read_result_type,
    restore_result,
)
from pollux_durable.errors import PayloadError
from pollux_durable.hooks import list_hooks
from pollux_durable.invoking import ExecutionHandle, StartSettings, build_root
from pollux_durable.registry import registry
from pollux_durable.starting import check_starts, read_timetable, read_trigger
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pollux_durable.data.runs import Json
    from pollux_durable.hooks import Hook
    from pollux_durable.starting import ScheduleLike

    StateScope = Literal["session", "execution"]
    QueueLike = Queue | str | Mapping[str, Any]

W = TypeVar("W", bound="Workflow")
_PARAMETERS = (1, 2)


class Workflow:
    """A function whose runs survive their process. `workflow` makes one."""

    kind = "workflow"

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        id: str | None = None,  # noqa: A002 - named as in Polos
        description: str | None = None,
        queue: QueueLike | None = None,
        state_schema: type[WorkflowState] | None = None,
        state_scope: StateScope = "session",
        on_start: Hook | Sequence[Hook] | None = None,
        on_end: Hook | Sequence[Hook] | None = None,
        max_retries: int = 2,
        schedule: ScheduleLike = None,
        trigger_on_event: str | None = None,
        batch_size: int = 1,
        batch_timeout_seconds: float | None = None,
    ) -> None:
        self.function = function
        self.id = check_id(id or getattr(function, "__name__", ""))
        self.description = description or inspect.getdoc(function)
        self.queue = build_queue(queue)
        self.queue_name = self.queue.name if self.queue is not None else None
        _check_schema(self.id, state_schema)
        if state_scope not in ("session", "execution"):
            raise ConfigurationError(f"state_scope {state_scope!r} is not known", hint="use 'session' or 'execution'")
        self.state_schema = state_schema
        self.state_scope = state_scope
        self.on_start = list_hooks(on_start)
        self.on_end = list_hooks(on_end)
        self.max_retries = max_retries
        self.schedule = schedule
        self.timetable = read_timetable(self.id, schedule)
        self.trigger = read_trigger(self.id, trigger_on_event, batch_size, batch_timeout_seconds)
        self.read_signature()
        check_starts(self)

    def read_signature(self) -> None:
        """Read what the function takes and returns. Raises ConfigurationError for one that no run could call."""
        self._payload = _read_payload_parameter(self.function, self.id)
        self._payload_type = Any if self._payload is None else read_hints(self.function).get(self._payload.name, Any)
        self._result_type = read_result_type(self.function)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"

    def __call__(self, context: WorkflowContext, *payload: Any) -> Any:
        """Call the function itself, as a test may do."""
        return self.function(context, *payload)

    # Starting

    def invoke(self, payload: Any = None, **settings: Unpack[StartSettings]) -> ExecutionHandle:
        """Start a run and return its handle. With an ``execution_id`` that exists it is the handle of that run.

        Raises ConfigurationError for a payload that does not fit, and inside of a workflow.
        """
        if current_run.get() is not None:
            raise ConfigurationError(
                f"workflow {self.id!r} is started inside of a workflow, where it would start again in each replay",
                hint="use ctx.step.invoke or ctx.step.invoke_and_wait",
            )
        host = configuring.find_host()
        request = build_root(self, payload, settings)
        host.start([request])
        return ExecutionHandle(host, request.execution_id)

    def run(self, payload: Any = None, *, timeout: float | None = 600, **settings: Unpack[StartSettings]) -> Any:
        """Start a run, wait for it and return its result. ``settings`` are those of `invoke`.

        Raises RunFailedError if it fails or is cancelled; WorkflowTimeoutError if it goes on after ``timeout`` seconds.
        """
        return self.invoke(payload, **settings).result(timeout)

    # What goes in and out

    def check_payload(self, payload: Any) -> Json:
        """Return the JSON form of a payload. Raises PayloadError if it does not fit."""
        subject = f"the payload of {self.id!r}"
        if self._payload is None:
            return None
        if (
            payload is None
            and self._payload.default is inspect.Parameter.empty
            and not _allows_none(self._payload_type)
        ):
            raise PayloadError(f"{subject} is missing", hint=f"pass the value for {self._payload.name!r}")
        plain = convert_to_json(payload, subject)
        if payload is not None:
            convert_to_type(plain, self._payload_type, subject)
        return plain

    def check_state(self, initial: Any) -> Json:
        """Return the JSON form of an initial state. Raises PayloadError if it does not fit."""
        if initial is None:
            return None
        if self.state_schema is None:
            raise PayloadError(f"workflow {self.id!r} has no state", hint="declare it with state_schema=")
        values = initial.to_dict() if isinstance(initial, WorkflowState) else dict(initial)
        return self.state_schema(**values).to_dict()

    def build_context(self, **facts: Any) -> WorkflowContext:
        """Return the context that the function is handed."""
        return WorkflowContext(**facts)

    def execute(self, context: WorkflowContext, payload: Json) -> Json:
        """Call the function with a payload in its JSON form; return the JSON form of its result."""
        arguments = []
        if self._payload is not None and not (payload is None and self._payload.default is not inspect.Parameter.empty):
            is_given = payload is not None
            arguments = [
                convert_to_type(payload, self._payload_type, f"the payload of {self.id!r}") if is_given else None
            ]
        return convert_to_json(self.function(context, *arguments), f"the result of {self.id!r}")

    def restore_result(self, value: Json) -> Any:
        """Return a result as the type that the function is declared to return."""
        return restore_result(value, self._result_type)


@overload
def workflow(function: Callable[..., Any], /) -> Workflow: ...
@overload
def workflow(
    *,
    id: str | None = None,
    description: str | None = None,
    queue: QueueLike | None = None,
    state_schema: type[WorkflowState] | None = None,
    state_scope: StateScope = "session",
    on_start: Hook | Sequence[Hook] | None = None,
    on_end: Hook | Sequence[Hook] | None = None,
    max_retries: int = 2,
    schedule: ScheduleLike = None,
    trigger_on_event: str | None = None,
    batch_size: int = 1,
    batch_timeout_seconds: float | None = None,
) -> Callable[[Callable[..., Any]], Workflow]: ...
def workflow(function: Callable[..., Any] | None = None, /, **settings: Any) -> Any:
    """Declare a function of ``(ctx)`` or ``(ctx, payload)`` as a workflow: ``@workflow`` or ``@workflow(id="order")``.

    Its runs survive their process: what its steps (``ctx.step``) returned is recorded, and the function begins again
    over these records. So whatever else it does must be the same each time. A run that raises begins again up to
    ``max_retries`` times, except after a failed step. ``queue`` limits how many go on at a time; ``state_schema`` is
    kept between runs, by session or, with ``state_scope="execution"``, not at all.

    ``schedule="0 9 * * *"`` starts it at times, ``trigger_on_event="topic"`` with each event of a topic, or with
    ``batch_size`` of them; or with those that came in ``batch_timeout_seconds`` after the first.

    Raises ConfigurationError for an id that is taken, another number of parameters, and a coroutine function.
    """
    if function is None:
        return lambda given: declare(Workflow(given, **settings))
    return declare(Workflow(function))


def declare(declared: W) -> W:
    """Have a workflow known by its id. Raises ConfigurationError if the id is taken."""
    registry.add(declared)
    return declared


def _check_schema(name: str, schema: object) -> None:
    if schema is not None and not (isinstance(schema, type) and issubclass(schema, WorkflowState)):
        raise ConfigurationError(f"state_schema of {name!r} is {schema!r}", hint="pass a subclass of WorkflowState")


def check_id(name: object) -> str:
    """Return an id. Raises ConfigurationError for an invalid one."""
    if not isinstance(name, str) or not name.strip() or name == "<lambda>":
        raise ConfigurationError(f"the id of a workflow is {name!r}", hint='pass a text: @workflow(id="order")')
    return name


def build_queue(given: QueueLike | None) -> Queue | None:
    """Return what stands for a queue as one."""
    if given is None or isinstance(given, Queue):
        return given
    if isinstance(given, str):
        return Queue(given)
    try:
        return Queue(**given)
    except TypeError as error:
        raise ConfigurationError(f"a queue is given as {given!r}: {error}", hint='use Queue("mail", 5)') from None


def _read_payload_parameter(function: Callable[..., Any], name: str) -> inspect.Parameter | None:
    if inspect.iscoroutinefunction(function):
        raise ConfigurationError(f"workflow {name!r} is a coroutine function", hint="leave async and await out")
    parameters = [*inspect.signature(function).parameters.values()]
    kinds = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    if len(parameters) not in _PARAMETERS or any(parameter.kind not in kinds for parameter in parameters):
        raise ConfigurationError(
            f"workflow {name!r} takes {len(parameters)} parameters", hint="take (ctx) or (ctx, payload)"
        )
    return parameters[1] if len(parameters) == _PARAMETERS[1] else None


def _allows_none(tp: Any) -> bool:
    try:
        convert_to_type(None, tp, "the payload")
    except PayloadError:
        return False
    return tp is not Any
