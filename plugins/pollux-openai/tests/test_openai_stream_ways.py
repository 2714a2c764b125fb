"""Streams through the core's HTTP client and the caller's SDK client: the same requests, events and errors."""

import threading
from contextlib import suppress

import pytest

from pollux_sync import APIError, Options, RetryPolicy, StreamStart, run, stream, stream_many
from pollux_sync.testing.server import Answer, Drip, Events
from response_streams import TRANSCRIPTS, build_stream, event, texts
from responses_api import KEY, answer, message, response
from streams import SSE, allow_slow_ends, remove_times, sse

BUSY = {"code": "server_error", "message": "busy", "param": None}
HALF = [event("created", response={"id": "resp_1"}), *texts("half")]
HELLO = build_stream(response(message("hello")), *texts("hel", "lo"))


def test_asks_for_a_stream(server, config):
    server.reply(Events([HELLO]), answer(message("hello")))
    options = Options(reasoning_effort="low", max_tokens=9)
    events = list(stream("hi", config=config(), options=options))
    assert remove_times(events[-1].result) == remove_times(run("hi", config=config(), options=options))
    streamed, plain = server.requests
    assert streamed.json() == plain.json() | {"stream": True}
    assert streamed.headers["authorization"] == f"Bearer {KEY}"
    assert (streamed.headers["accept"], streamed.headers["accept-encoding"]) == (
        "text/event-stream, application/json",
        "identity",
    )


def test_fans_out(server, config):
    def reply(request):
        said = request.json()["input"][0]["content"][-1]["text"].upper()
        return Events([build_stream(response(message(said)), *texts(said))])

    server.handler = reply
    prompts = [f"p{number}" for number in range(20)]
    assert stream_many(prompts, config=config()).result()["answers"] == [prompt.upper() for prompt in prompts]


ERRORS = {
    "flat": {"type": "error", **BUSY},
    "nested": {"type": "error", "error": BUSY},
    "bare": {"error": BUSY},
    "named": ("error", BUSY),
    "of a kind": {"type": "server_error", "error": BUSY},
    "failed": event("failed", response=response(status="failed", error=BUSY)),
}


@pytest.mark.parametrize("told_error", ERRORS.values(), ids=ERRORS)
def test_tries_again_after_an_error_at_first(server, config, told_error):
    server.reply(Events([sse(told_error)]), Events([TRANSCRIPTS["text"][1]]))
    result = stream("hi", config=config()).result()
    assert result["answers"] == ["Hé, 世界!"]
    assert [attempt["status_code"] for attempt in result["diagnostics"]["attempts"][0]] == [500, 200]


@pytest.mark.parametrize("told_error", ERRORS.values(), ids=ERRORS)
def test_raises_a_later_error_with_the_partial_text(server, config, told_error):
    server.reply(Events([sse(*HALF, told_error)]))
    with pytest.raises(APIError, match="busy") as caught:
        list(stream("hi", config=config()))
    raised = caught.value
    assert (raised.kind, raised.status_code, raised.partial_text) == ("capacity", 500, "half")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("code", "kind"), [("rate_limit_exceeded", "rate_limit"), ("context_length_exceeded", "context_overflow")]
)
def test_reads_the_kind_of_an_error_from_its_code(server, config, code, kind):
    server.reply(Events([sse(*HALF, {"type": "error", "code": code, "message": "no", "param": "input"})]))
    with pytest.raises(APIError, match="no") as caught:
        list(stream("hi", config=config()))
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    "first",
    [
        Answer(status=503, json={"error": {"message": "busy"}}),
        Events([], ending="close"),
        Events([], ending="reset"),
        Events([]),
        Events([b"data: no json\n\n"]),
        Events([sse(event("keepalive"))]),
    ],
)
def test_retries_a_failure_before_the_first_event(server, config, first):
    server.reply(first, Events([TRANSCRIPTS["text"][1]]))
    result = stream("hi", config=config()).result()
    assert (result["answers"], result["metrics"]["n_attempts"]) == (["Hé, 世界!"], 2)


