"""Tools: their declarations, the functions behind them, and their results."""

from __future__ import annotations

import functools
import inspect
import json
import typing
from typing import TYPE_CHECKING, Any, Self

import attrs

from pollux_sync._values import Value
from pollux_sync.data.checks import check_bool, check_json, check_text
from pollux_sync.data.declaration import check_parameters
from pollux_sync.data.docstrings import parse_docstring
from pollux_sync.data.reply import ToolCall
from pollux_sync.data.source import BytesLoader, Source, describe_source
from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas import schema_of, structure, unstructure
from pollux_sync.schemas.jsontext import round_floats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

#: The kinds of parameters that can be passed by name; the model names every argument.
_KEYWORD_KINDS = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
#: The kinds of parameters that can be passed by position.
_LEADING_KINDS = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Tool(Value):
    """A function that the model may call.

    ``parameters`` is the JSON Schema of its keyword arguments, ``strict`` is as in ``Options(tools=[...])``. ``skip``
    is the number of leading parameters that the model does not know: your code passes them to `invoke`.
    `from_function` derives all fields from the function; set them yourself if the schema comes from elsewhere.
    """

    name: str
    function: Callable[..., Any] = attrs.field(repr=False)
    description: str | None = None
    parameters: dict[str, Any] = attrs.field(factory=lambda: {"type": "object", "properties": {}}, repr=False)
    strict: bool | None = None
    skip: int = 0
    # Built anew for each tool, so comparing it would make equal tools differ.
    _record: type[Any] | None = attrs.field(default=None, repr=False, eq=False)

    @classmethod
    def from_function(
        cls,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        strict: bool | None = None,
        skip: int = 0,
    ) -> Self:
        """Build a tool from a typed function: its parameters from the annotations, its description from the docstring.

        The docstring (Google, NumPy or Sphinx style) or ``Annotated[str, "..."]`` describe the parameters. They may
        have every type that a response schema may have. With ``skip=1`` the first parameter is yours, such as a
        context: the model does not know it, and `invoke` takes it after the arguments. Raises ConfigurationError for a
        function that cannot be called by keywords, has fewer parameters than are skipped, or is asynchronous.
        """
        if not callable(function):
            raise ConfigurationError(
                f"a tool must be a function, got {type(function).__name__}", hint="pass the function itself"
            )
        if inspect.iscoroutinefunction(function):
            raise ConfigurationError(
                "a tool must not be asynchronous",
                hint="wrap it in a blocking function: def tool(...): ...",
            )
        tool_name = name or getattr(function, "__name__", None)
        check_text("name", tool_name, hint="Tool.from_function(function, name=...)")
        summary, descriptions = parse_docstring(inspect.getdoc(_unwrap(function)))
        # The parameters become a record class, so that one code path makes schemas and reads arguments for tools and
        # response schemas alike.
        record = attrs.make_class(
            str(tool_name), dict(_iter_fields(function, descriptions, skip)), frozen=True, kw_only=True
        )
        schema = schema_of(record)
        return cls(
            name=str(tool_name),
            function=function,
            description=description or summary,
            parameters={key: value for key, value in schema.items() if key != "title"},
            strict=strict,
            skip=skip,
            record=record,
        )

    @property
    def declaration(self) -> dict[str, Any]:
        """The tool as a dict for ``Options(tools=[...])``."""
        return _build_declaration(self)

    def __call__(self, arguments: Mapping[str, Any], *leading: Any) -> str:
        """Call the function with the model's arguments; return its result as text, data as JSON, a file as its name.

        Takes and raises what `invoke` does.
        """
        return convert_result(self.invoke(arguments, *leading))[0]

    def invoke(self, arguments: Mapping[str, Any], *leading: Any) -> Any:
        """Call the function with the model's arguments; return what it returns.

        ``leading`` are the values of the parameters that the model does not know. Raises AnswerMismatch for arguments
        that do not fit the parameters, ConfigurationError for another number of leading ones, and whatever the function
        raises.
        """
        if len(leading) != self.skip:
            raise ConfigurationError(
                f"the tool {self.name!r} takes {self.skip} values that the model does not give, got {len(leading)}",
                hint="tool.invoke(arguments, context), for a tool of Tool.from_function(function, skip=1)",
            )
        values = structure(dict(arguments), self._record or self.parameters)
        # Only what the model wrote is passed on: the function's own defaults stay in force.
        if self._record is None:
            return self.function(*leading, **round_floats(values))
        return self.function(*leading, **{name: getattr(values, name) for name in arguments})


@attrs.frozen(eq=False, repr=False)
class ToolDeclaration(Value):
    """The declaration of a tool that you run yourself; ``parameters`` is a JSON Schema of an object.

    Raises ConfigurationError for fields that no provider accepts.
    """

    name: str
    description: str | None = None
    parameters: dict[str, Any] = attrs.field(factory=lambda: {"type": "object", "properties": {}}, repr=False)
    strict: bool | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_text("name", self.name, hint="pass the name by which the model calls the tool")
        check_json("parameters", self.parameters)
        check_parameters("parameters", self.parameters)
        if self.description is not None:
            check_text("description", self.description)
        if self.strict is not None:
            check_bool("strict", self.strict)

    @classmethod
    def from_function(
        cls, function: Callable[..., Any], *, name: str | None = None, description: str | None = None
    ) -> Self:
        """Build the declaration that `Tool.from_function` would build, without keeping the function."""
        tool = Tool.from_function(function, name=name, description=description)
        return cls(tool.name, tool.description, tool.parameters)

    @property
    def declaration(self) -> dict[str, Any]:
        """The tool as a dict for ``Options(tools=[...])``."""
        return _build_declaration(self)


