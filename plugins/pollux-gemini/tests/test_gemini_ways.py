"""The core's HTTP client and the caller's SDK client: the same requests, replies and errors."""

import itertools
import json
import time
from datetime import UTC, datetime, timedelta

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google import genai
from google.auth.credentials import Credentials
from google.auth.exceptions import RefreshError

from gemini_api import KEY, Files, answer, build_streamed_answer, error, function_call, last_piece, piece, text, thought
from pollux_gemini.carrier import GeminiCarrier
from pollux_sync import (
    APIError,
    CacheHandle,
    Config,
    ConfigurationError,
    HttpRequest,
    Options,
    RetryPolicy,
    Source,
    explain,
    run,
    stream,
    stream_many,
)
from pollux_sync.testing.server import Answer, Drip, Events
from streams import SSE, allow_slow_ends, break_off, remove_times, sse

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


def test_gives_typed_answers(server, config):
    server.reply(answer(text('{"name": "Bonn", "twins": {"Oxford": 1947}}')))
    result = run("Bonn?", config=config(), options=Options(response_schema=City))
    assert result["structured"] == [City("Bonn", {"Oxford": 1947})]


def test_returns_structured_answers_only_with_a_schema(server, config):
    server.reply(answer(text("42")))
    assert "structured" not in run("6 * 7?", config=config())


def test_passes_raw_fields_beside_its_own(server, config):
    server.reply(answer(text("x")))
    safety = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    raw = {"safetySettings": safety, "generationConfig": {"topK": 7}, "tools": [{"googleSearch": {}}]}
    run("hi", config=config(), options=Options(reasoning_budget_tokens=128, provider_options={"gemini": raw}))
    body = server.requests[0].json()
    thinking = {"includeThoughts": True, "thinkingBudget": 128}
    assert body["generationConfig"] == {"thinkingConfig": thinking, "topK": 7}
    assert (body["safetySettings"], body["tools"]) == (safety, [{"googleSearch": {}}])


def test_has_the_tokens_of_a_request_counted(server, config):
    server.reply(Answer(json={"totalTokens": 42}))
    (explained,) = explain("hi", config=config(), options=Options(max_tokens=9), count_tokens=True).requests
    (request,) = server.requests
    assert explained.counted_input_tokens == 42
    assert (request.method, request.path) == ("POST", "/v1beta/models/gemini-2.5-flash:countTokens")
    assert request.json() == {"generateContentRequest": {"model": "models/gemini-2.5-flash", **explained.body}}


def test_waits_for_googles_retry_delay(server, config):
    wait = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3600.5s"}
    server.reply(error(429, "slow", "RESOURCE_EXHAUSTED", [wait]))
    with pytest.raises(APIError, match="asks to wait") as caught:
        run("hi", config=config(retry=RetryPolicy(max_elapsed_s=10)))
    assert caught.value.retry_after_s == 3600.5


def test_hides_a_client_in_reprs(config):
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
    reach = {"api_key": KEY, "base_url": server.url + suffix, "provider_options": options, "uploads": "always"}
    run("hi", source=Source.from_file(tmp_path / "a.pdf"), config=Config(provider="gemini", model="m", **reach))
    asked = {request.path for request in server.requests if not request.path.startswith("/stored")}
    started = f"/{version}/files".replace("/v1", "/upload/v1")
    assert asked == {started, f"/{version}/models/m:generateContent", f"/{version}/files/1"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"api_key": KEY, "provider_options": {"api_version": "v9"}}, "v1beta, v1"),
        ({"client": object(), "provider_options": {"api_version": "v1"}}, "has its own api_version"),
        ({"client": object(), "api_key": KEY}, "brings its own"),
    ],
)
def test_refuses_a_version_it_does_not_know_or_that_the_client_has(fields, said):
    with pytest.raises(ConfigurationError, match=said):
        Config(provider="gemini", model="m", **fields)


def test_streams(server, config):
    server.reply(build_streamed_answer(piece(thought("easy")), piece(text("fo")), last_piece(text("ur"))))
    events = list(stream("2 + 2?", config=config(), options=Options(reasoning_effort="low", max_tokens=9)))
    (request,) = server.requests
    assert [event.text for event in events[1:4]] == ["easy", "fo", "ur"]
    assert (events[-1].result["answers"], events[-1].result["reasoning"]) == (["four"], ["easy"])
    assert (request.method, request.headers["x-goog-api-key"]) == ("POST", KEY)
    assert request.path == "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    assert request.json() == {
        "contents": [{"role": "user", "parts": [{"text": "2 + 2?"}]}],
        "generationConfig": {
            "maxOutputTokens": 9,
            "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 1024},
        },
    }


def test_sends_the_service_no_time_limit_for_a_stream(server, config):
    server.reply(build_streamed_answer(last_piece(text("x"))))
    stream("hi", config=config(timeout_s=5)).result()
    assert "x-server-timeout" not in server.requests[0].headers


