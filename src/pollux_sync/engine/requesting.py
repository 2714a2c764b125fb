"""Arguments -> Request: shapes and types checked, nothing read or sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pollux_sync.data.checks import require_bool
from pollux_sync.data.config import ConfigValues
from pollux_sync.data.options import NO_OPTIONS, Options
from pollux_sync.data.request import Request
from pollux_sync.data.source import Source
from pollux_sync.errors import ConfigurationError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable


def build_request(
    prompts: str | Sequence[str | None] | None,
    sources: Iterable[Source],
    config: ConfigValues,
    options: Options | None,
    *,
    per_source: bool = False,
) -> Request:
    """The arguments as one value. Raises ConfigurationError or SourceError for what cannot be a request."""
    checked_prompts = _checked_prompts(prompts)
    checked_sources = _checked_sources(sources)
    if not isinstance(config, ConfigValues):
        raise ConfigurationError(
            f"config must be a Config, got {type(config).__name__}",
            hint="config=Config(provider=..., model=...)",
        )
    if options is not None and not isinstance(options, Options):
        raise ConfigurationError(f"options must be Options, got {type(options).__name__}", hint="options=Options(...)")
    require_bool("per_source", per_source)
    request = Request(
        prompts=checked_prompts,
        sources=checked_sources,
        config=config,
        options=options or NO_OPTIONS,
        per_source=per_source,
    )
    _refuse_silence(request)
    return request


def _checked_prompts(prompts: object) -> tuple[str | None, ...]:
    if prompts is None or isinstance(prompts, str):
        _check_prompt("prompt", prompts)
        return (prompts,)
    if not isinstance(prompts, Sequence) or isinstance(prompts, bytes | bytearray):
        raise ConfigurationError(
            f"prompts must be a string or a list of strings, got {type(prompts).__name__}",
            hint="prompts=['first question', 'second question']",
        )
    for index, prompt in enumerate(prompts):
        _check_prompt(f"prompts[{index}]" if len(prompts) > 1 else "prompt", prompt)
    return tuple(prompts)


def _check_prompt(name: str, prompt: object) -> None:
    if prompt is None:
        return
    if not isinstance(prompt, str):
        raise ConfigurationError(f"{name} must be a string or None, got {type(prompt).__name__}", hint="use str()")
    if not prompt.strip():
        raise ConfigurationError(f"{name} is blank", hint="write a question, or pass None to send the sources alone")
    if not prompt.isascii():
        try:
            prompt.encode()
        except UnicodeEncodeError as error:
            raise ConfigurationError(
                f"{name} holds a lone surrogate at position {error.start}",
                hint="decode the input with errors='replace' before passing it on",
            ) from error


def _checked_sources(sources: object) -> tuple[Source, ...]:
    hint = "build it with Source.from_text, Source.from_file, ... and pass a list of them"
    if isinstance(sources, str | bytes | Source) or not hasattr(sources, "__iter__"):
        raise SourceError(f"sources must be a list of Source, got {type(sources).__name__}", hint=hint)
    checked = tuple(sources)
    for index, source in enumerate(checked):
        if not isinstance(source, Source):
            raise SourceError(f"sources[{index}] must be a Source, got {type(source).__name__}", hint=hint)
    return checked


def _refuse_silence(request: Request) -> None:
    """A call needs something to say: a prompt, a source, a conversation or a cache."""
    options = request.options
    if request.per_source and not request.sources:
        raise ConfigurationError("per_source asks about each source, but there is none", hint="pass sources=[...]")
    if request.sources or options.history or options.continue_from is not None or options.cache is not None:
        return
    for index, prompt in enumerate(request.prompts):
        if prompt is None:
            name = f"prompts[{index}]" if len(request.prompts) > 1 else "prompt"
            raise ConfigurationError(f"{name} is None and there is no source: nothing to say", hint="pass a prompt")
