import pytest

from pollux_batch import (
    AnthropicModel,
    DeepSeekModel,
    EmptyResponseError,
    GeminiModel,
    LLMModel,
    LocalModel,
    ManagedLLMModel,
    OpenAIModel,
    OpenRouterModel,
    PolluxModel,
)
from pollux_sync import Config, Options, Reply, RetryPolicy, Source, Usage
from pollux_sync.errors import APIError, RateLimitError
from pollux_sync.testing import Script, failing

NAMED = [
    (OpenAIModel, "openai"),
    (AnthropicModel, "anthropic"),
    (GeminiModel, "gemini"),
    (OpenRouterModel, "openrouter"),
    (LocalModel, "local"),
    (DeepSeekModel, "local"),
]


def mock(*answers, **facts):
    plugins = [Script(*answers)] if answers else None
    return Config(provider="openai", model="m", use_mock=True, plugins=plugins, **facts)


def test_answers_through_the_core_with_the_tokens():
    response = PolluxModel(mock()).generate("Who?")
    assert (response.text, response.value) == ("echo: Who?", "echo: Who?")
    assert response.token_usage == {"input_tokens": 10, "output_tokens": 10, "total_tokens": 20}


def test_is_a_model_that_needs_no_care():
    model = PolluxModel(mock())
    assert isinstance(model, LLMModel)
    assert not isinstance(model, ManagedLLMModel)


def test_options_of_the_call_come_before_those_of_the_model_and_its_config_before_both():
    asked = []
    script = Script(lambda body: asked.append(body) or "yes")
    config = Config(provider="openai", model="m", use_mock=True, plugins=[script])
    model = PolluxModel(config, Options(temperature=0.1, top_p=0.5, max_tokens=5))
    model.generate("Who?", temperature=0.2, system_instruction="Be brief.", config={"max_output_tokens": 7})
    body = asked[0]
    assert (body["temperature"], body["top_p"], body["max_tokens"], body["system"]) == (0.2, 0.5, 7, "Be brief.")


def test_no_temperature_leaves_it_out():
    asked = []
    script = Script(lambda body: asked.append(body) or "yes")
    PolluxModel(Config(provider="openai", model="m", use_mock=True, plugins=[script])).generate("Who?")
    assert asked[0].get("temperature") is None


@pytest.mark.parametrize("name", ["logit_bias", "on_error", "history"])
def test_an_unknown_name_in_a_config_is_refused(name):
    with pytest.raises(ValueError, match=f"config has '{name}', which is no option of a call"):
        PolluxModel(mock()).generate("Who?", config={name: 1})


def test_a_prompt_may_hold_sources():
    response = PolluxModel(mock()).generate(["Who?", Source.from_text("Call me Ishmael.")])
    assert response.text == "echo: Call me Ishmael."


@pytest.mark.parametrize("prompt", [[], [Source.from_text("a")], ["a", 1]])
def test_a_list_without_a_text_or_with_other_things_is_refused(prompt):
    with pytest.raises(ValueError, match="a prompt must be a text, or a list of texts and Source"):
        PolluxModel(mock()).generate(prompt)


def test_a_failure_is_raised_at_once():
    with pytest.raises(APIError) as caught:
        PolluxModel(mock(failing(503), "late")).generate("Who?")
    assert len(caught.value.attempts) == 1


def test_a_retry_policy_of_the_caller_is_kept():
    policy = RetryPolicy(max_attempts=3, initial_delay_s=0)
    assert PolluxModel(mock(failing(503), "late", retry=policy)).generate("Who?").text == "late"


def test_a_refusal_for_the_rate_has_its_wait():
    with pytest.raises(RateLimitError) as caught:
        PolluxModel(mock(failing(429, retry_after_s=3))).generate("Who?")
    assert caught.value.retry_after_s == 3


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_an_empty_answer_fails_with_the_tokens_that_were_billed(reason):
    reply = Reply(text=" ", finish_reason=reason, usage=Usage(input_tokens=4, output_tokens=2, cached_tokens=3))
    with pytest.raises(EmptyResponseError, match="the answer is empty") as caught:
        PolluxModel(mock(reply)).generate("Who?")
    usage = {"input_tokens": 4, "output_tokens": 2, "total_tokens": 6, "cached_input_tokens": 3}
    assert caught.value.token_usage == usage


def test_an_answer_has_the_metadata_that_is_known():
    reply = Reply(text="yes", finish_reason="stop", reasoning="because", usage=Usage(cached_tokens=0))
    assert PolluxModel(mock(reply)).generate("Who?").metadata == {"finish_reason": "stop", "reasoning": "because"}


def test_a_typed_answer_is_the_value():
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    response = PolluxModel(mock({"n": 3})).generate("How many?", config={"response_schema": schema})
    assert response.value == {"n": 3}


def test_makes_room_for_connections():
    model = PolluxModel(mock())
    assert model.request_concurrency(40)
    assert model.config.request_concurrency == 40


@pytest.mark.parametrize(("kind", "provider"), NAMED)
def test_a_named_model_is_made_of_its_key(kind, provider):
    model = kind.from_api_key("m", "sk-1", use_mock=True)
    assert (model.config.provider, model.config.model, model.config.api_key) == (provider, "m", "sk-1")
    assert model.generate("Who?").text == "echo: Who?"


def test_deepseek_has_its_address():
    assert DeepSeekModel.from_api_key("deepseek-chat", "sk-1").config.base_url == "https://api.deepseek.com/v1"


def test_a_named_model_refuses_the_configuration_of_another_provider():
    with pytest.raises(ValueError, match="GeminiModel asks provider 'gemini', but config names 'openai'"):
        GeminiModel(mock())


def test_a_model_needs_a_configuration():
    with pytest.raises(ValueError, match="config must be a Config, got str"):
        PolluxModel("gpt-5-mini")
