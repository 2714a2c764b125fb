"""Where a request is cached up to, and what a fan-out costs."""

import threading

import pytest

from messages_api import build_end_events, build_start_event, stream_answer, text, text_block
from messages_caching import CachingMessages
from pollux_sync import (
    Config,
    ConfigurationError,
    Options,
    RetryPolicy,
    Source,
    defer_many,
    explain,
    run_many,
    stream_many,
)
from pollux_sync.testing.server import Answer

QUESTIONS = [f"question {number}" for number in range(30)]
#: About 50,000 tokens.
BOOK = Source.from_text("All the words of a book. " * 8000, identifier="book")
OTHER = Source.from_text("All the words of another. " * 8000, identifier="other")
PDF = Source.from_uri("https://acme.example/a.pdf", mime_type="application/pdf")
TOOL = {"name": "weather", "parameters": {"type": "object"}}
MARK = {"type": "ephemeral"}
NO = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}


def explain_body(config, prompts=("a", "b"), index=0, *, sources=(), per_source=False, **options):
    options = Options(**({"implicit_caching": True} | options))
    explanation = explain(list(prompts), sources=sources, config=config(), options=options, per_source=per_source)
    return explanation.requests[index].body


def test_marks_the_last_shared_source(config):
    body = explain_body(config, sources=[Source.from_text("t"), PDF], system_instruction="Be brief.", tools=[TOOL])
    first, document, question = body["messages"][0]["content"]
    assert (document["type"], document["cache_control"]) == ("document", MARK)
    assert (first, question) == (text("t"), text("a"))
    assert body["system"] == "Be brief."
    assert not {"cache_control"} & {*body, *body["tools"][0]}


def test_marks_the_instruction_where_no_sources_are_shared(config):
    body = explain_body(config, system_instruction="Be brief.", tools=[TOOL])
    assert body["system"] == [text("Be brief.", cache_control=MARK)]
    assert "cache_control" not in body["tools"][0]


def test_marks_the_last_tool_where_nothing_else_is_shared(config):
    tools = explain_body(config, tools=[{"name": "ping"}, TOOL])["tools"]
    assert [tool.get("cache_control") for tool in tools] == [None, MARK]


def test_caches_to_the_end_where_nothing_is_shared(config):
    body = explain_body(config)
    assert body["cache_control"] == MARK
    assert body["messages"][0]["content"] == [text("a")]


def test_caches_a_single_prompt_to_its_end(config):
    body = explain_body(config, ["a"], sources=[PDF])
    assert body["cache_control"] == MARK
    assert not any("cache_control" in block for block in body["messages"][0]["content"])


def test_caches_to_its_end_what_is_the_only_prompt_of_its_source(config):
    bodies = [explain_body(config, ["a"], index, sources=[BOOK, OTHER], per_source=True) for index in range(2)]
    assert [body["cache_control"] for body in bodies] == [MARK, MARK]


@pytest.mark.parametrize("ttl", ["5m", "1h"])
@pytest.mark.parametrize("prompts", [["a"], ["a", "b"]])
def test_says_how_long_to_keep_it(config, prompts, ttl):
    body = explain_body(config, prompts, sources=[Source.from_text("t")], implicit_caching=ttl)
    holder = body if len(prompts) == 1 else body["messages"][0]["content"][0]
    assert holder["cache_control"] == {"type": "ephemeral", "ttl": ttl}


@pytest.mark.parametrize("wanted", [None, False])
def test_marks_nothing_in_a_fan_out_unasked(config, wanted):
    body = explain_body(config, sources=[PDF], implicit_caching=wanted)
    assert body == explain_body(config, sources=[PDF], implicit_caching=None)
    assert "cache_control" not in str(body)


# What a fan-out costs, by a service that bills as the real one does.


@pytest.fixture
def direct(server):
    """Return a function that builds configurations for the core's own client."""

    def make(**fields):
        reach = {"api_key": "sk-ant-made-up", "base_url": server.url, "retry": RetryPolicy(initial_delay_s=0)}
        return Config(**({"provider": "anthropic", "model": "claude-sonnet-4-6"} | reach | fields))

    return make


def ask(server, config, prompts=QUESTIONS, *, sources=(BOOK,), per_source=False, refuse=lambda prompt: None, **options):
    """Ask a service that has nothing in its cache; return it and the result."""
    server.handler = service = CachingMessages(refuse)
    result = run_many(prompts, sources=sources, config=config, options=Options(**options), per_source=per_source)
    return service, result


