"""Errors are read by their words: what services write, by the kind of fault that it is.

The texts are shortened from the vendors' documentation and from answers that users report, read up to 2026-11-26.
"""

import pytest

from pollux_sync.data.provider import HttpResponse
from pollux_sync.wire.errorbodies import error_code, error_message, find_error
from pollux_sync.wire.faults import HttpError, classify_error


def classify(status, body, **headers):
    return classify_error(HttpError(HttpResponse(status=status, headers=headers, body=body)))


def error(message, **facts):
    return {"error": {"message": message} | facts}


def google_quota(quota_id, message="You exceeded your current quota, please check your plan and billing details."):
    violations = [{"quotaMetric": "generativelanguage.googleapis.com/requests", "quotaId": quota_id}]
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "35s"},
    ]
    return error(message, code=429, status="RESOURCE_EXHAUSTED", details=details)


def too_large(limit, requested, per="tokens per min (TPM)"):
    return error(
        f"Request too large for gpt-4o in organization org-1 on {per}: Limit {limit}, Requested {requested}.",
        type="tokens",
        code="rate_limit_exceeded",
    )


#: Money mends these.
UNPAID = {
    "OpenAI": (429, error("You exceeded your current quota, please check.", code="insufficient_quota")),
    "OpenAI by its type": (429, error("You exceeded it.", type="insufficient_quota", code=None)),
    "OpenAI without a code": (429, error("You exceeded your current quota, please check your plan and billing.")),
    "OpenAI's hard limit": (400, error("Billing hard limit has been reached", code="billing_hard_limit_reached")),
    "OpenAI's inactive account": (
        429,
        error(
            "Your account is not active, please check your billing details on our website.", code="billing_not_active"
        ),
    ),
    "Anthropic": (
        400,
        error("Your credit balance is too low to access the API.", type="invalid_request_error"),
    ),
    "Anthropic by its type": (402, error("There is an issue with your payment.", type="billing_error")),
    "Perplexity": (401, error("You exceeded your current quota", type="insufficient_quota", code=401)),
    "DeepSeek": (402, error("Insufficient Balance", type="unknown_error", code="invalid_request_error")),
    "Moonshot": (429, error("Your account is suspended", type="exceeded_current_quota_error")),
    "Zhipu": (429, error("Insufficient balance or no resource package. Please recharge.", code="1113")),
    "one-api": (403, error("user quota is not enough", code="insufficient_user_quota")),
    "SiliconFlow": (403, {"code": 30001, "message": "Sorry, your account balance is insufficient", "data": None}),
    "xAI": (
        403,
        {
            "code": "The caller does not have permission to execute the specified operation",
            "error": "Your team has either used all available credits or reached its monthly spending limit.",
        },
    ),
    "Together": (402, error("Credit limit exceeded, please navigate to the billing page.", type="credit_limit")),
    "Fireworks": (412, error("Account is suspended, possibly due to reaching the monthly spending limit")),
    "Hugging Face": (402, {"error": "You have exceeded your monthly included credits for Inference Providers."}),
    "Hugging Face by a proxy": (400, {"error": "You have exceeded your monthly included credits."}),
    "OpenRouter": (402, error("Insufficient credits. Add more using the settings", code=402)),
    "OpenRouter for this size": (402, error("This request requires more credits, or fewer max_tokens.", code=402)),
    "Google without billing": (
        403,
        error("This API method requires billing to be enabled.", details=[{"reason": "BILLING_DISABLED"}]),
    ),
    "Google's prepayment": (429, error("Your prepayment credits are depleted.", status="RESOURCE_EXHAUSTED")),
    "Google's cap": (429, error("Your project has exceeded its monthly spending cap.", status="RESOURCE_EXHAUSTED")),
    "Alibaba": (400, error("Access denied, please make sure your account is in good standing.", code="Arrearage")),
    "Alibaba's free tier": (403, error("The free tier of the model has been exhausted.", code="FreeTierOnly")),
    "Volcengine": (403, error("The request failed.", code="AccountOverdueError")),
    "LiteLLM": (400, error("Budget has been exceeded! Current cost: 2.0", type="budget_exceeded", code="400")),
    "a code in place of the error": (402, {"error": "insufficient_credits"}),
    "a code beside a sentence": (429, {"error": "insufficient_quota", "message": "No more today."}),
    "inside a 200": (200, error("You exceeded it.", code="insufficient_quota")),
    "behind a gateway": (
        429,
        error("Provider returned error", metadata={"raw": '{"error": {"message": "Insufficient Balance"}}'}),
    ),
    "an empty body": (402, None),
}
#: Time mends these, but hours of it.
SPENT = {
    "Gemini": (429, google_quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier")),
    "Gemini in a list": (429, [google_quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier")]),
    "Gemini without a free tier": (
        429,
        error("Quota exceeded for metric: requests, limit: 0, model: gemini-pro", status="RESOURCE_EXHAUSTED"),
    ),
    "Vertex AI": (429, error("Quota exceeded for generate_requests_per_day_per_project", code=429)),
    "OpenAI": (429, error("Rate limit reached on requests per day (RPD): Limit 200, Used 200, Requested 1.")),
    "Groq": (
        429,
        error("Rate limit reached on tokens per day (TPD): Limit 100000, Used 99810, Requested 500.", type="tokens"),
    ),
    "OpenRouter": (429, error("Rate limit exceeded: free-models-per-day. Add 10 credits to unlock more", code=429)),
    "Bedrock": (429, {"__type": "ThrottlingException", "message": "Too many tokens per day, please wait."}),
    "Cerebras": (
        429,
        error("Requests per day limit exceeded.", code="request_quota_exceeded"),
    ),
    "GitHub Models": (
        429,
        error("Rate limit of 50 per 86400s exceeded for UserByModelByDay."),
    ),
    "Cohere": (429, {"message": "You are using a Trial key, which is limited to 1000 API calls / month."}),
    "Workers AI": (
        429,
        {"success": False, "errors": [{"code": 3036, "message": "you have used up your daily free allocation"}]},
    ),
    "Anthropic's limit": (
        400,
        error("You have reached your specified API usage limits. Come back later."),
    ),
}
#: Seconds mend these.
BUSY = {
    "OpenAI": (429, error("Rate limit reached on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000.")),
    "OpenAI for requests": (429, error("Rate limit reached on requests per min (RPM): Limit 3, Used 3, Requested 1.")),
    "Gemini": (429, google_quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier")),
    "Gemini without details": (
        429,
        error("You exceeded your current quota. Please retry in 35.2s.", status="RESOURCE_EXHAUSTED"),
    ),
    "Vertex AI": (429, error("Resource exhausted. Please try again later.", status="RESOURCE_EXHAUSTED")),
    "Anthropic": (429, error("This request would exceed your organization's rate limit of 40,000 tokens per minute")),
    "OpenRouter": (429, error("free-models-per-min. Add credits to unlock 1000 free model requests per day", code=429)),
    "Bedrock": (429, {"message": "Too many tokens, please wait before trying again."}),
    "Cerebras": (429, error("Tokens per minute limit exceeded", code="token_quota_exceeded")),
    "GitHub Models": (429, error("Rate limit of 10 per 60s exceeded for UserByModelByMinute.")),
    "Cohere": (429, {"message": "Trial key, which is limited to 40 API calls / minute."}),
    "Azure": (429, error("Requests have exceeded the call rate limit of your pricing tier. Retry after 26 seconds.")),
    "inside a 200": (200, error("slow down", status="RESOURCE_EXHAUSTED")),
}


@pytest.mark.parametrize(("status", "body"), UNPAID.values(), ids=UNPAID)
def test_takes_a_lack_of_money_for_final(status, body):
    fault = classify(status, body)
    assert (fault.kind, fault.retryable) == ("quota", False)
    assert "add credit" in fault.hint


@pytest.mark.parametrize(("status", "body"), SPENT.values(), ids=SPENT)
def test_takes_the_quota_of_a_day_for_final(status, body):
    fault = classify(status, body)
    assert (fault.kind, fault.retryable) == ("quota", False)
    assert "hours or days" in fault.hint


@pytest.mark.parametrize(("status", "body"), BUSY.values(), ids=BUSY)
def test_retries_after_a_limit_of_a_minute(status, body):
    fault = classify(status, body)
    assert (fault.kind, fault.retryable, fault.status_code) == ("rate_limit", True, 429)


@pytest.mark.parametrize(
    "body",
    [
        error(
            "Resource unavailable. Please try again later.", type="invalid_request_error", code="resource_unavailable"
        ),
        error("Resource Unavailable", type="resource_unavailable", code=None),
        error("429 Resource Unavailable"),
    ],
)
def test_retries_a_full_tier_as_a_lack_of_capacity(body):
    fault = classify(429, body)
    assert (fault.kind, fault.retryable, fault.status_code) == ("capacity", True, 429)
    assert "service_tier='default'" in fault.hint


@pytest.mark.parametrize("status", [400, 422, 500, 503])
def test_does_not_take_the_words_of_a_schema_for_a_quota(status):
    body = error("tools[0]: 'calls per day' is none of 'daily limit', 'insufficient funds'; region not supported")
    assert classify(status, body).kind not in {"quota", "rate_limit", "refused"}


def test_the_wait_that_the_server_asks_for_stays_known():
    body = error("Rate limit reached on tokens per day (TPD): Limit 100000, Used 99810, Requested 500.")
    assert classify(429, body, **{"retry-after": "267"}).retry_after_s == 267


TOO_LARGE = {
    "OpenAI": (429, too_large(30000, 30601)),
    "OpenAI with commas": (429, too_large("30,000", "30,601")),
    "Groq": (413, too_large(6000, 9000, "tokens per minute (TPM)")),
    "a day": (413, too_large(6000, 9000, "tokens per day (TPD)")),
    "numbers alone": (429, error("Rate limit reached: Limit: 100, Requested: 101")),
}


@pytest.mark.parametrize(("status", "body"), TOO_LARGE.values(), ids=TOO_LARGE)
def test_takes_a_request_above_the_limit_of_a_minute_for_final(status, body):
    fault = classify(status, body)
    assert (fault.kind, fault.retryable) == ("rate_limit", False)
    assert "send less at once" in fault.hint


UNSERVED = {
    "OpenAI": (
        403,
        error("Country, region, or territory not supported", code="unsupported_country_region_territory"),
    ),
    "Gemini": (
        400,
        error("User location is not supported for the API use.", code=400, status="FAILED_PRECONDITION"),
    ),
    "xAI": (403, {"error": "This service is not available in your region."}),
    "OpenRouter": (403, error("This model is not available in your country.", code=403)),
    "Cloudflare": (403, "error code: 1009"),
}


@pytest.mark.parametrize(("status", "body"), UNSERVED.values(), ids=UNSERVED)
def test_does_not_blame_the_key_for_a_place_that_is_not_served(status, body):
    fault = classify(status, body)
    assert (fault.kind, fault.retryable) == ("refused", False)
    assert "place" in fault.hint


@pytest.mark.parametrize("status", [520, 521, 522, 523, 524, 525, 526, 527, 530])
def test_retries_what_cloudflare_reports_of_the_server_behind_it(status):
    fault = classify(status, f"<!DOCTYPE html><html><title>api.example.com | {status}</title></html>")
    assert (fault.kind, fault.retryable, fault.status_code) == ("capacity", True, status)


def test_keeps_the_answer_that_the_service_refused_itself():
    body = error("Failed to call a function.", code="tool_use_failed", failed_generation="<function=add{}>")
    fault = classify(400, body)
    assert (fault.unread_answer, fault.provider_code, fault.retryable) == (
        b"<function=add{}>",
        "tool_use_failed",
        False,
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"type": "about:blank", "title": "Not Found", "status": 404}, "Not Found"),
        ({"title": "Not Found", "status": 404, "detail": "No model 'x'."}, "No model 'x'."),
        ({"error": "invalid_grant", "error_description": "The token has expired."}, "The token has expired."),
        ({"error": "Bad Request", "message": "The prompt is empty.", "statusCode": 400}, "The prompt is empty."),
        ({"error": True, "message": "no such model"}, "no such model"),
        ({"errors": [{"code": 7003, "message": "No route"}], "success": False}, "No route"),
        ({"errors": ["No route", "at all"]}, "No route"),
        ({"detail": {"error": {"message": "too many", "code": "x"}}}, "too many"),
        ({"error": {"message": '{"error": {"message": "inner", "code": 429}}'}}, "inner"),
        ({"error": {"message": "{not json"}}, "{not json"),
        ({"error_code": "BAD_REQUEST", "message": "no"}, "no"),
        ("<html><body><h1>503 Service Unavailable</h1>\nNo server</body></html>", "titled '503 Service Unavailable'"),
        ("<html lang='en'><title></title></html>", "an HTML page"),
        ("<?xml version='1.0'?><Error><Message>Denied</Message></Error>", "a page of XML titled 'Denied'"),
        ('{"error": {"mess', '{"error": {"mess'),
        ([], "no details"),
        ([["deep"]], "deep"),
    ],
)
def test_finds_the_sentence_in_every_shape(body, message):
    assert message in error_message(body)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"type": "error", "error": {"type": "overloaded_error"}}, "overloaded_error"),
        ({"object": "error", "type": "BadRequestError", "code": 400}, "BadRequestError"),
        ([{"error": {"status": "UNAVAILABLE", "code": 503}}], "UNAVAILABLE"),
        ({"detail": {"error": {"code": "queue_full"}}}, "queue_full"),
        ({"error": "insufficient_quota", "message": "no"}, "insufficient_quota"),
        ({"error_code": "BAD_REQUEST", "message": "no"}, "BAD_REQUEST"),
        ({"error": "a whole sentence"}, ""),
        ({"error": {"type": "error"}}, ""),
    ],
)
def test_finds_the_code_in_every_shape(body, code):
    assert error_code(body) == code


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": {"code": 503}}, 503),
        ({"error": {"code": "503"}}, 503),
        ({"error": {"message": "x", "status_code": 400}}, 400),
        ({"object": "error", "code": 400, "message": "x"}, 400),
        ({"title": "x", "status": 502, "error": "x"}, 502),
        ([{"error": {"code": 503}}], 503),
        ({"error": {"status": "UNAVAILABLE"}}, 503),
        ({"error": {"status": "DEADLINE_EXCEEDED"}}, 504),
        ({"error": {"type": "InternalServerError"}}, 500),
        ({"error": "The server is overloaded, try again later"}, 529),
        ({"error": "Internal Server Error"}, 500),
        ({"error": "Rate limit exceeded"}, 429),
        ({"error": {"code": "7" * 5000}}, 200),
        ({"error": "no"}, 200),
    ],
)
def test_finds_the_status_of_an_error_inside_a_200(body, status):
    assert classify(200, body).status_code == status


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"error": "no"}, ""),
        ([{"error": {"code": 503}}], ""),
        ({"object": "error", "message": "no"}, ""),
        ({"type": "error", "message": "no"}, ""),
        ({"detail": "no"}, ""),
        ({"errors": [{"message": "no"}]}, ""),
        ({"success": False, "message": "no"}, ""),
        ({"message": "no", "code": 500}, ""),
        ({"error_code": 18, "error_msg": "no"}, ""),
        ({"base_resp": {"status_code": 1008, "status_msg": "no"}}, ""),
        ({"text": "no"}, "error"),
        ("no", "error"),
    ],
)
def test_finds_an_error_in_place_of_an_answer(body, name):
    assert find_error(body, name)["error"]


@pytest.mark.parametrize(
    "body",
    [
        {"error": None, "id": "x"},
        {"message": {"role": "assistant"}, "type": "message_start"},
        {"message": "hello"},
        {"base_resp": {"status_code": 0, "status_msg": ""}},
        {"usage": {"total_tokens": 3}},
        {},
        [],
        None,
        "text",
        7,
    ],
)
def test_takes_nothing_else_for_an_error(body):
    assert find_error(body) is None
