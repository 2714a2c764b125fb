import threading
from contextlib import suppress
from decimal import Decimal

import pytest

from bulk_service import answer, echo, read_prompt
from pollux_batch import BatchItem, Budget, Limits, Retries
from pollux_sync import ConfigurationError, Options, ProviderBugError, hookimpl
from pollux_sync.testing.server import Answer, Hang

PROMPTS = [f"p{number}" for number in range(150)]
AT_ONCE = Retries(initial_wait_s=0)
SHORT = Options(max_tokens=100)
ALL_AT_ONCE = Limits(adaptive=False)


class CentACall:
    """Prices: a call costs one cent, whatever it takes."""

    @hookimpl
    def pollux_price(self, usage):
        return Decimal("0.01")


class TokenPrices:
    """Prices: a dollar for a thousand tokens."""

    @hookimpl
    def pollux_price(self, usage):
        return Decimal((usage.input_tokens or 0) + (usage.output_tokens or 0)) / 1_000


@pytest.fixture
def priced(config):
    return config(plugins=[CentACall()])


class TierPrices:
    """Prices: a call costs ten cents, five with flex."""

    @hookimpl
    def pollux_price(self, tier):
        return Decimal("0.05") if tier == "flex" else Decimal("0.10")


@pytest.mark.parametrize(("served", "cost"), [("flex", "0.05"), ("default", "0.10"), (None, "0.05")])
def test_prices_an_answer_by_the_tier_that_served_it_or_else_that_was_asked_for(ask, config, server, served, cost):
    server.handler = lambda _: Answer(json=answer().json | {"service_tier": served})
    setup = config(plugins=[TierPrices()], provider_options={"takes_service_tier": True})
    result = ask(["p"], config=setup, options=Options(service_tier="flex"), budget=Budget(usd=1))
    assert result.cost == Decimal(cost)


def test_never_spends_more_than_its_budget(ask, priced, server):
    result = ask(PROMPTS, config=priced, workers=64, limits=ALL_AT_ONCE, budget=Budget(usd=1.00))
    assert (result.termination.kind, result.cost, len(server.requests)) == ("budget_exceeded", Decimal("1.00"), 100)


def test_goes_on_after_a_raise_of_its_budget(ask, priced, server):
    ask(PROMPTS, config=priced, workers=64, budget=Budget(usd=1.00))
    result = ask(PROMPTS, config=priced, workers=64, budget=Budget(usd=2.00))
    assert (result.termination.kind, result.succeeded, result.cost) == ("completed", 150, Decimal("0.50"))
    assert len(server.requests) == 150


def test_counts_what_earlier_runs_have_spent(ask, priced, server):
    ask(PROMPTS[:50], config=priced, budget=Budget(usd=0.60))
    result = ask(PROMPTS, config=priced, budget=Budget(usd=0.60))
    assert (result.termination.kind, result.cost, len(server.requests)) == ("budget_exceeded", Decimal("0.10"), 60)


def test_asks_for_more_before_it_stops(ask, priced):
    asked = []

    def raise_once(budget):
        asked.append(budget.usd)
        return Budget(usd=0.20, on_exceeded=raise_once) if len(asked) == 1 else None

    result = ask(PROMPTS, config=priced, workers=4, budget=Budget(usd=0.10, on_exceeded=raise_once))
    assert (asked, result.succeeded) == ([0.10, 0.20], 20)


def test_warns_when_much_of_a_budget_is_spent(ask, priced, caplog):
    ask(PROMPTS, config=priced, workers=1, budget=Budget(usd=0.10, warn_at=0.5))
    assert [record.getMessage() for record in caplog.records] == ["50 % of the budget is spent"]


def test_reserves_the_worst_case_of_a_call(ask, config, server):
    # A call takes five tokens, but may take a hundred.
    result = ask(PROMPTS, config=config(), options=SHORT, workers=8, budget=Budget(tokens=150))
    n_sent = len(server.requests)
    assert result.termination.kind == "budget_exceeded"
    assert 5 * n_sent <= 150
    assert n_sent > 5


