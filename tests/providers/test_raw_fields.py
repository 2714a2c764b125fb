"""Raw fields and headers of a call, for every provider of this repository: sent, merged, or refused with a hint."""

import attrs
import pytest
from anthropic import Anthropic

from capabilities import declarations
from pollux_sync import Config, ConfigurationError, Options, RawTool, Source, explain, run, run_many
from pollux_sync.testing.server import Answer, ScriptedServer

INFOS = {info.name: info for info in declarations() if info.options}
REAL = [name for name in INFOS if name != "mock"]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PING = {"name": "ping", "parameters": SCHEMA}
#: The services' own tools, as they are written there.
HOSTED = {
    "openai": {"type": "web_search"},
    "anthropic": {"type": "web_search_20250305", "name": "web_search"},
    "gemini": {"googleSearch": {}},
    "openrouter": {"type": "openrouter:web_search"},
    "local": {"type": "web_search"},
}
BETA = "context-1m-2025-08-07"
each_provider = pytest.mark.parametrize("provider", REAL)


def build_config(provider, **fields):
    address = {} if INFOS[provider].base_url_policy == "fixed" else {"base_url": "http://127.0.0.1:9/v1"}
    return Config(**({"provider": provider, "model": "m", "api_key": "made-up-key"} | address | fields))


def raw(provider, fields, **options):
    return Options(provider_options={provider: fields}, **options)


def explain_body(config, options):
    return explain("Q", config=config, options=options).requests[0].body


def refuse(config, options):
    with pytest.raises(ConfigurationError) as caught:
        explain_body(config, options)
    return caught.value


@each_provider
def test_sends_tools_of_the_service(provider):
    assert explain_body(build_config(provider), raw(provider, {"tools": [HOSTED[provider]]}))["tools"] == [
        HOSTED[provider]
    ]


@each_provider
def test_sends_tools_of_the_service_behind_functions(provider):
    config = build_config(provider)
    *functions, hosted = explain_body(config, raw(provider, {"tools": [HOSTED[provider]]}, tools=[PING]))["tools"]
    assert (functions, hosted) == (explain_body(config, Options(tools=[PING]))["tools"], HOSTED[provider])


@each_provider
def test_hint_for_a_tool_of_the_service_can_be_followed(provider):
    with pytest.raises(ConfigurationError, match=r"RawTool\(\{\.\.\.\}, provider=\.\.\.\) to send it as it is"):
        Options(tools=[HOSTED[provider]])
    tool = RawTool(HOSTED[provider], provider=provider)
    assert explain_body(build_config(provider), Options(tools=[tool]))["tools"] == [HOSTED[provider]]


@each_provider
def test_asks_the_mock_with_tools_of_the_service(provider):
    config = Config(provider=provider, model="m", use_mock=True)
    hosted = {"tools": [HOSTED[provider]]}
    assert run("Q", config=config, options=raw(provider, hosted))["answers"] == ["echo: Q"]
    (calls,) = run("Q", config=config, options=raw(provider, hosted, tools=[PING]))["tool_calls"]
    assert [call["name"] for call in calls] == ["ping"]


