import copy
import email.utils
import pickle
import time

import pytest
from requests.exceptions import SSLError

from pollux_sync.data.provider import HttpResponse
from pollux_sync.wire.connections import StaleConnectionError
from pollux_sync.wire.errorbodies import error_message
from pollux_sync.wire.faults import HttpError, ReplyError, classify_error, is_stale, read_retry_after

JSON_429 = {"error": {"message": "slow down"}}


def answer(status=429, body=None, **headers):
    return HttpResponse(status=status, headers={k.replace("_", "-"): v for k, v in headers.items()}, body=body)


@pytest.mark.parametrize(
    ("response", "seconds"),
    [
        (answer(retry_after="7"), 7.0),
        (answer(retry_after="1.5"), 1.5),
        (answer(retry_after="0"), 0.0),
        (answer(retry_after_ms="250"), 0.25),
        (answer(retry_after_ms="250", retry_after="9"), 0.25),
        (answer(body={"error": {"details": [{"@type": "RetryInfo", "retryDelay": "8.35s"}]}}), 8.35),
        (answer(body=[{"error": {"details": [{"@type": "Help"}, {"retryDelay": "2s"}]}}]), 2.0),
        (answer(retry_after="-3"), None),
        (answer(retry_after="nan"), None),
        (answer(retry_after="inf"), None),
        (answer(retry_after="soon"), None),
        (answer(body={"error": {"details": "none"}}), None),
        (answer(body={"error": {"details": [{"retryDelay": 3}]}}), None),
        (answer(), None),
    ],
)
def test_understands_every_form_of_retry_after(response, seconds):
    assert read_retry_after(response) == seconds


def test_understands_retry_after_as_a_date():
    in_a_minute = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert 50 < read_retry_after(answer(retry_after=in_a_minute)) <= 60


def test_reads_a_date_in_the_past_as_zero():
    assert read_retry_after(answer(retry_after="Wed, 21 Oct 2015 07:28:00 GMT")) == 0.0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "bad model"}}, "bad model"),
        ({"error": "bad model"}, "bad model"),
        ({"message": "bad model"}, "bad model"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"detail": [{"loc": ["body"], "msg": "field required"}]}, "field required"),
        ([{"error": {"message": "bad model"}}], "bad model"),
        (
            {"error": {"message": "failed", "metadata": {"provider_name": "Acme", "raw": "out of memory"}}},
            "Acme: out of memory",
        ),
        ({"error": {"message": "failed", "metadata": {"provider_name": "Acme"}}}, "failed"),
        ({"error": {"message": "failed", "metadata": {"raw": " "}}}, "failed"),
        (
            {"error": {"message": "failed", "metadata": {"raw": '{"error": {"message": "too long"}}'}}},
            "upstream: too long",
        ),
        ({"error": {"message": "failed", "metadata": {"raw": {"detail": "too long"}}}}, "upstream: too long"),
        ({"error": {"message": "failed", "metadata": {"raw": "7", "provider_name": None}}}, "upstream: 7"),
        ("<!DOCTYPE html><title> 502 Bad\nGateway </title>", "an HTML page titled '502 Bad\\nGateway'"),
        ("<html></html>", "an HTML page"),
        ("plain words", "plain words"),
        ({"code": 7}, "{'code': 7}"),
        ({}, "no details"),
        ([], "no details"),
        (None, "no details"),
        ("", "no details"),
    ],
)
def test_finds_the_most_specific_sentence_of_an_error_body(body, message):
    assert error_message(body) == message


@pytest.mark.parametrize(
    ("status", "body", "kind", "retryable"),
    [
        (401, {"error": "no"}, "auth", False),
        (403, {"error": "no"}, "auth", False),
        (400, {"error": {"message": "API key not valid. Please pass a valid API key."}}, "auth", False),
        (400, {"error": {"message": "unknown field"}}, "invalid_request", False),
        (404, {"error": "no such model"}, "not_found", False),
        (400, {"error": {"code": "model_not_found", "message": "The model does not exist."}}, "not_found", False),
        (429, JSON_429, "rate_limit", True),
        (500, "oops", "capacity", True),
        (529, {"error": {"type": "overloaded_error"}}, "capacity", True),
        (200, {"error": {"code": 502, "message": "upstream died"}}, "capacity", True),
        (200, {"error": {"code": 429, "message": "slow down"}}, "rate_limit", True),
        (200, {"error": {"type": "overloaded_error", "message": "busy"}}, "capacity", True),
        (200, {"error": {"type": "timeout_error", "message": "late"}}, "capacity", True),
        (200, {"error": {"type": "api_error", "message": "broken"}}, "capacity", True),
        (200, {"error": {"code": "bad_thing", "message": "no"}}, "invalid_request", False),
        (200, {"error": {"code": 7}}, "invalid_request", False),
        (200, {"error": {"code": "503"}}, "capacity", True),
        (304, None, "invalid_request", False),
        (302, None, "refused", False),
    ],
)
def test_names_the_kind_of_an_error(status, body, kind, retryable):
    fault = classify_error(HttpError(answer(status, body)))
    assert (fault.kind, fault.retryable) == (kind, retryable)


