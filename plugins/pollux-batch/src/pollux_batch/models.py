"""Models: one prompt -> one `LLMResponse`. Those of this package ask through pollux-sync."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

import attrs

from pollux_batch.data.responses import LLMResponse
from pollux_batch.data.usage import TokenUsage
from pollux_batch.errors import EmptyResponseError
from pollux_sync import Config, Options, RetryPolicy, Source, run_many
from pollux_sync.errors import APIError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pollux_sync import ResultEnvelope

#: The processor tries again, for all of its items together: a model must not do so on its own.
_ONE_ATTEMPT = RetryPolicy(max_attempts=1)
#: What vendors call options of ours.
_OTHER_NAMES = {
    "max_output_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "response_json_schema": "response_schema",
}
#: What belongs to a call, and so may be in the ``config`` of one.
_CALL_OPTIONS = frozenset(
    field.name
    for field in attrs.fields(Options)
    if field.name not in {"delivery_mode", "on_error", "history", "continue_from", "label_sources"}
)


@runtime_checkable
class LLMModel(Protocol):
    """The model that a `ModelStrategy` asks, from many threads."""

    def generate(
        self,
        prompt: str | list[Any],
        *,
        temperature: float | None = None,
        system_instruction: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> LLMResponse:
        """Answer one prompt. ``temperature=None`` leaves it to the provider; ``config`` wins over the others."""
        ...


@runtime_checkable
class ManagedLLMModel(LLMModel, Protocol):
    """A model that gets ready before the first call and lets go after the last. Both may be called several times."""

    def prepare(self) -> None:
        """Get ready."""
        ...

    def cleanup(self) -> None:
        """Release the resources of `prepare`."""
        ...


class PolluxModel:
    """A model that is asked through pollux-sync, with the `Config` of any provider.

    A configuration with the default retry policy asks once: the processor tries again. ``options`` hold for every call,
    where the call does not bring its own.
    """

    def __init__(self, config: Config, options: Options | None = None) -> None:
        given: object = config
        if not isinstance(given, Config):
            raise ConfigurationError(
                f"config must be a Config, got {type(config).__name__}", hint="Config(provider=..., model=...)"
            )
        self._config = attrs.evolve(config, retry=_ONE_ATTEMPT) if config.retry == RetryPolicy() else config
        self._options = options or Options()

    @property
    def config(self) -> Config:
        """The configuration that is called with."""
        return self._config

    def generate(
        self,
        prompt: str | list[Any],
        *,
        temperature: float | None = None,
        system_instruction: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> LLMResponse:
        """Answer one prompt: a text, or a list of texts and `Source`.

        ``config`` has names of `Options`, such as ``max_tokens``. Raises EmptyResponseError, with the tokens that were
        billed, for an answer without content; else as `pollux_sync.run`.
        """
        text, sources = _split_prompt(prompt)
        options = self._build_options(temperature, system_instruction, config)
        try:
            envelope = run_many(text, sources=sources, config=self._config, options=options)
        except APIError as error:
            if error.kind != "empty":
                raise
            usage = _read_envelope_usage(error.partial_result)
            raise EmptyResponseError(error.message, hint=error.hint, token_usage=usage) from error
        return _read_envelope(envelope)

    def _build_options(
        self, temperature: float | None, system_instruction: str | None, config: Mapping[str, Any] | None
    ) -> Options:
        changes: dict[str, Any] = {"temperature": temperature, "system_instruction": system_instruction}
        changes = {name: value for name, value in changes.items() if value is not None} | _read_config(config or {})
        return attrs.evolve(self._options, **changes) if changes else self._options

    def request_concurrency(self, concurrency: int) -> bool:
        """Make room for so many connections; return True."""
        most = max(concurrency, self._config.request_concurrency)
        self._config = attrs.evolve(self._config, request_concurrency=most)
        return True


def _split_prompt(prompt: str | Sequence[Any]) -> tuple[str, list[Source]]:
    if isinstance(prompt, str):
        return prompt, []
    texts = [part for part in prompt if isinstance(part, str)]
    sources = [part for part in prompt if isinstance(part, Source)]
    if len(texts) + len(sources) != len(prompt) or not texts:
        raise ConfigurationError(
            "a prompt must be a text, or a list of texts and Source with at least one text",
            hint="e.g. ['What is this?', Source.from_file('letter.pdf')]",
        )
    return "\n\n".join(texts), sources


def _read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a generation config as options. Raises ConfigurationError for a name that is not known."""
    options = {_OTHER_NAMES.get(name, name): value for name, value in config.items()}
    unknown = sorted(options.keys() - _CALL_OPTIONS)
    if unknown:
        raise ConfigurationError(
            f"config has {unknown[0]!r}, which is no option of a call",
            hint=f"known are: {', '.join(sorted(_CALL_OPTIONS))}; raw fields go into provider_options",
        )
    return options


