import pytest

from pollux_sync import Config, ModelInfo, RetryPolicy, check_ready, list_models
from pollux_sync.testing.server import Answer

LLAMA = {"id": "qwen3", "owned_by": "llamacpp", "created": 1795259815, "meta": {"n_ctx": 512, "n_ctx_train": 8192}}
NO_HEALTH = Answer(status=404, json={"error": "no such page"})


@pytest.fixture
def config(server):
    def make(model="qwen3", **fields):
        return Config(provider="local", model=model, base_url=f"{server.url}/v1", retry=RetryPolicy(**fields))

    return make


def listing(*models):
    return Answer(json={"object": "list", "data": list(models)})


@pytest.mark.parametrize(
    ("entry", "context"),
    [
        (LLAMA, 512),
        ({"meta": {"n_ctx_train": 8192}}, 8192),
        ({"meta": None}, None),
        ({"max_model_len": 32_768, "created": 1795259815}, 32_768),
        ({}, None),
    ],
)
def test_lists_models_with_the_context_that_the_server_reports(server, config, entry, context):
    server.reply(listing(entry | {"id": "qwen3"}, {"object": "model"}))
    assert list_models(config=config()) == [ModelInfo(id="qwen3", context_tokens=context)]
    assert [(request.method, request.path) for request in server.requests] == [("GET", "/v1/models")]


def test_is_not_ready_while_it_loads(server, config):
    server.reply(Answer(status=503, json={"error": {"code": 503, "message": "Loading model"}}))
    ready = check_ready(config=config())
    assert (ready.is_ready, ready.kind) == (False, "capacity")
    assert "Loading model" in ready.reason
    assert [request.path for request in server.requests] == ["/v1/health"]


@pytest.mark.parametrize(
    "health",
    [Answer(json={"status": "ok"}), NO_HEALTH, Answer(body=b"<p>hi", headers={"Content-Type": "text/html"})],
)
def test_is_ready_with_the_model_regardless_of_its_health(server, config, health):
    server.reply(health, listing({"id": "phi"}, {"id": "qwen3"}))
    assert check_ready(config=config())
    assert [request.path for request in server.requests] == ["/v1/health", "/v1/models"]


def test_reports_a_missing_model_with_the_available_ones(server, config):
    server.reply(NO_HEALTH, listing({"id": "phi"}, {"id": "gemma"}))
    ready = check_ready(config=config())
    assert (ready.kind, ready.reason) == ("not_found", "the server has no model 'qwen3' " + f"(at {server.url}/v1)")
    assert ready.hint == "load it, or use one of: phi, gemma"


def test_reports_a_server_without_models(server, config):
    server.reply(NO_HEALTH, listing())
    assert "no model is loaded" in check_ready(config=config()).hint


def test_llama_with_one_model_accepts_any_name(server, config):
    server.reply(NO_HEALTH, listing(LLAMA))
    assert check_ready(config=config(model="whatever"))


def test_llama_with_several_models_does_not(server, config):
    server.reply(NO_HEALTH, listing(LLAMA, LLAMA | {"id": "phi"}))
    assert not check_ready(config=config(model="whatever"))


def test_a_tag_may_be_left_out(server, config):
    server.reply(NO_HEALTH, listing({"id": "qwen3:latest"}))
    assert check_ready(config=config())


def test_reports_a_refused_key(server, config):
    server.reply(NO_HEALTH, Answer(status=401, json={"error": "no"}))
    assert check_ready(config=config()).kind == "auth"


def test_a_model_in_this_process_lists_its_file(model):
    config = Config(provider="local", model=str(model), provider_options={"n_ctx": 256, "n_threads": 1})
    (listed,) = list_models(config=config)
    assert (listed.id, listed.context_tokens) == (str(model), 256)
    assert check_ready(config=config)


def test_a_file_that_is_no_model_is_not_ready(tmp_path):
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF")
    ready = check_ready(config=Config(provider="local", model=str(path)))
    assert not ready
    assert "cannot load" in ready.reason


def test_a_capability_enables_reasoning_effort(server):
    from pollux_sync import Options, run

    reply = {"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}
    server.reply(Answer(json=reply))
    reach = {"provider": "local", "model": "m", "base_url": f"{server.url}/v1"}
    run("hi", config=Config(**reach, capabilities={"reasoning_effort": True}), options=Options(reasoning_effort="low"))
    assert server.requests[0].json()["reasoning_effort"] == "low"