def test_keeps_the_request_id():
    assert classify_error(HttpError(answer(500, "oops", request_id="req_9"))).request_id == "req_9"


def test_shows_an_http_error_as_text():
    assert str(HttpError(answer(503, {"error": "busy"}))) == "HTTP 503: busy"


def test_copies_the_facts_of_a_reply_error():
    fault = classify_error(ReplyError("empty", hint="look", retryable=True, response=answer(200, request_id="r")))
    assert (fault.kind, fault.message, fault.hint, fault.retryable, fault.status_code, fault.request_id) == (
        "malformed",
        "empty",
        "look",
        True,
        200,
        "r",
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": "rate_limit_exceeded", "type": "requests"}, "rate_limit_exceeded"),
        ({"code": None, "type": "invalid_request_error"}, "invalid_request_error"),
        ({"code": 429, "status": "RESOURCE_EXHAUSTED"}, "RESOURCE_EXHAUSTED"),
        ({"message": "no"}, None),
        ("no", None),
    ],
)
def test_a_fault_has_the_providers_code(error, code):
    fault = classify_error(HttpError(HttpResponse(status=400, body={"error": error})))
    assert fault.provider_code == code


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [
        (TimeoutError("late"), "timeout", True),
        (ConnectionResetError("gone"), "connection", True),
        (BrokenPipeError(), "connection", True),
    ],
)
def test_knows_pythons_own_errors_of_the_network(error, kind, retryable):
    fault = classify_error(error)
    assert (fault.kind, fault.retryable) == (kind, retryable)


def test_looks_through_the_causes():
    error = RuntimeError("wrapped")
    error.__cause__ = ConnectionResetError("gone")
    assert classify_error(error).kind == "connection"


def test_returns_none_for_an_unknown_exception():
    assert classify_error(KeyError("x")) is None


def test_an_http_error_survives_copying_and_pickling():
    error = HttpError(answer(503, {"error": "busy"}))
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301 - our own bytes
        assert (str(twin), twin.response) == (str(error), error.response)


def catch_inside(handled, act):
    """Return what ``act`` raises while ``handled`` is being handled, and the fault that is found there."""
    try:
        raise handled  # noqa: TRY301 - what a user's code would do
    except Exception:  # noqa: BLE001 - whatever it is
        try:
            act()
        except Exception as error:  # noqa: BLE001 - what it is, classify says
            caught = error
        return caught, classify_error(caught)


def fail_by_reset():
    raise ConnectionResetError("gone")


@pytest.mark.parametrize("handled", [SSLError("expired"), TimeoutError("late"), StaleConnectionError("closed")])
def test_an_exception_that_the_caller_handles_is_no_cause(handled):
    error, fault = catch_inside(handled, fail_by_reset)
    assert error.__context__ is handled
    assert (fault.kind, fault.retryable) == ("connection", True)
    assert fault.message == "the connection failed (ConnectionResetError: gone)"
    assert not is_stale(error)


def test_an_exception_that_the_caller_handles_makes_no_fault_of_a_defect():
    _, fault = catch_inside(ConnectionError("mine"), {}.popitem)
    assert fault is None


def test_looks_through_the_contexts_within_a_handler():
    def wrap():
        try:
            fail_by_reset()
        except ConnectionError:
            raise RuntimeError("wrapped")  # noqa: B904 - a context on purpose

    _, fault = catch_inside(TimeoutError("late"), wrap)
    assert fault.kind == "connection"


@pytest.mark.parametrize("levels", [50, 500, 5000])
@pytest.mark.parametrize("name", ["error", "unknown"])
def test_reads_an_error_that_is_nested_deeply(name, levels):
    body = "x"
    for _ in range(levels):
        body = [{name: body}]
    assert classify_error(HttpError(answer(status=400, body=body))).kind == "invalid_request"


def test_scrubs_an_error_that_is_nested_deeply():
    body = "secret"
    for _ in range(5000):
        body = {"error": body}
    assert "secret" not in answer(status=400, body=body).scrub(str.upper).body
