"""The strategies that come with the package: over a function, over a model, over an agent."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pollux_batch.classifying import DefaultErrorClassifier, PolluxErrorClassifier
from pollux_batch.data.strategy import CallOutcome, Executed, LLMCallStrategy
from pollux_batch.data.usage import TokenUsage, check_usage
from pollux_batch.errors import TokenTrackingError
from pollux_batch.models import LLMModel, ManagedLLMModel
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pollux_batch.data.categories import ErrorClassifier
    from pollux_batch.data.responses import LLMResponse
    from pollux_batch.data.state import RetryState
    from pollux_sync.plugin import TokenEstimate

__all__ = [
    "CallOutcome",
    "CallableStrategy",
    "DeepSeekStrategy",
    "GeminiStrategy",
    "LLMCallStrategy",
    "ModelStrategy",
    "OpenAIStrategy",
    "OpenRouterStrategy",
    "PydanticAIStrategy",
]

TOutput = TypeVar("TOutput")

#: What a callback may be handed by name, beside its positional arguments.
_FACTS = ("attempt", "timeout", "state")


class _ConfiguredStrategy(LLMCallStrategy[TOutput]):
    """A strategy whose scopes and classifier are given as arguments."""

    def __init__(
        self,
        *,
        error_classifier: ErrorClassifier | None = None,
        max_concurrency: int | None = None,
        concurrency_scope: object | None = None,
        quota_scope: object | None = None,
        token_estimator: Callable[[str], TokenEstimate] | None = None,
    ) -> None:
        self._error_classifier = error_classifier
        self._max_concurrency = max_concurrency
        self._concurrency_scope = concurrency_scope
        self._quota_scope = quota_scope
        self._token_estimator = token_estimator

    @property
    def max_concurrency(self) -> int | None:
        return self._max_concurrency

    @property
    def concurrency_scope(self) -> object:
        return self if self._concurrency_scope is None else self._concurrency_scope

    @property
    def quota_scope(self) -> object:
        return self.concurrency_scope if self._quota_scope is None else self._quota_scope

    def recommended_error_classifier(self) -> ErrorClassifier | None:
        return self._error_classifier

    def estimate_tokens(self, prompt: str, attempt: int, state: RetryState | None = None) -> TokenEstimate | None:
        return None if self._token_estimator is None else self._token_estimator(prompt)


class CallableStrategy(_ConfiguredStrategy[TOutput]):
    """Asks by calling a function.

    ``invoke`` receives the prompt, and those of ``attempt``, ``timeout`` and ``state`` that it has arguments for, by
    name. It returns the output, or a `CallOutcome`. ``on_error`` receives the exception, and may take ``attempt`` and
    ``state``; ``prepare`` and ``cleanup`` receive nothing, ``dry_run`` the prompt. A callback that cannot be called so,
    or that is asynchronous, is refused with a ConfigurationError.
    """

    def __init__(
        self,
        invoke: Callable[..., TOutput | CallOutcome[TOutput]],
        *,
        prepare: Callable[[], object] | None = None,
        cleanup: Callable[[], object] | None = None,
        on_error: Callable[..., object] | None = None,
        dry_run: Callable[[str], TOutput | CallOutcome[TOutput]] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self._invoke, self._invoke_facts = invoke, _check_callback("invoke", invoke, 1, _FACTS)
        self._on_error, self._error_facts = on_error, _check_callback("on_error", on_error, 1, ("attempt", "state"))
        self._prepare, self._cleanup, self._dry_run = prepare, cleanup, dry_run
        for name, callback, count in (("prepare", prepare, 0), ("cleanup", cleanup, 0), ("dry_run", dry_run, 1)):
            _check_callback(name, callback, count, ())

    def prepare(self) -> None:
        if self._prepare is not None:
            self._prepare()

    def execute(self, prompt: str, attempt: int, timeout: float, state: RetryState | None = None) -> Executed[TOutput]:
        facts = {"attempt": attempt, "timeout": timeout, "state": state}
        outcome = self._invoke(prompt, **{name: facts[name] for name in self._invoke_facts})
        return _read_outcome(outcome)

    def on_error(self, exception: Exception, attempt: int, state: RetryState | None = None) -> None:
        if self._on_error is not None:
            facts = {"attempt": attempt, "state": state}
            self._on_error(exception, **{name: facts[name] for name in self._error_facts})

    def cleanup(self) -> None:
        if self._cleanup is not None:
            self._cleanup()

    def dry_run(self, prompt: str) -> tuple[TOutput, TokenUsage]:
        if self._dry_run is None:
            return super().dry_run(prompt)
        output, usage, _ = _read_outcome(self._dry_run(prompt))
        return output, usage


def _read_outcome(
    outcome: TOutput | CallOutcome[TOutput],
) -> tuple[TOutput, TokenUsage, dict[str, Any] | None]:
    if not isinstance(outcome, CallOutcome):
        return outcome, TokenUsage(), None
    metadata = None if outcome.metadata is None else dict(outcome.metadata)
    return outcome.output, check_usage(outcome.token_usage), metadata


def _check_callback(name: str, callback: object, count: int, facts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the facts that a callback takes by name. Raises ConfigurationError if it cannot be called."""
    if callback is None:
        return ()
    if not callable(callback):
        raise ConfigurationError(f"{name} must be a function, got {type(callback).__name__}", hint="pass a function")
    if inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(getattr(callback, "__call__", None)):  # noqa: B004 - not whether, but how
        raise ConfigurationError(f"{name} is asynchronous", hint="pass a plain function, called from many threads")
    try:
        signature = inspect.signature(callback)
    except (TypeError, ValueError):  # a builtin without a signature
        return ()
    parameters = signature.parameters
    taken = tuple(fact for fact in facts if fact in parameters)
    try:
        signature.bind(*[None] * count, **dict.fromkeys(taken))
    except TypeError as error:
        known = ", ".join(["one argument"] * count + list(facts)) or "no arguments"
        raise ConfigurationError(
            f"{name} cannot be called: {error}", hint=f"it is called with {known}; those by name it may leave out"
        ) from error
    return taken


