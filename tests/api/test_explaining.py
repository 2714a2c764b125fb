import json
import time
from decimal import Decimal

import attrs
import pytest

from acme_server import FileServer
from pollux_sync import (
    APIError,
    CacheHandle,
    Config,
    ConfigurationError,
    HttpRequest,
    Options,
    PolluxError,
    ProviderBugError,
    Source,
    explain,
    hookimpl,
    run_many,
)
from pollux_sync.testing.server import Answer

MOCK = Config(provider="openai", model="m", use_mock=True)
PICTURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def files(tmp_path):
    """Sources of every delivery; two of them are one content."""
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(PICTURE)
    (tmp_path / "c.gif").write_bytes(b"GIF89a..")
    local = [Source.from_file(tmp_path / name) for name in ("a.png", "b.png", "c.gif")]
    return [Source.from_text("t"), *local, Source.from_uri("https://acme.example/x.pdf")]


def test_sends_nothing(server, config, files):
    explain(["p", "q"], sources=files, config=config())
    assert server.requests == []


def test_names_every_upload_once(config, files):
    (upload,) = explain(["p", "q"], sources=files, config=config()).uploads
    assert (upload.id, upload.mime_type, upload.size_bytes) == ("upload-1", "image/png", len(PICTURE))
    assert upload.sha256 == files[1].content_sha256()


def test_explained_upload_equals_the_real_one(server, config, files):
    (upload,) = explain("p", sources=files, config=config()).uploads
    server.handler = FileServer()
    run_many("p", sources=files, config=config())
    assert server.handler.stored == [upload.identifier.rpartition("/")[2]]


def test_says_how_each_source_is_delivered(config, files):
    sources = explain("p", sources=files, config=config()).sources
    assert [source.delivery for source in sources] == ["text", "upload", "upload", "inline", "uri"]
    assert [source.upload for source in sources] == [None, "upload-1", "upload-1", None, None]
    assert [source.identifier for source in sources] == [source.identifier for source in files]


def test_shows_uploads_of_earlier_turns(files):
    history = [{"role": "user", "content": "Look.", "sources": [files[1].to_dict()]}]
    explanation = explain("p", config=MOCK, options=Options(history=history))
    assert [upload.id for upload in explanation.uploads] == ["upload-1"]
    assert explanation.requests[0].body["history"][0]["parts"] == [{"asset": "upload-1"}]


def test_printed_it_is_an_overview(config, files):
    config = config(base_url="https://acme.example/v1/", model="m1")
    lines = str(explain(["p", "longer"], sources=files, config=config)).splitlines()
    sizes = [len(request.content) for request in explain(["p", "longer"], sources=files, config=config).requests]
    assert lines == [
        "2 requests to acme, model m1: not sent",
        f"  POST https://acme.example/v1/ask: {sizes[0]} to {sizes[1]} bytes",
        "  input tokens: not known",
        "sources: 1 as text, 2 uploaded, 1 inside the requests, 1 as an address",
        f"  upload-1: {files[2].identifier}, image/png, 8 bytes",
        "caching: none",
    ]


def test_printed_it_counts_files_that_are_stored_already(config):
    stored = Source.from_file_id("file-1", mime_type="image/png")
    assert "sources: 1 stored already" in str(explain("p", sources=[stored], config=config())).splitlines()


def test_printed_it_names_the_first_ten_uploads(config, tmp_path):
    for number in range(12):
        (tmp_path / f"{number}.png").write_bytes(PICTURE + bytes([number]))
    sources = [Source.from_file(tmp_path / f"{number}.png") for number in range(12)]
    lines = str(explain("p", sources=sources, config=config())).splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("  upload")][-1] == "  upload-10"
    assert "  and 2 uploads more" in lines


def test_no_prompts_are_no_requests():
    assert str(explain([], config=MOCK)).startswith("0 requests to openai")


def test_as_data_it_is_json_and_equal(config, files):
    explanation = explain("p", sources=files, config=config(), options=Options(response_schema={"type": "object"}))
    data = explanation.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["requests"][0]["curl"] == explanation.requests[0].curl
    assert data["response_schema"] == {"type": "object"}


def test_the_mock_has_no_address():
    (request,) = explain("p", config=attrs.evolve(MOCK, base_url="http://127.0.0.1:9", api_key="sk-secret")).requests
    assert (request.path, request.url, request.curl) == ("/mock", None, None)


