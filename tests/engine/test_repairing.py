import attrs
import pytest

from pollux_sync import Config, ConfigurationError, Options, RetryPolicy, Source, run, run_many
from pollux_sync.testing import Script, failing


@attrs.frozen
class Age:
    years: int


GOOD, BAD = {"years": 36}, {"years": "many"}
ONCE = Options(response_schema=Age, schema_repairs=1)


def config(script):
    retry = RetryPolicy(initial_delay_s=0, jitter=False)
    return Config(provider="openai", model="m", use_mock=True, plugins=[script], retry=retry, request_concurrency=1)


def test_asks_again_with_the_answer_and_its_errors():
    script = Script(BAD, GOOD)
    result = run("How old?", source=Source.from_text("Ada"), config=config(script), options=ONCE)
    assert result["structured"] == [Age(36)]
    assert result["diagnostics"]["schema_errors"] == [None]
    prompt = script.requests[1]["prompt"]
    assert prompt.startswith("How old?")
    assert '{"years": "many"}' in prompt
    assert "$.years" in prompt
    assert script.requests[1]["parts"] == script.requests[0]["parts"]


def test_counts_every_turn():
    result = run("How old?", config=config(Script("no idea")), options=ONCE)
    assert result["usage"] == {"input_tokens": 10, "output_tokens": 10, "total_tokens": 20}
    assert result["metrics"]["n_attempts"] == 2


def test_asks_no_more_often_than_allowed():
    script = Script(otherwise=BAD)
    options = attrs.evolve(ONCE, schema_repairs=2)
    result = run("How old?", config=config(script), options=options)
    assert result["structured"] == [None]
    assert len(script.requests) == 3


@pytest.mark.parametrize("answer", [GOOD, BAD])
def test_asks_once_without_repairs(answer):
    script = Script(otherwise=answer)
    run("How old?", config=config(script), options=Options(response_schema=Age))
    assert len(script.requests) == 1


def test_asks_once_without_a_schema():
    script = Script(otherwise="text")
    run("How old?", config=config(script), options=Options(schema_repairs=3))
    assert len(script.requests) == 1


def test_keeps_the_answer_when_asking_again_fails():
    script = Script(BAD, failing(400, "no more"))
    result = run("How old?", config=config(script), options=ONCE)
    assert (result["status"], result["structured"]) == ("ok", [None])
    assert result["metrics"]["n_attempts"] == 2


def test_repairs_each_prompt_on_its_own():
    script = Script(GOOD, BAD, GOOD)
    result = run_many(["a", "b"], config=config(script), options=ONCE)
    assert result["structured"] == [Age(36), Age(36)]


@pytest.mark.parametrize("repairs", [-1, True, 1.0])
def test_refuses_an_invalid_number_of_turns(repairs):
    with pytest.raises(ConfigurationError, match="schema_repairs"):
        Options(schema_repairs=repairs)