class ModelStrategy(_ConfiguredStrategy[TOutput]):
    """Asks a model, and parses its answer.

    ``response_parser`` receives the `LLMResponse`; without one the text is the output. ``temperature=None`` leaves the
    temperature to the provider. ``generation_config`` is sent with every call, if it is set.
    """

    def __init__(
        self,
        model: LLMModel,
        response_parser: Callable[[LLMResponse], TOutput] | None = None,
        *,
        temperature: float | None = None,
        generation_config: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        given: object = model
        if not isinstance(given, LLMModel):
            raise ConfigurationError(
                f"model must have a method generate, got {type(model).__name__}",
                hint="e.g. OpenAIModel.from_api_key('gpt-5-mini')",
            )
        self._model = model
        self._parser = response_parser
        self._temperature = temperature
        self._generation_config = generation_config

    @property
    def model(self) -> LLMModel:
        """The model that is asked."""
        return self._model

    def prepare(self) -> None:
        if isinstance(self._model, ManagedLLMModel):
            self._model.prepare()

    def execute(self, prompt: str, attempt: int, timeout: float, state: RetryState | None = None) -> Executed[TOutput]:
        extra: dict[str, Any] = {} if self._generation_config is None else {"config": dict(self._generation_config)}
        response = self._model.generate(prompt, temperature=self._temperature, **extra)
        return self._parse(response), response.token_usage, response.metadata

    def _parse(self, response: LLMResponse) -> TOutput:
        if self._parser is None:
            return cast("TOutput", response.text)
        try:
            return self._parser(response)
        except Exception as error:
            # Carried by an error of ours: the parser's own may be of a class that takes no attributes.
            raise TokenTrackingError("the answer cannot be parsed", token_usage=response.token_usage) from error

    def cleanup(self) -> None:
        if isinstance(self._model, ManagedLLMModel):
            self._model.cleanup()

    def request_concurrency(self, concurrency: int) -> bool:
        resize = getattr(self._model, "request_concurrency", None)
        return bool(resize(concurrency)) if callable(resize) else False


class _VendorStrategy(ModelStrategy[TOutput]):
    """A strategy over a vendor's model, whose errors say by type and status what they are."""

    def recommended_error_classifier(self) -> ErrorClassifier | None:
        return super().recommended_error_classifier() or PolluxErrorClassifier()


class GeminiStrategy(_VendorStrategy[TOutput]):
    """Asks a `GeminiModel`, or another model of Gemini's; see `ModelStrategy`."""


class OpenAIStrategy(_VendorStrategy[TOutput]):
    """Asks an `OpenAIModel`, or another model of OpenAI's; see `ModelStrategy`."""


class OpenRouterStrategy(_VendorStrategy[TOutput]):
    """Asks an `OpenRouterModel`; see `ModelStrategy`."""


class DeepSeekStrategy(_VendorStrategy[TOutput]):
    """Asks a `DeepSeekModel`; see `ModelStrategy`."""


class PydanticAIStrategy(_ConfiguredStrategy[TOutput]):
    """Asks an agent of pydantic-ai by its ``run_sync``. Install it with ``pip install 'pollux-batch[pydantic-ai]'``."""

    def __init__(self, agent: Any, **settings: Any) -> None:
        super().__init__(**settings)
        if not callable(getattr(agent, "run_sync", None)):
            raise ConfigurationError(
                f"agent must have a method run_sync, got {type(agent).__name__}",
                hint="pip install 'pollux-batch[pydantic-ai]', and pass pydantic_ai.Agent(...)",
            )
        self._agent = agent

    def execute(self, prompt: str, attempt: int, timeout: float, state: RetryState | None = None) -> Executed[TOutput]:
        result = self._agent.run_sync(prompt)
        # Read first, so that an output that fails its validation still reports its tokens.
        usage = _read_agent_usage(result)
        try:
            output: TOutput = result.output
        except Exception as error:
            raise TokenTrackingError("the output of the agent cannot be read", token_usage=usage) from error
        return output, usage, None

    def dry_run(self, prompt: str) -> tuple[TOutput, TokenUsage]:
        construct = getattr(getattr(self._agent, "output_type", None), "model_construct", None)
        if not callable(construct):
            return super().dry_run(prompt)
        n_words = len(prompt.split())
        return construct(), TokenUsage(input_tokens=n_words, output_tokens=50, total_tokens=n_words + 50)

    def recommended_error_classifier(self) -> ErrorClassifier | None:
        return super().recommended_error_classifier() or DefaultErrorClassifier()


def _read_agent_usage(result: Any) -> TokenUsage:
    """Return the tokens of a run; older releases name them otherwise, and have them as a method."""
    usage = result.usage() if callable(result.usage) else result.usage
    counts = {
        "input_tokens": _first_set(usage, "input_tokens", "request_tokens"),
        "output_tokens": _first_set(usage, "output_tokens", "response_tokens"),
        "total_tokens": _first_set(usage, "total_tokens"),
    }
    cached = _first_set(usage, "cache_read_tokens")
    return check_usage(counts | ({"cached_input_tokens": cached} if cached else {}))


def _first_set(usage: object, *names: str) -> int | None:
    return next((value for name in names if (value := getattr(usage, name, None)) is not None), None)
