"""Rate limits in the headers of answers."""

import time
from datetime import UTC, datetime

import pytest

from pollux_sync.data.limits import Quota, RateLimits
from pollux_sync.data.provider import HttpResponse
from pollux_sync.wire.ratelimits import read_quota, read_rate_limits


def read(**headers):
    return read_rate_limits(HttpResponse(status=200, headers={k.replace("_", "-"): v for k, v in headers.items()}))


def test_reads_requests_and_tokens():
    limits = read(
        x_ratelimit_limit_requests="10000",
        x_ratelimit_remaining_requests="9999",
        x_ratelimit_reset_requests="8.64s",
        x_ratelimit_limit_tokens="200000",
        x_ratelimit_remaining_tokens="199950",
        x_ratelimit_reset_tokens="15ms",
    )
    requests = Quota(limit=10_000, remaining=9_999, reset_s=8.64)
    assert limits == RateLimits(requests=requests, tokens=Quota(limit=200_000, remaining=199_950, reset_s=0.015))


def test_takes_a_quota_without_a_kind_for_requests():
    assert read(x_ratelimit_limit="20", x_ratelimit_remaining="0").requests == Quota(limit=20, remaining=0)


@pytest.mark.parametrize("headers", [{}, {"x_ratelimit_reset_requests": "1s"}, {"retry_after": "3"}])
def test_returns_none_without_limits(headers):
    assert read(**headers) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("6m0s", 360), ("120ms", 0.12), ("1h2m3.5s", 3723.5), ("1d", 86_400), ("59", 59), ("0.5", 0.5)],
)
def test_reads_the_time_to_a_reset(text, seconds):
    assert read(x_ratelimit_limit="1", x_ratelimit_reset=text).requests.reset_s == pytest.approx(seconds)


@pytest.mark.parametrize("unit", [1, 1000])
def test_reads_the_time_of_a_reset(unit):
    at = int((time.time() + 100) * unit)
    assert read(x_ratelimit_limit="1", x_ratelimit_reset=str(at)).requests.reset_s == pytest.approx(100, abs=20)


def test_reads_the_date_of_a_reset():
    at = datetime.fromtimestamp(time.time() + 100, tz=UTC).isoformat().replace("+00:00", "Z")
    assert read_quota({"a-limit": "1", "a-reset": at}, "a-{}").reset_s == pytest.approx(100, abs=20)


def test_a_reset_in_the_past_is_now():
    assert read(x_ratelimit_limit="1", x_ratelimit_reset="1700000000").requests.reset_s == 0


@pytest.mark.parametrize("text", ["soon", "", "-1", "1e9", "1s soon", "nan", "9" * 40])
def test_ignores_what_it_cannot_read(text):
    limits = read(x_ratelimit_limit="20", x_ratelimit_remaining=text, x_ratelimit_reset=text)
    assert limits.requests == Quota(limit=20)
