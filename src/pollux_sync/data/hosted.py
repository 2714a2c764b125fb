"""Tools that the provider runs itself, such as a web search. Loaded with the first of them: few calls have any."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence  # noqa: TC003 - typing.get_type_hints needs them
from typing import Any, ClassVar, Literal

import attrs

from pollux_sync._values import Value
from pollux_sync.data.checks import check_int, check_json, check_text, require_mapping
from pollux_sync.data.config import redact_credentials
from pollux_sync.errors import ConfigurationError

_PLACES = ("city", "region", "country", "timezone")


def _freeze_list(value: Sequence[str]) -> Sequence[str]:
    # What is no list is refused by the check, as a text, which would be taken letter by letter.
    return tuple(value) if isinstance(value, list) else value


def _check_texts(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, list | tuple) or not value or not all(isinstance(text, str) and text for text in value):
        raise ConfigurationError(f"{field.name} must be a list of texts, got {value!r}", hint=f'{field.name}=["..."]')


def _check_count(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_int(field.name, value, minimum=1)


def _check_place(_: object, field: attrs.Attribute[Any], value: object) -> None:
    place = require_mapping(field.name, value)
    wrong = [name for name, text in place.items() if name not in _PLACES or not isinstance(text, str)]
    if wrong or not place:
        raise ConfigurationError(
            f"{field.name} holds {', '.join(map(repr, wrong)) or 'nothing'}",
            hint=f"pass texts under {', '.join(_PLACES)}; the country has two letters",
        )


def _check_text(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_text(field.name, value)


def _check_url(_: object, field: attrs.Attribute[Any], value: str) -> None:
    check_text(field.name, value)
    # The address is shown and stored.
    if redact_credentials(value) != value:
        raise ConfigurationError(f"{field.name} holds a user or a password", hint="pass the server's token as token=")


def _check_fields(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not require_mapping(field.name, value):
        raise ConfigurationError("a RawTool has no fields", hint="pass the tool as the provider's guide shows it")
    check_json(field.name, value)


def _check_size(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if value not in ("low", "medium", "high"):
        raise ConfigurationError(f"{field.name} {value!r} is not known", hint="use 'low', 'medium' or 'high'")


def _optional(check: Callable[..., None], **settings: Any) -> Any:
    return attrs.field(default=None, validator=attrs.validators.optional(check), **settings)


def _list_of_texts() -> Any:
    return _optional(_check_texts, converter=attrs.converters.optional(_freeze_list))


@attrs.frozen(eq=False, repr=False)
class HostedTool(Value):
    """A tool that the provider runs. None stands for the provider's default, as in `Options`.

    A field is honoured, or refused with a ConfigurationError before anything is sent. Lists are kept as tuples.
    """

    kind: ClassVar[str]

    @property
    def identity(self) -> object:
        """What one call may have once: by default a tool of this kind."""
        return self.kind

    def iter_set(self) -> Iterator[tuple[str, Any]]:
        """Yield the name and the value of each field that is set."""
        for field in attrs.fields(type(self)):
            value = getattr(self, field.name)
            if value is not None:
                yield field.name, value


@attrs.frozen(kw_only=True, eq=False, repr=False)
class WebSearch(HostedTool):
    """Searches the web.

    ``user_location`` has texts under ``city``, ``region``, ``country`` (two letters) and ``timezone`` (IANA).
    ``context_size`` is how much of the pages the model reads. ``max_uses`` limits the searches of one answer.
    """

    kind = "web_search"

    allowed_domains: Sequence[str] | None = _list_of_texts()
    blocked_domains: Sequence[str] | None = _list_of_texts()
    max_uses: int | None = _optional(_check_count)
    user_location: Mapping[str, str] | None = _optional(_check_place)
    context_size: Literal["low", "medium", "high"] | None = _optional(_check_size)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class WebFetch(HostedTool):
    """Reads web pages whose addresses are in the conversation. ``max_content_tokens`` limits each page."""

    kind = "web_fetch"

    allowed_domains: Sequence[str] | None = _list_of_texts()
    blocked_domains: Sequence[str] | None = _list_of_texts()
    max_uses: int | None = _optional(_check_count)
    max_content_tokens: int | None = _optional(_check_count)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CodeExecution(HostedTool):
    """Writes and runs Python in a container of the provider."""

    kind = "code_execution"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class FileSearch(HostedTool):
    """Searches files in stores of the provider: vector stores at OpenAI, file search stores at Gemini.

    ``stores`` are their ids. ``max_results`` limits the pieces that the model reads.
    """

    kind = "file_search"

    stores: Sequence[str] = attrs.field(converter=_freeze_list, validator=_check_texts)
    max_results: int | None = _optional(_check_count)

    @property
    def identity(self) -> object:
        """The tool itself: a call may search several groups of stores."""
        return self


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RemoteMCP(HostedTool):
    """Calls the tools of an MCP server that the provider reaches at ``url``, without asking before a call.

    ``token`` is sent as the server's bearer token. It is never shown, stored or part of a request key.
    ``allowed_tools`` are the names of the tools that the model may call, by default all.
    """

    kind = "remote_mcp"

    name: str = attrs.field(validator=_check_text)
    url: str = attrs.field(validator=_check_url)
    token: str | None = _optional(_check_text, repr=False)
    allowed_tools: Sequence[str] | None = _list_of_texts()

    @property
    def identity(self) -> object:
        """The kind and the name: a call may have several servers."""
        return self.kind, self.name


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ImageGeneration(HostedTool):
    """Makes images, which are in the result's ``files``. ``model`` is the one that draws."""

    kind = "image_generation"

    model: str | None = _optional(_check_text)


@attrs.frozen(eq=False, repr=False)
class RawTool(HostedTool):
    """A tool of one provider, sent as it is: ``RawTool({"googleMaps": {}}, provider="gemini")``.

    Its fields are not in its repr, but stored wherever a request is: a secret in them is not kept from files.
    """

    kind = "raw"

    fields: Mapping[str, Any] = attrs.field(repr=False, validator=_check_fields)
    provider: str = attrs.field(kw_only=True, validator=_check_text)

    @property
    def identity(self) -> object:
        """The tool itself: a call may have several."""
        return self


#: What the docs and errors call each kind.
HOSTED_KINDS: dict[str, type[HostedTool]] = {
    one.kind: one for one in (WebSearch, WebFetch, CodeExecution, FileSearch, RemoteMCP, ImageGeneration, RawTool)
}


def refuse_class(name: str, tool: object) -> None:
    """Raise ConfigurationError for one of these classes in place of a tool; ``name`` is its place in the error."""
    if isinstance(tool, type) and issubclass(tool, HostedTool):
        raise ConfigurationError(f"{name} is the class {tool.__name__}", hint=f"pass a tool: {tool.__name__}()")