def _read_envelope(envelope: ResultEnvelope) -> LLMResponse:
    usage = _read_envelope_usage(envelope)
    text = envelope["answers"][0]
    facts = {
        "finish_reason": envelope["metrics"]["finish_reasons"][0],
        "reasoning": _first(envelope.get("reasoning")),
        "tool_calls": _first(envelope.get("tool_calls")),
    }
    metadata = {name: value for name, value in facts.items() if value}
    # Kept in the envelope and not raised, where the finish reason explains it.
    if not text.strip() and envelope["status"] != "ok":
        reason = metadata.get("finish_reason", "no reason")
        raise EmptyResponseError(
            f"the answer is empty; it ended with {reason}",
            hint="raise max_tokens, or change the prompt",
            token_usage=usage,
        )
    return LLMResponse(
        text=text,
        input_tokens=usage.get("input_tokens", 0),
        output_tokens=usage.get("output_tokens", 0),
        total_tokens=usage.get("total_tokens", 0),
        cached_input_tokens=usage.get("cached_input_tokens", 0),
        metadata=metadata or None,
        raw=envelope,
        value=_first(envelope.get("structured")) if "structured" in envelope else text,
    )


def _first(values: Sequence[Any] | None) -> Any:
    return values[0] if values else None


def _read_envelope_usage(envelope: ResultEnvelope | None) -> TokenUsage:
    counts = envelope["usage"] if envelope is not None else {}
    input_tokens, output_tokens = counts.get("input_tokens", 0), counts.get("output_tokens", 0)
    usage = TokenUsage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        total_tokens=counts.get("total_tokens", input_tokens + output_tokens),
    )
    if counts.get("cached_tokens"):
        usage["cached_input_tokens"] = counts["cached_tokens"]
    return usage


class _VendorModel(PolluxModel):
    """A model of one provider."""

    provider: ClassVar[str]
    #: The address where it is not the provider's own.
    address: ClassVar[str | None] = None

    def __init__(self, config: Config, options: Options | None = None) -> None:
        super().__init__(config, options)
        if config.provider.rpartition(":")[2] != self.provider:
            raise ConfigurationError(
                f"{type(self).__name__} asks provider {self.provider!r}, but config names {config.provider!r}",
                hint="use PolluxModel(config) for any provider",
            )

    @classmethod
    def from_api_key(
        cls, model: str, api_key: str | None = None, *, options: Options | None = None, **config: Any
    ) -> Self:
        """Return a model by its name. ``config`` are further fields of `Config`.

        Without ``api_key`` the key is read from the environment, as by `Config`.
        """
        if cls.address is not None:
            config = {"base_url": cls.address} | config
        return cls(Config(provider=cls.provider, model=model, api_key=api_key, **config), options)


class OpenAIModel(_VendorModel):
    """A model of OpenAI's, asked by the Responses API."""

    provider = "openai"


class AnthropicModel(_VendorModel):
    """A model of Anthropic's."""

    provider = "anthropic"


class GeminiModel(_VendorModel):
    """A model of Google's."""

    provider = "gemini"


class OpenRouterModel(_VendorModel):
    """A model at OpenRouter."""

    provider = "openrouter"


class LocalModel(_VendorModel):
    """A model at any server that speaks chat completions: pass its ``base_url``."""

    provider = "local"


class DeepSeekModel(_VendorModel):
    """A model of DeepSeek's, asked by chat completions."""

    provider = "local"
    address = "https://api.deepseek.com/v1"
