"""Of the calls that share a prefix one goes ahead, so that the others find it cached."""

import os
import signal
import threading

import attrs
import pytest

from pollux_sync import (
    Config,
    Interrupted,
    Options,
    Reply,
    RetryPolicy,
    Session,
    Source,
    Terminated,
    explain,
    hookimpl,
    run_many,
)
from pollux_sync.testing import failing
from pollux_sync.testing.server import Hang

ONCE = RetryPolicy(max_attempts=1)
SOURCES = [Source.from_text("a manual"), Source.from_text("another")]
CACHED = Options(implicit_caching=True)
#: How long a test waits for what must happen: a bound, not an expectation.
SOON_S = 10.0


class Sending:
    """Has ``react`` answer each request, by its number and prompt; None leaves it to the mock.

    ``prompts`` are those of the requests in their order, ``most`` is the largest number that were on their way at once.
    """

    def __init__(self, react=lambda number, prompt: None):
        self._react = react
        self._lock = threading.Lock()
        self._n_underway = 0
        self.prompts = []
        self.most = 0

    @hookimpl(wrapper=True)
    def pollux_send(self, request):
        with self._lock:
            self.prompts.append(request.body["prompt"])
            number = len(self.prompts)
            self._n_underway += 1
            self.most = max(self.most, self._n_underway)
        try:
            self._react(number, request.body["prompt"])
            return (yield)
        finally:
            with self._lock:
                self._n_underway -= 1


def build_config(*plugins, **fields):
    return Config(**({"provider": "any", "model": "m", "use_mock": True, "plugins": plugins, "retry": ONCE} | fields))


def ask(sending, prompts="abcdef", *, sources=SOURCES[:1], options=CACHED, per_source=False, **fields):
    config = build_config(sending, **fields)
    options = attrs.evolve(options, on_error="keep")
    return run_many([*prompts], sources=sources, config=config, options=options, per_source=per_source)


@pytest.mark.parametrize("concurrency", [1, 2, 6, 30])
def test_the_first_is_answered_before_the_others_are_sent(concurrency):
    together = threading.Barrier(min(concurrency, 5), timeout=SOON_S)
    n_answered = []

    def react(number, prompt):
        # Five follow the first: as many as may go together meet here.
        if 2 <= number <= 1 + together.parties:
            together.wait()
        n_answered.append(number)

    sending = Sending(react)
    result = ask(sending, request_concurrency=concurrency)
    assert (sending.prompts[0], n_answered[0]) == ("a", 1)
    assert result["answers"] == ["echo: a manual"] * 6


@pytest.mark.parametrize(
    ("options", "sources"), [(Options(), SOURCES[:1]), (Options(implicit_caching=False), SOURCES[:1]), (CACHED, [])]
)
def test_all_begin_together_unasked_or_without_anything_to_share(options, sources):
    together = threading.Barrier(6, timeout=SOON_S)
    sending = Sending(lambda number, prompt: together.wait())
    assert ask(sending, options=options, sources=sources)["status"] == "ok"


@pytest.mark.parametrize("shared", [{"system_instruction": "Be brief."}, {"tools": [{"name": "ping"}]}])
def test_an_instruction_or_tools_are_shared_too(shared):
    explanation = explain(["a", "b"], config=build_config(), options=attrs.evolve(CACHED, **shared))
    assert [(prefix.first, prefix.n_requests) for prefix in explanation.prefixes] == [(0, 2)]


def test_the_prompts_of_each_source_have_one_of_their_own_that_goes_ahead():
    together = threading.Barrier(2, timeout=SOON_S)

    def react(number, prompt):
        # Both are under way at once, and nobody else.
        if number <= 2:
            together.wait()

    sending = Sending(react)
    result = ask(sending, "abc", sources=SOURCES, per_source=True)
    assert sending.prompts[:2] == ["a", "a"]
    assert result["status"] == "ok"


def test_a_source_with_one_prompt_waits_for_nobody():
    together = threading.Barrier(2, timeout=SOON_S)
    sending = Sending(lambda number, prompt: together.wait())
    assert ask(sending, "a", sources=SOURCES, per_source=True)["status"] == "ok"


