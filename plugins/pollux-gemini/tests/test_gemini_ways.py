"""The core's HTTP client and the caller's SDK client: the same requests, replies and errors."""

import attrs
import pytest
from google import genai
from google.auth.credentials import Credentials
from google.auth.exceptions import RefreshError

from faults import broken_answers, check_fault
from gemini_api import KEY, Files, answer, error, function_call, text, thought
from pollux_sync import APIError, Config, ConfigurationError, Options, RetryPolicy, Source, run, run_many
from pollux_sync.testing.server import (
    Answer,
)

TOOL = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


@attrs.frozen
class City:
    name: str
    twins: dict[str, int]


def test_asks_and_answers(server, config):
    server.reply(answer(thought("easy"), text("four")))
    result = run("2 + 2?", config=config(), options=Options(reasoning_effort="low", max_tokens=9))
    (request,) = server.requests
    assert (result["answers"], result["reasoning"]) == (["four"], ["easy"])
    assert result["usage"]["reasoning_tokens"] == 3
    assert (request.method, request.path) == ("POST", "/v1beta/models/gemini-2.5-flash:generateContent")
    assert request.headers["x-goog-api-key"] == KEY
    assert request.json() == {
        "contents": [{"role": "user", "parts": [{"text": "2 + 2?"}]}],
        "generationConfig": {
            "maxOutputTokens": 9,
            "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 1024},
        },
    }


def test_fans_out(server, config):
    server.handler = lambda request: answer(text(request.json()["contents"][0]["parts"][-1]["text"].upper()))
    prompts = [f"p{number}" for number in range(20)]
    result = run_many(prompts, sources=[Source.from_text("shared")], config=config())
    assert result["answers"] == [prompt.upper() for prompt in prompts]


def test_gives_typed_answers(server, config):
    server.reply(answer(text('{"name": "Bonn", "twins": {"Oxford": 1947}}')))
    result = run("Bonn?", config=config(), options=Options(response_schema=City))
    assert result["structured"] == [City("Bonn", {"Oxford": 1947})]


def test_takes_no_answer_for_structured_unless_asked(server, config):
    server.reply(answer(text("42")))
    assert "structured" not in run("6 * 7?", config=config())


def test_passes_raw_fields_beside_its_own(server, config):
    server.reply(answer(text("x")))
    safety = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    raw = {"safetySettings": safety, "generationConfig": {"seed": 7}, "tools": [{"googleSearch": {}}]}
    run("hi", config=config(), options=Options(reasoning_budget_tokens=128, provider_options={"gemini": raw}))
    body = server.requests[0].json()
    thinking = {"includeThoughts": True, "thinkingBudget": 128}
    assert body["generationConfig"] == {"thinkingConfig": thinking, "seed": 7}
    assert (body["safetySettings"], body["tools"]) == (safety, [{"googleSearch": {}}])


def test_retries_belong_to_the_core(server, config):
    server.handler = lambda _: error(503, "busy")
    with pytest.raises(APIError):
        run("hi", config=config(retry=RetryPolicy(max_attempts=2, initial_delay_s=0)))
    assert len(server.requests) == 2


BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
WAIT = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.01s"}
JSON = {"Content-Type": "application/json"}
FAULTS = broken_answers(b'{"candidates": []}') | {
    "bad request": (error(400, "bad field", "INVALID_ARGUMENT"), "invalid_request", 400, 1),
    "too long": (
        error(400, "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576)."),
        "context_overflow",
        400,
        1,
    ),
    "bad key": (error(400, "API key not valid. Please pass a valid API key.", details=[BAD_KEY]), "auth", 400, 1),
    "no key": (error(401, "no credentials", "UNAUTHENTICATED"), "auth", 401, 1),
    "suspended": (error(403, f"Consumer 'api_key:{KEY}' has been suspended."), "auth", 403, 1),
    "no such model": (error(404, "models/x is not found", "NOT_FOUND"), "not_found", 404, 1),
    "too large": (error(413, "too large"), "invalid_request", 413, 1),
    "late": (error(408, "late"), "timeout", 408, 2),
    "rate limit": (error(429, "slow", "RESOURCE_EXHAUSTED", [WAIT]), "rate_limit", 429, 2),
    "server error": (error(500, "oops", "INTERNAL"), "capacity", 500, 2),
    "overloaded": (error(503, "The model is overloaded.", "UNAVAILABLE"), "capacity", 503, 2),
    "gateway timeout": (error(504, "late", "DEADLINE_EXCEEDED"), "capacity", 504, 2),
    "error inside a 200": (Answer(json={"error": {"code": 503, "message": "broke"}}), "capacity", 503, 2),
    "an error in a list": (Answer(status=503, json=[{"error": {"code": 503, "message": "broke"}}]), "capacity", 503, 2),
    "no answer": (Answer(json={}), "malformed", 200, 1),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_maps_a_fault_to_the_documented_error(server, config, caplog, fault):
    check_fault(server, config, caplog, KEY, fault)


def test_says_where_the_key_comes_from(server, config):
    server.reply(error(400, "API key not valid. Please pass a valid API key."))
    with pytest.raises(APIError) as caught:
        run("hi", config=config())
    assert "GEMINI_API_KEY" in caught.value.hint


def test_waits_as_long_as_google_asks(server, config):
    wait = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3600.5s"}
    server.reply(error(429, "slow", "RESOURCE_EXHAUSTED", [wait]))
    with pytest.raises(APIError, match="asks to wait") as caught:
        run("hi", config=config(retry=RetryPolicy(max_elapsed_s=10)))
    assert caught.value.retry_after_s == 3600.5


def test_a_client_is_not_shown(config):
    shown = repr(config())
    assert KEY not in shown
    assert ("client=Client" in shown) == (config.way == "sdk")


def test_both_ways_give_equal_replies(server):
    options = {"base_url": server.url, "api_version": "v1beta"}
    parts = (thought("hm"), text("four"), function_call("weather", {"city": "Rome"}, call_id="a1", signature="c2ln"))
    results = []
    with genai.Client(vertexai=False, api_key=KEY, http_options=options) as client:
        for way in ({"client": client}, {"api_key": KEY, "base_url": server.url}):
            server.reply(answer(*parts))
            config = Config(provider="gemini", model="gemini-3-pro", **way)
            results.append(run("2 + 2?", config=config, options=Options(tools=[TOOL])))
    for result in results:
        del result["metrics"]["duration_s"], result["diagnostics"]["attempts"]
    bodies = [request.json() for request in server.requests]
    assert bodies[0] == bodies[1]
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("suffix", "options", "version"),
    [
        ("", {}, "v1beta"),
        ("/", {"api_version": "v1"}, "v1"),
        ("/v1", {}, "v1"),
        ("/proxy/v1beta/", {"api_version": "v1"}, "proxy/v1"),
    ],
)
def test_asks_the_version_that_is_named(server, tmp_path, suffix, options, version):
    server.handler = Files()
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    reach = {"api_key": KEY, "base_url": server.url + suffix, "provider_options": options}
    run("hi", source=Source.from_file(tmp_path / "a.pdf"), config=Config(provider="gemini", model="m", **reach))
    asked = {request.path for request in server.requests if not request.path.startswith("/stored")}
    started = f"/{version}/files".replace("/v1", "/upload/v1")
    assert asked == {started, f"/{version}/models/m:generateContent", f"/{version}/files/1"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"api_key": KEY, "provider_options": {"api_version": "v9"}}, "v1beta, v1"),
        ({"client": object(), "provider_options": {"api_version": "v1"}}, "brings its own api_version"),
        ({"client": object(), "api_key": KEY}, "brings its own"),
    ],
)
def test_refuses_a_version_it_does_not_know_or_that_the_client_has(fields, said):
    with pytest.raises(ConfigurationError, match=said):
        Config(provider="gemini", model="m", **fields)


def vertex(server, credentials):
    options = {"base_url": server.url, "api_version": "v1"}
    place = {"project": "mine", "location": "global"}
    return genai.Client(vertexai=True, credentials=credentials, http_options=options, **place)


class Token(Credentials):
    def refresh(self, request):
        self.token = "t"


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "publishers/google/models/gemini-2.5-flash"])
def test_finds_models_on_vertex(server, model):
    server.reply(answer(text("hi")))
    with vertex(server, Token()) as client:
        assert run("hi", config=Config(provider="gemini", model=model, client=client))["answers"] == ["hi"]
    place = "/v1/projects/mine/locations/global/publishers/google/models"
    assert server.requests[0].path == f"{place}/gemini-2.5-flash:generateContent"
    assert server.requests[0].headers["authorization"] == "Bearer t"


class Expired(Credentials):
    def refresh(self, request):
        raise RefreshError("the account is gone")


def test_says_that_the_clients_credentials_failed(server):
    with vertex(server, Expired()) as client, pytest.raises(APIError, match="the account is gone") as caught:
        run("hi", config=Config(provider="gemini", model="m", client=client))
    assert (caught.value.kind, "Config(client=...)" in caught.value.hint) == ("auth", True)
    assert server.requests == []
