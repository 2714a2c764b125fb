"""Arguments -> Request: shapes and types checked, nothing read or sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pollux_sync.data.checks import check_bool
from pollux_sync.data.options import NO_OPTIONS, Options
from pollux_sync.data.request import Request
from pollux_sync.errors import ConfigurationError, SourceError
from pollux_sync.hooks.config import Config

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pollux_sync.data.source import Source
    from pollux_sync.errors import PolluxError


def build_request(
    prompts: str | Sequence[str | None] | None,
    sources: Iterable[Source],
    config: Config,
    options: Options | None,
    *,
    per_source: bool = False,
) -> Request:
    """Check the arguments of a call and return them as one value.

    Raises ConfigurationError or SourceError for arguments that make no request.
    """
    checked_prompts = _require_prompts(prompts)
    checked_sources = require_sources(sources, SourceError)
    require_config(config)
    require_options(options)
    check_bool("per_source", per_source)
    request = Request(
        prompts=checked_prompts,
        sources=checked_sources,
        config=config,
        options=options or NO_OPTIONS,
        per_source=per_source,
    )
    _check_content(request)
    return request


def require_config(config: object) -> Config:
    """Return the configuration. Raises ConfigurationError for anything else."""
    if not isinstance(config, Config):
        raise ConfigurationError(
            f"config must be a Config, got {type(config).__name__}", hint="config=Config(provider=..., model=...)"
        )
    return config


def require_options(options: object) -> Options | None:
    """Return the options, or None. Raises ConfigurationError for anything else."""
    if not isinstance(options, Options | None):
        raise ConfigurationError(f"options must be Options, got {type(options).__name__}", hint="options=Options(...)")
    return options


def require_sources(sources: object, error_type: type[PolluxError]) -> tuple[Source, ...]:
    """Return the sources as a tuple. Raises ``error_type`` for anything but an iterable of Source."""
    if isinstance(sources, list | tuple) and not sources:
        return ()
    from pollux_sync.data.source import Source

    hint = "build it with Source.from_text, Source.from_file, ... and pass a list of them"
    # A single Source or path in place of a list is a common mistake; a str would be taken letter by letter.
    if isinstance(sources, str | bytes | Source) or not hasattr(sources, "__iter__"):
        raise error_type(f"sources must be a list of Source, got {type(sources).__name__}", hint=hint)
    checked = tuple(sources)
    for index, source in enumerate(checked):
        if isinstance(source, list | tuple):  # what run(source=[...]) leads to
            hint = "run takes one source; run_many takes a list"
        if not isinstance(source, Source):
            raise error_type(f"sources[{index}] must be a Source, got {type(source).__name__}", hint=hint)
    return checked


def _require_prompts(prompts: object) -> tuple[str | None, ...]:
    if prompts is None or isinstance(prompts, str):
        _check_prompt("prompt", prompts)
        return (prompts,)
    # bytes is a sequence of integers: it would become a prompt per byte.
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
    # Only a text beyond ASCII can hold a lone surrogate; encoding every prompt twice would cost more than the check.
    if not prompt.isascii():
        try:
            prompt.encode()
        except UnicodeEncodeError as error:
            raise ConfigurationError(
                f"{name} contains a lone surrogate at position {error.start}",
                hint="decode the input with errors='replace' before passing it on",
            ) from error


def _check_content(request: Request) -> None:
    """Check that a call has something to send: a prompt, a source, a conversation or a cache."""
    options = request.options
    if request.per_source and not request.sources:
        raise ConfigurationError("per_source asks about each source, but there is none", hint="pass sources=[...]")
    if request.sources or options.history or options.continue_from is not None or options.cache is not None:
        return
    for index, prompt in enumerate(request.prompts):
        if prompt is None:
            name = f"prompts[{index}]" if len(request.prompts) > 1 else "prompt"
            raise ConfigurationError(f"{name} is None and there is no source: nothing to send", hint="pass a prompt")
