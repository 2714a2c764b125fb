"""A function -> a tool: a workflow that a model may start, with its declaration for the model."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal, overload

import attrs

from pollux_durable.data.values import convert_to_json, read_hints
from pollux_durable.declaring import Workflow, declare
from pollux_durable.errors import PayloadError, ToolRejectedError
from pollux_sync import Tool
from pollux_sync import ToolResult as ModelResult
from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas import schema_of, structure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pollux_durable.contexts import WorkflowContext
    from pollux_durable.data.runs import Json, JsonObject
    from pollux_durable.declaring import QueueLike
    from pollux_durable.hooks import Hook

    Approval = Literal["none", "always"]

#: Parameters of a tool that takes one record.
_CONTEXT_AND_RECORD = 2


class DurableTool(Workflow):
    """A function that a model may call, each call a run of its own. `tool` makes one.

    Its payload is the arguments of the call. The model reads its result as text, data as JSON.
    """

    kind = "tool"

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        id: str | None = None,  # noqa: A002 - named as in Polos
        description: str | None = None,
        parameters: JsonObject | None = None,
        queue: QueueLike | None = None,
        on_start: Hook | Sequence[Hook] | None = None,
        on_end: Hook | Sequence[Hook] | None = None,
        approval: Approval = "none",
        step: bool = False,
    ) -> None:
        if approval not in ("none", "always"):
            raise ConfigurationError(f"approval {approval!r} is not known", hint="use 'none' or 'always'")
        if step and approval == "always":
            raise ConfigurationError("a tool that is a step cannot wait for its approval", hint="leave step= out")
        self._description, self._parameters = description, parameters
        self.approval = approval
        self.is_step = step
        super().__init__(
            function,
            id=id,
            description=description,
            queue=queue,
            on_start=on_start,
            on_end=on_end,
            max_retries=0,  # a failure is told to the model, which decides what comes next
        )

    def read_signature(self) -> None:
        """Read what the function takes. Raises ConfigurationError for one that no model could call."""
        self.tool = self._build_tool()
        self._result_type = Any

    def _build_tool(self) -> Tool:
        description, parameters = self._description, self._parameters
        record = _find_record(self.function)
        if record is not None:
            schema = {name: value for name, value in schema_of(record).items() if name != "title"}
            return Tool(
                name=self.id,
                function=lambda context, **values: self.function(context, structure(values, record)),
                description=description or inspect.getdoc(self.function),
                parameters=parameters or schema,
                skip=1,
            )
        built = Tool.from_function(self.function, name=self.id, description=description, skip=1)
        if parameters is None:
            return built
        return Tool(name=self.id, function=self.function, description=built.description, parameters=parameters, skip=1)

    @property
    def declaration(self) -> JsonObject:
        """The description of the tool for the model."""
        return self.tool.declaration

    def check_payload(self, payload: Any) -> Json:
        """Return the arguments of a call in their JSON form. Raises PayloadError unless they are an object."""
        plain = convert_to_json(payload if payload is not None else {}, f"the arguments of {self.id!r}")
        if not isinstance(plain, dict):
            raise PayloadError(f"the arguments of {self.id!r} are no object", hint="pass a dict of its parameters")
        return plain

    def execute(self, context: WorkflowContext, payload: Json) -> Json:
        """Call the function with the arguments of a call; return the text for the model, and the value itself."""
        if self.approval == "always":
            self._ask_for_approval(context, payload)
        return self.call(context, payload)

    def call(self, context: WorkflowContext, arguments: Mapping[str, Any]) -> JsonObject:
        """Call the function; return the text for the model, and the value itself."""
        value = self.tool.invoke(arguments, context)
        told = ModelResult.from_value(self.id, value)
        plain = None if told.sources or told.is_error else convert_to_json(value, f"the result of {self.id!r}")
        result = {"content": told.content, "sources": [*told.sources], "value": plain}
        return result | ({"is_error": True} if told.is_error else {})

    def restore_result(self, value: Json) -> Any:
        """Return what the function returned."""
        return value.get("value") if isinstance(value, dict) else value

    def _ask_for_approval(self, context: WorkflowContext, arguments: Json) -> None:
        answer = context.step.suspend(
            "approval",
            {
                "title": f"Run {self.id}?",
                "context": {"tool": self.id, "input": arguments},
                "fields": [
                    {"key": "approved", "type": "boolean", "label": "Approve", "required": True},
                    {"key": "feedback", "type": "textarea", "label": "Feedback for the model"},
                ],
            },
        )
        given = answer if isinstance(answer, dict) else {"approved": answer}
        if given.get("approved") is not True:
            feedback = given.get("feedback")
            raise ToolRejectedError(f"the call was not approved{f': {feedback}' if feedback else ''}")


class CoreTool(DurableTool):
    """A `pollux_sync.Tool`, such as one of an MCP server. Each call is a step of the agent's run.

    It is not declared: it belongs to the agent that has it, and another one may have another of the same name.
    """

    def __init__(self, given: Tool) -> None:
        if given.skip:
            raise ConfigurationError(
                f"the tool {given.name!r} takes {given.skip} values that neither the model nor the agent has",
                hint="pass functools.partial(function, value) with a name: Tool.from_function(..., name=...)",
            )
        self._given = given
        super().__init__(_take_context(given.function), id=given.name, description=given.description, step=True)

    def _build_tool(self) -> Tool:
        return attrs.evolve(self._given, function=self.function, skip=1)


@overload
def tool(function: Callable[..., Any], /) -> DurableTool: ...
@overload
def tool(
    *,
    id: str | None = None,
    description: str | None = None,
    parameters: JsonObject | None = None,
    queue: QueueLike | None = None,
    on_start: Hook | Sequence[Hook] | None = None,
    on_end: Hook | Sequence[Hook] | None = None,
    approval: Approval = "none",
    step: bool = False,
) -> Callable[[Callable[..., Any]], DurableTool]: ...
def tool(function: Callable[..., Any] | None = None, /, **settings: Any) -> Any:
    """Declare a function of ``(ctx, **parameters)`` or ``(ctx, record)`` as a tool: ``@tool`` or ``@tool(id="find")``.

    The model learns the parameters after the first, from their types and the docstring. Each call is a run, with steps
    and waits of its own; with ``step=True`` it is a step of the agent's run, which is cheaper. A tool that raises does
    not end the agent: the model reads the error. With ``approval="always"`` a person has to approve each call. Raises
    ConfigurationError for a function that no model could call.
    """
    if function is None:
        return lambda given: declare(DurableTool(given, **settings))
    return declare(DurableTool(function))


def _take_context(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that takes the context of the run first, and does not pass it on."""
    return lambda _, **arguments: function(**arguments)


def _find_record(function: Callable[..., Any]) -> Any:
    """Return the type of a tool's only parameter after the context if it is a record, else None."""
    parameters = [*inspect.signature(function).parameters.values()]
    if len(parameters) != _CONTEXT_AND_RECORD:
        return None
    tp = read_hints(function).get(parameters[1].name)
    if not isinstance(tp, type) or tp in (str, int, float, bool, bytes, dict, list):
        return None
    schema = schema_of(tp)
    return tp if schema.get("type") == "object" and "properties" in schema else None