def test_the_cache_is_named():
    cache = CacheHandle("caches/1", "m", "openai", time.time() + 999)
    explanation = explain("p", config=MOCK, options=Options(cache=cache))
    assert (explanation.cache_mode, explanation.cache) == ("persistent", "caches/1")
    assert "caching: persistent, caches/1" in str(explanation)
    assert explanation.requests[0].estimated_input_tokens is None


def test_tokens_are_estimated_by_characters():
    answer = {"role": "assistant", "tool_calls": [{"id": "1", "name": "f", "arguments": "x" * 8}], "content": "y"}
    history = [answer, {"role": "tool", "tool_call_id": "1", "content": "z" * 4}]
    options = Options(system_instruction="s" * 4, history=history)
    (request,) = explain("p" * 10, sources=[Source.from_text("t" * 16)], config=MOCK, options=options).requests
    assert request.estimated_input_tokens == 11
    tools = Options(tools=[{"name": "f"}], response_schema={"type": "object"})
    assert explain("p" * 4, config=MOCK, options=tools).requests[0].estimated_input_tokens == 9


def test_estimates_are_summed_up():
    assert "  input tokens: about 5, estimated by characters / 4" in str(explain(["p" * 4, "q" * 13], config=MOCK))


def test_middleware_plans_and_rewrites_and_observers_hear_nothing():
    heard = []

    class Middleware:
        @hookimpl
        def pollux_event(self, event):
            heard.append(event)

        @hookimpl(wrapper=True)
        def pollux_plan(self, plan):
            planned = yield
            return attrs.evolve(planned, calls=planned.calls[:1] if planned.is_dry_run else planned.calls)

        @hookimpl(wrapper=True)
        def pollux_rewrite_call(self, call):
            call = yield
            return attrs.evolve(call, prompt=call.prompt.upper())

    config = attrs.evolve(MOCK, plugins=[Middleware()])
    assert [request.body["prompt"] for request in explain(["p", "q"], config=config).requests] == ["P"]
    assert heard == []
    assert run_many(["p", "q"], config=config)["answers"] == ["echo: P", "echo: Q"]


def test_an_error_in_rewriting_names_its_call():
    class Failing:
        @hookimpl(wrapper=True)
        def pollux_rewrite_call(self, call):
            yield
            raise ValueError(f"no {call.prompt}")

    with pytest.raises(ProviderBugError, match="no p") as caught:
        explain("p", config=attrs.evolve(MOCK, plugins=[Failing()]))
    assert caught.value.call_idx == 0


class Bad:
    """What JSON cannot hold, put there by a plugin."""

    @hookimpl(wrapper=True)
    def pollux_encode(self):
        request = yield
        return attrs.evolve(request, body={"bad": {1, 2}})


