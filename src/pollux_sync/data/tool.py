"""Tools: what the model is told of them, how a function is called with what it wrote, what it is told in return."""

from __future__ import annotations

import functools
import inspect
import json
import typing
from typing import TYPE_CHECKING, Any, Self

import attrs

from pollux_sync.data.checks import check_bool, check_json, check_text, require_mapping
from pollux_sync.data.docstrings import parse_docstring
from pollux_sync.data.reply import ToolCall
from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas import schema_of, structure, unstructure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_KEYWORD_KINDS = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}


@attrs.frozen(kw_only=True)
class Tool:
    """A function that a model may call.

    ``parameters`` is the JSON Schema of its keyword arguments; ``strict`` as in ``Options(tools=[...])``.
    `from_function` takes all of it from the function; give it yourself where the schema comes from elsewhere.
    """

    name: str
    function: Callable[..., Any] = attrs.field(repr=False)
    description: str | None = None
    parameters: dict[str, Any] = attrs.field(factory=lambda: {"type": "object", "properties": {}}, repr=False)
    strict: bool | None = None
    _record: type[Any] | None = attrs.field(default=None, repr=False, eq=False)

    @classmethod
    def from_function(
        cls,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        strict: bool | None = None,
    ) -> Self:
        """The tool that a typed function is: parameters from its annotations, words from its docstring.

        Parameters are described in the docstring (Google, NumPy or Sphinx style) or by
        ``Annotated[str, "..."]``. Every type that a response schema may have can be used. Raises
        ConfigurationError for a function that cannot be called by keywords, or is asynchronous.
        """
        if not callable(function):
            raise ConfigurationError(
                f"a tool must be a function, got {type(function).__name__}", hint="pass the function itself"
            )
        if inspect.iscoroutinefunction(function):
            raise ConfigurationError("a tool must not be asynchronous", hint="wrap it: def tool(...): ...")
        named = name or getattr(function, "__name__", None)
        check_text("name", named, hint="Tool.from_function(function, name=...)")
        words, descriptions = parse_docstring(inspect.getdoc(_unwrap(function)))
        record = attrs.make_class(str(named), dict(_iter_fields(function, descriptions)), frozen=True, kw_only=True)
        schema = schema_of(record)
        return cls(
            name=str(named),
            function=function,
            description=description or words,
            parameters={key: value for key, value in schema.items() if key != "title"},
            strict=strict,
            record=record,
        )

    @property
    def declaration(self) -> dict[str, Any]:
        """The tool as ``Options(tools=[...])`` takes it."""
        return _build_declaration(self)

    def __call__(self, arguments: Mapping[str, Any]) -> str:
        """Call the function with what the model wrote; gives its result as text, data as JSON.

        Raises AnswerMismatch for arguments that do not fit, and whatever the function raises.
        """
        given = structure(dict(arguments), self._record or self.parameters)
        keywords = given if self._record is None else {name: getattr(given, name) for name in arguments}
        return _convert_result(self.function(**keywords))


@attrs.frozen
class ToolDeclaration:
    """A tool that you run yourself, as the model is told of it; ``parameters`` is a JSON Schema of an object.

    Raises ConfigurationError for what no model can be told.
    """

    name: str
    description: str | None = None
    parameters: dict[str, Any] = attrs.field(factory=lambda: {"type": "object", "properties": {}}, repr=False)
    strict: bool | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_text("name", self.name, hint="name the tool as the model shall call it")
        require_mapping("parameters", self.parameters)
        check_json("parameters", self.parameters)
        if self.description is not None:
            check_text("description", self.description)
        if self.strict is not None:
            check_bool("strict", self.strict)

    @classmethod
    def from_function(
        cls, function: Callable[..., Any], *, name: str | None = None, description: str | None = None
    ) -> Self:
        """What `Tool.from_function` would tell the model of a function, without the function."""
        tool = Tool.from_function(function, name=name, description=description)
        return cls(tool.name, tool.description, tool.parameters)

    @property
    def declaration(self) -> dict[str, Any]:
        """The tool as ``Options(tools=[...])`` takes it."""
        return _build_declaration(self)


@attrs.frozen
class ToolResult:
    """What a tool call came to, as text for the model; ``is_error`` marks a tool that failed."""

    tool_call_id: str
    content: str
    is_error: bool = False

    def __attrs_post_init__(self) -> None:
        check_text("tool_call_id", self.tool_call_id, hint="pass the id of the call that this is the result of")
        content: object = self.content
        if not isinstance(content, str):
            raise ConfigurationError(
                f"content must be a string, got {type(content).__name__}", hint="ToolResult.from_value(call, value)"
            )
        check_bool("is_error", self.is_error)

    @classmethod
    def from_value(cls, call: ToolCall | str, value: Any, is_error: bool = False) -> Self:  # noqa: FBT001, FBT002 - as the field
        """The result of a call, or of the call of this id: text as it is, data as JSON.

        Raises ConfigurationError for a value without a JSON form.
        """
        return cls(call.id if isinstance(call, ToolCall) else call, _convert_result(value), is_error)

    def to_turn(self) -> dict[str, Any]:
        """The result as ``continue_tool`` takes it."""
        turn = {"role": "tool", "tool_call_id": self.tool_call_id, "content": self.content}
        return turn | ({"is_error": True} if self.is_error else {})


def _build_declaration(tool: Tool | ToolDeclaration) -> dict[str, Any]:
    declared = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {key: value for key, value in (declared | {"strict": tool.strict}).items() if value is not None}


def _convert_result(value: Any) -> str:
    """A value as a model is told it: text as it is, data as JSON."""
    return value if isinstance(value, str) else json.dumps(unstructure(value), ensure_ascii=False)


def _iter_fields(function: Callable[..., Any], descriptions: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    hints = _read_hints(function)
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in _KEYWORD_KINDS:
            raise ConfigurationError(
                f"the parameter {parameter} cannot be given by name", hint="give each parameter a name of its own"
            )
        default = attrs.NOTHING if parameter.default is inspect.Parameter.empty else parameter.default
        metadata = {"description": descriptions[name]} if name in descriptions else {}
        yield name, attrs.field(type=hints.get(name, Any), default=default, metadata=metadata, alias=name)


def _read_hints(function: Callable[..., Any]) -> dict[str, Any]:
    written = _unwrap(function)
    try:
        return typing.get_type_hints(written, include_extras=True)
    except NameError as error:
        raise ConfigurationError(
            f"an annotation of {written.__qualname__} cannot be resolved: {error}",
            hint="define the named type at module level, and import it outside `if TYPE_CHECKING`",
        ) from error


def _unwrap(function: Any) -> Any:
    """The function as its author wrote it, with annotations and docstring."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if inspect.isroutine(function) or inspect.isclass(function) else type(function).__call__