def test_reuses_the_connection_after_a_complete_stream(server, config, monkeypatch):
    allow_slow_ends(monkeypatch)
    server.reply(build_streamed_answer(last_piece(text("x"))), build_streamed_answer(last_piece(text("y"))))
    made = config()
    assert [stream("hi", config=made).result()["answers"] for _ in "xy"] == [["x"], ["y"]]
    assert [request.connection for request in server.requests] == [1, 1]


BUSY = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


def test_asks_again_when_a_stream_begins_with_an_error(server, config):
    server.reply(build_streamed_answer(BUSY), build_streamed_answer(last_piece(text("x"))))
    assert stream("hi", config=config()).result()["answers"] == ["x"]


#: What breaks a stream that has begun, and what it is then called.
BREAKS = {
    "an error": (build_streamed_answer(piece(text("hel")), BUSY), "capacity", 503),
    "an end too early": (build_streamed_answer(piece(text("hel"))), "malformed", None),
    "a closed connection": (build_streamed_answer(piece(text("hel")), then="close"), "connection", None),
    "no object": (build_streamed_answer(piece(text("hel")), "junk"), "malformed", None),
}
SILENCE = build_streamed_answer(piece(text("hel")), then="silence")


@pytest.mark.parametrize(("step", "kind", "status"), BREAKS.values(), ids=BREAKS)
def test_keeps_the_partial_text_when_a_stream_breaks(server, config, step, kind, status):
    server.reply(step)
    with pytest.raises(APIError) as caught:
        stream("hi", config=config()).result()
    assert (caught.value.kind, caught.value.status_code, caught.value.partial_text) == (kind, status, "hel")
    assert len(server.requests) == len(caught.value.attempts) == 1


def test_keeps_the_partial_text_when_a_stream_falls_silent(server, config):
    ended = break_off(server, SILENCE, lambda limit_s: stream("hi", config=config(timeout_s=limit_s)).result())
    assert (ended.error.kind, ended.error.status_code, ended.error.partial_text) == ("timeout", None, "hel")
    assert ended.n_requests == len(ended.error.attempts) == 1


def test_closes_the_connection_of_a_stream_that_breaks(server, config):
    server.reply(build_streamed_answer(piece(text("hel")), BUSY, then="silence"))
    with pytest.raises(APIError, match="overloaded"):
        stream("hi", config=config()).result()
    server.wait_for_open_connections(0)


def test_takes_bytes_without_an_event_for_silence(server, config):
    server.reply(Drip(body=sse(last_piece(text("x" * 1000))), interval_s=0.02, headers=SSE))
    with pytest.raises(APIError) as caught:
        stream("hi", config=config(timeout_s=0.3, retry=RetryPolicy(max_attempts=1))).result()
    assert caught.value.kind == "timeout"


def test_breaks_off_a_stream_without_end(server, config):
    endless = Events(itertools.repeat(sse(piece(text("x")))), interval_s=0.01)
    ended = break_off(server, endless, lambda limit_s: stream("hi", config=config(stream_timeout_s=limit_s)).result())
    assert f"stream_timeout_s={ended.limit_s:g}" in ended.error.message
    assert ended.error.kind == "timeout"
    assert ended.error.partial_text.startswith("x")


def test_closes_the_connection_when_a_stream_is_left(server, config):
    server.reply(build_streamed_answer(piece(text("hel")), then="silence"))
    with stream("hi", config=config()) as events:
        assert next(events).type == "start"
        server.wait_for_open_connections(1)
    server.wait_for_open_connections(0)


def test_closes_the_connection_of_a_stream_that_is_still_referenced(server):
    server.reply(build_streamed_answer(piece(text("hel")), then="silence"))
    options = {"base_url": server.url, "api_version": "v1beta"}
    with genai.Client(vertexai=False, api_key=KEY, http_options=options) as client:
        opened = GeminiCarrier(client).stream(HttpRequest(path="/models/m:streamGenerateContent?alt=sse", body={}), 20)
        events = iter(opened)
        assert next(events)
        opened.close()
        server.wait_for_open_connections(0)


@pytest.mark.parametrize("key", ["e", "4", '"', "1234", "message"])
def test_reports_a_refusal_to_a_client_with_a_key_of_few_characters(server, key):
    server.reply(Answer(status=400, json={"error": {"code": 400, "message": "the 1234 is bad", "details": [1234]}}))
    options = {"base_url": server.url, "api_version": "v1beta"}
    with genai.Client(vertexai=False, api_key=key, http_options=options) as client, pytest.raises(APIError) as caught:
        run("hi", config=Config(provider="gemini", model="m", client=client))
    assert caught.value.message == f"status 400: the {'[REDACTED]' if key == '1234' else '1234'} is bad"


@pytest.mark.parametrize(
    "pieces", [answer(text("whole")).json, [piece(text("wh")), last_piece(text("ole"))]], ids=["object", "list"]
)
def test_takes_an_answer_at_once_for_a_stream(server, config, pieces):
    server.reply(Answer(json=pieces), Answer(json=pieces))
    events = list(stream("hi", config=config()))
    assert events[1].text == "whole"
    assert remove_times(events[-1].result) == remove_times(run("hi", config=config()))


