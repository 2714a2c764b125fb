"""What a caller writes and a provider would not read is refused before anything is sent, with a hint to follow."""

import pytest

from capabilities import declarations
from pollux_sync import Config, ConfigurationError, Options, explain

pytestmark = pytest.mark.usefixtures("no_network")
INFOS = [info for info in declarations() if info.options]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def build_config(info, **fields):
    address = {} if info.base_url_policy == "fixed" else {"base_url": "http://127.0.0.1:9/v1"}
    return Config(**({"provider": info.name, "model": "m", "api_key": "made-up-key"} | address | fields))


def explain_body(config, **options):
    return explain("Q", config=config, options=Options(**options)).requests[0].body


def refuse(config, **options):
    with pytest.raises(ConfigurationError) as caught:
        explain_body(config, **options)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
def test_says_what_to_use_in_place_of_each_raw_field(info):
    for field in info.managed_fields:
        outer, _, inner = field.partition(".")
        raw = {outer: {inner: 1} if inner else 1}
        assert " and use " in refuse(build_config(info), provider_options={info.name: raw}).hint, field


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
def test_names_only_options_that_the_provider_takes(info):
    named = {word.split("(")[1] for text in info.managed_by.values() for word in text.split("=")[:-1] if "(" in word}
    assert named <= info.options | {"continue_from"}


@pytest.mark.parametrize(
    ("provider", "raw", "wanted"),
    [
        ("openai", {"text": {"verbosity": "low"}}, "response_schema"),
        ("openai", {"tools": [{"type": "web_search"}]}, "functions alone"),
        ("anthropic", {"cache_control": {"type": "ephemeral", "ttl": "1h"}}, "implicit_caching"),
        ("anthropic", {"output_config": {"effort": "low"}}, "reasoning_effort"),
        ("gemini", {"toolConfig": {"functionCallingConfig": {}}}, "tool_choice"),
        ("openrouter", {"tools": [{"type": "openrouter:web_search"}]}, "plugins"),
        ("local", {"response_format": {"type": "json_object"}}, "response_schema"),
        ("local", {"stream": True}, "stream()"),
        ("local", {"model": "other"}, "Config(model=...)"),
    ],
)
def test_hint_for_a_raw_field_can_be_followed(provider, raw, wanted):
    (info,) = (info for info in INFOS if info.name == provider)
    assert wanted in refuse(build_config(info), provider_options={provider: raw}).hint


def test_suggests_the_provider_that_was_meant():
    (info,) = (info for info in INFOS if info.name == "openai")
    assert refuse(build_config(info), provider_options={"opneai": {}}).hint.startswith("did you mean 'openai'?")


#: The mock echoes what it gets.
TAKES_TOOLS = [info for info in INFOS if "tools" in info.options and info.name != "mock"]


@pytest.mark.parametrize("info", TAKES_TOOLS, ids=lambda info: info.name)
def test_declares_parameters_as_an_object_where_the_caller_left_it_out(info):
    loose = {key: value for key, value in SCHEMA.items() if key != "type"}
    bodies = [
        explain_body(build_config(info), tools=[{"name": "weather", "parameters": schema, "strict": False}])
        for schema in (loose, SCHEMA)
    ]
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize("info", TAKES_TOOLS, ids=lambda info: info.name)
def test_sends_no_key_that_says_nothing(info):
    plain = {"name": "weather", "parameters": SCHEMA}
    bodies = [
        explain_body(build_config(info), tools=[tool])
        for tool in (plain, plain | {"type": "function", "description": None, "inputSchema": None})
    ]
    assert bodies[0] == bodies[1]
