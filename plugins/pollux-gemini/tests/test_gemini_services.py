"""The list of models and readiness, both ways to the wire."""

import pytest
from google import genai
from google.auth.credentials import Credentials

from gemini_api import KEY, error
from pollux_sync import Config, ModelInfo, check_ready, list_models
from pollux_sync.testing.server import Answer

FLASH = {
    "name": "models/gemini-2.5-flash",
    "version": "001",
    "displayName": "Gemini 2.5 Flash",
    "inputTokenLimit": 1_048_576,
    "outputTokenLimit": 65_536,
}
LISTED = ModelInfo(
    id="gemini-2.5-flash", display_name="Gemini 2.5 Flash", context_tokens=1_048_576, max_output_tokens=65_536
)


def test_lists_models_page_by_page(server, config):
    server.reply(
        Answer(json={"models": [FLASH, {"displayName": "?"}, "junk"], "nextPageToken": "a b"}),
        Answer(json={"models": [{"name": "tunedModels/mine"}]}),
    )
    assert list_models(config=config()) == [LISTED, ModelInfo(id="tunedModels/mine")]
    paths = [(request.method, request.path.replace("+", "%20")) for request in server.requests]
    assert paths == [("GET", "/v1beta/models?pageSize=1000"), ("GET", "/v1beta/models?pageSize=1000&pageToken=a%20b")]


@pytest.mark.parametrize("body", [{}, {"models": None}, []])
def test_a_page_without_a_list_is_empty(server, config, body):
    server.reply(Answer(json=body))
    assert list_models(config=config()) == []


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "models/gemini-2.5-flash"])
def test_is_ready_when_the_model_is_there(server, config, model):
    server.reply(Answer(json=FLASH))
    assert check_ready(config=config(model=model))
    assert [(request.method, request.path) for request in server.requests] == [
        ("GET", "/v1beta/models/gemini-2.5-flash")
    ]


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [(400, f"API key not valid: {KEY}", "auth"), (404, "models/x is not found", "not_found")],
)
def test_names_the_obstacle(server, config, code, message, kind):
    server.reply(error(code, message))
    ready = check_ready(config=config())
    assert (ready.is_ready, ready.kind, KEY in repr(ready)) == (False, kind, False)


class Token(Credentials):
    def refresh(self, request):
        self.token = "t"


def test_vertex_has_its_models_beside_the_projects(server):
    server.reply(
        Answer(json={"publisherModels": [{"name": "publishers/google/models/gemini-2.5-flash", "versionId": "1"}]}),
        Answer(json={"name": "publishers/google/models/gemini-2.5-flash"}),
    )
    options = {"base_url": server.url, "api_version": "v1"}
    place = {"project": "mine", "location": "global"}
    with genai.Client(vertexai=True, credentials=Token(), http_options=options, **place) as client:
        config = Config(provider="gemini", model="gemini-2.5-flash", client=client)
        assert list_models(config=config) == [ModelInfo(id="gemini-2.5-flash")]
        assert check_ready(config=config)
    assert [request.path for request in server.requests] == [
        "/v1/publishers/google/models?pageSize=1000",
        "/v1/publishers/google/models/gemini-2.5-flash",
    ]
