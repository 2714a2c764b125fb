"""The list of models and readiness, both ways to the wire."""

import pytest
from anthropic import AnthropicVertex

from pollux_sync import APIError, Config, ConfigurationError, ModelInfo, check_ready, list_models
from pollux_sync.testing.server import Answer

OPUS = {
    "id": "claude-opus-4-6",
    "type": "model",
    "display_name": "Claude Opus 4.6",
    "created_at": "2026-02-04T00:00:00Z",
    "max_input_tokens": 200_000,
    "max_tokens": 64_000,
    "capabilities": None,
}
OLD = {"id": "claude-3-haiku", "created_at": "1970-01-01T00:00:00Z"}
LISTED = [
    ModelInfo(
        id="claude-opus-4-6",
        display_name="Claude Opus 4.6",
        context_tokens=200_000,
        max_output_tokens=64_000,
        created_at=1770163200.0,
    ),
    ModelInfo(id="claude-3-haiku"),
]


def page(*models, more=False):
    return Answer(json={"data": list(models), "has_more": more, "last_id": models[-1]["id"] if models else None})


def test_lists_models_page_by_page(server, config):
    server.reply(page(OPUS, {"type": "model"}, OLD, more=True), page({"id": "last"}))
    assert list_models(config=config()) == [*LISTED, ModelInfo(id="last")]
    assert [(request.method, request.path) for request in server.requests] == [
        ("GET", "/v1/models?limit=1000"),
        ("GET", "/v1/models?limit=1000&after_id=claude-3-haiku"),
    ]
    assert server.requests[0].headers["anthropic-version"]
    assert server.requests[0].body == b""


def test_refuses_a_list_that_goes_in_circles(server, config):
    server.handler = lambda _: page(OLD, more=True)
    with pytest.raises(APIError, match="leads back to a page") as caught:
        list_models(config=config())
    assert caught.value.phase == "metadata"
    assert len(server.requests) == 2


def test_an_answer_without_a_list_is_an_error(server, config):
    server.reply(Answer(json={"models": []}))
    with pytest.raises(APIError, match="not a list") as caught:
        list_models(config=config())
    assert caught.value.phase == "metadata"


def test_is_ready_when_the_model_is_there(server, config):
    server.reply(Answer(json=OPUS))
    assert check_ready(config=config(model="claude/opus"))
    assert [(request.method, request.path) for request in server.requests] == [("GET", "/v1/models/claude%2Fopus")]


@pytest.mark.parametrize(("status", "kind"), [(401, "auth"), (404, "not_found"), (529, "capacity")])
def test_names_the_obstacle(server, config, status, kind):
    server.reply(Answer(status=status, json={"type": "error", "error": {"message": f"no, {config.key}"}}))
    ready = check_ready(config=config())
    assert (ready.is_ready, ready.kind, config.key in repr(ready)) == (False, kind, False)
    # After a 404 the list is asked too, which may know the model.
    assert len(server.requests) == (2 if status == 404 else 1)


@pytest.mark.parametrize("call", [list_models, check_ready])
def test_refuses_clouds_without_a_list(server, call):
    with AnthropicVertex(region="x", project_id="y", access_token="t", base_url=server.url) as client:
        config = Config(provider="anthropic", model="claude-opus-4-6", client=client)
        with pytest.raises(ConfigurationError, match=r"'anthropic' (does not list|cannot be asked)"):
            call(config=config)
    assert server.requests == []
