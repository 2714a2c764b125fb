import pytest

from openrouter_api import answer, failure
from pollux_openrouter.explaining import classify_openrouter_error
from pollux_sync import APIError, run, run_many
from pollux_sync.testing.server import Answer, ResetBeforeBody

CHOICE_ERROR = {"choices": [{"error": {"code": 502, "message": "overloaded"}, "finish_reason": "error"}]}


@pytest.mark.parametrize(
    ("step", "kind", "status", "attempts", "says"),
    [
        (failure(401, "No cookie auth credentials found"), "auth", 401, 1, "OPENROUTER_API_KEY"),
        (failure(402, "Insufficient credits"), "quota", 402, 1, "add credits"),
        (failure(403, "Input flagged", reasons=["violence"]), "invalid_request", 403, 1, "flagged for: violence"),
        (failure(403, "Key limit exceeded"), "auth", 403, 1, "Key limit exceeded"),
        (failure(404, "No endpoints found"), "not_found", 404, 1, "No endpoints found"),
        (
            failure(429, "Provider returned error", provider_name="Google", raw="one:free is rate-limited upstream"),
            "rate_limit",
            429,
            2,
            "Google: one:free is rate-limited upstream",
        ),
        (
            failure(400, "Provider returned error", provider_name="Acme", raw='{"error": {"message": "bad image"}}'),
            "invalid_request",
            400,
            1,
            "Acme: bad image",
        ),
        (failure(408, "timed out"), "timeout", 408, 2, "timed out"),
        (failure(413, "too large"), "invalid_request", 413, 1, "too large"),
        (failure(500, "oops"), "capacity", 500, 2, "oops"),
        (failure(502, "upstream died"), "capacity", 502, 2, "upstream died"),
        (failure(503, "no provider left"), "capacity", 503, 2, "no provider left"),
        (failure(529, "overloaded"), "capacity", 529, 2, "overloaded"),
        (failure(200, "slow down", code=429), "rate_limit", 429, 2, "slow down"),
        (failure(200, "no credits", code=402), "quota", 402, 1, "add credits"),
        (Answer(json=CHOICE_ERROR), "capacity", 502, 2, "overloaded"),
        (Answer(json={"error": "no"}), "invalid_request", 200, 1, "no"),
        (ResetBeforeBody(), "connection", None, 2, "connection"),
    ],
)
def test_reports_the_fault_with_a_hint(server, config, step, kind, status, attempts, says):
    server.reply(step, step)
    with pytest.raises(APIError) as caught:
        run("hi", config=config())
    error = caught.value
    assert (error.kind, error.status_code, len(error.attempts)) == (kind, status, attempts)
    assert says in str(error)
    assert "very-secret" not in f"{error!r}{error}"


def test_a_flagged_prompt_does_not_stop_the_others(server, config):
    server.reply(failure(403, "Input flagged", reasons=["violence"]), answer("fine"))
    with pytest.raises(APIError) as caught:
        run_many(["rude", "kind"], config=config(request_concurrency=1))
    assert caught.value.partial_result["answers"] == ["", "fine"]


def test_tries_again_after_an_error_inside_a_200(server, config):
    server.reply(Answer(json=CHOICE_ERROR), answer("fine"))
    assert run("hi", config=config())["answers"] == ["fine"]


def test_leaves_strange_exceptions_to_others():
    assert classify_openrouter_error(KeyError("x")) is None
