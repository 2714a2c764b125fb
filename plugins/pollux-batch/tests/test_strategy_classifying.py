import json
from types import SimpleNamespace

import pytest

from pollux_batch import (
    DefaultErrorClassifier,
    EmptyResponseError,
    ErrorClassifier,
    FrameworkTimeoutError,
    PolluxErrorClassifier,
    StrategyPrepareError,
)
from pollux_sync.errors import APIError, RateLimitError, SourceError

BOTH = pytest.mark.parametrize("classifier", [DefaultErrorClassifier(), PolluxErrorClassifier()])


class VendorError(Exception):
    def __init__(self, message="", **facts):
        super().__init__(message)
        vars(self).update(facts)


class VendorValueError(ValueError):
    status_code = 503


class ValidationError(ValueError):
    """As in pydantic."""


class APIConnectionError(Exception):
    """As in the SDKs of vendors."""


class ReadTimeout(Exception):  # noqa: N818 - as in httpx
    """As in httpx."""


class ChatRateLimitError(Exception):
    """Without a status."""


def classify(error, classifier=None):
    info = (classifier or DefaultErrorClassifier()).classify(error)
    return info.error_category, info.is_retryable, info.is_rate_limit, info.is_timeout


@BOTH
def test_is_a_classifier(classifier):
    assert isinstance(classifier, ErrorClassifier)


@BOTH
@pytest.mark.parametrize(
    ("status", "category", "is_retryable"),
    [
        (400, "client_error", False),
        (401, "authentication", False),
        (402, "insufficient_balance", False),
        (403, "permission_denied", False),
        (404, "client_error", False),
        (408, "timeout", True),
        (422, "client_error", False),
        (425, "client_error", True),
        (429, "rate_limit", True),
        (500, "server_error", True),
        (501, "server_error", False),
        (503, "server_overload", True),
        (504, "server_timeout", True),
    ],
)
def test_status_decides(classifier, status, category, is_retryable):
    found = classify(VendorError("rate limit", status_code=status), classifier)
    assert found == (category, is_retryable, status == 429, status in {408, 504})


@BOTH
@pytest.mark.parametrize(
    "error",
    [
        VendorError(code=429),
        VendorError(status=429),
        VendorError(response=SimpleNamespace(status_code=429)),
        ChatRateLimitError(),
    ],
)
def test_finds_a_refusal_for_the_rate_where_vendors_put_it(classifier, error):
    assert classify(error, classifier) == ("rate_limit", True, True, False)


@BOTH
@pytest.mark.parametrize("kind", [ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError, AssertionError])
def test_a_mistake_in_a_program_is_final_whatever_it_says(classifier, kind):
    assert classify(kind("429 rate limit"), classifier) == ("logic_error", False, False, False)


@BOTH
def test_the_status_of_an_error_of_a_vendor_beats_its_base(classifier):
    assert classify(VendorValueError(), classifier)[:2] == ("server_overload", True)


@BOTH
@pytest.mark.parametrize("error", [ValidationError("quota"), json.JSONDecodeError("no", "x", 0)])
def test_an_answer_that_does_not_fit_is_asked_for_again(classifier, error):
    assert classify(error, classifier) == ("validation_error", True, False, False)


@BOTH
@pytest.mark.parametrize(
    ("error", "category"),
    [
        (TimeoutError(), "api_timeout"),
        (ReadTimeout(), "api_timeout"),
        (ConnectionResetError(), "connection_error"),
        (APIConnectionError(), "connection_error"),
        (OSError("broken pipe"), "network_error"),
    ],
)
def test_what_happens_on_the_way_is_tried_again(classifier, error, category):
    assert classify(error, classifier)[:2] == (category, True)


@pytest.mark.parametrize("text", ["429 Too Many", "RESOURCE_EXHAUSTED", "quota exceeded", "rate limit reached"])
def test_text_decides_where_nothing_else_does(text):
    assert classify(VendorError(text)) == ("rate_limit", True, True, False)
    assert classify(VendorError(text), PolluxErrorClassifier()) == ("unknown", True, False, False)


@pytest.mark.parametrize("text", ["4290 tokens", "it broke"])
def test_other_text_is_unknown_and_tried_again(text):
    assert classify(VendorError(text)) == ("unknown", True, False, False)


@pytest.mark.parametrize(
    "error",
    [
        VendorError("insufficient_quota"),
        VendorError("no", status_code=429, code="insufficient_quota"),
        VendorError("quota of 50 requests per day", status_code=429),
    ],
)
def test_a_quota_that_is_used_up_is_final(error):
    assert classify(error) == ("quota_exhausted", False, False, False)


@pytest.mark.parametrize(
    ("facts", "wait_s"),
    [
        ({"retry_after": 3}, 3.0),
        ({"retry_after": "soon"}, None),
        ({"response": SimpleNamespace(headers={"Retry-After": "7"})}, 7.0),
        ({"response": SimpleNamespace(headers={"retry-after-ms": "250", "retry-after": "1"})}, 0.25),
        ({}, None),
    ],
)
def test_reads_how_long_a_provider_asks_to_wait(facts, wait_s):
    assert DefaultErrorClassifier().classify(VendorError(status_code=429, **facts)).suggested_wait == wait_s


@BOTH
@pytest.mark.parametrize(
    ("facts", "category", "is_retryable"),
    [
        ({"kind": "auth", "status_code": 401}, "authentication", False),
        ({"kind": "auth", "status_code": 403}, "permission_denied", False),
        ({"kind": "quota", "status_code": 402}, "insufficient_balance", False),
        ({"kind": "quota", "status_code": 429}, "quota_exhausted", False),
        ({"kind": "capacity", "status_code": 503, "retryable": True}, "server_overload", True),
        ({"kind": "context_overflow", "status_code": 400}, "client_error", False),
        ({"kind": "timeout", "retryable": True}, "api_timeout", True),
        ({"kind": "connection", "retryable": True}, "connection_error", True),
        ({"kind": "empty"}, "empty_response", False),
        ({"kind": "unknown", "status_code": 500, "retryable": True}, "server_error", True),
        ({"kind": "refused"}, "api_error", False),
    ],
)
def test_kind_of_a_failure_of_the_core_decides(classifier, facts, category, is_retryable):
    assert classify(APIError("rate limit", **facts), classifier)[:2] == (category, is_retryable)


@BOTH
def test_a_refusal_of_the_core_has_its_wait(classifier):
    info = classifier.classify(RateLimitError("slow", kind="rate_limit", retryable=True, retry_after_s=2.0))
    assert (info.is_rate_limit, info.suggested_wait) == (True, 2.0)


@BOTH
def test_what_cannot_be_sent_is_final(classifier):
    assert classify(SourceError("no such file"), classifier)[:2] == ("logic_error", False)


@BOTH
def test_knows_the_errors_of_this_package(classifier):
    assert classify(FrameworkTimeoutError("slow"), classifier) == ("framework_timeout", True, False, True)
    assert classify(EmptyResponseError("empty"), classifier) == ("empty_response", False, False, False)


def test_a_failed_prepare_has_the_category_of_its_cause():
    error = StrategyPrepareError("prepare() failed")
    error.__cause__ = VendorError(status_code=401)
    assert classify(error)[0] == "authentication"


def test_an_empty_wallet_has_a_hint():
    assert "credit" in DefaultErrorClassifier().classify(VendorError(status_code=402)).hint
