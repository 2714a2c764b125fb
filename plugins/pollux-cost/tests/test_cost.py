"""Prices of answers, and a budget that refuses calls before they are sent."""

import threading
from decimal import Decimal

import attrs
import pytest
from genai_prices import Usage as Counts
from genai_prices import calc_price

from pollux_batch import run_batch
from pollux_cost import Cost, Price
from pollux_cost.pricing import compute_price
from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    Options,
    PlanningError,
    Reply,
    RetryPolicy,
    Usage,
    collect_deferred,
    defer_many,
    explain,
    run,
    run_many,
    stream,
)
from pollux_sync.hooks.loading import MIDDLEWARE, load
from pollux_sync.testing import BrokenOff, Script, failing

ANSWER = Reply(text="Ahab", usage=Usage(input_tokens=1000, output_tokens=100, total_tokens=1100), finish_reason="stop")
#: One cent for 1000 tokens in, four for 1000 tokens out.
PRICES = {"m": Price(input=10, output=40)}


def build_config(*plugins, model="m", **fields):
    retry = RetryPolicy(initial_delay_s=0, max_attempts=2)
    return Config(
        **({"provider": "openai", "model": model, "use_mock": True, "retry": retry, "plugins": plugins} | fields)
    )


# Prices


@pytest.mark.parametrize(
    ("provider", "name", "model"),
    [
        ("openai", "openai", "gpt-5-mini"),
        ("anthropic", "anthropic", "claude-sonnet-4-5"),
        ("gemini", "google", "gemini-2.5-flash"),
        ("openrouter", "openrouter", "openai/gpt-5-mini"),
        ("gemini", "google", "gemini-2.5-pro"),  # its price depends on the length
    ],
)
@pytest.mark.parametrize("n_input", [1_000, 300_000])
def test_price_is_that_of_genai_prices(provider, name, model, n_input):
    usage = Usage(
        input_tokens=n_input, output_tokens=77, cached_tokens=500, cache_write_tokens=40, web_search_requests=2
    )
    counts = Counts(
        input_tokens=n_input, output_tokens=77, cache_read_tokens=500, cache_write_tokens=40, web_searches=2
    )
    expected = calc_price(counts, model, provider_id=name).total_price
    assert compute_price(provider, model, usage, "default") == expected


def test_batch_costs_half_where_the_provider_says_so():
    usage = Usage(input_tokens=1000, output_tokens=100)
    assert compute_price("openai", "gpt-5-mini", usage, "batch") * 2 == compute_price(
        "openai", "gpt-5-mini", usage, "default"
    )


@pytest.mark.parametrize(
    ("provider", "model", "tier", "usage"),
    [
        ("openai", "no-such-model", "default", ANSWER.usage),
        ("local", "gpt-5-mini", "default", ANSWER.usage),
        ("openai", "gpt-5-mini", "no-such-tier", ANSWER.usage),
        ("openai", "gpt-5-mini", "default", Usage(input_tokens=1)),
        ("gemini", "gemini-2.5-pro", "default", Usage(output_tokens=1)),
    ],
)
def test_price_that_is_not_known_is_not_guessed(provider, model, tier, usage):
    assert compute_price(provider, model, usage, tier) is None


def test_own_prices_come_first():
    assert Cost(prices={"gpt-5-mini": Price(input=1, output=1)}).pollux_price(
        "openai", "gpt-5-mini", ANSWER.usage, "default"
    ) == Decimal("0.0011")


def test_cached_tokens_without_a_price_of_their_own_cost_as_others():
    usage = Usage(input_tokens=1000, output_tokens=0, cached_tokens=500, cache_write_tokens=100)
    assert Price(input=10, output=0).compute(usage) == Decimal("0.01")
    assert Price(input=10, output=0, cached=1, cache_write=20).compute(usage) == Decimal("0.0065")


# Results


@pytest.mark.parametrize("ask", [run, lambda prompt, config: stream(prompt, config=config).result()])
def test_cost_is_in_the_metrics(ask):
    result = ask("Who?", config=build_config(Script(ANSWER), Cost(prices=PRICES)))
    assert result["metrics"]["cost_usd"] == pytest.approx(0.014)


def test_answer_without_a_known_price_has_no_cost():
    assert "cost_usd" not in run("Who?", config=build_config(Script(ANSWER), Cost()))["metrics"]


