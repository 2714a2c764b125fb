import pytest

from pollux_sync import APIError, Config, ConfigurationError, Options, RetryPolicy, Source, run, run_many
from pollux_sync.testing.server import (
    Answer,
    CloseOnNextRequest,
    Drip,
    GzipBomb,
    ResetBeforeBody,
    ResetInsideBody,
)

PNG = b"\x89PNG\r\n\x1a\n"


def answer(content="hello", **message):
    message = {"role": "assistant", "content": content} | message
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    return Answer(json=body | {"usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}})


def test_asks_a_chat_completions_server(server, config):
    server.reply(answer())
    options = Options(system_instruction="be kind", temperature=0.5, top_p=0.9, max_tokens=7)
    result = run("hi", config=config(), options=options)
    (request,) = server.requests
    assert result["answers"] == ["hello"]
    assert result["usage"] == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == "Bearer local"
    assert request.json() == {
        "model": "m",
        "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 7,
    }


def test_sends_the_key_when_there_is_one(server, config):
    server.reply(answer())
    run("hi", config=config(api_key="sk-mine"))
    assert server.requests[0].headers["authorization"] == "Bearer sk-mine"


def test_reads_no_key_of_the_cloud_from_the_environment(server, config, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-cloud")
    server.reply(answer())
    run("hi", config=config())
    assert server.requests[0].headers["authorization"] == "Bearer local"


def test_takes_the_base_url_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("POLLUX_LOCAL_BASE_URL", f"{server.url}/v1/")
    server.reply(answer())
    assert run("hi", config=Config(provider="local", model="m"))["answers"] == ["hello"]


def test_shows_images_to_the_model(server, config, tmp_path):
    (tmp_path / "cat.png").write_bytes(PNG)
    server.reply(answer())
    sources = [
        Source.from_file(tmp_path / "cat.png"),
        Source.from_uri("https://acme.example/dog.jpg", mime_type="image/jpeg"),
        Source.from_text("two animals"),
    ]
    run_many("which?", sources=sources, config=config())
    kinds = [part["type"] for part in server.requests[0].json()["messages"][0]["content"]]
    assert kinds == ["image_url", "image_url", "text", "text"]


@pytest.mark.parametrize(
    "source",
    [
        Source.from_youtube("https://youtu.be/x"),
        Source.from_arxiv("1706.03762"),
        Source.from_uri("gs://bucket/cat.png", mime_type="image/png"),
    ],
)
def test_refuses_input_that_local_servers_do_not_accept(server, config, source):
    with pytest.raises(ConfigurationError) as caught:
        run("what?", source=source, config=config())
    assert "convert other files" in caught.value.hint
    assert server.requests == []


@pytest.mark.parametrize("option", [{"reasoning_effort": "low"}, {"reasoning_budget_tokens": 9}])
def test_refuses_options_that_servers_ignore(server, config, option):
    with pytest.raises(ConfigurationError, match=next(iter(option))):
        run("hi", config=config(), options=Options(**option))
    assert server.requests == []


def test_says_how_to_declare_that_a_server_heeds_reasoning_effort(server, config):
    options = Options(reasoning_effort="low")
    with pytest.raises(ConfigurationError, match="takes_reasoning_effort"):
        run("hi", config=config(provider_options={"takes_reasoning_effort": False}), options=options)
    server.reply(answer())
    run("hi", config=config(provider_options={"takes_reasoning_effort": True}), options=options)
    assert server.requests[0].json()["reasoning_effort"] == "low"


def test_says_how_to_declare_that_a_server_has_tiers(server, config):
    options = Options(service_tier="flex")
    with pytest.raises(ConfigurationError, match="ignore service_tier") as caught:
        run("hi", config=config(), options=options)
    assert "takes_service_tier" in caught.value.hint
    server.reply(answer())
    run("hi", config=config(provider_options={"takes_service_tier": True}), options=options)
    assert server.requests[0].json()["service_tier"] == "flex"


def test_validates_a_typed_answer(server, config):
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    server.reply(answer('```json\n{"age": 7}\n```'), answer('{"age": "seven"}'), answer("no idea"))
    for expected in ({"age": 7}, None, None):
        result = run("age?", config=config(), options=Options(response_schema=schema))
        assert result["structured"] == [expected]
    assert server.requests[0].json()["response_format"]["json_schema"]["schema"] == schema


def test_surfaces_reasoning(server, config):
    server.reply(answer("4", reasoning_content="2 and 2"))
    assert run("2+2?", config=config())["reasoning"] == ["2 and 2"]


def test_replays_history(server, config):
    server.reply(answer())
    history = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    run("c", config=config(), options=Options(history=history))
    assert [message["content"] for message in server.requests[0].json()["messages"]] == ["a", "b", "c"]


def test_a_stale_connection_does_not_fail_a_call(server, config, monkeypatch):
    monkeypatch.setattr("pollux_sync.wire.http._STALE_WITHIN_S", 10.0)
    server.reply(CloseOnNextRequest(answer("one")), answer("two"))
    once = config(retry=RetryPolicy(max_attempts=1))
    assert [run("hi", config=once)["answers"][0] for _ in range(2)] == ["one", "two"]


@pytest.mark.parametrize(
    ("step", "kind", "status", "attempts"),
    [
        (
            Answer(status=503, json={"error": {"message": "Loading model", "type": "unavailable_error"}}),
            "capacity",
            503,
            2,
        ),
        (Answer(status=529, body=b"overloaded"), "capacity", 529, 2),
        (Answer(status=429, json={"error": "slow down"}), "rate_limit", 429, 2),
        (Answer(status=408, json={"error": "late"}), "timeout", 408, 2),
        (Answer(status=422, json={"detail": [{"msg": "Field required"}]}), "invalid_request", 422, 1),
        (Answer(status=400, json={"error": {"type": "exceed_context_size_error"}}), "context_overflow", 400, 1),
        (Answer(status=500, json={"error": {"message": "prompt is too long"}}), "context_overflow", 500, 1),
        (Answer(status=500, json={"error": {"message": "Context size has been exceeded."}}), "capacity", 500, 2),
        (Answer(status=404, json={"detail": "model 'm' not found"}), "not_found", 404, 1),
        (Answer(status=401, json={"error": "Invalid API Key"}), "auth", 401, 1),
        (Answer(status=500, json={"error": {"message": "image input is not supported"}}), "invalid_request", 500, 1),
        (Answer(status=501, json={"error": {"message": "This server is not supported"}}), "invalid_request", 501, 1),
        (Answer(status=500, body=b"<html><title>Oops</title>"), "capacity", 500, 2),
        (Answer(json={"error": {"code": 500, "message": "slot failed"}}), "capacity", 500, 2),
        (Answer(json={"choices": []}), "malformed", 200, 1),
        (Answer(body=b"<html>login</html>", headers={"Content-Type": "text/html"}), "malformed", 200, 1),
        (Answer(body=b'{"choices": [{"mess', headers={"Content-Type": "application/json"}), "malformed", 200, 1),
        (Answer(body=b""), "malformed", 200, 2),
        (Answer(status=302, headers={"Location": "https://elsewhere.example/"}), "refused", 302, 1),
        (ResetBeforeBody(), "connection", None, 2),
        (ResetInsideBody(b'{"choices": []}', 5), "connection", None, 2),
        (Drip(body=b" " * 999, interval_s=0.02), "timeout", None, 2),
        (GzipBomb(100_000_000), "malformed", None, 1),
    ],
)
def test_maps_a_fault_to_the_documented_error(server, config, step, kind, status, attempts):
    server.reply(step, step, step)
    timeout_s = 0.5 if isinstance(step, Drip) else 20.0
    with pytest.raises(APIError) as caught:
        run("hi", config=config(timeout_s=timeout_s, api_key="sk-mine"))
    error = caught.value
    assert (error.kind, error.provider, error.phase) == (kind, "local", "generate")
    assert error.status_code == status
    assert len(server.wait_for_requests(attempts)) == len(error.attempts) == attempts
    assert "sk-mine" not in f"{error} {error!r} {error.partial_result}"


@pytest.mark.parametrize(
    ("status", "message", "hint"),
    [
        (500, "audio input is not supported - hint: you may need to provide the mmproj", "takes images or audio"),
        (400, "Model does not support images. Please use a model that does.", "takes images or audio"),
        (400, "acme/text is not a multimodal model", "takes images or audio"),
        (400, "At most 0 image(s) may be provided in one prompt.", "takes images or audio"),
        (400, "acme:latest does not support tools", "chat template supports tools"),
        (500, "tools param requires --jinja flag", "chat template supports tools"),
        (400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser', "chat template supports"),
        (500, "Failed to parse tool call arguments as JSON: parse error", "leave out the turn"),
        (400, "JSON schema error at #/properties/k: schema must be an object", "simplify the schema"),
        (400, "acme:latest does not support thinking", "unsupported part"),
        (400, "Context length exceeded", "n_ctx in provider_options"),
        (500, "Context size has been exceeded.", "request_concurrency"),
    ],
)
def test_hints_at_a_remedy_for_missing_features(server, config, status, message, hint):
    server.reply(Answer(status=status, json={"error": {"message": message}}), answer())
    with pytest.raises(APIError) as caught:
        run("hi", config=config(retry=RetryPolicy(max_attempts=1)))
    assert hint in caught.value.hint


def test_says_how_to_reach_a_server_that_is_not_there(server, config):
    made = config()
    server.close()
    with pytest.raises(APIError) as caught:
        run("hi", config=made)
    assert "base_url" in caught.value.hint


def test_needs_a_base_url_or_a_model_file():
    with pytest.raises(ConfigurationError, match="needs a base_url") as caught:
        Config(provider="local", model="llama")
    assert "POLLUX_LOCAL_BASE_URL" in caught.value.hint


def test_says_when_the_model_file_is_missing():
    with pytest.raises(ConfigurationError, match=r"no model file at nowhere\.gguf"):
        Config(provider="local", model="nowhere.gguf")


def test_returns_any_object_in_json_mode(server, config):
    server.reply(answer('{"name": "Ada", "born": 1815}'))
    result = run("Who?", config=config(), options=Options(response_schema=dict))
    assert server.requests[0].json()["response_format"] == {"type": "json_object"}
    assert result["structured"] == [{"name": "Ada", "born": 1815}]


@pytest.mark.parametrize(
    ("settings", "field"), [({}, "max_tokens"), ({"takes_max_completion_tokens": True}, "max_completion_tokens")]
)
def test_limits_an_answer_by_the_field_that_the_host_takes(server, config, settings, field):
    server.reply(answer(), answer())
    reach = config(provider_options=settings)
    run_many(["a", "b"], config=reach, options=Options(max_tokens=7))
    for request in server.requests:
        assert {name: value for name, value in request.json().items() if "tokens" in name} == {field: 7}
