"""The list of models and readiness, both ways to the wire."""

import pytest
from openai import AzureOpenAI

from pollux_sync import APIError, Config, ModelInfo, check_ready, list_models
from pollux_sync.testing.server import Answer
from responses_api import KEY

MODELS = [
    {"id": "gpt-5-mini", "object": "model", "created": 1754073600, "owned_by": "openai"},
    {"id": "ft:gpt-5:mine::1", "object": "model"},
    {"object": "model"},
    "junk",
]
MISSING = {"error": {"message": "The model 'gpt-6' does not exist", "code": "model_not_found"}}


def test_lists_models(server, config):
    server.reply(Answer(json={"object": "list", "data": MODELS}))
    assert list_models(config=config()) == [
        ModelInfo(id="gpt-5-mini", created_at=1754073600),
        ModelInfo(id="ft:gpt-5:mine::1"),
    ]
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("GET", "/v1/models", b"")
    assert request.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("body", [{}, {"data": None}, [MODELS]])
def test_an_answer_without_a_list_is_an_error(server, config, body):
    server.reply(Answer(json=body))
    with pytest.raises(APIError, match="no list 'data'") as caught:
        list_models(config=config())
    assert (caught.value.kind, caught.value.phase) == ("malformed", "metadata")


def test_retries_are_the_cores(server, config):
    server.reply(Answer(status=500, json={}), Answer(json={"data": []}))
    assert list_models(config=config()) == []


def test_is_ready_when_the_model_is_there(server, config):
    server.reply(Answer(json=MODELS[0]))
    assert check_ready(config=config())
    assert [(request.method, request.path) for request in server.requests] == [("GET", "/v1/models/gpt-5-mini")]


def test_a_models_name_stays_one_segment(server, config):
    server.reply(Answer(json=MODELS[1]))
    assert check_ready(config=config(model="ft:a/b?c"))
    assert server.requests[0].path == "/v1/models/ft:a%2Fb%3Fc"


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (Answer(status=401, json={"error": {"message": f"bad key {KEY}"}}), "auth", "bad key"),
        (Answer(status=404, json=MISSING), "not_found", "does not exist"),
    ],
)
def test_names_the_obstacle(server, config, answer, kind, reason):
    server.reply(answer)
    ready = check_ready(config=config())
    assert (ready.is_ready, ready.kind, reason in ready.reason, KEY in repr(ready)) == (False, kind, True, False)


def test_looks_for_no_deployment_of_azures_in_a_list_of_models(server):
    server.reply(Answer(json={"data": []}))
    with AzureOpenAI(api_key=KEY, azure_endpoint=server.url, api_version="2026-01-01") as client:
        assert check_ready(config=Config(provider="openai", model="my-deployment", client=client))
    assert server.requests[0].path == "/openai/models?api-version=2026-01-01"