def test_neighbours_that_a_plugin_made_different_share_nothing():
    class Planner:
        @hookimpl(wrapper=True)
        def pollux_plan(self, plan):
            planned = yield
            *calls, last = planned.calls
            return attrs.evolve(planned, calls=(*calls, attrs.evolve(last, parts=())))

    explanation = explain([*"abc"], sources=SOURCES, config=build_config(Planner()), options=CACHED)
    assert [(prefix.first, prefix.n_requests) for prefix in explanation.prefixes] == [(0, 2)]


def test_the_next_one_goes_ahead_where_one_is_refused():
    def react(number, prompt):
        if prompt in "ab":
            raise failing(400)

    sending = Sending(react)
    result = ask(sending, "abc")
    assert (sending.prompts, sending.most) == ([*"abc"], 1)
    assert result["answers"] == ["", "", "echo: a manual"]


@pytest.mark.parametrize("status", [400, 503])
def test_all_go_once_three_of_them_have_failed(status):
    together = threading.Barrier(3, timeout=SOON_S)

    def react(number, prompt):
        if number > 3:
            together.wait()
        raise failing(status)

    sending = Sending(react)
    result = ask(sending)
    assert sending.prompts[:3] == [*"abc"]
    assert [error["status_code"] for error in result["errors"]] == [status] * 6


def test_none_is_sent_after_a_refused_key():
    def react(number, prompt):
        raise failing(401)

    sending = Sending(react)
    assert [error["kind"] for error in ask(sending)["errors"]] == ["auth"] * 6
    assert sending.prompts == ["a"]


def test_the_next_one_goes_ahead_where_a_plugin_answers_without_a_request():
    class Store:
        @hookimpl(tryfirst=True)
        def pollux_call(self, call):
            return Reply(text="stored") if call.prompt in "ab" else None

    underway = []
    sending = Sending(lambda number, prompt: underway.append([*sending.prompts]))
    config = build_config(sending, Store())
    result = run_many([*"abcdef"], sources=SOURCES[:1], config=config, options=CACHED)
    assert underway[0] == ["c"]
    assert result["answers"] == ["stored"] * 2 + ["echo: a manual"] * 4


def test_a_repair_of_the_first_answer_holds_nobody_back():
    others = threading.Barrier(3, timeout=SOON_S)

    class Misfit:
        @hookimpl(wrapper=True)
        def pollux_decode(self, response, call):
            reply = yield
            return attrs.evolve(reply, text="no JSON") if call.prompt == "a" else reply

    def react(number, prompt):
        # The repair of the first is under way with the two that waited.
        if number > 1:
            others.wait()

    options = attrs.evolve(CACHED, schema_repairs=1, response_schema={"type": "object"})
    config = build_config(Sending(react), Misfit())
    result = run_many([*"abc"], sources=SOURCES, config=config, options=options)
    assert result["status"] == "ok"


def test_a_stop_of_the_script_while_the_first_is_under_way_sends_no_other():
    def react(number, prompt):
        raise SystemExit(3)

    sending = Sending(react)
    with pytest.raises(Terminated) as caught:
        ask(sending)
    assert sending.prompts == ["a"]
    assert len(caught.value.outcomes) == 6


@pytest.fixture
def at_server(server):
    """The configuration of a service that has the first request and says nothing."""
    server.handler = lambda _: Hang()
    return Config(provider="local", model="m", base_url=server.url)


def test_ctrl_c_while_the_first_is_under_way_sends_no_other(server, at_server):
    def press():
        server.wait_for_requests(1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(Interrupted) as caught:
        run_many([*"abcdef"], sources=SOURCES, config=at_server, options=CACHED)
    assert caught.value.partial_result["answers"] == [""] * 6
    assert len(server.requests) == 1


def test_an_abort_while_the_first_is_under_way_sends_no_other(server, at_server):
    results = []
    options = attrs.evolve(CACHED, on_error="keep")
    with Session(at_server) as session:
        asking = threading.Thread(
            target=lambda: results.append(session.run_many([*"abcdef"], sources=SOURCES, options=options))
        )
        asking.start()
        server.wait_for_requests(1)
        session.abort()
        asking.join(SOON_S)
    assert all(results[0]["errors"])
    assert len(server.requests) == 1