def test_model_that_the_answer_names_is_priced_where_the_one_of_the_call_is_not_known():
    reply = Reply(text="Ahab", model="m", usage=ANSWER.usage, finish_reason="stop")
    config = build_config(Script(reply), Cost(prices=PRICES), model="router")
    assert run("Who?", config=config)["metrics"]["cost_usd"] == pytest.approx(0.014)


def test_job_is_priced_as_a_batch():
    cost = Cost()
    config = build_config(Script(ANSWER, ANSWER), cost, model="gpt-5-mini")
    result = collect_deferred(defer_many(["Who?", "Why?"], config=config), config=config)
    each = compute_price("openai", "gpt-5-mini", ANSWER.usage, "batch")
    assert result["metrics"]["costs_usd"] == [float(each)] * 2
    assert cost.spent_usd == 2 * each


def test_job_is_priced_as_a_batch_whatever_tier_its_answers_name():
    answer = attrs.evolve(ANSWER, service_tier="default")
    config = build_config(Script(answer), Cost(), model="gpt-5-mini")
    result = collect_deferred(defer_many(["Who?"], config=config), config=config)
    assert result["metrics"]["cost_usd"] == float(compute_price("openai", "gpt-5-mini", ANSWER.usage, "batch"))


def test_job_that_is_collected_again_counts_once():
    cost = Cost(prices=PRICES)
    config = build_config(Script(otherwise=ANSWER), cost)
    handle = defer_many(["Who?", "Why?"], config=config)
    results = [collect_deferred(handle, config=config) for _ in range(3)]
    assert [result["metrics"]["cost_usd"] for result in results] == [0.028] * 3
    assert cost.spent_usd == Decimal("0.028")


def test_tier_that_served_the_answer_decides():
    reply = Reply(text="Ahab", usage=ANSWER.usage, service_tier="flex", finish_reason="stop")
    result = run("Who?", config=build_config(Script(reply), Cost(), model="gpt-5-mini"))
    assert result["metrics"]["cost_usd"] == float(compute_price("openai", "gpt-5-mini", ANSWER.usage, "flex"))


def test_explain_shows_prices():
    config = Config(provider="openai", model="gpt-5-mini", api_key="k", plugins=[Cost()])
    assert explain("Who?", config=config, options=Options(max_tokens=100)).highest_price > 0


def test_explain_needs_no_budget():
    config = build_config(Cost(0, prices=PRICES), model="n")
    assert explain("Who?", config=config).highest_price is None


# Budget


def test_call_beyond_the_budget_is_not_sent():
    script, cost = Script(otherwise=ANSWER), Cost(0.03, prices=PRICES)
    config = build_config(script, cost)
    options = Options(max_tokens=300)
    run("Who?", config=config, options=options)
    run("Who?", config=config, options=options)
    with pytest.raises(PlanningError, match=r"not sent: it may cost \$0\.01\d+, and \$0\.002000 of budget_usd=0\.03"):
        run("Who?", config=config, options=options)
    assert len(script.requests) == 2
    assert cost.spent_usd == Decimal("0.028")


def test_stream_beyond_the_budget_is_not_sent():
    script = Script(otherwise=ANSWER)
    config = build_config(script, Cost(0.0001, prices=PRICES))
    with pytest.raises(PlanningError, match="not sent"):
        stream("Who?", config=config).result()
    assert script.requests == []


def test_calls_side_by_side_never_exceed_the_budget():
    cost = Cost(0.1, prices=PRICES)
    answer = Reply(text="a", usage=Usage(input_tokens=8, output_tokens=100), finish_reason="stop")
    config = build_config(Script(otherwise=answer), cost, request_concurrency=8)
    options = Options(max_tokens=100, on_error="keep")
    result = run_many(["Who?"] * 60, config=config, options=options)
    answered = sum(text == "a" for text in result["answers"])
    assert 0 < answered < 60
    assert cost.spent_usd == answered * Decimal("0.00408") <= Decimal("0.1")


def test_job_beyond_the_budget_is_not_submitted(tmp_path):
    config = build_config(Cost(0.001, prices=PRICES))
    with pytest.raises(PlanningError, match="not sent"):
        defer_many(["Who?"] * 100, config=config, job_file=tmp_path / "job.json")
    assert list(tmp_path.iterdir()) == []


