"""Agents: a model and its tools as a workflow."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, cast

import attrs

from pollux_durable.agentplan import AgentPlan
from pollux_durable.contexts import AgentContext
from pollux_durable.data.agents import AgentInput, AgentResult, CompactionConfig
from pollux_durable.data.values import convert_to_json
from pollux_durable.declaring import Workflow, declare
from pollux_durable.errors import PayloadError
from pollux_durable.guardrails import list_guardrails
from pollux_durable.hooks import list_hooks
from pollux_durable.invoking import StartSettings
from pollux_durable.looping import AgentLoop
from pollux_durable.stopping import list_conditions
from pollux_durable.streaming import AgentStream
from pollux_durable.tools import CoreTool, DurableTool
from pollux_sync import Config, Options, Source, Tool
from pollux_sync.data.headers import is_secret
from pollux_sync.data.hosted import HostedTool, refuse_class
from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas import structure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pollux_durable.calling import OnChange
    from pollux_durable.contexts import WorkflowContext
    from pollux_durable.data.runs import Json, JsonObject
    from pollux_durable.declaring import QueueLike
    from pollux_durable.guardrails import Guardrail
    from pollux_durable.hooks import Hook
    from pollux_durable.invoking import ExecutionHandle
    from pollux_durable.stopping import StopLike

    Hooks = Hook | Sequence[Hook]

#: So many rounds an agent goes, unless `max_steps` says otherwise.
DEFAULT_STEPS = 10
#: An answer that does not fit its schema is asked for again so often.
_DEFAULT_REPAIRS = 1
_PAYLOAD_KEYS = {"input", "options", "stream"}


class AgentSettings(TypedDict, total=False):
    """The options of an agent. All of them may be left out."""

    description: str
    system_prompt: str
    provider_base_url: str
    temperature: float
    max_output_tokens: int
    tools: Sequence[DurableTool | Tool | HostedTool]
    output_schema: type[Any] | JsonObject
    schema_repairs: int
    queue: QueueLike
    stop_conditions: Sequence[StopLike]
    guardrails: Guardrail | Sequence[Guardrail]
    guardrail_max_retries: int
    on_start: Hooks
    on_end: Hooks
    on_agent_step_start: Hooks
    on_agent_step_end: Hooks
    on_tool_start: Hooks
    on_tool_end: Hooks
    compaction: CompactionConfig
    stream_to_workflow: bool
    on_change: OnChange
    max_retries: int


class Agent(Workflow):
    """A model and its tools as a workflow: each call of the model and of a tool is recorded, and paid for once.

    ``provider`` and ``model`` are as in `pollux_sync.Config`; pass a whole ``config`` for anything more. ``tools`` are
    functions marked with `tool`, each `pollux_sync.Tool`, such as one of an MCP server, and tools that the provider
    runs, such as `pollux_sync.WebSearch`. With ``output_schema`` the answer is of that type. What an agent remembers
    goes by the ``session_id`` of its runs; ``compaction`` limits how much. ``on_change`` says what happens when a
    recorded call of the model would be asked otherwise now: the run fails, or that call is asked anew. Answers are
    streamed only while nothing could take them back: not with guardrails, nor with ``output_schema``.

    Raises ConfigurationError for an id that is taken and for settings that cannot work.
    """

    kind = "agent"

    def __init__(
        self,
        *,
        id: str,  # noqa: A002 - named as in Polos
        provider: str | None = None,
        model: str | None = None,
        config: Config | None = None,
        **settings: Unpack[AgentSettings],
    ) -> None:
        unknown = settings.keys() - AgentSettings.__annotations__.keys()
        if unknown:
            raise ConfigurationError(
                f"agent {id!r} got {', '.join(sorted(unknown))}", hint="see the settings of AgentSettings"
            )
        if config is None and not (provider and model):
            raise ConfigurationError(
                f"agent {id!r} has no model", hint='pass provider="openai", model="..."; or config=Config(...)'
            )
        self._config = config
        self._fields = {"provider": provider, "model": model, "base_url": settings.get("provider_base_url")}
        self._lock = threading.Lock()
        self.system_prompt = settings.get("system_prompt")
        self.stream_to_workflow = settings.get("stream_to_workflow", False)
        self.plan = _build_plan(id, self._open_config, settings)
        super().__init__(
            _refuse_call,
            id=id,
            description=settings.get("description"),
            queue=settings.get("queue"),
            on_start=settings.get("on_start"),
            on_end=settings.get("on_end"),
            max_retries=settings.get("max_retries", 2),
        )
        declare(self)

    def read_signature(self) -> None:
        """Do nothing: an agent has no function of its own."""

    @property
    def config(self) -> Config:
        """The configuration of its model. Raises ConfigurationError if that cannot work, as without a key."""
        return self._open_config()

    def _open_config(self) -> Config:
        # Not where the agent is declared: a process that only starts runs needs no key.
        with self._lock:
            if self._config is None:
                fields = {name: value for name, value in self._fields.items() if value is not None}
                self._config = Config(**fields)  # type: ignore[arg-type]
            return self._config

    # Starting

    def run(self, payload: Any = None, *, timeout: float | None = 600, **settings: Any) -> AgentResult:
        """Start a run with a text, or a list of texts and `Source`s, wait for it and return its result.

        ``settings`` are those of `Workflow.invoke`; others are fields of `pollux_sync.Options` for the calls of the
        model, such as ``temperature``. Raises as `Workflow.run` does.
        """
        result: AgentResult = self.invoke(payload, **settings).result(timeout)
        return result

    def invoke(self, payload: Any = None, **settings: Any) -> ExecutionHandle:
        """Start a run and return its handle. See `run`."""
        return self._start(payload, settings, is_streamed=False)

    def stream(self, payload: Any = None, **settings: Any) -> AgentStream:
        """Start a run and return the stream of its events. See `run`."""
        return AgentStream(self._start(payload, settings, is_streamed=True))

    def with_input(self, payload: Any, **options: Any) -> AgentInput:
        """Return a run to start in a batch; ``options`` are fields of `pollux_sync.Options`."""
        return AgentInput(id=self.id, payload=_build_payload(payload, options, is_streamed=False))

    def _start(self, payload: Any, settings: Mapping[str, Any], *, is_streamed: bool) -> ExecutionHandle:
        start = {name: value for name, value in settings.items() if name in StartSettings.__annotations__}
        options = {name: value for name, value in settings.items() if name not in start}
        given = _build_payload(payload, options, is_streamed=is_streamed)
        return super().invoke(given, **cast("StartSettings", start))

    # What goes in and out

    def check_payload(self, payload: Any) -> Json:
        """Return the JSON form of an input. Raises ConfigurationError for one that no model takes."""
        is_built = isinstance(payload, dict) and payload.keys() == _PAYLOAD_KEYS
        built = payload if is_built else _build_payload(payload, {}, is_streamed=self.stream_to_workflow)
        # Refused here rather than in a worker.
        attrs.evolve(self.plan.options, **built["options"])
        return built

    def check_state(self, initial: Any) -> Json:
        """Return None: an agent has a memory, and no state."""
        if initial is not None:
            raise PayloadError(f"agent {self.id!r} has no state", hint="leave initial_state out")

    def build_context(self, **facts: Any) -> AgentContext:
        """Return the context that hooks, guardrails and tools of one step are handed."""
        config = self.config
        return AgentContext(
            **facts,
            agent_id=self.id,
            model=config.model,
            provider=config.provider,
            system_prompt=self.system_prompt,
            tools=tuple(self.plan.tools),
            temperature=self.plan.options.temperature,
            max_tokens=self.plan.options.max_tokens,
        )

    def execute(self, context: WorkflowContext, payload: Json) -> Json:
        """Go round with the model and its tools until it is done; return the JSON form of the result."""
        return AgentLoop(self.plan, cast("AgentContext", context), payload).run().to_dict()

    def restore_result(self, value: Json) -> AgentResult:
        """Return a result; with ``output_schema`` its answer is of that type."""
        result = AgentResult.from_dict(value)
        schema = self.plan.output_schema
        if not isinstance(schema, type) or result.result is None:
            return result
        return attrs.evolve(result, result=structure(result.result, schema))


def _build_plan(name: str, open_config: Callable[[], Config], settings: AgentSettings) -> AgentPlan:
    given = settings.get("tools", ())
    hosted = [tool for tool in given if isinstance(tool, HostedTool)]
    functions = [_check_tool(tool) for tool in given if not isinstance(tool, HostedTool)]
    tools = {tool.id: tool if isinstance(tool, CoreTool) else declare(tool) for tool in functions}
    on_change = settings.get("on_change", "fail")
    if on_change not in ("fail", "ask"):
        raise ConfigurationError(f"on_change {on_change!r} is not known", hint="use 'fail' or 'ask'")
    return AgentPlan(
        id=name,
        open_config=open_config,
        options=_build_options(settings, [*(tool.declaration for tool in tools.values()), *hosted]),
        tools=tools,
        output_schema=settings.get("output_schema"),
        compaction=settings.get("compaction", CompactionConfig()),
        on_change=on_change,
        stop_conditions=list_conditions(settings.get("stop_conditions"), DEFAULT_STEPS),
        guardrails=list_guardrails(settings.get("guardrails")),
        guardrail_max_retries=settings.get("guardrail_max_retries", 2),
        on_step_start=list_hooks(settings.get("on_agent_step_start")),
        on_step_end=list_hooks(settings.get("on_agent_step_end")),
        on_tool_start=list_hooks(settings.get("on_tool_start")),
        on_tool_end=list_hooks(settings.get("on_tool_end")),
    )


def _build_options(settings: AgentSettings, declared: list[JsonObject | HostedTool]) -> Options:
    schema = settings.get("output_schema")
    return Options(
        system_instruction=settings.get("system_prompt"),
        temperature=settings.get("temperature"),
        max_tokens=settings.get("max_output_tokens"),
        tools=declared or None,
        response_schema=schema,
        schema_repairs=0 if schema is None else settings.get("schema_repairs", _DEFAULT_REPAIRS),
    )


def _build_payload(given: Any, options: Mapping[str, Any], *, is_streamed: bool) -> JsonObject:
    items = [given] if isinstance(given, str | Source | dict) else given
    if not isinstance(items, list | tuple) or not items:
        raise PayloadError(
            f"an agent is given {given!r}", hint='pass a text, or a list of texts and Sources: agent.run("...")'
        )
    _check_headers(options.get("provider_headers"))
    plain = convert_to_json(dict(options), "the options of an agent")
    return {"input": [_build_item(item) for item in items], "options": plain, "stream": is_streamed}


def _check_headers(given: object) -> None:
    """Refuse headers of one run whose values must not be stored."""
    headers = given.values() if isinstance(given, dict) else ()
    secret = sorted({name for one in headers if isinstance(one, dict) for name in one if is_secret(name)})
    if secret:
        raise ConfigurationError(
            f"provider_headers of a run are stored with it, and {', '.join(secret)} may be secret",
            hint="pass them as Config(headers=...) of the agent",
        )


def _build_item(item: object) -> JsonObject:
    if isinstance(item, str):
        return {"text": item}
    if isinstance(item, Source):
        return {"source": item.to_dict()}
    if isinstance(item, dict) and isinstance(item.get("text"), str):
        return {"text": item["text"]}
    if isinstance(item, dict) and isinstance(item.get("source"), dict):
        return {"source": item["source"]}
    raise PayloadError(f"an agent is given {item!r}", hint="pass texts and Sources")


def _check_tool(given: object) -> DurableTool:
    if isinstance(given, DurableTool):
        return given
    if isinstance(given, Tool):
        return CoreTool(given)
    refuse_class("a tool of an agent", given)
    raise ConfigurationError(f"a tool of an agent is {given!r}", hint="mark the function with @tool, or pass a Tool")


def _refuse_call(*_: object) -> None:
    raise ConfigurationError("an agent is not called", hint="use agent.run(...)")
