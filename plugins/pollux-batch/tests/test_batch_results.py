import json
import threading
from decimal import Decimal

import pytest

from bulk_service import answer, echo, read_prompt
from pollux_batch import Retries, TokenUsage, run_batch, stream_batch
from pollux_sync import AnswerFile, Citation, Config, ConfigurationError, HostedCall, Options, Reply
from pollux_sync.testing import Script
from pollux_sync.testing.server import Answer


@pytest.fixture
def mixed(ask, server):
    server.handler = lambda request: Answer(status=400, json={}) if read_prompt(request) == "b" else echo(request)
    return ask([("one", "a"), ("two", "b"), ("three", "a")])


def test_counts_what_became_of_the_items(mixed):
    assert (mixed.total_items, mixed.succeeded, mixed.failed) == (3, 2, 1)
    assert [item.item_id for item in mixed.successes] == ["one", "three"]
    assert [item.item_id for item in mixed.failures] == ["two"]
    assert mixed.by_id["three"].deduped_from == "one"


def test_gives_the_outputs_with_their_ids(mixed):
    assert mixed.outputs(with_ids=True) == [("one", "re: a"), ("two", None), ("three", "re: a")]


def test_adds_up_the_tokens_that_were_paid_for(mixed):
    assert (mixed.total_input_tokens, mixed.total_output_tokens, mixed.total_cached_tokens) == (3, 2, 0)


def test_sums_a_run_up(mixed):
    summary = mixed.summary()
    assert summary.pop("duration_s") >= 0
    assert summary == {
        "total_items": 3,
        "succeeded": 2,
        "failed": 1,
        "replayed": 0,
        "deduped": 1,
        "unanswered": 0,
        "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
        "cost_usd": None,
        "errors": {"invalid_request": 1},
        "termination": "completed",
    }


def test_gives_objects_in_json_mode_also_when_they_are_read_again(ask, server):
    server.handler = lambda _: answer('{"name": "Ada"}')
    options = Options(response_schema=dict)
    results = [ask(["Who?"], options=options).outputs() for _ in range(2)]
    assert results == [[{"name": "Ada"}]] * 2
    assert [request.json()["response_format"] for request in server.requests] == [{"type": "json_object"}]


def test_knows_no_cost_without_prices(mixed):
    assert mixed.cost is None
    assert mixed.by_id["three"].cost == Decimal(0)


def test_yields_in_the_order_of_the_items_when_told_to(config, server):
    others = threading.Event()

    def answer_the_first_last(request):
        if read_prompt(request) == "p0":
            others.wait()
        elif read_prompt(request) == "p9":
            others.set()
        return echo(request)

    server.handler = answer_the_first_last
    results = stream_batch([f"p{number}" for number in range(10)], config=config(), workers=4, ordered=True)
    assert [item.submission_index for item in results] == [*range(10)]


def test_yields_what_it_has_in_order_after_a_bad_row(config):
    results = stream_batch([5, "a", ("", "b"), "a", "c"], config=config(), ordered=True)
    assert [item.submission_index for item in results] == [*range(5)]


def test_gives_a_parser_the_answer_with_its_tokens(config):
    seen = []
    run_batch(["a"], config=config(), parser=seen.append)
    (response,) = seen
    assert (response.text, response.value, response.metadata) == ("re: a", "re: a", {"finish_reason": "stop"})
    assert response.token_usage == TokenUsage(input_tokens=3, output_tokens=2, total_tokens=5)


def test_gives_a_parser_the_typed_answer(config, server):
    server.handler = lambda request: answer("7")
    options = Options(response_schema=int)
    assert run_batch(["a"], config=config(), options=options, parser=lambda r: r.value + 1).outputs() == [8]


def test_counts_cached_tokens(config, server):
    server.handler = lambda request: answer("7", prompt_tokens_details={"cached_tokens": 2})
    assert run_batch(["a"], config=config()).total_cached_tokens == 2


def test_keeps_answers_that_are_larger_than_what_may_wait(ask, server):
    text = "x" * 1_500_000
    server.handler = lambda request: answer(read_prompt(request) + text)
    prompts = [f"p{number}" for number in range(12)]
    assert ask(prompts, workers=12).succeeded == 12
    assert ask(prompts).outputs() == [prompt + text for prompt in prompts]
    assert len(server.requests) == 12


def test_journal_has_the_tries_and_the_time_of_an_answer(ask, server, query):
    server.reply(Answer(status=500, json={}))
    result = ask(["a"], retries=Retries(initial_wait_s=0))
    ((attempts, duration_s),) = query("SELECT attempts, duration_s FROM answers")
    assert attempts == result.results[0].attempts == 2
    assert 0 < duration_s <= result.results[0].duration_s


def test_tells_what_the_providers_own_tools_did(path):
    searched = HostedCall(kind="web_search", name="web_search", id="s1")
    reply = Reply(
        text="At nine.",
        service_tier="flex",
        citations=(Citation(url="https://a.example", start=0, end=8),),
        hosted_calls=(searched,),
        files=(AnswerFile(id="f1"),),
        artifacts={"citations": ["in its own form"], "container": "c1"},
    )
    config = Config(provider="openai", model="m", use_mock=True, plugins=[Script(reply)])
    (result,) = run_batch(["High water?"], config=config, journal=path).results
    assert json.loads(json.dumps(result.metadata)) == {
        "service_tier": "flex",
        "citations": [{"url": "https://a.example", "start": 0, "end": 8}],
        "hosted_calls": [{"kind": "web_search", "name": "web_search", "id": "s1", "is_error": False}],
        "files": [{"id": "f1"}],
        "container": "c1",
    }


def test_progress_is_written_to_stderr(capsys):
    config = Config(provider="openai", model="m", use_mock=True)
    result = run_batch(["a", "b"], config=config, progress=True)
    assert result.succeeded == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "2 answered" in printed.err


def test_progress_that_is_no_flag_is_refused():
    with pytest.raises(ConfigurationError, match="progress"):
        run_batch(["a"], config=Config(provider="openai", model="m", use_mock=True), progress="yes")
