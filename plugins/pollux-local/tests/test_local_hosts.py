"""The hosts that are known by name: what is sent to them, and what is refused before."""

import json
import tomllib
from pathlib import Path
from typing import get_args

import attrs
import pytest

from chat_api import completion, tool_call
from chat_streams import build_stream, chunk
from pollux_local.hosts import HOSTS, Host
from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    Options,
    RetryPolicy,
    Source,
    check_ready,
    explain,
    list_models,
    run,
    stream,
)
from pollux_sync.data.options import ServiceTier
from pollux_sync.testing.server import Answer
from streams import sse

PLUGIN = Path(__file__).parents[1]
PAGE = PLUGIN.parents[1] / "docs" / "providers" / "hosts.md"
EVENTS = {"Content-Type": "text/event-stream"}
PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PIXEL = b"\x89PNG\r\n\x1a\n"
each_host = pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    for host in HOSTS:
        for name in (*host.key_env, host.token_env, host.base_url_env):
            if name:
                monkeypatch.delenv(name, raising=False)


@pytest.fixture
def build_config(server):
    def build(host, **fields):
        return Config(
            **{"provider": host.name, "model": "m", "api_key": "key-1", "base_url": server.url, **fields},
            retry=RetryPolicy(max_attempts=1),
        )

    return build


def show(host, options=None, **fields):
    """Return the request that would be sent."""
    address = {} if host.base_url else {"base_url": host.base_url_example}
    config = Config(provider=host.name, model="m", api_key="key-1", **address)
    return explain("Answer as JSON.", config=config, options=options, **fields).requests[0]


def pick(name):
    return next(host for host in HOSTS if host.name == name)


def test_each_is_an_entry_point_of_its_name():
    entries = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]["entry-points"]
    named = {name: value for name, value in entries["pollux_sync.providers"].items() if name != "local"}
    assert named == {host.name: f"pollux_local.hosts:{host.name}" for host in HOSTS}


@each_host
def test_answers_from_its_address_with_its_key(server, build_config, host):
    server.reply(Answer(json=completion("hello")))
    result = run("hi", config=build_config(host))
    assert result["answers"] == ["hello"]
    request = server.requests[0]
    name, form = host.auth
    assert (request.path, request.headers[name.lower()]) == (f"{host.path}/chat/completions", form.format(key="key-1"))
    assert json.loads(request.body) == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@each_host
def test_streams_the_same_answer(server, build_config, host):
    server.reply(Answer(body=build_stream({"content": "hel"}, {"content": "lo"}), headers=EVENTS))
    with stream("hi", config=build_config(host)) as answers:
        assert "".join(answers.text_chunks) == "hello"
        assert answers.result()["usage"]["input_tokens"] == 11
    sent = json.loads(server.requests[0].body)
    assert sent.get("stream_options") == ({"include_usage": True} if host.asks_usage else None)


@each_host
def test_key_is_that_of_its_variable(monkeypatch, host):
    if not host.key_env:
        assert Config(provider=host.name, model="m")
        return
    address = {} if host.base_url else {"base_url": host.base_url_example}
    if not host.is_local:
        with pytest.raises(ConfigurationError, match=host.key_env[0]):
            Config(provider=host.name, model="m", **address)
    monkeypatch.setenv(host.key_env[0], "from-the-variable")
    assert Config(provider=host.name, model="m", **address)


