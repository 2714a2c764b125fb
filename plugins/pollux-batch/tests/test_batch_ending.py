import os
import signal
import threading
import time

import pytest

from bulk_service import echo, read_prompt
from pollux_batch import Budget, JournalError, Limits, run_batch, stream_batch
from pollux_sync import ConfigurationError
from pollux_sync.testing.server import Answer, Hang

ALL_AT_ONCE = Limits(adaptive=False)
PAUSED = Answer(status=429, headers={"Retry-After": "30"}, json={})


def test_gives_each_bad_row_its_result_when_nothing_can_be_asked(ask, server):
    for _ in range(20):
        result = ask([1, 2, 3])
        assert [item.item_id for item in result.failures] == ["item_0", "item_1", "item_2"]
    assert server.requests == []


def test_ends_with_the_exception_of_a_function_for_more_budget(ask):
    def refuse(budget):
        raise LookupError("no purse")

    with pytest.raises(LookupError, match="no purse"):
        ask(["a", "b"], budget=Budget(tokens=1, on_exceeded=refuse))


def test_ends_when_a_parser_leaves_the_process(ask):
    def leave(response):
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        ask(["a", "b"], parser=leave)


def test_keeps_what_was_answered_when_the_input_raises(ask, config, server):
    def items():
        for number in range(400):
            if number == 300:
                raise OSError("the disk of the input is gone")
            yield f"p{number}"

    seen = []
    with pytest.raises(OSError, match="input is gone"):
        seen.extend(stream_batch(items(), config=config(), workers=4))
    with pytest.raises(OSError, match="input is gone"):
        ask(items(), workers=4)
    n_sent = len(server.requests)
    result = ask([f"p{number}" for number in range(300)])
    assert result.succeeded == 300
    assert len(server.requests) - n_sent == 300 - result.summary()["replayed"]


def test_asks_what_a_slow_input_has_given_before_the_rest_comes(config):
    come = threading.Event()

    def items():
        yield "first"
        # Longer than the feeder waits, so that it goes on without the rest.
        time.sleep(0.1)
        yield "second"
        assert come.wait(10)
        yield "third"

    results = stream_batch(items(), config=config())
    assert {next(results).output, next(results).output} == {"re: first", "re: second"}
    come.set()
    assert [result.output for result in results] == ["re: third"]


def test_answers_nothing_of_no_items(ask):
    result = ask([])
    assert (result.results, result.termination.kind) == ([], "completed")


def test_works_in_a_thread(ask):
    results = []
    thread = threading.Thread(target=lambda: results.append(ask(["a", "b"])))
    thread.start()
    thread.join()
    assert results[0].outputs() == ["re: a", "re: b"]


def test_ends_at_the_first_failure_when_told_to(ask, server):
    server.handler = lambda request: Answer(status=400, json={}) if read_prompt(request) == "p3" else echo(request)
    result = ask([f"p{number}" for number in range(100)], workers=1, fail_fast=True)
    assert (result.termination.kind, result.termination.triggering_item_id) == ("fail_fast", "item_3")
    assert len(result.results) < 100


@pytest.mark.parametrize(
    ("answer", "category"),
    [
        (Answer(status=401, json={"error": {"message": "Incorrect API key"}}), "auth"),
        (Answer(status=429, json={"error": {"code": "insufficient_quota", "message": "quota exceeded"}}), "quota"),
    ],
)
def test_ends_where_every_other_call_would_be_refused_too(ask, server, answer, category):
    server.handler = lambda request: answer
    result = ask([f"p{number}" for number in range(100)], workers=1)
    assert (result.termination.kind, result.termination.error_category) == ("fail_fast", category)
    assert (len(server.requests), result.unanswered) == (1, 99)


def test_begins_nothing_after_its_deadline(ask, server):
    server.handler = lambda request: Answer(status=503, headers={"Retry-After": "30"}, json={})
    result = ask(["a"], deadline_s=0.05)
    assert (result.termination.kind, result.failed) == ("batch_timeout", 1)


def test_leaves_a_paused_provider_when_its_reader_leaves(config, server):
    server.handler = lambda request: echo(request) if read_prompt(request) == "p0" else PAUSED
    results = stream_batch([f"p{number}" for number in range(50)], config=config(), workers=8)
    assert next(results).output == "re: p0"
    results.close()
    assert len(server.requests) < 50


