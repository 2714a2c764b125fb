"""The requests of `explain` equal those of `run_many`, to the byte, for every provider of this repository."""

import json
import os
import subprocess
import sys
import time
from itertools import pairwise

import pytest
from openai import OpenAI

from capabilities import declarations
from demo_model import find_demo_model
from pollux_sync import CacheHandle, Config, ConfigurationError, Options, Source, explain, hookimpl, run_many
from pollux_sync.data.handles import Asset
from pollux_sync.data.provider import HttpRequest
from pollux_sync.engine.conversing import STATE_KEY
from pollux_sync.testing.server import Answer, ScriptedServer
from pollux_sync.wire.http import HttpClient

KEY = "sk-made-up-secret"
INFOS = [info for info in declarations() if info.name != "mock"]
#: What every HTTP client adds of its own.
OF_THE_CLIENT = {"user-agent", "accept", "accept-encoding", "content-length", "host", "connection"}

FIELDS = {
    "anthropic": {"model": "claude-sonnet-4-6"},
    "gemini": {"model": "gemini-2.5-flash", "provider_options": {"api_version": "v1"}},
    "local": {"provider_options": {"takes_reasoning_effort": True, "takes_service_tier": True}},
    "openrouter": {"provider_options": {"site_url": "https://museum.example", "app_name": "museum"}},
}
CITY = {"type": "object", "properties": {"city": {"type": "string"}, "unit": {"type": "string"}}, "required": ["city"]}
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2},
        "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
        "pair": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False},
    },
    "required": ["name"],
}
TURNS = [
    {"role": "user", "content": "Weather? «now»"},
    {"role": "assistant", "tool_calls": [{"id": "c1", "name": "weather", "arguments": {"city": "Zürich"}}]},
    {"role": "tool", "tool_call_id": "c1", "content": "sunny", "is_error": True},
]
WEATHER = {"name": "weather", "description": "now", "parameters": CITY}

COMBINATIONS = {
    "nothing": lambda info: {},
    "settings": lambda info: {"temperature": 0.25, "max_tokens": 2000},
    "top_p": lambda info: {"top_p": 1e-7},
    "stop": lambda info: {"stop": ["END", "\n\n"]},
    "seed": lambda info: {"seed": 0},
    "tier": lambda info: {"service_tier": "default"},
    "one tool at a time": lambda info: {"tools": [WEATHER], "parallel_tool_calls": False},
    "instruction": lambda info: {"system_instruction": 'Be brief,\nand say "it\'s" ☃ $HOME `pwd` \\.'},
    "schema": lambda info: {"response_schema": SCHEMA},
    "any object": lambda info: {
        "response_schema": dict if info.has_json_mode else SCHEMA,
        "system_instruction": "Answer as JSON.",
    },
    "tools": lambda info: {"tools": [WEATHER, {"name": "ping"}], "tool_choice": {"name": "weather"}},
    "strict tools": lambda info: {"tools": [WEATHER | {"strict": True}], "system_instruction": "Use tools."},
    "effort": lambda info: {"reasoning_effort": "low", "max_tokens": 9000},
    "hidden thoughts": lambda info: {"reasoning_effort": "low", "reasoning_summary": "none", "max_tokens": 9000},
    "budget": lambda info: {"reasoning_budget_tokens": 2048, "response_schema": SCHEMA},
    "history": lambda info: {"history": TURNS, "tools": [WEATHER]},
    "continued": lambda info: {"continue_from": {STATE_KEY: {"version": 1, "provider": info.name, "history": TURNS}}},
    "raw": lambda info: {"provider_options": {info.name: {"extra": {"k": ["ü", 1.5, None]}}}, "temperature": 1},
    "headers": lambda info: {"provider_headers": {info.name: {"X-Team": "blue", "anthropic-beta": "a,b"}}},
    "cache": lambda info: {"cache": CacheHandle("caches/1", FIELDS[info.name]["model"], info.name, time.time() + 999)},
    "implicit": lambda info: {"implicit_caching": True, "system_instruction": "Be brief."},
}
#: What options stand for under the name "history".
DECLARED_AS = {"continue_from": "history"}
SERVED_BY_CORE = {"provider_headers", "provider_options"}


def is_taken(info, options):
    return {DECLARED_AS.get(name, name) for name in options} - SERVED_BY_CORE <= info.options


def iter_combinations():
    for info in INFOS:
        for name, make in COMBINATIONS.items():
            if name != "cache" or "cache" in info.options:
                options = make(info)
                if is_taken(info, options):
                    yield pytest.param(info, options, id=f"{info.name}-{name}")


each_provider = pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)


class Storage:
    """In the place of a provider's files."""

    @hookimpl(tryfirst=True)
    def pollux_upload(self, source):
        return Asset(id="file-777", mime_type=source.mime_type)

    @hookimpl(tryfirst=True)
    def pollux_delete_upload(self):
        return True