@pytest.mark.parametrize(
    ("name", "options", "sent"),
    [
        ("groq", Options(max_tokens=5), {"max_completion_tokens": 5}),
        ("groq", Options(service_tier="default"), {"service_tier": "on_demand"}),
        ("groq", Options(service_tier="priority"), {"service_tier": "performance"}),
        ("fireworks", Options(service_tier="priority"), {"service_tier": "priority"}),
        ("together", Options(max_tokens=5, seed=7), {"max_tokens": 5, "seed": 7}),
        ("deepseek", Options(response_schema=dict), {"response_format": {"type": "json_object"}}),
        ("mistral", Options(seed=7), {"random_seed": 7}),
        ("xai", Options(max_tokens=5, reasoning_effort="low"), {"max_completion_tokens": 5, "reasoning_effort": "low"}),
        ("azure", Options(stop="END"), {"stop": ["END"]}),
        ("ollama", Options(seed=7, reasoning_effort="low"), {"seed": 7, "reasoning_effort": "low"}),
    ],
)
def test_options_are_written_in_its_words(name, options, sent):
    body = show(pick(name), options).body
    assert {field: body[field] for field in body if field not in {"model", "messages"}} == sent


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fireworks", Options(service_tier="flex"), "Fireworks has no service_tier 'flex'"),
        ("deepseek", Options(response_schema=PLACE), "DeepSeek takes no schema"),
        ("deepseek", Options(seed=7), "seed"),
        ("lmstudio", Options(response_schema=dict), "no JSON mode"),
        ("ollama", Options(tools=[{"name": "f"}], tool_choice="required"), "tool_choice"),
        ("together", Options(tools=[{"name": "f"}], parallel_tool_calls=False), "parallel_tool_calls"),
        ("vllm", Options(service_tier="flex"), "service_tier"),
        ("mistral", Options(seed=7, provider_options={"mistral": {"seed": 7}}), "says the same"),
    ],
)
def test_what_it_lacks_is_refused_with_a_hint(name, options, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        show(pick(name), options)
    assert caught.value.hint


@each_host
def test_json_mode_without_the_word_is_refused_where_the_host_wants_it(host):
    if not host.has_json_mode:
        return
    config = Config(provider=host.name, model="m", api_key="k", base_url=host.base_url or host.base_url_example)
    if host.wants_json_word:
        with pytest.raises(ConfigurationError, match="the word JSON"):
            explain("hi", config=config, options=Options(response_schema=dict))
    else:
        assert explain("hi", config=config, options=Options(response_schema=dict)).requests


@each_host
def test_tiers_are_all_that_it_has(host):
    assert set(host.tiers) <= set(get_args(ServiceTier))
    assert bool(host.tiers) == ("service_tier" in host.more)


@each_host
def test_files_that_its_models_take(tmp_path, host):
    path = tmp_path / "pixel.png"
    path.write_bytes(PIXEL)
    image = Source.from_file(path)
    if not host.images:
        with pytest.raises(ConfigurationError, match=r"pixel\.png"):
            show(host, sources=[image])
        return
    parts = show(host, sources=[image]).body["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["image_url", "text"]


def test_schema_and_tools_reach_each_that_takes_them():
    for host in HOSTS:
        options = Options(tools=[{"name": "look_up", "parameters": PLACE}])
        assert show(host, options).body["tools"][0]["function"]["name"] == "look_up"
        if host.has_schemas:
            body = show(host, Options(response_schema=PLACE)).body
            assert body["response_format"]["json_schema"]["schema"]["required"] == ["city"]


def test_ids_of_tool_calls_are_those_that_mistral_takes(server, build_config):
    turns = [
        {"role": "user", "content": "look"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "call_abc-1", "name": "look_up", "arguments": "{}"}],
        },
        {"role": "tool", "tool_call_id": "call_abc-1", "content": "found"},
    ]
    server.reply(Answer(json=completion("done")))
    run("go on", config=build_config(pick("mistral")), options=Options(history=turns))
    _, asking, answering, _ = json.loads(server.requests[0].body)["messages"]
    assert asking["tool_calls"][0]["id"] == answering["tool_call_id"]
    assert len(answering["tool_call_id"]) == 9
    assert answering["tool_call_id"].isalnum()


def test_lists_models_also_of_a_bare_list(server, build_config):
    server.reply(Answer(json=[{"id": "a/b", "context_length": 4096}]))
    (model,) = list_models(config=build_config(pick("together")))
    assert (model.id, model.context_tokens) == ("a/b", 4096)


@pytest.mark.parametrize(("name", "paths"), [("groq", ["/models"]), ("azure", ["/openai/v1/models"])])
def test_is_ready_with_a_key_that_counts(server, build_config, name, paths):
    server.reply(Answer(json={"data": []}), Answer(status=401, json={"error": {"message": "no such key"}}))
    config = build_config(pick(name))
    assert check_ready(config=config)
    assert check_ready(config=config).kind == "auth"
    assert [request.path for request in server.requests] == paths * 2


def test_local_server_is_ready_with_its_model(server, build_config):
    server.reply(Answer(status=404, json={}), Answer(json={"data": [{"id": "phi:latest"}]}))
    assert check_ready(config=build_config(pick("ollama"), model="phi"))


def test_hints_for_local_servers_are_not_those_of_a_service(server, build_config):
    error = {"error": {"message": "this model does not support tools"}}
    hints = {}
    for name in ("ollama", "groq"):
        server.reply(Answer(status=400, json=error))
        with pytest.raises(APIError) as caught:
            run("hi", config=build_config(pick(name)))
        hints[name] = caught.value.hint or ""
    assert "chat template" in hints["ollama"]
    assert "chat template" not in hints["groq"]


def test_tool_calls_of_a_stream(server, build_config):
    call = tool_call("look_up", '{"city": "Oslo"}', "abcdefghi")
    body = sse(chunk(tool_calls=[call | {"index": 0}]), chunk("tool_calls"), done=True)
    server.reply(Answer(body=body, headers=EVENTS))
    with stream("hi", config=build_config(pick("mistral")), options=Options(tools=[{"name": "look_up"}])) as answers:
        result = answers.result()
    assert result["tool_calls"][0][0]["arguments"] == '{"city": "Oslo"}'


def list_rows():
    for host in HOSTS:
        key = f"`{host.key_env[0]}`" if host.key_env else "none"
        lacking = sorted({name for other in HOSTS for name in other.more} - host.more)
        address = f"`{host.base_url_env}`" if host.base_url_env else f"`{host.base_url}`"
        if host.base_url and host.base_url_env:
            address += f", else `{host.base_url}`"
        yield f"| `{host.name}` | [{host.title}]({host.docs_url}) | {key} | {address} | {', '.join(lacking) or '—'} |"


def test_table_of_the_guide_is_that_of_the_rows():
    page = PAGE.read_text()
    assert [row for row in list_rows() if row not in page] == []


def test_a_row_is_complete_without_settings():
    fields = {field.name for field in attrs.fields(Host) if field.default is attrs.NOTHING}
    assert fields == {"name", "title", "docs_url", "base_url"}
