import pytest

from pollux_batch import DefaultErrorClassifier
from pollux_batch.testing import FakeRateLimitError, FakeStrategy


def execute(strategy, prompt="Who?"):
    return strategy.execute(prompt, 1, 30.0)[0]


def test_answers_with_a_value_or_by_a_function():
    assert (execute(FakeStrategy("yes")), execute(FakeStrategy(str.upper))) == ("yes", "WHO?")


def test_reports_the_tokens_that_it_is_given():
    strategy = FakeStrategy("yes", token_usage={"prompt_tokens": 3, "completion_tokens": 1})
    assert strategy.execute("Who?", 1, 30.0)[1] == {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}


def test_fails_by_its_schedule():
    strategy = FakeStrategy("yes", failure_schedule=[None, KeyError("x")])
    assert execute(strategy) == "yes"
    with pytest.raises(KeyError):
        execute(strategy)
    assert (execute(strategy), strategy.calls) == ("yes", 3)


def test_fails_as_often_as_it_is_told_and_the_same_way_each_time():
    def count_failures():
        strategy = FakeStrategy("yes", failure_rate=0.5, seed=7, latency=1e-6)
        return [fails(strategy) for _ in range(50)]

    first = count_failures()
    assert first == count_failures()
    assert 10 < sum(first) < 40


def fails(strategy):
    try:
        execute(strategy)
    except ConnectionError:
        return True
    return False


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"latency": -1}, "latency"),
        ({"failure_rate": 2, "seed": 1}, "failure_rate must be at most 1"),
        ({"failure_rate": 0.5}, "failure_rate needs a seed"),
    ],
)
def test_facts_that_cannot_be_are_refused(facts, message):
    with pytest.raises(ValueError, match=message):
        FakeStrategy("yes", **facts)


def test_a_made_up_refusal_is_one_for_the_rate():
    info = DefaultErrorClassifier().classify(FakeRateLimitError(retry_after=2))
    assert (info.is_rate_limit, info.suggested_wait) == (True, 2.0)
