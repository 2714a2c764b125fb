"""The raw stream of an SDK's client, as the core reads it."""

import gzip
import itertools
import os
import threading
import tracemalloc

import attrs
import httpx2
import openai
import pytest
from openai import OpenAI

from pollux_sync import HttpRequest
from pollux_sync.testing.server import Answer, Events
from pollux_sync.wire.faults import ReplyError, StreamLimitError, classify_error
from pollux_sync.wire.sdks import StainlessCarrier
from responses_api import KEY
from streams import SSE, allow_slow_ends, sse

ASK = HttpRequest(path="/ask", body={"stream": True})
LONG_S = 60.0
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def carrier(server):
    with OpenAI(api_key=KEY, base_url=server.url) as client:
        yield StainlessCarrier(client, openai)


@pytest.fixture
def begin(carrier):
    """Begins streams, and closes them when the test ends."""
    begun = []

    def ask(timeout_s=LONG_S):
        begun.append(carrier.stream(ASK, timeout_s))
        return begun[-1]

    yield ask
    for stream in begun:
        stream.close()


def list_data(stream):
    return [event.data for event in stream]


def test_yields_events_as_they_arrive(server, begin):
    server.reply(Events([sse(1)], ending="hang"))
    assert next(iter(begin())).data == 1


@pytest.mark.parametrize(("ending", "connection"), [("end", 1), ("hang", 2), ("reset", 2), ("close", 2)])
def test_keeps_the_connection_where_the_body_ends(server, carrier, begin, monkeypatch, ending, connection):
    if ending == "end":
        allow_slow_ends(monkeypatch)
    server.reply(Events([sse(1, done=True), b": bye\n\n"], ending=ending), Answer(json={}))
    stream = begin()
    assert list_data(stream) == [1]
    stream.finish()
    carrier.send(ASK, LONG_S)
    assert [request.connection for request in server.requests] == [1, connection]


@pytest.mark.skipif(os.name != "posix", reason="other systems do not reserve the stack of a thread at once")
def test_gives_the_connection_up_where_the_system_has_no_thread(server, begin):
    server.reply(Events([sse(1, done=True)]))
    stream = begin()
    assert list_data(stream) == [1]
    # No address space has room for a stack of 128 TB.
    before = threading.stack_size(1 << 47)
    try:
        stream.finish()
    finally:
        threading.stack_size(before)
    server.wait_for_open_connections(0)


def test_waking_ends_a_wait_in_another_thread(server, begin):
    server.reply(Events([sse(1)], ending="hang"))
    stream = begin()
    events = iter(stream)
    next(events)
    threading.Timer(0.05, stream.wake).start()
    with pytest.raises(ConnectionError):
        next(events)


def test_waking_after_the_end_does_nothing(server, begin):
    server.reply(Events([sse(1)], ending="hang"))
    stream = begin()
    stream.close()
    stream.wake()
    server.wait_for_open_connections(0)


def test_reads_a_compressed_stream(server, begin):
    packed = gzip.compress(sse(1, 2))
    server.reply(Events([packed[:9], packed[9:]], headers={"Content-Encoding": "gzip"}))
    assert list_data(begin()) == [1, 2]


def test_tells_a_stream_that_cannot_be_decompressed(server, begin):
    server.reply(Events([b"no gzip"], headers={"Content-Encoding": "gzip"}))
    with pytest.raises(ReplyError, match="decompressed"):
        list_data(begin())


def test_reads_a_body_of_known_length(server, begin):
    server.reply(Answer(body=sse(1, 2), headers=SSE))
    assert list_data(begin()) == [1, 2]


def test_refuses_a_plain_answer_that_is_not_json(server, begin):
    server.reply(Answer(body=b"{", headers=JSON))
    with pytest.raises(ReplyError):
        begin()


@attrs.frozen
class BrokenOff:
    """An answer of this status that ends within its body."""

    status: int

    def play(self, wire):
        wire.send(wire.head(self.status, JSON, {"Content-Length": "9"}) + b'{"a"')
        wire.close()


@pytest.mark.parametrize("status", [200, 500])
def test_tells_a_plain_answer_that_breaks_off(server, begin, status):
    server.reply(BrokenOff(status))
    with pytest.raises(ConnectionError) as caught:
        begin()
    assert classify_error(caught.value).kind == "connection"


class Bytes(httpx2.SyncByteStream):
    """A body whose end is kept back, and that notes when it is closed."""

    def __init__(self):
        self.closed = threading.Event()

    def __iter__(self):
        yield sse(1, done=True)
        raise AssertionError("read past the end")

    def close(self):
        self.closed.set()


def test_the_error_of_a_large_answer_holds_its_beginning_alone(server, carrier):
    server.reply(Answer(body=b"x" * 20_000_000, headers=JSON))
    tracemalloc.start()
    try:
        with pytest.raises(ReplyError) as caught:
            carrier.send(HttpRequest(path="/ask", body={}), LONG_S)
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.response.content == b"x" * 1024 * 1024
    assert held_bytes < 25_000_000  # the test's own answer, and no copy


class Shared:
    """The way to a server that many answers share."""

    def get_extra_info(self, name):
        raise AssertionError("touched what belongs to others too")


@pytest.mark.parametrize("extensions", [{}, {"http_version": b"HTTP/2", "network_stream": Shared()}])
def test_leaves_alone_a_connection_that_is_not_its_own(extensions):
    body = Bytes()

    def answer(_):
        return httpx2.Response(200, headers=SSE, stream=body, extensions=extensions)

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as http:
        stream = StainlessCarrier(OpenAI(api_key=KEY, http_client=http), openai).stream(ASK, LONG_S)
        stream.wake()
        assert list_data(stream) == [1]
        stream.finish()
    assert body.closed.is_set()


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