@pytest.mark.parametrize("fields", [{}, {"request_concurrency": 30}, {"request_concurrency": 1}])
def test_thirty_questions_over_one_book_cost_a_seventh_with_caching(server, direct, fields):
    plain, _ = ask(server, direct(**fields))
    cached, result = ask(server, direct(**fields), implicit_caching=True)
    assert cached.price <= 0.15 * plain.price
    assert (plain.n_writes, cached.n_writes) == (0, 1)
    assert result["answers"] == [question.upper() for question in QUESTIONS]


def test_an_hour_costs_more_to_write(server, direct):
    services = [ask(server, direct(), implicit_caching=ttl)[0] for ttl in ("5m", "1h")]
    assert [service.n_writes for service in services] == [1, 1]
    assert 0.7 * 50_000 < services[1].price - services[0].price < 0.8 * 50_000


def test_the_result_says_what_was_read_and_written(server, direct):
    service, result = ask(server, direct(), implicit_caching=True)
    usage, metrics = result["usage"], result["metrics"]
    assert (metrics["cache_mode"], metrics["cache_hit"]) == ("implicit", True)
    assert usage["cached_tokens"] == 29 * usage["cache_write_tokens"]
    uncached = usage["input_tokens"] - usage["cached_tokens"] - usage["cache_write_tokens"]
    assert uncached + 1.25 * usage["cache_write_tokens"] + 0.1 * usage["cached_tokens"] == pytest.approx(service.price)


def test_the_explanation_expects_what_is_then_read(server, direct):
    explanation = explain(QUESTIONS, sources=[BOOK], config=direct(), options=Options(implicit_caching=True))
    _, result = ask(server, direct(), implicit_caching=True)
    (prefix,) = explanation.prefixes
    assert (prefix.first, prefix.n_requests, prefix.min_tokens) == (0, 30, 1024)
    assert prefix.expected_cached_tokens == pytest.approx(result["usage"]["cached_tokens"], rel=0.01)


@pytest.mark.parametrize(
    ("model", "min_tokens"),
    [
        ("claude-sonnet-4-6", 1024),
        ("claude-opus-4-6", 4096),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", 4096),
        ("claude-opus-4-7", 2048),
        ("claude-opus-4-20250514", 1024),
        ("claude-of-tomorrow", None),
    ],
)
def test_the_explanation_says_what_is_too_short_to_be_cached(direct, model, min_tokens):
    source = Source.from_text("x" * 4 * 2000)
    explanation = explain(
        ["a", "b"], sources=[source], config=direct(model=model), options=Options(implicit_caching=True)
    )
    (prefix,) = explanation.prefixes
    is_short = min_tokens is not None and min_tokens > 2000
    assert (prefix.min_tokens, prefix.expected_cached_tokens) == (min_tokens, 0 if is_short else 2000)
    assert (
        f"  too short to be cached: 1 of 1, the service caches from {min_tokens} tokens on" in str(explanation)
    ) == is_short


@pytest.mark.parametrize("refusal", [Answer(status=400, json=NO), Answer(status=529, json=NO)])
def test_the_next_one_goes_ahead_where_the_first_fails(server, direct, refusal):
    service, result = ask(
        server,
        direct(),
        refuse=lambda prompt: refusal if prompt == QUESTIONS[0] else None,
        implicit_caching=True,
        on_error="keep",
    )
    assert service.n_writes == 1
    assert [bool(error) for error in result["errors"]] == [True] + [False] * 29
    assert result["usage"]["cached_tokens"] == 28 * result["usage"]["cache_write_tokens"]


def test_each_source_is_cached_once_where_each_is_asked_about_alone(server, direct):
    service, result = ask(server, direct(), sources=[BOOK, OTHER], per_source=True, implicit_caching=True)
    assert service.n_writes == 2
    assert result["answers"] == [question.upper() for question in QUESTIONS] * 2


def test_streams_begin_side_by_side_and_are_cached_to_their_ends(server, direct):
    together = threading.Barrier(3, timeout=10)

    def stream_together(request):
        together.wait()
        return stream_answer(build_start_event(), text_block(0, "yes"), build_end_events())

    server.handler = stream_together
    options = Options(implicit_caching=True)
    result = stream_many(["a", "b", "c"], sources=[PDF], config=direct(), options=options).result()
    assert result["answers"] == ["yes"] * 3
    assert [request.json()["cache_control"] for request in server.requests] == [MARK] * 3


@pytest.mark.parametrize("wanted", [True, "1h"])
def test_a_deferred_job_refuses_it(direct, wanted):
    with pytest.raises(ConfigurationError, match="implicit_caching cannot be deferred"):
        defer_many(["a", "b"], config=direct(), options=Options(implicit_caching=wanted))