def hold(build_answer):
    """Return a handler that holds the first calls for a moment, until all have come that are sent together."""
    together = threading.Barrier(64)

    def answer_together(request):
        with suppress(threading.BrokenBarrierError):
            together.wait(0.3)
        return build_answer(request)

    return answer_together


def answer_uneven(request):
    """Return an answer that takes from 10 to 100 tokens, the most that it may."""
    n_output = 10 * (1 + int(read_prompt(request)[1:]) % 10)
    return answer("ok", prompt_tokens=4, completion_tokens=n_output, total_tokens=4 + n_output)


@pytest.mark.parametrize(("kind", "part", "whole"), [("usd", 1.00, 20.0), ("tokens", 1_000, 20_000)])
def test_pays_for_nothing_twice_until_its_budget_was_raised_enough(ask, config, server, kind, part, whole):
    server.handler = hold(answer_uneven)
    settings = {"config": config(plugins=[TokenPrices()]), "options": SHORT, "workers": 64, "limits": ALL_AT_ONCE}
    first = ask(PROMPTS, **settings, budget=Budget(**{kind: part}))
    assert first.termination.kind == "budget_exceeded"
    assert 0 < float(first.cost) <= 1.00
    last = ask(PROMPTS, **settings, budget=Budget(**{kind: whole}))
    assert (last.termination.kind, last.succeeded) == ("completed", 150)
    assert sorted(server.prompts) == sorted(PROMPTS)


@pytest.mark.parametrize(("kind", "part", "whole"), [("usd", 1.00, 100.0), ("tokens", 1_000, 100_000)])
def test_spends_no_more_than_its_estimates_were_too_low(ask, config, server, kind, part, whole):
    # 108 tokens are reserved for a call, which takes 503: at most nine are in flight together.
    server.handler = hold(lambda request: answer("long", completion_tokens=500, total_tokens=503))
    settings = {"config": config(plugins=[TokenPrices()]), "options": SHORT, "workers": 64, "limits": ALL_AT_ONCE}
    first = ask(PROMPTS, **settings, budget=Budget(**{kind: part}))
    assert first.termination.kind == "budget_exceeded"
    assert float(first.cost) <= 1.00 + 9 * (0.503 - 0.108)
    last = ask(PROMPTS, **settings, budget=Budget(**{kind: whole}))
    assert (last.termination.kind, last.succeeded) == ("completed", 150)
    assert sorted(server.prompts) == sorted(PROMPTS)


def test_counts_an_answer_without_usage_as_estimated(ask, config, server):
    # Over both runs: eleven tokens and a hundred for each of the three calls that the budget allows.
    server.handler = lambda request: Answer(json={"choices": echo(request).json["choices"]})
    settings = {"config": config(plugins=[TokenPrices()]), "options": SHORT}
    first = ask(PROMPTS[:2], **settings, budget=Budget(usd=0.40))
    again = ask(PROMPTS, **settings, budget=Budget(usd=0.40))
    assert (first.termination.kind, again.termination.kind) == ("completed", "budget_exceeded")
    assert (first.cost, len(server.requests)) == (Decimal("0.216"), 3)


def test_sends_nothing_without_known_prices(ask, server):
    with pytest.raises(ConfigurationError, match="price of local 'm' is not known") as caught:
        ask(PROMPTS, budget=Budget(usd=1.00))
    assert "Budget(tokens=...)" in caught.value.hint
    assert server.requests == []


def test_fails_an_item_alone_whose_model_has_no_price(ask, config, server):
    class OnePrice:
        @hookimpl
        def pollux_price(self, model):
            return Decimal("0.01") if model == "m" else None

    other = config(model="other", plugins=[OnePrice()])
    items = ["a", BatchItem("b", config=other), "c"]
    result = ask(items, config=config(plugins=[OnePrice()]), budget=Budget(usd=1.00))
    assert (result.outputs(), result.cost) == (["re: a", None, "re: c"], Decimal("0.02"))
    assert "price of local 'other' is not known" in result.failures[0].error
    assert "Budget(tokens=...)" in result.failures[0].exception.hint
    # Without a budget nobody needs to know.
    assert ask(items, config=config(plugins=[OnePrice()])).succeeded == 3


