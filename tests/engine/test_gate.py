"""Calls that are not sent, because an earlier one has shown that they would fail too."""

import pytest

from pollux_sync import APIError, Config, run_many, stream_many
from pollux_sync.testing import Script, failing
from pollux_sync.testing.server import Answer

PROMPTS = [f"q{number}" for number in range(20)]
USED_UP = Answer(status=429, json={"error": {"message": "no", "code": "insufficient_quota"}})
ELSEWHERE = Answer(status=403, json={"error": {"code": "unsupported_country_region_territory"}})
LATER = Answer(status=429, json={"error": "slow down"})


@pytest.mark.parametrize(("refusal", "kind"), [(USED_UP, "quota"), (ELSEWHERE, "refused")])
def test_asks_no_more_once_every_call_would_be_refused(server, config, refusal, kind):
    server.handler = lambda _: refusal
    with pytest.raises(APIError) as caught:
        run_many(PROMPTS, config=config(request_concurrency=2))
    assert (caught.value.kind, caught.value.status_code, caught.value.retryable) == (kind, refusal.status, False)
    assert len(server.requests) <= 2


def test_asks_no_more_once_the_quota_is_used_up_between_answers(server, config):
    server.reply(Answer(json={"answer": "fine"}), *[USED_UP] * 19)
    with pytest.raises(APIError) as caught:
        run_many(PROMPTS, config=config(request_concurrency=1))
    assert len(server.requests) == 2
    assert caught.value.partial_result["answers"][0]
    assert "not sent, because call 1 was refused" in caught.value.partial_result["errors"][19]["message"]


def test_asks_on_after_a_limit_of_a_minute(server, config):
    server.handler = lambda _: LATER
    with pytest.raises(APIError):
        run_many(PROMPTS[:3], config=config())
    assert len(server.requests) == 6


def test_streams_no_more_once_the_quota_is_used_up():
    script = Script(otherwise=failing(402, "no credits"))
    config = Config(provider="x", model="m", use_mock=True, plugins=[script], request_concurrency=1)
    with pytest.raises(APIError) as caught:
        stream_many(["a", "b", "c"], config=config).result()
    assert [len(attempts) for attempts in caught.value.partial_result["diagnostics"]["attempts"]] == [1, 0, 0]
