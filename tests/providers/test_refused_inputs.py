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


def test_suggests_the_provider_that_was_meant():
    (info,) = (info for info in INFOS if info.name == "openai")
    assert refuse(build_config(info), provider_options={"opneai": {}}).hint.startswith("did you mean 'openai'?")


TWO_KINDS = {"temperature": 0.5, "top_p": 0.9}


@pytest.mark.parametrize(
    "model",
    [
        *("claude-sonnet-4-5", "claude-haiku-4-5-20251001", "claude-opus-4-6", "claude-sonnet-4-7"),
        *("anthropic.claude-opus-4-5-20251101-v1:0", "claude-sonnet-4.5", "claude-opus-5"),
    ],
)
def test_refuses_two_kinds_of_sampling_for_claude_from_4_5_on(model):
    config = Config(provider="anthropic", model=model, api_key="made-up-key")
    assert model in refuse(config, **TWO_KINDS).message
    for name, value in TWO_KINDS.items():
        assert explain_body(config, **{name: value})[name] == value


@pytest.mark.parametrize("model", ["claude-sonnet-4-20250514", "claude-opus-4-1", "claude-3-5-haiku", "glm-4.6"])
def test_takes_two_kinds_of_sampling_for_older_and_other_models(model):
    body = explain_body(Config(provider="anthropic", model=model, api_key="made-up-key"), **TWO_KINDS)
    assert body.items() >= TWO_KINDS.items()


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "models/gemini-2.5-pro", "gemini-2.0-flash"])
@pytest.mark.parametrize(
    "tools",
    [{"tools": [{"name": "f"}]}, {"provider_options": {"gemini": {"tools": [{"googleSearch": {}}]}}}],
    ids=["functions", "its own"],
)
def test_refuses_a_schema_beside_tools_for_gemini_before_3(model, tools):
    config = Config(provider="gemini", model=model, api_key="made-up-key")
    assert model in refuse(config, response_schema=SCHEMA, **tools).message


def test_takes_a_schema_beside_tools_for_gemini_3():
    config = Config(provider="gemini", model="gemini-3-pro", api_key="made-up-key")
    body = explain_body(config, response_schema=SCHEMA, tools=[{"name": "f"}])
    assert body["tools"]
    assert body["generationConfig"]["responseMimeType"] == "application/json"


def build_enum(count, length):
    return {"type": "object", "properties": {"kind": {"enum": [f"{i:0{length}}" for i in range(count)]}}}


def test_refuses_an_enum_whose_many_texts_are_too_long_for_openai():
    config = Config(provider="openai", model="m", api_key="made-up-key")
    error = refuse(config, response_schema=build_enum(300, 60))
    assert "$.properties.kind.anyOf[0]: 18000 characters in 300 enum values" in error.message


@pytest.mark.parametrize(("count", "length"), [(250, 100), (300, 50)])
def test_takes_an_enum_of_fewer_or_shorter_texts(count, length):
    config = Config(provider="openai", model="m", api_key="made-up-key")
    assert explain_body(config, response_schema=build_enum(count, length))


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


@pytest.mark.parametrize(
    ("provider", "paths", "target"),
    [
        ("openai", ["/v1", "/v1/", "//v1//"], "/v1/responses"),
        ("anthropic", ["", "/", "/v1", "/v1/", "//v1//"], "/v1/messages"),
        ("gemini", ["", "/", "/v1beta", "/v1beta/", "//v1beta//"], "/v1beta/models/m:generateContent"),
        ("openrouter", ["/api/v1", "/api//v1/"], "/api/v1/chat/completions"),
        ("local", ["/v1", "/v1/", "//v1//"], "/v1/chat/completions"),
    ],
)
def test_reaches_the_path_of_the_service_however_the_address_ends(provider, paths, target):
    for path in paths:
        config = Config(provider=provider, model="m", api_key="made-up-key", base_url=f"http://127.0.0.1:9{path}")
        assert explain("Q", config=config).requests[0].url == f"http://127.0.0.1:9{target}"
