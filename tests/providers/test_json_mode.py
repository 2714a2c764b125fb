"""JSON mode in the words of each provider."""

import pytest

from capabilities import declarations
from pollux_sync import Config, ConfigurationError, Options, Source, explain

pytestmark = pytest.mark.usefixtures("no_network")
INFOS = declarations()

#: What the body of a request has instead of a schema.
FORMATS = {
    "gemini": {"generationConfig": {"responseMimeType": "application/json"}},
    "local": {"response_format": {"type": "json_object"}},
    "mock": {"schema": {"type": "object"}},
    "openai": {"text": {"format": {"type": "json_object"}}},
    "openrouter": {"response_format": {"type": "json_object"}},
}
MODELS = {"gemini": "gemini-2.5-flash", "openrouter": "acme/one"}
#: Configurations of services that refuse JSON mode without the word JSON.
STRICT = {
    "openai": {"provider": "openai", "model": "gpt-5-mini"},
    "openrouter": {"provider": "openrouter", "model": "openai/gpt-5-mini"},
    "local": {"provider": "local", "model": "gpt-5-mini", "base_url": "https://api.openai.com/v1"},
    "azure": {"provider": "local", "model": "mine", "base_url": "https://mine.openai.azure.com/openai/v1"},
}


def build_config(info, **fields):
    address = {} if info.base_url_policy == "fixed" else {"base_url": "https://host.example/v1"}
    key = {"api_key": "sk-made-up"} if info.needs_key else {}
    return Config(**{"provider": info.name, "model": MODELS.get(info.name, "m")} | address | key | fields)


def explain_body(prompt, config, *, source=None, **options):
    sources = [] if source is None else [source]
    explained = explain(prompt, sources=sources, config=config, options=Options(response_schema=dict, **options))
    return explained.requests[0].body


@pytest.mark.parametrize("info", [info for info in INFOS if info.has_json_mode], ids=lambda info: info.name)
def test_asks_for_an_object_without_a_schema(info):
    body = explain_body("Answer as JSON.", build_config(info))
    wanted = FORMATS[info.name]
    assert {name: body[name] for name in wanted} == wanted


def test_every_json_mode_is_in_the_table_above():
    assert {info.name for info in INFOS if info.has_json_mode} == set(FORMATS)


@pytest.mark.parametrize("fields", STRICT.values(), ids=STRICT)
def test_misses_the_word_json_before_anything_is_sent(fields):
    with pytest.raises(ConfigurationError, match="needs the word JSON") as caught:
        explain_body("Who?", Config(**{"api_key": "sk-made-up"} | fields))
    assert "say in the prompt" in caught.value.hint


@pytest.mark.parametrize(
    "call",
    [
        {"prompt": "Who? Write Json."},
        {"prompt": "Who?", "system_instruction": "Answer as JSON."},
        {"prompt": "Who?", "source": Source.from_text("Their names as JSON.")},
        {"prompt": "Who?", "history": [{"role": "user", "content": "In JSON, please."}]},
    ],
)
@pytest.mark.parametrize("fields", STRICT.values(), ids=STRICT)
def test_finds_the_word_json_in_every_text(fields, call):
    assert explain_body(config=Config(**{"api_key": "sk-made-up"} | fields), **call)


@pytest.mark.parametrize("name", ["gemini", "local", "mock", "openrouter"])
def test_other_services_need_no_word(name):
    (info,) = [info for info in INFOS if info.name == name]
    assert explain_body("Who?", build_config(info))