@pytest.fixture
def server():
    with ScriptedServer() as server:
        server.handler = lambda request: Answer(status=400, json={"error": {"message": "no"}})
        yield server


def build_config(info, base_url, **fields):
    defaults = {"provider": info.name, "model": "m", "api_key": KEY, "base_url": base_url, "request_concurrency": 1}
    return Config(**(defaults | FIELDS.get(info.name, {}) | fields))


@pytest.fixture
def pictures(tmp_path):
    """A picture, the same one under another name, and a text that is a file."""
    content = {"a.png": b"\x89PNG\r\n\x1a\n1", "b.png": b"\x89PNG\r\n\x1a\n1", "c.txt": b"a note"}
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    return [Source.from_file(tmp_path / name) for name in content]


def explain_and_send(server, prompts, config, **call):
    """The requests of the explanation, and those that then reach the server."""
    options = call.pop("options", {}) | {"on_error": "keep"}
    explanation = explain(prompts, config=config, options=Options(**options), **call)
    assert server.requests == []
    run_many(prompts, config=config, options=Options(**options), **call)
    return explanation.requests, server.requests


def assert_equal(server, explained, sent, info):
    assert [request.content for request in explained] == [request.body for request in sent]
    for shown, request in zip(explained, sent, strict=True):
        assert (shown.method, shown.url) == (request.method, server.url + request.path)
        headers = {name.lower(): value for name, value in shown.headers.items()}
        assert headers == {n: v for n, v in request.headers.items() if n not in OF_THE_CLIENT | {info.auth[0].lower()}}


@pytest.mark.parametrize(("info", "options"), list(iter_combinations()))
def test_request_is_the_one_that_is_sent(info, options, server):
    explained, sent = explain_and_send(server, 'Who\'s "there"? ☃', build_config(info, server.url), options=options)
    assert len(sent) == 1
    assert_equal(server, explained, sent, info)


@each_provider
def test_shows_the_headers_of_the_configuration(info, server):
    config = build_config(info, server.url, headers={"X-Team": "blue"})
    explained, sent = explain_and_send(server, "p", config)
    assert explained[0].headers["X-Team"] == "blue"
    assert_equal(server, explained, sent, info)


@each_provider
def test_shows_requests_of_a_fan_out_in_order(info, server):
    sources = [Source.from_text("a note"), Source.from_json({"a": [1.0, "ü"]})]
    explained, sent = explain_and_send(server, ["a", "b", "c"], build_config(info, server.url), sources=sources)
    assert len(sent) == 3
    assert_equal(server, explained, sent, info)


@each_provider
def test_shows_requests_per_source_in_order(info, server):
    sources = [Source.from_text("one"), Source.from_text("two")]
    call = {"sources": sources, "per_source": True, "options": {"temperature": 0}}
    explained, sent = explain_and_send(server, ["a", "b"], build_config(info, server.url), **call)
    assert len(sent) == 4
    assert_equal(server, explained, sent, info)


@each_provider
def test_placeholder_replaces_the_id_of_the_file(info, server, pictures):
    uploads = {rule.delivery for rule in map(info.find_rule, pictures)} & {"upload"}
    config = build_config(info, server.url, plugins=[Storage()], uploads="always" if uploads else "auto")
    explained, sent = explain_and_send(server, ["a", "b"], config, sources=pictures)
    assert all((b"upload-1" in request.content) == bool(uploads) for request in explained)
    contents = [request.content.replace(b"upload-1", b"file-777") for request in explained]
    replaced = [content.replace(b"upload-2", b"file-777") for content in contents]
    assert replaced == [request.body for request in sent]


@each_provider
def test_shows_files_inside_the_request_as_they_are_sent(info, server, pictures):
    explained, sent = explain_and_send(server, ["a", "b"], build_config(info, server.url), sources=pictures)
    assert len(sent) == 2
    assert_equal(server, explained, sent, info)


@pytest.mark.usefixtures("no_network")
@each_provider
def test_nothing_is_reached_for(info, pictures):
    checking = {"provider_options": {"check_catalogue": True}} if info.name == "openrouter" else {}
    explanation = explain("a", sources=pictures, config=build_config(info, "https://host.example/v1", **checking))
    assert len(explanation.requests) == 1


@pytest.mark.usefixtures("no_network")
def test_model_inside_this_process_is_not_loaded():
    explanation = explain("a", config=Config(provider="local", model=str(find_demo_model())))
    (request,) = explanation.requests
    assert (request.path, request.url, request.curl, request.key_header) == ("/chat/completions", None, None, None)