class Interrupts:
    """Ctrl-C of this process. It is sent again only when the last one has been noticed."""

    def __init__(self):
        self._noticed = threading.Event()

    def notice(self, number, frame):
        self._noticed.set()
        raise KeyboardInterrupt

    def send(self):
        self._noticed.clear()
        os.kill(os.getpid(), signal.SIGINT)
        self._noticed.wait()
        # Of the job's own thread, until it has dealt with it.
        time.sleep(0.3)


@pytest.fixture
def interrupts():
    interrupts = Interrupts()
    before = signal.signal(signal.SIGINT, interrupts.notice)
    yield interrupts
    signal.signal(signal.SIGINT, before)


def start(function):
    thread = threading.Thread(target=function)
    thread.start()
    return thread


@pytest.fixture
def interrupted(ask, server, interrupts):
    """A run of 30 items that was interrupted with ten of them in flight."""
    server.handler = lambda request: Hang(echo(request))

    def interrupt():
        server.wait_for_requests(10)
        interrupts.send()
        server.release()

    thread = start(interrupt)
    result = ask([f"p{number}" for number in range(30)], workers=10, limits=ALL_AT_ONCE)
    thread.join()
    return result


def test_keeps_what_is_in_flight_on_ctrl_c(interrupted, query):
    assert interrupted.termination.kind == "interrupted"
    assert (interrupted.succeeded, len(interrupted.results)) == (10, 10)
    assert query("SELECT COUNT(*) FROM answers") == [(10,)]
    assert query("SELECT outcome FROM runs") == [("interrupted",)]


def test_pays_for_no_answer_again_after_ctrl_c(interrupted, ask, server):
    result = ask([f"p{number}" for number in range(30)])
    assert (result.succeeded, result.summary()["replayed"], len(server.requests)) == (30, 10, 30)


def test_counts_what_an_interrupted_run_left(interrupted):
    assert interrupted.unanswered == 20


def test_leaves_at_once_on_a_second_ctrl_c(ask, server, interrupts):
    server.handler = lambda request: Hang()

    def interrupt():
        server.wait_for_requests(10)
        interrupts.send()
        interrupts.send()

    thread = start(interrupt)
    with pytest.raises(KeyboardInterrupt):
        ask([f"p{number}" for number in range(30)], workers=10, limits=ALL_AT_ONCE)
    thread.join()
    server.release()
    server.handler = echo
    assert ask([f"p{number}" for number in range(30)]).succeeded == 30


def test_waits_for_what_is_in_flight_when_its_reader_leaves(config, path, server, query):
    server.handler = lambda request: echo(request) if read_prompt(request) == "p0" else Hang(echo(request))
    results = stream_batch(["p0", "p1", "p2", "p3"], config=config(), journal=path, workers=2, limits=ALL_AT_ONCE)
    next(results)
    server.wait_for_requests(3)
    server.release()
    results.close()
    assert query("SELECT COUNT(*) >= 3 FROM answers") == [(1,)]
    assert query("SELECT outcome FROM runs") == [("interrupted",)]


def test_tells_of_a_result_that_cannot_be_delivered(config):
    class Leaving:
        n_read = 0

        def __call__(self, response):
            self.n_read += 1
            if self.n_read > 1:
                raise SystemExit(3)

    # The second of two equal items is read where answers are written.
    with pytest.raises((JournalError, SystemExit)):
        run_batch(["a", "a"], config=config(), parser=Leaving())


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ({"retries": 3}, "retries must be a Retries, got 3"),
        ({"limits": 5}, "limits must be a Limits"),
        ({"limits": 0}, "limits must be a Limits"),
        ({"budget": 5}, "budget must be a Budget"),
        ({"parser": 3}, "parser must be a function"),
        ({"journal": ""}, "journal must be the path of a file"),
        ({"journal": 5}, "journal must be the path of a file"),
        ({"options": {"temperature": 1}}, "options must be Options"),
        ({"wait": "no"}, "wait must be True or False"),
        ({"ordered": 1}, "ordered must be True or False"),
        ({"warm_prefix": "no"}, "warm_prefix must be True or False"),
        ({"fail_fast": None}, "fail_fast must be True or False"),
        ({"file": "a.db"}, "unknown argument 'file'"),
    ],
)
def test_refuses_an_argument_of_another_kind(ask, server, argument, words):
    with pytest.raises(ConfigurationError, match=words):
        ask(["a"], **argument)
    assert server.requests == []