def test_submitted_jobs_count_as_what_they_may_cost_until_they_are_collected():
    cost = Cost(0.5, prices=PRICES)
    config, options = build_config(Script(otherwise=ANSWER), cost), Options(max_tokens=1000)
    handles = [defer_many(["Who?"] * 5, config=config, options=options) for _ in range(2)]
    with pytest.raises(PlanningError, match="not sent"):
        defer_many(["Who?"] * 5, config=config, options=options)
    with pytest.raises(PlanningError, match="not sent"):
        run("Who?", config=config, options=Options(max_tokens=5000))
    for handle in handles:
        collect_deferred(handle, config=config)
    assert cost.spent_usd == 10 * Decimal("0.014")
    defer_many(["Who?"] * 5, config=config, options=options)


def test_budget_for_a_model_without_a_price_is_refused():
    script = Script(ANSWER)
    with pytest.raises(ConfigurationError, match=r"the price of openai 'n' is not known") as caught:
        run("Who?", config=build_config(script, Cost(1), model="n"))
    assert 'Cost(prices={"n": Price(' in caught.value.hint
    assert script.requests == []


def test_each_attempt_counts_that_may_be_billed():
    def ask(*answers):
        cost = Cost(1, prices=PRICES)
        run("Who?", config=build_config(Script(*answers), cost), options=Options(max_tokens=100, on_error="keep"))
        return cost.spent_usd

    (once, twice), answer = [ask(TimeoutError(), last) for last in (failing(503), TimeoutError())], ask(ANSWER)
    assert 0 < once < twice == 2 * once
    assert ask(TimeoutError(), ANSWER) == once + answer


@pytest.mark.parametrize("error", [ConnectionResetError(), failing(503)])
def test_stream_that_breaks_off_counts_as_the_most_that_it_may_cost(error):
    cost = Cost(1, prices=PRICES)
    with pytest.raises(APIError):
        stream(
            "Who?", config=build_config(Script(BrokenOff("Ah", error)), cost), options=Options(max_tokens=1000)
        ).result()
    assert cost.spent_usd > Decimal("0.04")


@pytest.mark.parametrize(("error", "is_billed"), [(failing(400), False), (TimeoutError(), True)])
def test_failed_call_counts_where_it_may_be_billed(error, is_billed):
    cost = Cost(1, prices=PRICES)
    with pytest.raises(APIError):
        run("Who?", config=build_config(Script(error, error), cost))
    assert (cost.spent_usd > 0) == is_billed


def test_stream_that_is_left_counts_as_the_most_that_it_may_cost():
    cost = Cost(1, prices=PRICES)
    with stream("Who?", config=build_config(Script(ANSWER), cost), options=Options(max_tokens=1000)) as events:
        next(iter(events))
    assert cost.spent_usd > Decimal("0.04")


def test_budget_holds_for_all_threads_that_share_the_object():
    cost = Cost(0.1, prices=PRICES)
    config = build_config(Script(otherwise=ANSWER), cost)
    options = Options(max_tokens=350, on_error="keep")  # so that the estimate is at least the cost of the answer
    threads = [
        threading.Thread(target=run, args=("Who?",), kwargs={"config": config, "options": options}) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Decimal(0) < cost.spent_usd <= Decimal("0.1")
    assert cost._reserved_usd == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget_usd": -1}, "budget_usd must be at least 0"),
        ({"prices": {"m": 3}}, "prices must be Prices by model, got int"),
    ],
)
def test_bad_setting_is_refused(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        Cost(**arguments)


def test_environment_has_the_budget(monkeypatch):
    monkeypatch.setenv("POLLUX_COST_BUDGET_USD", "0.00001")
    with pytest.raises(PlanningError, match=r"budget_usd=0\.00001"):
        run("Who?", config=build_config(Cost(), model="gpt-5-mini"))


def test_is_enabled_by_its_name():
    assert isinstance(load(MIDDLEWARE, "cost").plugin, Cost)


def test_batch_takes_its_prices_from_the_plugin(server, tmp_path):
    config = Config(provider="local", model="m", base_url=f"{server.url}/v1", plugins=[Cost(prices=PRICES)])
    report = run_batch(["Who?", "Why?"], config=config, journal=tmp_path / "job.journal")
    # The service reports 11 tokens in and 7 out for each answer.
    assert report.cost == 2 * (11 * Decimal(10) + 7 * Decimal(40)) / 1_000_000
