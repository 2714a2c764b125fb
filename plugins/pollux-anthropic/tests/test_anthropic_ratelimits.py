"""The rate limits that Anthropic's answers report."""

import pytest

from pollux_sync import Config, stages
from pollux_sync.plugin import HttpResponse, Quota, RateLimits

HEADERS = {
    "anthropic-ratelimit-requests-limit": "4000",
    "anthropic-ratelimit-requests-remaining": "3999",
    "anthropic-ratelimit-requests-reset": "2025-03-15T12:54:26Z",
    "anthropic-ratelimit-input-tokens-limit": "200000",
    "anthropic-ratelimit-input-tokens-remaining": "186000",
}


@pytest.fixture
def hooks():
    return stages.open_hooks(Config(provider="anthropic", model="claude-sonnet-4-6", api_key="k-made-up"))


def test_reads_the_quotas_of_an_answer(hooks):
    assert hooks.read_rate_limits(HttpResponse(status=200, headers=HEADERS)) == RateLimits(
        requests=Quota(limit=4_000, remaining=3_999, reset_s=0.0),
        input_tokens=Quota(limit=200_000, remaining=186_000),
    )


def test_returns_none_for_an_answer_without_limits(hooks):
    assert hooks.read_rate_limits(HttpResponse(status=200)) is None
