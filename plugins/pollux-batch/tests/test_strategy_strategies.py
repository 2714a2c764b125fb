from types import SimpleNamespace

import pytest

from pollux_batch import (
    CallableStrategy,
    CallOutcome,
    DeepSeekStrategy,
    DefaultErrorClassifier,
    GeminiStrategy,
    LLMResponse,
    ModelStrategy,
    OpenAIStrategy,
    OpenRouterStrategy,
    PolluxErrorClassifier,
    PydanticAIStrategy,
    RetryState,
    TokenTrackingError,
)
from pollux_sync.plugin import TokenEstimate

USAGE = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}


class Model:
    def __init__(self):
        self.asked = []

    def generate(self, prompt, *, temperature=None, system_instruction=None, config=None):
        self.asked.append((prompt, temperature, config))
        return LLMResponse(f"re: {prompt}", 3, 2, 5, metadata={"finish_reason": "stop"})


class ManagedModel(Model):
    def __init__(self):
        super().__init__()
        self.told = []

    def prepare(self):
        self.told.append("prepare")

    def cleanup(self):
        self.told.append("cleanup")

    def request_concurrency(self, concurrency):
        self.told.append(concurrency)
        return True


class Odd:
    """Output that fails when it is read."""

    usage = SimpleNamespace(request_tokens=4, response_tokens=1)

    @property
    def output(self):
        raise ValueError("no")


def execute(strategy, prompt="Who?"):
    return strategy.execute(prompt, 2, 30.0, RetryState())


# Functions


def test_a_function_of_a_prompt_is_a_strategy():
    assert execute(CallableStrategy(str.upper)) == ("WHO?", {}, None)


def test_a_function_receives_the_facts_that_it_has_arguments_for():
    assert execute(CallableStrategy(lambda prompt, *, timeout, attempt: (attempt, timeout)))[0] == (2, 30.0)


def test_a_function_may_return_its_usage_and_metadata():
    outcome = CallOutcome("yes", {"prompt_tokens": 3, "completion_tokens": 2}, {"model": "m"})
    assert execute(CallableStrategy(lambda _: outcome)) == ("yes", USAGE, {"model": "m"})


@pytest.mark.parametrize(
    "usage",
    [{"tokens": 1}, {"input_tokens": -1}, {"input_tokens": True}, {"prompt_tokens": 1, "output_tokens": 1}, [1]],
)
def test_a_usage_that_cannot_be_read_is_refused(usage):
    with pytest.raises(ValueError, match="usage"):
        execute(CallableStrategy(lambda _: CallOutcome("yes", usage)))


async def answer_later(prompt):
    return prompt


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ({"invoke": "yes"}, "invoke must be a function, got str"),
        ({"invoke": answer_later}, "invoke is asynchronous"),
        ({"invoke": lambda: 1}, "invoke cannot be called: too many positional arguments"),
        ({"invoke": lambda prompt, model: 1}, "invoke cannot be called: missing a required argument: 'model'"),
        ({"prepare": lambda client: 1}, "prepare cannot be called"),
        ({"cleanup": lambda client: 1}, "cleanup cannot be called"),
        ({"on_error": lambda: 1}, "on_error cannot be called"),
        ({"dry_run": lambda: 1}, "dry_run cannot be called"),
    ],
)
def test_a_callback_that_cannot_be_called_is_refused_when_it_is_given(callbacks, message):
    with pytest.raises(ValueError, match=message):
        CallableStrategy(**{"invoke": str.upper} | callbacks)


def test_callbacks_are_called():
    told = []
    strategy = CallableStrategy(
        str.upper,
        prepare=lambda: told.append("prepare"),
        cleanup=lambda: told.append("cleanup"),
        on_error=lambda error, *, attempt: told.append((str(error), attempt)),
        dry_run=lambda prompt: CallOutcome(prompt, USAGE),
    )
    strategy.prepare()
    strategy.on_error(ValueError("no"), 2, RetryState())
    strategy.cleanup()
    assert told == ["prepare", ("no", 2), "cleanup"]
    assert strategy.dry_run("Who?") == ("Who?", USAGE)


def test_missing_callbacks_do_nothing():
    strategy = CallableStrategy(str.upper)
    strategy.prepare()
    strategy.on_error(ValueError("no"), 1)
    strategy.cleanup()
    assert strategy.dry_run("Who?")[0].startswith("[DRY-RUN]")


def test_scopes_are_what_is_given():
    quota, pool, classifier = object(), object(), DefaultErrorClassifier()
    strategy = CallableStrategy(
        str.upper,
        max_concurrency=3,
        concurrency_scope=pool,
        quota_scope=quota,
        error_classifier=classifier,
        token_estimator=lambda prompt: TokenEstimate(input_tokens=len(prompt)),
    )
    assert (strategy.max_concurrency, strategy.concurrency_scope, strategy.quota_scope) == (3, pool, quota)
    assert strategy.recommended_error_classifier() is classifier
    assert strategy.estimate_tokens("four", 1).input_tokens == 4