@pytest.mark.parametrize("last", [ERRORS["failed"], {"type": "error", **BUSY}])
def test_retries_a_failure_after_an_announcement_alone(server, config, last):
    announced = [event(kind, response=response()) for kind in ("created", "in_progress")]
    server.reply(Events([sse(*announced, last)]), Events([TRANSCRIPTS["text"][1]]))
    result = stream("hi", config=config()).result()
    assert [attempt["status_code"] for attempt in result["diagnostics"]["attempts"][0]] == [500, 200]


def test_closing_does_not_wait_for_the_first_output(server, config):
    server.handler = lambda _: Events([sse(event("created", response=response()))], ending="hang")
    events = stream_many(["a", "b"], config=config())

    def read():
        with suppress(APIError):
            list(events)

    reader = threading.Thread(target=read)
    reader.start()
    server.wait_for_open_connections(2)
    events.close()
    reader.join(10)
    assert not reader.is_alive()


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (Events([sse(*HALF)]), "malformed"),
        (Events([sse(*HALF)], ending="close"), "connection"),
        (Events([sse(*HALF)], ending="reset"), "connection"),
        (Events([sse(*HALF, event("completed"))]), "malformed"),
    ],
)
def test_raises_a_later_failure_with_the_partial_text(server, config, end, kind):
    server.reply(end)
    with pytest.raises(APIError) as caught:
        list(stream("hi", config=config()))
    raised = caught.value
    assert (raised.kind, raised.partial_text) == (kind, "half")
    assert [attempt.kind for attempt in raised.attempts] == [kind]
    assert len(server.requests) == 1


def test_takes_a_plain_answer_from_a_server_that_does_not_stream(server, config):
    server.reply(answer(message("hello")), answer(message("hello")))
    events = list(stream("hi", config=config()))
    assert [event.type for event in events] == ["start", "text_delta", "usage", "finish", "done"]
    assert remove_times(events[-1].result) == remove_times(run("hi", config=config()))


def test_leaving_early_closes_the_connection_at_once(server, config):
    server.reply(Events([sse(*HALF)], ending="hang"))
    with stream("hi", config=config()) as events:
        assert next(events) == StreamStart(response_id="resp_1")
    server.wait_for_open_connections(0)


def test_keeps_the_connection_after_a_complete_answer(server, config, monkeypatch):
    allow_slow_ends(monkeypatch)
    server.reply(*[Events([HELLO])] * 3)
    for _ in range(3):
        stream("hi", config=config()).result()
    assert {request.connection for request in server.requests} == {1}


def test_gives_up_on_a_server_that_never_ends_an_event(server, config):
    server.reply(Drip(body=b"data: " + b" " * 200, interval_s=0.02, headers=SSE))
    with pytest.raises(APIError) as caught:
        list(stream("hi", config=config(timeout_s=0.1, retry=RetryPolicy(max_attempts=1))))
    assert caught.value.kind == "timeout"


def test_an_answer_may_take_longer_than_the_wait_for_an_event(server, config):
    pieces = [sse(*HALF[:1]), *(sse(*texts(f"{number} ")) for number in range(6))]
    last = sse(event("completed", response=response(message("0 1 2 3 4 5 "))))
    # The SDK loads itself and connects before; then each event has almost a second to come in.
    server.reply(Events([HELLO]), Events([*pieces, last], interval_s=0.15))
    stream("hi", config=config()).result()
    assert stream("hi", config=config(timeout_s=1.0)).result()["answers"] == ["0 1 2 3 4 5 "]


def test_counts_the_billed_tokens_of_a_failed_response(server, config):
    server.reply(Events([sse(*HALF, ERRORS["failed"])]))
    with pytest.raises(APIError) as caught:
        stream("hi", config=config()).result()
    assert caught.value.partial_result["usage"]["total_tokens"] == 18