@pytest.mark.parametrize("body", [[], ["x"], [{"error": {"code": 400, "message": "bad"}}]])
def test_refuses_a_list_that_is_no_answer(server, config, body):
    server.reply(Answer(json=body))
    with pytest.raises(APIError):
        stream("hi", config=config()).result()


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


def test_has_tokens_counted_on_vertex(server):
    server.reply(Answer(json={"totalTokens": 42}))
    options = Options(tools=[TOOL], tool_choice="required", max_tokens=9)
    with vertex(server, Token()) as client:
        config = Config(provider="gemini", model="gemini-2.5-flash", client=client)
        (explained,) = explain("hi", config=config, options=options, count_tokens=True).requests
    (request,) = server.requests
    assert explained.counted_input_tokens == 42
    assert request.path.endswith("/publishers/google/models/gemini-2.5-flash:countTokens")
    assert request.json() == {name: value for name, value in explained.body.items() if name != "toolConfig"}


def test_tokens_of_a_cache_are_not_counted_on_vertex(server):
    options = Options(cache=CacheHandle("caches/1", "gemini-2.5-flash", "gemini", time.time() + 999))
    with vertex(server, Token()) as client:
        config = Config(provider="gemini", model="gemini-2.5-flash", client=client)
        (explained,) = explain("hi", config=config, options=options, count_tokens=True).requests
    assert (explained.counted_input_tokens, server.requests) == (None, [])


class Expired(Credentials):
    def refresh(self, request):
        raise RefreshError("the account is gone")


def test_says_that_the_clients_credentials_failed(server):
    with vertex(server, Expired()) as client, pytest.raises(APIError, match="the account is gone") as caught:
        run("hi", config=Config(provider="gemini", model="m", client=client))
    assert (caught.value.kind, "Config(client=...)" in caught.value.hint) == ("auth", True)
    assert server.requests == []


@pytest.fixture
def certificate(tmp_path, monkeypatch):
    """A client's certificate, which the SDK shows on Vertex AI, sending with requests in place of httpx."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "me")])
    day = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, day, day + timedelta(days=1))
    pem = serialization.Encoding.PEM
    (tmp_path / "me.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    kept = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "me.key").write_bytes(kept)
    paths = {"cert_path": str(tmp_path / "me.pem"), "key_path": str(tmp_path / "me.key")}
    (tmp_path / "config.json").write_text(json.dumps({"cert_configs": {"workload": paths}}))
    monkeypatch.setenv("GOOGLE_API_CERTIFICATE_CONFIG", str(tmp_path / "config.json"))
    monkeypatch.setenv("GOOGLE_API_USE_CLIENT_CERTIFICATE", "true")


@pytest.fixture
def certificate_config(server, certificate):
    with vertex(server, Token()) as client:
        yield Config(provider="gemini", model="m", client=client, retry=RetryPolicy(max_attempts=1))


def test_streams_with_a_client_certificate(server, certificate_config):
    server.reply(build_streamed_answer(piece(text("fo")), last_piece(text("ur"))))
    events = list(stream("hi", config=certificate_config))
    assert [event.text for event in events[1:3]] == ["fo", "ur"]
    assert server.requests[0].headers["authorization"] == "Bearer t"


@pytest.mark.parametrize(("step", "kind", "status"), BREAKS.values(), ids=BREAKS)
def test_raises_the_error_of_a_stream_with_a_client_certificate(server, certificate_config, step, kind, status):
    server.reply(step)
    with pytest.raises(APIError) as caught:
        stream("hi", config=certificate_config).result()
    assert (caught.value.kind, caught.value.status_code, caught.value.partial_text) == (kind, status, "hel")


def test_ends_a_silent_stream_with_a_client_certificate(server, certificate_config):
    def ask(limit_s):
        stream("hi", config=attrs.evolve(certificate_config, timeout_s=limit_s)).result()

    error = break_off(server, SILENCE, ask).error
    assert (error.kind, error.status_code, error.partial_text) == ("timeout", None, "hel")


def test_closing_wakes_a_reader_with_a_client_certificate(server, certificate_config):
    server.handler = lambda _: build_streamed_answer(piece(text("hel")), then="silence")
    with stream_many(["a", "b"], config=certificate_config) as events:
        assert {next(events).call_idx for _ in range(4)} == {0, 1}
    server.wait_for_open_connections(0)


def test_returns_any_object_in_json_mode(server, config):
    server.reply(answer(text('{"name": "Ada", "born": 1815}')))
    result = run("Who?", config=config(), options=Options(response_schema=dict))
    assert server.requests[0].json()["generationConfig"] == {"responseMimeType": "application/json"}
    assert result["structured"] == [{"name": "Ada", "born": 1815}]


def test_refuses_json_mode_beside_tools_where_the_model_does(server, config):
    options = Options(response_schema=dict, tools=[{"name": "ping"}])
    with pytest.raises(ConfigurationError, match="does not take a response_schema beside tools"):
        run("Who?", config=config(), options=options)
    assert server.requests == []