def test_quota_scope_is_that_of_concurrency_by_default():
    pool = object()
    assert CallableStrategy(str.upper, concurrency_scope=pool).quota_scope is pool
    assert CallableStrategy(str.upper).estimate_tokens("four", 1) is None


# Models


def test_the_text_is_the_output_without_a_parser():
    assert execute(ModelStrategy(Model())) == ("re: Who?", USAGE, {"finish_reason": "stop"})


def test_a_parser_receives_the_whole_answer():
    assert execute(ModelStrategy(Model(), lambda response: response.total_tokens))[0] == 5


def test_temperature_and_config_are_handed_on():
    model = Model()
    execute(ModelStrategy(model, temperature=0.5, generation_config={"top_p": 1}))
    execute(ModelStrategy(model))
    assert model.asked == [("Who?", 0.5, {"top_p": 1}), ("Who?", None, None)]


def test_a_parser_that_fails_keeps_the_tokens_that_were_billed():
    with pytest.raises(TokenTrackingError) as caught:
        execute(ModelStrategy(Model(), lambda response: {}[response.text]))
    assert caught.value.token_usage == USAGE
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_model_is_taken_care_of_if_it_asks_for_it():
    strategy = ModelStrategy(ManagedModel())
    strategy.prepare()
    assert strategy.request_concurrency(9)
    strategy.cleanup()
    assert strategy.model.told == ["prepare", 9, "cleanup"]


def test_a_model_that_needs_no_care_gets_none():
    strategy = ModelStrategy(Model())
    strategy.prepare()
    strategy.cleanup()
    assert not strategy.request_concurrency(9)


def test_a_model_must_generate():
    with pytest.raises(ValueError, match="model must have a method generate, got str"):
        ModelStrategy("gpt-5-mini")


@pytest.mark.parametrize("kind", [GeminiStrategy, OpenAIStrategy, OpenRouterStrategy, DeepSeekStrategy])
def test_a_strategy_of_a_vendor_recommends_a_classifier(kind):
    assert isinstance(kind(Model()).recommended_error_classifier(), PolluxErrorClassifier)
    own = DefaultErrorClassifier()
    assert kind(Model(), error_classifier=own).recommended_error_classifier() is own


# Agents


def build_agent(result, **facts):
    return SimpleNamespace(run_sync=lambda prompt: result, **facts)


@pytest.mark.parametrize(
    "usage",
    [
        SimpleNamespace(input_tokens=3, output_tokens=2, total_tokens=5, request_tokens=9),
        lambda: SimpleNamespace(request_tokens=3, response_tokens=2, total_tokens=5),
    ],
)
def test_an_agent_is_run_and_its_tokens_are_read(usage):
    strategy = PydanticAIStrategy(build_agent(SimpleNamespace(output="yes", usage=usage)))
    assert execute(strategy) == ("yes", USAGE, None)


def test_cached_tokens_of_an_agent_are_read():
    usage = SimpleNamespace(input_tokens=3, output_tokens=2, cache_read_tokens=1)
    _, found, _ = execute(PydanticAIStrategy(build_agent(SimpleNamespace(output="yes", usage=usage))))
    assert found["cached_input_tokens"] == 1


def test_an_output_that_fails_keeps_the_tokens_of_the_agent():
    with pytest.raises(TokenTrackingError) as caught:
        execute(PydanticAIStrategy(build_agent(Odd())))
    assert caught.value.token_usage == {"input_tokens": 4, "output_tokens": 1, "total_tokens": 5}


def test_a_dry_run_of_an_agent_returns_an_instance_of_its_output():
    kind = SimpleNamespace(model_construct=lambda: "made up")
    output, usage = PydanticAIStrategy(build_agent(None, output_type=kind)).dry_run("one two three")
    assert (output, usage["input_tokens"], usage["output_tokens"]) == ("made up", 3, 50)


def test_a_dry_run_of_an_agent_of_texts_is_that_of_any_strategy():
    assert PydanticAIStrategy(build_agent(None)).dry_run("Who?")[0].startswith("[DRY-RUN]")


def test_an_agent_recommends_a_classifier():
    assert isinstance(PydanticAIStrategy(build_agent(None)).recommended_error_classifier(), DefaultErrorClassifier)


def test_what_is_no_agent_is_refused_with_how_to_install_one():
    with pytest.raises(ValueError, match=r"pollux-batch\[pydantic-ai\]"):
        PydanticAIStrategy(object())