@attrs.frozen(eq=False, repr=False)
class ToolFailure(Value):
    """The result of a tool that failed in a way the model should read; ``result`` is whatever a tool may return.

    A tool returns it instead of raising: the model gets an error also with ``on_tool_error="raise"``.
    """

    result: Any


@attrs.frozen(eq=False, repr=False)
class ToolResult(Value):
    """The result of a tool call, as text for the model; ``is_error`` marks a tool that failed.

    ``sources`` are files for the model, such as an image, as `Source.to_dict` writes them.
    """

    tool_call_id: str
    content: str
    is_error: bool = False
    sources: tuple[dict[str, Any], ...] = ()

    def __attrs_post_init__(self) -> None:
        check_text("tool_call_id", self.tool_call_id, hint="pass the id of the tool call")
        content: object = self.content
        if not isinstance(content, str):
            raise ConfigurationError(
                f"content must be a string, got {type(content).__name__}", hint="ToolResult.from_value(call, value)"
            )
        check_bool("is_error", self.is_error)

    @classmethod
    def from_value(cls, call: ToolCall | str, value: Any, is_error: bool = False) -> Self:  # noqa: FBT001, FBT002 - as the field
        """Build the result of a tool call, which may be given by its id. Text stays unchanged, data becomes JSON.

        A `Source`, or a list with some, is read now. A `ToolFailure` makes an error. Raises SourceError if a source
        cannot be read, and ConfigurationError for a value without a JSON form.
        """
        content, sources = convert_result(value)
        call_id = call.id if isinstance(call, ToolCall) else call
        return cls(call_id, content, is_error or isinstance(value, ToolFailure), sources)

    def to_turn(self) -> dict[str, Any]:
        """Return the result as a dict for ``continue_tool``."""
        turn: dict[str, Any] = {"role": "tool", "tool_call_id": self.tool_call_id, "content": self.content}
        turn |= {"sources": [*self.sources]} if self.sources else {}
        return turn | ({"is_error": True} if self.is_error else {})


def _build_declaration(tool: Tool | ToolDeclaration) -> dict[str, Any]:
    declaration = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }
    return {key: value for key, value in declaration.items() if value is not None}


def convert_result(value: Any) -> tuple[str, tuple[dict[str, Any], ...]]:
    """Return a result as text for the model, and the files in it as stored sources.

    Text is unchanged, data is JSON. A `Source`, alone or in a list, is read now, since the tool may replace its file
    in the next round: a text is part of the text, a file is named there. Raises SourceError if it cannot be read.
    """
    if isinstance(value, ToolFailure):
        return convert_result(value.result)
    if not _holds_source(value):
        # Not escaped to ASCII, which would cost tokens.
        return value if isinstance(value, str) else json.dumps(unstructure(value), ensure_ascii=False), ()
    texts: list[str] = []
    sources: list[dict[str, Any]] = []
    for part in [value] if isinstance(value, Source) else value:
        if not isinstance(part, Source):
            texts.append(convert_result(part)[0])
        elif part.source_type in {"text", "json"}:
            texts.append(part.load().decode())
        else:
            texts.append(describe_source(part))
            loaded = attrs.evolve(part, content_loader=BytesLoader(part.load())) if part.path else part
            sources.append(loaded.to_dict())
    return "\n\n".join(texts), tuple(sources)


def _holds_source(value: Any) -> bool:
    return isinstance(value, Source) or (isinstance(value, list | tuple) and any(isinstance(v, Source) for v in value))


def _iter_fields(function: Callable[..., Any], descriptions: Mapping[str, str], skip: int) -> Iterator[tuple[str, Any]]:
    hints = _read_hints(function)
    parameters = [*inspect.signature(function).parameters.values()]
    _check_skipped(parameters, skip)
    for parameter in parameters[skip:]:
        if parameter.kind not in _KEYWORD_KINDS:
            raise ConfigurationError(
                f"the parameter {parameter} cannot be passed by name",
                hint="replace it by parameters with names of their own",
            )
        name = parameter.name
        default = attrs.NOTHING if parameter.default is inspect.Parameter.empty else parameter.default
        metadata = {"description": descriptions[name]} if name in descriptions else {}
        # The alias keeps leading underscores, which attrs strips from the names of arguments.
        yield name, attrs.field(type=hints.get(name, Any), default=default, metadata=metadata, alias=name)


def _check_skipped(parameters: Sequence[inspect.Parameter], skip: int) -> None:
    number: object = skip
    if type(number) is not int or skip < 0:
        raise ConfigurationError(f"skip must be a number of parameters, got {number!r}", hint="such as 1")
    leading = [parameter for parameter in parameters[:skip] if parameter.kind in _LEADING_KINDS]
    if len(leading) < skip:
        raise ConfigurationError(
            f"the function has {len(leading)} parameters that can be passed by position, skip is {skip}",
            hint="give it the parameter that the model is not told of, in the first place",
        )


def _read_hints(function: Callable[..., Any]) -> dict[str, Any]:
    original = _unwrap(function)
    try:
        # With extras, because Annotated carries the descriptions of parameters.
        return typing.get_type_hints(original, include_extras=True)
    except NameError as error:
        raise ConfigurationError(
            f"an annotation of {original.__qualname__} cannot be resolved: {error}",
            hint="define the named type at module level, and import it outside `if TYPE_CHECKING`",
        ) from error


def _unwrap(function: Any) -> Any:
    """Return the function that holds the annotations and the docstring: inside partials, or an object's __call__."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if inspect.isroutine(function) or inspect.isclass(function) else type(function).__call__