def test_charges_tries_without_an_answer_as_estimated(ask, config, server):
    server.handler = lambda request: Hang()
    budget = Budget(tokens=300)
    result = ask(["a", "b"], config=config(timeout_s=0.5), options=SHORT, workers=1, budget=budget, retries=AT_ONCE)
    # Each of them may have taken some 110 tokens.
    assert len(server.wait_for_requests(2)) == 2
    assert result.termination.kind == "budget_exceeded"
    (failure,) = result.failures
    assert failure.error_category == "timeout"
    assert "not retried: the budget does not allow another try" in failure.error


def test_remembers_tries_without_an_answer(ask, config, server):
    server.handler = lambda request: Hang()
    settings = {"options": SHORT, "retries": Retries(max_attempts=2, initial_wait_s=0)}
    ask(["a"], config=config(timeout_s=0.1), **settings)
    server.handler = echo
    assert ask(["a"], **settings, budget=Budget(tokens=300)).termination.kind == "budget_exceeded"
    assert ask(["a"], **settings, budget=Budget(tokens=400)).termination.kind == "completed"


def test_shows_what_tries_without_an_answer_may_have_cost(ask, config, server):
    server.reply(Hang())
    prices = config(timeout_s=1.0, plugins=[TokenPrices()])
    (item,) = ask(["a"], config=prices, options=SHORT, retries=AT_ONCE).results
    assert item.token_usage["total_tokens"] == 5
    assert item.metadata["charged_by_estimate"] == 108
    assert item.cost == Decimal("0.113")


def test_counts_both_calls_of_a_repair(ask, config, server):
    server.reply(answer("no number"), answer("7"))
    options = Options(response_schema=int, schema_repairs=1, max_tokens=100)
    result = ask(["a"], config=config(plugins=[CentACall()]), options=options, budget=Budget(usd=0.02))
    assert (result.outputs(), result.cost) == ([7], Decimal("0.02"))
    again = ask(["a", "b"], config=config(plugins=[CentACall()]), options=options, budget=Budget(usd=0.02))
    assert (again.termination.kind, len(server.requests)) == ("budget_exceeded", 2)


def test_keeps_the_first_answer_when_no_repair_is_affordable(ask, config, server):
    server.reply(answer("no number"), answer("7"))
    options = Options(response_schema=int, schema_repairs=1, max_tokens=100)
    result = ask(["a"], config=config(plugins=[CentACall()]), options=options, budget=Budget(usd=0.01))
    assert (result.results[0].error_category, result.cost) == ("validation_error", Decimal("0.01"))
    assert len(server.requests) == 1


def test_repairs_an_answer_once_its_budget_allows(ask, config, server):
    server.reply(answer("no number"), answer("7"))
    settings = {
        "config": config(plugins=[CentACall()]),
        "options": Options(response_schema=int, schema_repairs=1, max_tokens=100),
    }
    ask(["a"], **settings, budget=Budget(usd=0.01))
    results = [ask(["a"], **settings, budget=Budget(usd=0.02)) for _ in range(2)]
    assert [result.outputs() for result in results] == [[7]] * 2
    assert [result.cost for result in results] == [Decimal("0.01"), 0]
    assert len(server.requests) == 2


def test_counts_the_cost_of_answers_that_the_parser_refuses(ask, priced):
    result = ask(["a", "b"], config=priced, parser=lambda response: int(response.text))
    assert (result.failed, result.cost) == (2, Decimal("0.02"))


def test_counts_no_cost_of_what_was_refused(ask, priced, server):
    server.handler = lambda request: Answer(status=400, json={}) if read_prompt(request) == "b" else echo(request)
    assert ask(["a", "b"], config=priced).cost == Decimal("0.01")


def test_keeps_an_answer_whose_price_cannot_be_computed(ask, config, server):
    class Broken:
        @hookimpl
        def pollux_price(self):
            raise KeyError("m")

    (item,) = ask(["a"], config=config(plugins=[Broken()])).results
    assert isinstance(item.exception, ProviderBugError)
    assert ask(["a"]).outputs() == ["re: a"]
    assert len(server.requests) == 1