REFUSED = {
    "blank": {"prompts": " "},
    "type": {"prompts": 3},
    "silence": {"prompts": None},
    "config": {"prompts": "p", "config": None},
    "source": {"prompts": "p", "sources": ["a.txt"]},
    "video": {"prompts": "p", "sources": [Source.from_youtube("https://youtu.be/x")]},
    "no source": {"prompts": "p", "per_source": True},
    "option": {"prompts": "p", "options": Options(top_p=0.5)},
    "raw": {"prompts": "p", "options": Options(provider_options={"acme": {"model": "x"}})},
    "unknown raw": {"prompts": "p", "options": Options(provider_options={"nobody": {}})},
    "no text": {"prompts": "p", "sources": [Source("text", "x", "text/plain", 1, lambda: b"\xff")]},
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_refuses_the_arguments_that_run_refuses(server, config, call):
    caught = [refusal(ask, {"config": config()} | call) for ask in (explain, run_many)]
    assert caught[0] == caught[1]
    assert server.requests == []


def refusal(ask, call):
    with pytest.raises(PolluxError) as caught:
        ask(call["prompts"], **{name: value for name, value in call.items() if name != "prompts"})
    return type(caught.value), str(caught.value)


def test_refuses_a_body_that_is_no_json(config):
    with pytest.raises(ConfigurationError, match="cannot be written as JSON"):
        explain("p", config=config(plugins=[Bad()]))


# what is to be cached

CACHED = Options(implicit_caching=True)
MANUAL = Source.from_text("m" * 400)


def test_requests_with_one_beginning_are_expected_to_read_it_from_the_cache():
    (prefix,) = explain(["p" * 4, "q" * 8, "r"], sources=[MANUAL], config=MOCK, options=CACHED).prefixes
    assert (prefix.first, prefix.n_requests, prefix.n_tokens, prefix.min_tokens) == (0, 3, 100, None)
    assert prefix.expected_cached_tokens == 200


def test_each_source_is_a_beginning_of_its_own():
    sources = [MANUAL, Source.from_text("n" * 40)]
    prefixes = explain(["p", "q"], sources=sources, config=MOCK, options=CACHED, per_source=True).prefixes
    found = [(prefix.first, prefix.n_requests, prefix.expected_cached_tokens) for prefix in prefixes]
    assert found == [(0, 2, 100), (2, 2, 10)]


@pytest.mark.parametrize("call", [{"prompts": "p"}, {"options": Options()}, {"sources": []}])
def test_nothing_is_expected_where_nothing_is_shared_or_wanted(call):
    explanation = explain(**({"prompts": ["p", "q"], "sources": [MANUAL], "config": MOCK, "options": CACHED} | call))
    assert explanation.prefixes == ()
    assert "expected" not in str(explanation)


def test_the_count_of_the_provider_is_used_where_there_is_one():
    (prefix,) = explain(["p", "q"], sources=[MANUAL], config=MOCK, options=CACHED, count_tokens=True).prefixes
    assert (prefix.n_tokens, prefix.expected_cached_tokens) == (9, 9)


def test_what_is_expected_is_not_known_with_more_than_text():
    sources = [Source.from_uri("https://acme.example/x.pdf")]
    explanation = explain(["p", "q"], sources=sources, config=MOCK, options=CACHED)
    assert [prefix.expected_cached_tokens for prefix in explanation.prefixes] == [None]
    assert "  expected from the cache: not known" in str(explanation)


def test_printed_it_says_what_goes_ahead_and_what_is_expected():
    lines = str(explain(["p", "q", "r"], sources=[MANUAL], config=MOCK, options=CACHED)).splitlines()
    assert lines[-3:] == [
        "caching: implicit",
        "  1 request first, then 2 with the same beginning once it is cached",
        "  expected from the cache: about 200 input tokens",
    ]


# counting


class Counting:
    """Middleware that counts tokens: a count is as long as the prompt."""

    @hookimpl
    def pollux_count_tokens(self, request, call, client, timeout_s):
        response = client.send(HttpRequest(path="/count", body=request.body), timeout_s)
        return response.body.get("count")


def count_prompt(request):
    return Answer(json={"count": len(request.json()["prompt"])})


def list_token_counts(explanation):
    return [request.counted_input_tokens for request in explanation.requests]


def test_the_provider_counts_each_request(server, config):
    server.handler = count_prompt
    prompts = ["p" * length for length in range(1, 21)]
    explanation = explain(prompts, config=config(plugins=[Counting()]), count_tokens=True)
    assert list_token_counts(explanation) == list(range(1, 21))
    assert sorted(request.body for request in server.requests) == sorted(r.content for r in explanation.requests)
    assert "  input tokens: 210, counted by the provider" in str(explanation)


def test_counts_only_with_count_tokens(server, config):
    explanation = explain("p", config=config(plugins=[Counting()]))
    assert (list_token_counts(explanation), server.requests) == ([None], [])


def test_counting_is_refused_where_the_provider_does_not(server, config):
    with pytest.raises(ConfigurationError, match="'acme' does not count tokens") as caught:
        explain("p", config=config(), count_tokens=True)
    assert "leave count_tokens out" in caught.value.hint
    assert server.requests == []


def test_count_tokens_must_be_a_bool(config):
    with pytest.raises(ConfigurationError, match="count_tokens must be True or False"):
        explain("p", config=config(), count_tokens=1)


def test_what_is_still_to_be_uploaded_is_not_counted(server, config, files):
    server.handler = count_prompt
    sources = [files[0], files[1]]
    explanation = explain(
        "four", sources=sources, config=config(plugins=[Counting()]), per_source=True, count_tokens=True
    )
    assert list_token_counts(explanation) == [4, None]
    assert "  input tokens: 4 in 1 of 2 requests, counted by the provider" in str(explanation)


def test_a_missing_count_is_none(server, config):
    server.reply(Answer(json={}))
    explanation = explain("p" * 8, config=config(plugins=[Counting()]), count_tokens=True)
    (request,) = explanation.requests
    assert (request.counted_input_tokens, request.estimated_input_tokens) == (None, 2)
    assert "  input tokens: about 2, estimated by characters / 4" in str(explanation)


def test_counting_is_tried_again_as_sending_is(server, config):
    server.reply(Answer(status=503, json={}), Answer(json={"count": 3}))
    assert list_token_counts(explain("p", config=config(plugins=[Counting()]), count_tokens=True)) == [3]


def test_an_error_in_counting_names_its_call(server, config):
    server.handler = lambda request: Answer(status=400 if request.json()["prompt"] == "q" else 200, json={"count": 1})
    with pytest.raises(APIError) as caught:
        explain(["p", "q"], config=config(plugins=[Counting()]), count_tokens=True)
    assert (caught.value.call_idx, caught.value.phase, len(caught.value.attempts)) == (1, "metadata", 1)


def test_nothing_is_counted_when_a_later_call_is_refused(server, config):
    class Failing:
        @hookimpl(wrapper=True)
        def pollux_rewrite_call(self, call):
            rewritten = yield
            if call.index:
                raise ConfigurationError("no second call")
            return rewritten

    with pytest.raises(ConfigurationError, match="no second call"):
        explain(["p", "q"], config=config(plugins=[Counting(), Failing()]), count_tokens=True)
    assert server.requests == []


def test_the_mock_counts_the_tokens_that_it_reports():
    explanation = explain("p", config=MOCK, count_tokens=True)
    assert list_token_counts(explanation) == [run_many("p", config=MOCK)["usage"]["input_tokens"]]


# prices


class Prices:
    """Knows one model: a dollar for ten tokens in, and for one out."""

    def __init__(self):
        self.asked = []

    @hookimpl
    def pollux_price(self, provider, model, usage):
        self.asked.append((provider, usage.total_tokens))
        return Decimal(usage.input_tokens) / 10 + usage.output_tokens if model == "m" else None


def explain_with_prices(prompts, *, options=None, model="m", **call):
    prices = Prices()
    config = attrs.evolve(MOCK, plugins=[prices], model=model)
    return explain(prompts, config=config, options=options, **call), prices


def test_price_is_that_of_the_input_up_to_that_of_the_longest_answers():
    explanation, prices = explain_with_prices(["p" * 4, "q" * 8], options=Options(max_tokens=2))
    assert (explanation.lowest_price, explanation.highest_price) == (Decimal("0.3"), Decimal("4.3"))
    assert prices.asked == [("openai", 1), ("openai", 3), ("openai", 2), ("openai", 4)]
    assert "  price: about 0.3 to 4.3 US dollars" in str(explanation)


def test_price_is_that_of_the_tier_asked_for():
    tiers = []

    class Tiers:
        @hookimpl
        def pollux_price(self, tier):
            tiers.append(tier)

    for options in (Options(), Options(service_tier="flex")):
        explain("p", config=attrs.evolve(MOCK, plugins=[Tiers()]), options=options)
    assert tiers == ["default", "flex"]


def test_price_of_answers_without_a_limit_is_not_known():
    explanation, _ = explain_with_prices("p" * 4)
    assert (explanation.lowest_price, explanation.highest_price) == (Decimal("0.1"), None)
    assert "  price: about 0.1 US dollars, without the answers" in str(explanation)


def test_price_of_counted_tokens_is_not_about():
    explanation, _ = explain_with_prices("p", count_tokens=True)
    assert "  price: 1 US dollars, without the answers" in str(explanation)


@pytest.mark.parametrize(
    "call", [{"model": "another"}, {"sources": [Source.from_uri("https://acme.example/x.pdf")]}, {"prompts": []}]
)
def test_price_is_not_guessed(call):
    explanation, _ = explain_with_prices(**({"prompts": ["p", "q"], "options": Options(max_tokens=2)} | call))
    assert (explanation.lowest_price, explanation.highest_price) == (None, None)
    assert "price" not in str(explanation)


def test_price_of_all_is_not_known_when_that_of_one_is_not(files):
    explanation, _ = explain_with_prices("p", sources=[files[0], files[1]], per_source=True)
    assert [request.lowest_price is None for request in explanation.requests] == [False, True]
    assert explanation.lowest_price is None


def test_as_data_prices_are_texts():
    data = explain_with_prices("p" * 4, options=Options(max_tokens=2))[0].to_dict()
    assert (data["lowest_price"], data["requests"][0]["highest_price"]) == ("0.1", "2.1")
    assert json.loads(json.dumps(data)) == data


@pytest.mark.parametrize("answer", [lambda: 0.1, lambda: 1 / 0], ids=["no Decimal", "an exception"])
def test_price_of_another_kind_is_the_plugins_defect(answer):
    class Bad:
        @hookimpl
        def pollux_price(self):
            return answer()

    with pytest.raises(ProviderBugError, match="pollux_price"):
        explain("p", config=attrs.evolve(MOCK, plugins=[Bad()]))
