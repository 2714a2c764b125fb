"""Streams of the core's HTTP client, against a real server."""

import gzip
import itertools
import threading

import pytest

from pollux_sync import HttpRequest
from pollux_sync.testing.server import Answer, CloseAfter, Events, ResetBeforeBody, ScriptedServer, Truncated
from pollux_sync.wire.faults import HttpError, ReplyError, StreamLimitError, classify_error
from pollux_sync.wire.http import HttpClient
from streams import SSE, allow_slow_ends, sse

ASK = HttpRequest(path="/ask", body={"stream": True})
LONG_S = 60.0


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def client(server):
    client = HttpClient(server.url, headers={}, resends_stale=True)
    yield client
    client.close()


@pytest.fixture
def begin(client):
    """Begins streams, and closes them when the test ends."""
    begun = []

    def ask(timeout_s=LONG_S):
        begun.append(client.stream(ASK, timeout_s))
        return begun[-1]

    yield ask
    for stream in begun:
        stream.close()


def list_data(stream):
    return [event.data for event in stream]


def test_yields_events_as_they_arrive(server, begin):
    server.reply(Events([sse(1)], ending="hang"))
    stream = begin()
    assert next(iter(stream)).data == 1
    stream.close()


def test_asks_for_events_that_are_not_compressed(server, begin):
    server.reply(Events([]))
    stream = begin()
    headers = server.requests[0].headers
    assert (headers["accept"], headers["accept-encoding"]) == ("text/event-stream, application/json", "identity")
    assert stream.response.headers["content-type"] == "text/event-stream"


def test_keeps_the_connection_after_a_complete_answer(server, client, begin, monkeypatch):
    allow_slow_ends(monkeypatch)
    server.reply(Events([sse(1, done=True)]), Answer(json={}))
    stream = begin()
    assert list_data(stream) == [1]
    stream.finish()
    client.send(ASK, LONG_S)
    assert [request.connection for request in server.requests] == [1, 1]


@pytest.mark.parametrize("ending", ["hang", "reset", "close"])
def test_gives_up_a_connection_whose_body_does_not_end(server, client, begin, ending):
    server.reply(Events([sse(1, done=True)], ending=ending), Answer(json={}))
    stream = begin()
    assert list_data(stream) == [1]
    stream.finish()
    client.send(ASK, LONG_S)
    assert [request.connection for request in server.requests] == [1, 2]


def test_closing_closes_the_connection_at_once(server, begin):
    server.reply(Events([sse(1)], ending="hang"))
    stream = begin()
    next(iter(stream))
    stream.close()
    server.wait_for_open_connections(0)


def test_waking_ends_a_wait_in_another_thread(server, begin):
    server.reply(Events([sse(1)], ending="hang"))
    stream = begin()
    events = iter(stream)
    next(events)
    threading.Timer(0.05, stream.wake).start()
    with pytest.raises(ConnectionError):
        next(events)


def test_reads_a_compressed_stream(server, begin):
    packed = gzip.compress(sse(1, 2))
    server.reply(Events([packed[:9], packed[9:]], headers={"Content-Encoding": "gzip"}))
    assert list_data(begin()) == [1, 2]


def test_reads_a_body_of_known_length(server, begin):
    server.reply(Answer(body=sse(1, 2), headers=SSE))
    assert list_data(begin()) == [1, 2]


def test_keeps_a_plain_answer(server, begin):
    server.reply(Answer(json={"a": 1}))
    stream = begin()
    assert (stream.response.body, list_data(stream)) == ({"a": 1}, [])
    stream.finish()


def test_raises_for_a_status(server, begin):
    server.reply(Answer(status=429, json={"error": {"message": "slow"}}))
    with pytest.raises(HttpError, match="slow"):
        begin()


def test_raises_for_a_plain_answer_that_is_not_json(server, begin):
    server.reply(Answer(body=b"{", headers={"Content-Type": "application/json"}))
    with pytest.raises(ReplyError):
        begin()


def test_resends_on_a_stale_connection(server, client, begin):
    server.reply(CloseAfter(Answer(json={})), Events([sse(1)]))
    client.send(ASK, LONG_S)
    server.wait_for_open_connections(0)
    assert list_data(begin()) == [1]


@pytest.mark.parametrize(("ending", "kind"), [("reset", "connection"), ("close", "connection")])
def test_reports_a_body_that_breaks_off(server, begin, ending, kind):
    server.reply(Events([sse(1)], ending=ending))
    events = iter(begin())
    assert next(events).data == 1
    with pytest.raises(ConnectionError) as caught:
        next(events)
    assert classify_error(caught.value).kind == kind


def test_reports_a_body_that_is_shorter_than_announced(server, begin):
    server.reply(Truncated(sse(1, 2), len(sse(1)), headers=SSE))
    events = iter(begin())
    assert next(events).data == 1
    with pytest.raises(ConnectionError, match="before its end"):
        next(events)


def test_gives_up_a_connection_whose_body_is_shorter_than_announced(server, client, begin):
    whole = sse(1, done=True)
    server.reply(Truncated(whole + b"\n", len(whole), headers=SSE), Answer(json={}))
    stream = begin()
    assert list_data(stream) == [1]
    stream.finish()
    client.send(ASK, LONG_S)
    assert [request.connection for request in server.requests] == [1, 2]


def test_names_an_html_page(server, client):
    server.reply(Answer(body=b"<html>", headers={"Content-Type": "text/html"}))
    with pytest.raises(ReplyError, match="text/html"):
        client.stream(ASK, LONG_S)


def test_reports_a_connection_that_is_reset_at_once(server, begin):
    server.reply(ResetBeforeBody())
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the classifier knows it
        begin()
    assert classify_error(caught.value).kind == "connection"


def test_ends_a_wait_that_is_too_long(server, begin):
    server.reply(Events([sse(1)], ending="hang"))
    events = iter(begin(1.0))
    next(events)
    with pytest.raises(TimeoutError):
        next(events)


def test_begins_the_time_limit_anew_with_each_event(server, begin):
    server.reply(Events([sse(number) for number in range(12)], interval_s=0.1))
    assert list_data(begin(1.0)) == [*range(12)]


def test_refuses_when_closed(client, begin):
    client.close()
    with pytest.raises(ConnectionAbortedError):
        begin()


@pytest.mark.parametrize("piece", [b": alive\n\n", sse(1)], ids=["comments", "events"])
def test_ends_a_stream_without_end(server, begin, piece):
    server.reply(Events(itertools.repeat(piece), interval_s=0.01))
    stream = begin()
    stream.limit(0.2)
    with pytest.raises(StreamLimitError) as caught:
        list_data(stream)
    fault = classify_error(caught.value)
    assert (fault.kind, fault.retryable) == ("timeout", False)
    assert "stream_timeout_s=0.2" in fault.message


def test_a_limit_ends_the_wait_for_the_next_event(server, begin):
    server.reply(Events([sse(1)], ending="hang"))
    stream = begin()
    stream.limit(0.1)
    with pytest.raises(StreamLimitError):
        list_data(stream)