def test_client_of_the_callers_keeps_its_address_and_key_to_itself():
    with OpenAI(api_key=KEY, base_url="https://host.example/v1") as client:
        explanation = explain(f"a {KEY}", config=Config(provider="openai", model="m", client=client))
    (request,) = explanation.requests
    assert (request.path, request.url, request.curl) == ("/responses", None, None)
    assert KEY not in f"{explanation!r} {explanation} {explanation.to_dict()}"


def test_client_of_the_caller_sends_the_explained_body(server):
    with OpenAI(api_key=KEY, base_url=server.url) as client:
        config = Config(provider="openai", model="m", client=client)
        explained, sent = explain_and_send(server, "ü", config, options={"response_schema": SCHEMA})
    assert [json.loads(request.content) for request in explained] == [request.json() for request in sent]


@each_provider
def test_hides_the_key(info, server):
    options = Options(system_instruction=KEY, response_schema={"type": "object", "properties": {KEY: {}}})
    sources = [Source.from_text(KEY)]
    explanation = explain(f"It is {KEY}.", sources=sources, config=build_config(info, server.url), options=options)
    curls = [request.curl for request in explanation.requests]
    assert KEY not in f"{explanation!r} {explanation} {explanation.to_dict()} {curls} {explanation.requests}"
    assert "[REDACTED]" in curls[0]


@each_provider
def test_curl_command_sends_the_same_request(info, server, tmp_path):
    prompt = 'Who\'s "there"? $HOME `pwd` $(pwd) \\ \n ☃'
    (request,) = explain(prompt, config=build_config(info, server.url)).requests
    variable = next(iter(info.key_env), "API_KEY")
    assert f"${variable}" in request.curl
    words, content = run_curl(request.curl, tmp_path, {variable: KEY})
    headers = dict(word.split(": ", 1) for flag, word in pairwise(words) if flag == "-H")
    assert words[-2:] == ["--data", "@-"]
    with ScriptedServer(default=Answer(json={})) as other:
        client = HttpClient(words[3].replace(server.url, other.url), headers=headers)
        client.send(HttpRequest(path="", method=words[2], body=json.loads(content)), 30)
        client.close()
        run_many(prompt, config=build_config(info, server.url), options=Options(on_error="keep"))
        (replayed,), (sent,) = other.requests, server.requests
    assert content.removesuffix("\n").encode() == sent.body
    assert read_facts(replayed) == read_facts(sent)


STAND_IN = f"""#!{sys.executable}
import json, sys
print(json.dumps([['curl', *sys.argv[1:]], sys.stdin.buffer.read().decode()]))
"""


def run_curl(command, folder, environment):
    """Return the words and the input that the shell passes to curl; a script stands in for curl."""
    stand_in = folder / "curl"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    told = os.environ | environment | {"PATH": path}
    script = folder / "command.sh"
    script.write_text(command)
    return json.loads(subprocess.run(["/bin/sh", str(script)], env=told, capture_output=True, check=True).stdout)


def read_facts(request):
    headers = {name: value for name, value in request.headers.items() if name != "host"}
    return request.method, request.path, headers, request.body


def test_curl_command_takes_a_body_that_is_longer_than_a_word_may_be(server, tmp_path):
    (request,) = explain("long " * 200_000, config=build_config(INFOS[0], server.url)).requests
    _, content = run_curl(request.curl, tmp_path, {})
    assert content.removesuffix("\n").encode() == request.content


def test_key_header_without_a_key_is_the_placeholder():
    (request,) = explain("a", config=Config(provider="local", model="m", base_url="http://127.0.0.1:9/v1")).requests
    assert request.key_header == "Authorization: Bearer local"


def test_shows_the_schema_and_its_losses():
    config = Config(provider="openai", model="m", api_key=KEY)
    explanation = explain("a", config=config, options=Options(response_schema=SCHEMA))
    assert explanation.response_schema == explanation.requests[0].body["text"]["format"]["schema"]
    assert any(finding.startswith("$.properties.name: ") and "minLength" in finding for finding in explanation.findings)
    assert all(f"  {finding}" in str(explanation).splitlines() for finding in explanation.findings)


def test_refuses_a_schema_that_the_dialect_cannot_hold():
    schema = {"type": "object", "properties": {"leaf": {"type": "string"}}}
    for _ in range(10):
        schema = {"type": "object", "properties": {"inner": schema}}
    config = Config(provider="openai", model="m", api_key=KEY)
    with pytest.raises(ConfigurationError, match=r"response_schema: \$: ") as caught:
        explain("a", config=config, options=Options(response_schema=schema))
    assert "Finding(" not in str(caught.value)


def test_caching_is_that_of_the_plan():
    config = build_config(next(info for info in INFOS if info.name == "anthropic"), None)
    assert [explain(prompts, config=config).cache_mode for prompts in ("a", ["a", "b"])] == ["implicit", "none"]