@pytest.mark.parametrize(
    ("provider", "fields"),
    [
        ("openai", {"text": {"verbosity": "low"}}),
        ("openai", {"reasoning": {"effort": "low", "summary": "detailed"}}),
        ("openai", {"instructions": "Be brief.", "temperature": 1, "max_output_tokens": 50}),
        ("openai", {"previous_response_id": "resp_1"}),
        ("anthropic", {"cache_control": {"type": "ephemeral", "ttl": "1h"}}),
        ("anthropic", {"output_config": {"effort": "low"}}),
        ("anthropic", {"system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]}),
        ("anthropic", {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        ("anthropic", {"mcp_servers": [{"type": "url", "name": "m", "url": "https://mcp.example"}]}),
        ("gemini", {"generationConfig": {"topK": 40, "responseMimeType": "application/json"}}),
        ("gemini", {"toolConfig": {"functionCallingConfig": {"mode": "NONE"}}}),
        ("gemini", {"cachedContent": "cachedContents/1"}),
        ("openrouter", {"plugins": [{"id": "web"}]}),
        ("openrouter", {"reasoning": {"exclude": True}}),
        ("local", {"response_format": {"type": "json_object"}}),
        ("local", {"reasoning_effort": "low"}),
        ("local", {"max_completion_tokens": 50, "seed": 7, "stop": "END"}),
    ],
)
def test_sends_fields_that_the_call_does_not_write(provider, fields):
    config = build_config(provider)
    several = explain(["Q", "R"], config=config, options=raw(provider, fields)).requests
    assert all(fields.items() <= request.body.items() for request in several)
    assert fields.items() <= explain_body(config, raw(provider, fields)).items()


@pytest.mark.parametrize(
    ("provider", "fields", "options", "written"),
    [
        ("openai", {"text": {"verbosity": "low"}}, {"response_schema": SCHEMA}, "text"),
        ("anthropic", {"output_config": {"effort": "low"}}, {"response_schema": SCHEMA}, "output_config"),
        (
            "anthropic",
            {"tool_choice": {"type": "auto"}},
            {"tools": [PING], "parallel_tool_calls": False},
            "tool_choice",
        ),
        ("gemini", {"generationConfig": {"topK": 40}}, {"temperature": 0.5}, "generationConfig"),
        ("gemini", {"toolConfig": {"retrievalConfig": {}}}, {"tools": [PING], "tool_choice": "auto"}, "toolConfig"),
        ("openrouter", {"reasoning": {"exclude": True}}, {"reasoning_effort": "low"}, "reasoning"),
    ],
)
def test_merges_fields_into_objects_of_the_call(provider, fields, options, written):
    config = build_config(provider)
    body, without = explain_body(config, raw(provider, fields, **options)), explain_body(config, Options(**options))
    assert body[written] == without[written] | fields[written]
    assert {name: value for name, value in body.items() if name != written} == {
        name: value for name, value in without.items() if name != written
    }


@pytest.mark.parametrize(
    ("provider", "fields", "options", "path", "hint"),
    [
        (
            "openai",
            {"text": {"format": {"type": "text"}}},
            {"response_schema": SCHEMA},
            "text.format.type",
            "leave it out, or leave response_schema out",
        ),
        (
            "openai",
            {"instructions": "a"},
            {"system_instruction": "b"},
            "instructions",
            "or leave system_instruction out",
        ),
        ("anthropic", {"max_tokens": 5}, {}, "max_tokens", "leave it out and use Options(max_tokens=...)"),
        ("anthropic", {"max_tokens": 5}, {"max_tokens": 6}, "max_tokens", "leave it out, or leave max_tokens out"),
        ("anthropic", {"cache_control": None}, {}, "cache_control", "Options(implicit_caching=False)"),
        (
            "gemini",
            {"generationConfig": {"responseMimeType": "text/plain"}},
            {"response_schema": SCHEMA},
            "generationConfig.responseMimeType",
            "leave it out, or leave response_schema out",
        ),
        (
            "local",
            {"response_format": {"type": "json_object"}},
            {"response_schema": SCHEMA},
            "response_format.type",
            "leave it out, or leave response_schema out",
        ),
        ("openrouter", {"seed": 1}, {"seed": 2}, "seed", "leave it out, or leave seed out"),
        ("local", {"max_completion_tokens": 1}, {"max_tokens": 2}, "max_completion_tokens", "or leave max_tokens out"),
    ],
)
def test_refuses_another_value_in_place_of_one_of_the_call(provider, fields, options, path, hint):
    error = refuse(build_config(provider), raw(provider, fields, **options))
    assert f" sets {path}" in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("provider", "fields", "wanted"),
    [
        *((provider, {"stream": True}, "stream()") for provider in REAL),
        *((provider, {"model": "other"}, "Config(model=...)") for provider in REAL),
        ("openai", {"input": "x"}, "the prompt, sources and history"),
        ("anthropic", {"messages": []}, "the prompt, sources and history"),
        ("gemini", {"contents": []}, "the prompt, sources and history"),
        ("local", {"messages": []}, "the prompt, sources and history"),
        ("openrouter", {"stream_options": {"include_usage": False}}, "the usage"),
    ],
)
def test_refuses_what_no_call_may_set(provider, fields, wanted):
    error = refuse(build_config(provider), raw(provider, fields))
    assert " which Options and Config manage" in error.message
    assert f" out and use {wanted}" in error.hint


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
def test_refuses_before_a_file_is_stored(provider, tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    options = raw(provider, {"temperature": 1, "generationConfig": {"temperature": 1}}, temperature=0.5)
    with ScriptedServer() as server:
        config = build_config(provider, base_url=server.url, uploads="always")
        with pytest.raises(ConfigurationError, match="temperature"):
            run("Q", source=Source.from_file(tmp_path / "a.png"), config=config, options=options)
        assert server.requests == []


# headers


def add_beta(value=BETA):
    return Options(provider_headers={"anthropic": {"Anthropic-Beta": value}})


@pytest.fixture
def server():
    with ScriptedServer() as server:
        server.handler = lambda _: Answer(status=400, json={"type": "error", "error": {"message": "no"}})
        yield server


@pytest.fixture(params=["direct", "sdk"])
def ask_anthropic(request, server):
    """Return a function that asks with a header of the configuration or of the SDK's client; it returns the betas."""

    def ask(options, *, betas=None, sources=()):
        own = {"Anthropic-Beta": betas} if betas else {}
        reach = {"api_key": "k-made-up", "base_url": server.url}
        way = (
            reach | {"headers": own}
            if request.param == "direct"
            else {"client": Anthropic(**reach, default_headers=own)}
        )
        config = Config(provider="anthropic", model="claude-sonnet-4-6", **way)
        run_many("Q", sources=sources, config=config, options=attrs.evolve(options, on_error="keep"))
        return server.requests[-1].headers["anthropic-beta"]

    return ask


def test_sends_a_beta_of_the_call(ask_anthropic):
    assert ask_anthropic(add_beta()) == BETA


def test_sends_betas_of_the_configuration_and_of_the_call(ask_anthropic):
    assert ask_anthropic(add_beta(f"{BETA}, b"), betas="a,b") == f"a,b,{BETA}"


def test_sends_a_beta_of_the_call_beside_those_that_its_files_need(ask_anthropic):
    stored = Source.from_file_id("file_1", mime_type="application/pdf")
    files = "files-api-2025-04-14"
    assert ask_anthropic(add_beta(f"{files},{BETA}"), betas="a", sources=[stored]) == f"a,{files},{BETA}"


def test_explanation_shows_the_betas_that_are_sent():
    config = Config(provider="anthropic", model="m", api_key="k", headers={"Anthropic-Beta": "a"})
    stored = Source.from_file_id("file_1", mime_type="application/pdf")
    (request,) = explain("Q", sources=[stored], config=config, options=add_beta()).requests
    assert request.headers["Anthropic-Beta"] == f"a,files-api-2025-04-14,{BETA}"


def test_refuses_another_version_of_the_api():
    options = Options(provider_headers={"anthropic": {"Anthropic-Version": "2020-01-01"}})
    error = refuse(build_config("anthropic"), options)
    assert error.message == "provider_headers['anthropic'] holds 'Anthropic-Version', which this call writes itself"


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
def test_counts_tokens_with_the_headers_of_the_call(provider, server):
    server.handler = lambda _: Answer(json={"input_tokens": 3, "totalTokens": 3})
    config = build_config(provider, base_url=server.url)
    options = Options(provider_headers={provider: {"X-Team": "blue"}})
    assert explain("Q", config=config, options=options, count_tokens=True).requests[0].counted_input_tokens == 3
    assert [request.headers["x-team"] for request in server.requests] == ["blue"]
