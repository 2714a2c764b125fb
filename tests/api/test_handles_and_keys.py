"""A handle is data: it says which account and address it belongs to, never where a key is sent."""

import time

import attrs
import pytest

from pollux_sync import (
    CacheHandle,
    Config,
    ConfigurationError,
    DeferredHandle,
    Options,
    Source,
    as_completed,
    cancel_deferred,
    collect_deferred,
    create_cache,
    defer,
    delete_cache,
    extend_cache,
    inspect_deferred,
    run,
    wait_deferred,
)
from pollux_sync.data.jobs import DeferredJob
from pollux_sync.testing.server import Answer, ScriptedServer

KEY = "a-key-of-the-environment"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    for name in ("OPENAI_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, KEY)


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


def build_job(**facts):
    job = DeferredJob(job_id="b1", first=0, request_count=1)
    handle = DeferredHandle(provider="openai", model="m", request_count=1, submitted_at=1.0, mark="m", jobs=(job,))
    return attrs.evolve(handle, **facts)


def build_cache(**facts):
    return attrs.evolve(CacheHandle("cachedContents/c", "m", "gemini", time.time() + 60), **facts)


CALLS = {
    "inspect": (build_job, inspect_deferred),
    "collect": (build_job, collect_deferred),
    "cancel": (build_job, cancel_deferred),
    "wait": (build_job, wait_deferred),
    "as completed": (build_job, lambda handle, **fields: list(as_completed([handle], **fields))),
    "delete cache": (build_cache, delete_cache),
    "extend cache": (build_cache, lambda handle, **fields: extend_cache(handle, 60, **fields)),
}
every_call = pytest.mark.parametrize(("build", "call"), CALLS.values(), ids=CALLS)


def build_config(handle, **fields):
    return Config(provider=handle.provider, model="m", **fields)


def find_account(handle, **fields):
    return build_config(handle, **fields).account


@every_call
def test_the_key_of_the_environment_goes_to_no_address_of_a_handle(server, build, call):
    handle = build(base_url=f"{server.url}/v1", account=find_account(build()))
    with pytest.raises(ConfigurationError, match=server.url) as caught:
        call(handle)
    assert f"config=Config(..., base_url='{server.url}/v1')" in caught.value.hint
    assert server.requests == []


@every_call
def test_the_key_of_the_environment_goes_to_no_other_account(server, build, call):
    with pytest.raises(ConfigurationError, match="another account") as caught:
        call(build(account="0123456789abcdef"))
    assert "attrs.evolve(handle, account=None)" in caught.value.hint


@every_call
def test_a_given_config_of_another_account_is_refused(server, build, call):
    handle = build(account="0123456789abcdef", base_url=server.url)
    with pytest.raises(ConfigurationError, match="another account"):
        call(handle, config=build_config(handle, base_url=server.url))
    assert server.requests == []


@every_call
def test_a_given_config_says_where_the_key_goes(server, build, call):
    server.reply(*[Answer(status=400, json={"error": {"message": "reached"}})] * 2)
    handle = build(base_url="http://127.0.0.1:9", account=find_account(build()))
    with pytest.raises(Exception, match="reached"):
        call(handle, config=build_config(handle, base_url=server.url))
    assert server.requests


def test_a_renewed_key_is_taken_once_the_account_is_left_out(server):
    server.reply(Answer(status=400, json={"error": {"message": "reached"}}))
    handle = attrs.evolve(build_job(account="0123456789abcdef"), account=None)
    with pytest.raises(Exception, match="reached"):
        inspect_deferred(handle, config=build_config(handle, base_url=server.url))


@pytest.mark.parametrize("address", [None, "https://api.openai.com/v1", "https://api.openai.com/v1/"])
def test_no_address_is_that_of_the_provider(address):
    with pytest.raises(ConfigurationError, match="another account"):  # what is checked next
        inspect_deferred(build_job(base_url=address, account="0123456789abcdef"))


def test_an_address_is_shown_without_its_password():
    with pytest.raises(ConfigurationError, match="REDACTED") as caught:
        inspect_deferred(build_job(base_url="http://user:word@127.0.0.1:9"))
    assert "word" not in str(caught.value)


# -- the mock

MOCK = Config(provider="openai", model="m", use_mock=True)
MOCK_CACHES = attrs.evolve(MOCK, provider="gemini")


@every_call
@pytest.mark.parametrize("account", ["mock", "mock-0123456789abcdef"])
def test_a_handle_of_the_mock_is_refused_by_calls_of_the_provider(server, build, call, account):
    handle = build(account=account)
    for config in (None, build_config(handle, base_url=server.url)):
        with pytest.raises(ConfigurationError, match="made by the mock") as caught:
            call(handle, config=config)
        assert "use_mock=True" in caught.value.hint
    assert server.requests == []


@every_call
def test_a_handle_of_the_provider_is_refused_by_calls_of_the_mock(build, call):
    handle = build(account=find_account(build()))
    with pytest.raises(ConfigurationError, match="not made by the mock") as caught:
        call(handle, config=build_config(handle, use_mock=True))
    assert "without use_mock" in caught.value.hint


@pytest.mark.parametrize("key", [None, "a-key-of-the-script"])
def test_the_mock_marks_its_handles(key):
    accounts = [
        defer("a", config=attrs.evolve(MOCK, api_key=key)).account,
        create_cache([Source.from_text("x")], config=attrs.evolve(MOCK_CACHES, api_key=key)).account,
    ]
    assert {account[:4] for account in accounts} == {"mock"}


def test_a_handle_without_an_account_is_taken_by_the_mock():
    handle = attrs.evolve(defer("a", config=MOCK), account=None)
    assert inspect_deferred(handle, config=MOCK).status == "completed"


def test_a_cache_of_the_mock_is_refused_by_a_call_of_the_provider(server):
    handle = create_cache([Source.from_text("x")], config=MOCK_CACHES)
    with pytest.raises(ConfigurationError, match="was made by the mock"):
        run("a", config=build_config(handle, base_url=server.url), options=Options(cache=handle))
    assert server.requests == []


def test_a_cache_of_the_provider_is_refused_by_a_call_of_the_mock():
    cache = build_cache(account=find_account(build_cache()))
    with pytest.raises(ConfigurationError, match="was not made by the mock"):
        run("a", config=MOCK_CACHES, options=Options(cache=cache))


def test_a_job_file_of_the_mock_is_not_that_of_the_provider(tmp_path, server):
    path, key = tmp_path / "job.json", "a-key-of-the-script"
    defer("a", config=attrs.evolve(MOCK, api_key=key), job_file=path)
    with pytest.raises(ConfigurationError, match="for other requests"):
        defer("a", config=Config(provider="openai", model="m", api_key=key), job_file=path)


def cut(*jobs):
    """The jobs of a handle, each by its first request and their number."""
    return tuple(DeferredJob(job_id=f"b{first}", first=first, request_count=count) for first, count in jobs)


ODD_NUMBERS = {
    "no job": (1, []),
    "no request": (0, [(0, 0)]),
    "begins later": (1, [(5, 1)]),
    "begins earlier": (1, [(-1, 1)]),
    "holds less": (2, [(0, 1)]),
    "holds more": (1, [(0, 2)]),
    "a gap": (3, [(0, 1), (2, 1)]),
    "twice the same": (2, [(0, 1), (0, 1)]),
    "an empty job": (1, [(0, 1), (1, 0)]),
    "millions": (3_000_000, [(0, 3_000_000)]),
}


@pytest.mark.parametrize("numbers", ODD_NUMBERS.values(), ids=ODD_NUMBERS)
@pytest.mark.parametrize("call", [inspect_deferred, collect_deferred, cancel_deferred, wait_deferred])
def test_a_handle_whose_numbers_do_not_fit_is_refused(server, call, numbers):
    request_count, jobs = numbers
    handle = build_job(request_count=request_count, jobs=cut(*jobs), base_url=f"{server.url}/v1")
    with pytest.raises(ConfigurationError, match="the numbers of the jobs do not fit"):
        call(handle, config=build_config(handle, base_url=f"{server.url}/v1"))
    assert server.requests == []
