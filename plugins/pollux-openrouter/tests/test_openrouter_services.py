import pytest

from pollux_sync import APIError, ModelInfo, check_ready, list_models
from pollux_sync.testing.server import Answer

ONE = {
    "id": "acme/one",
    "name": "Acme: One",
    "created": 1754073600,
    "context_length": 131_072,
    "top_provider": {"context_length": 131_072, "max_completion_tokens": 8192, "is_moderated": False},
}
BARE = {"id": "acme/bare", "context_length": None, "top_provider": None}
LISTED = [
    ModelInfo(
        id="acme/one",
        display_name="Acme: One",
        context_tokens=131_072,
        max_output_tokens=8192,
        created_at=1754073600,
    ),
    ModelInfo(id="acme/bare"),
]
ALLOWED = Answer(json={"data": {"label": "mine", "limit": None}})


def test_lists_models(server, config):
    server.reply(Answer(json={"data": [ONE, {"name": "?"}, BARE]}))
    assert list_models(config=config()) == LISTED
    assert [(request.method, request.path) for request in server.requests] == [("GET", "/api/v1/models")]


def test_an_answer_without_a_list_is_an_error(server, config):
    server.reply(Answer(json={"models": []}))
    with pytest.raises(APIError, match="no list"):
        list_models(config=config())


def test_is_ready_when_the_key_is_accepted_and_the_model_there(server, config):
    server.reply(ALLOWED, Answer(json={"data": ONE}))
    assert check_ready(config=config())
    assert [request.path for request in server.requests] == ["/api/v1/key", "/api/v1/model/acme/one:nitro"]


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ([Answer(status=401, json={"error": {"message": "No auth credentials found", "code": 401}})], "auth"),
        ([ALLOWED, Answer(status=404, json={"error": {"message": "Model not found", "code": 404}})], "not_found"),
    ],
)
def test_names_the_obstacle(server, config, answers, kind):
    server.reply(*answers)
    ready = check_ready(config=config())
    assert (ready.is_ready, ready.kind) == (False, kind)
    # After a 404 the list is asked too, which may know the model.
    assert len(server.requests) == len(answers) + (kind == "not_found")
