from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import socket
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import requests

from pollux_sync.testing.server import (
    Answer,
    CloseAfter,
    CloseOnNextRequest,
    CloseWithoutAnswer,
    Drip,
    DripHeaders,
    GzipBomb,
    Hang,
    Headers,
    ResetBeforeBody,
    ResetInsideBody,
    ScriptedServer,
    Truncated,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TIMEOUT_S = 10.0


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def connect(server: ScriptedServer) -> Iterator[Callable[[], http.client.HTTPConnection]]:
    with contextlib.ExitStack() as opened:

        def connect() -> http.client.HTTPConnection:
            client = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=TIMEOUT_S)
            opened.callback(client.close)
            return client

        yield connect


@pytest.fixture
def client(connect) -> http.client.HTTPConnection:
    return connect()


def ask(client: http.client.HTTPConnection, path: str = "/") -> http.client.HTTPResponse:
    client.request("GET", path)
    return client.getresponse()


def ask_and_read(client: http.client.HTTPConnection, path: str = "/") -> tuple[int, bytes]:
    answer = ask(client, path)
    return answer.status, answer.read()


# choosing a step


def test_queued_steps_answer_one_request_each_in_order(server, client):
    server.reply(Answer(status=429, headers={"Retry-After": "1"}), Answer(json={"n": 2}))
    server.reply(Answer(body=b"three"))

    assert [ask_and_read(client) for _ in range(3)] == [(429, b""), (200, b'{"n": 2}'), (200, b"three")]


def test_an_answer_carries_its_headers_and_the_type_of_its_body(server, client):
    server.reply(Answer(json={}, headers={"X-Request-Id": "r1"}), Answer(body=b"", headers={"content-type": "a/b"}))

    first = ask(client)
    first.read()

    assert (first.headers["Content-Type"], first.headers["X-Request-Id"]) == ("application/json", "r1")
    assert ask(client).headers.get_all("Content-Type") == ["a/b"]


def test_an_empty_queue_answers_404(client):
    status, body = ask_and_read(client)

    assert status == 404
    assert b"nothing is scripted" in body


def test_the_default_step_can_be_chosen():
    with ScriptedServer(default=Answer(status=503)) as server:
        assert [requests.get(server.url, timeout=TIMEOUT_S).status_code for _ in range(2)] == [503, 503]


def test_the_handler_answers_when_the_queue_is_empty(server, client):
    server.handler = lambda request: Answer(json={"path": request.path})
    server.reply(Answer(json="queued"))

    assert [ask_and_read(client, "/a")[1], ask_and_read(client, "/b")[1]] == [b'"queued"', b'{"path": "/b"}']


def test_a_failing_handler_answers_500_and_shows_its_error(server, client, monkeypatch):
    shown = []
    monkeypatch.setattr(threading, "excepthook", lambda args: shown.append(args.exc_value))
    server.handler = lambda request: {}[request.path]

    status, body = ask_and_read(client, "/a")
    server.close()

    assert (status, b"KeyError" in body) == (500, True)
    assert [str(error) for error in shown] == ["the handler failed on GET /a"]


def test_an_answer_is_json_or_bytes():
    with pytest.raises(ValueError, match="not both"):
        Answer(json={}, body=b"")


def test_every_one_of_many_clients_gets_a_step_of_its_own(server):
    server.reply(*(Answer(json=number) for number in range(40)))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: requests.get(server.url, timeout=TIMEOUT_S).json(), range(40)))

    assert sorted(answers) == list(range(40))
    assert len(server.requests) == 40


def test_a_head_request_gets_no_body(server, client):
    server.reply(Answer(body=b"12345"), Answer(body=b"next"))

    client.request("HEAD", "/")
    answer = client.getresponse()

    assert (answer.headers["Content-Length"], answer.read()) == ("5", b"")
    assert ask_and_read(client) == (200, b"next")


# recording


def test_a_request_is_recorded_as_it_came(server):
    requests.post(f"{server.url}/v1/chat?a=b", json={"é": [1]}, headers={"X-Key": "k"}, timeout=TIMEOUT_S)

    (request,) = server.requests
    assert (request.method, request.path, request.json()) == ("POST", "/v1/chat?a=b", {"é": [1]})
    assert request.headers["x-key"] == request.headers["X-KEY"] == "k"
    assert (request.body_size, request.body_sha256) == (
        len(request.body),
        hashlib.sha256(request.body).hexdigest(),
    )


def test_repeated_header_fields_are_joined():
    headers = Headers([("Accept", "a/b"), ("ACCEPT", "c/d"), ("Host", "x")])

    assert dict(headers) == {"accept": "a/b, c/d", "host": "x"}
    assert (len(headers), "HOST" in headers, repr(headers)[:8]) == (2, True, "Headers(")


def test_connections_are_numbered_and_times_go_up(server, connect):
    first, second = connect(), connect()
    for client in (first, second, first):
        ask_and_read(client)

    assert [request.connection for request in server.requests] == [1, 2, 1]
    times = [request.at for request in server.requests]
    assert times == sorted(times)


def test_chunked_bodies_are_joined(server, client):
    client.request("POST", "/", iter([b"one ", b"two ", b"three"]))
    client.getresponse().read()
    ask_and_read(client)

    assert [request.body for request in server.requests] == [b"one two three", b""]


def test_large_bodies_are_hashed_without_being_kept():
    piece = bytes(range(256)) * 4096
    with ScriptedServer(keep_bodies=False) as server:
        requests.post(server.url, data=(piece for _ in range(8)), timeout=TIMEOUT_S)
        requests.post(server.url, data=piece, timeout=TIMEOUT_S)

    chunked, sized = server.requests
    assert (chunked.body, sized.body) == (b"", b"")
    assert (chunked.body_size, sized.body_size) == (8 * len(piece), len(piece))
    assert chunked.body_sha256 == hashlib.sha256(piece * 8).hexdigest()


def test_a_client_that_expects_100_continue_gets_it(server):
    server.reply(Answer(body=b"done"))
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), TIMEOUT_S) as client:
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        interim = client.recv(100)
        client.sendall(b"hi")
        answer = b"".join(iter(lambda: client.recv(1000), b""))

    assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.endswith(b"\r\n\r\ndone")
    assert server.requests[0].body == b"hi"


# connections


def test_connections_are_kept_alive(server, client):
    assert ask(client).headers["Connection"] == "keep-alive"
    assert server.open_connections == 1


@pytest.mark.parametrize("who", ["client", "answer"])
def test_a_close_header_closes(server, client, who):
    header = {"Connection": "close"}
    server.reply(Answer(headers=header if who == "answer" else {}))

    client.request("GET", "/", headers=header if who == "client" else {})

    assert client.getresponse().headers["Connection"] == "close"
    server.wait_for_open_connections(0)


def test_open_connections_are_counted(server, connect):
    clients = [connect() for _ in range(3)]
    for client in clients:
        ask_and_read(client)
    assert server.open_connections == 3

    clients[0].close()

    server.wait_for_open_connections(2)


# the steps that break off


def test_a_drip_sends_its_complete_body(server, client):
    server.reply(Drip(body=b"slowly", interval_s=0.01, chunk_bytes=2), Answer())

    assert [ask_and_read(client), ask_and_read(client)] == [(200, b"slowly"), (200, b"")]


def test_dripped_headers_arrive_completely(server, client):
    server.reply(DripHeaders(interval_s=0.001, answer=Answer(status=201, json=1)))

    assert ask_and_read(client) == (201, b"1")


def test_a_slow_drip_outlasts_a_read_timeout(server):
    server.reply(DripHeaders(interval_s=60.0))

    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.get(server.url, timeout=0.05)


def test_reset_before_body_resets_before_any_byte(server, client):
    server.reply(ResetBeforeBody())

    with pytest.raises(ConnectionResetError) as failure:
        ask(client)
    assert not isinstance(failure.value, http.client.RemoteDisconnected)


def test_reset_inside_body_resets_after_a_part(server, client):
    server.reply(ResetInsideBody(b"0123456789", 4, headers={"Content-Type": "text/plain"}))

    answer = ask(client)

    assert (answer.status, answer.headers["Content-Length"], answer.headers["Content-Type"]) == (
        200,
        "10",
        "text/plain",
    )
    with pytest.raises(ConnectionResetError):
        answer.read()


def test_truncated_closes_after_a_part(server, client):
    server.reply(Truncated(b"0123456789", 4))

    with pytest.raises(http.client.IncompleteRead) as failure:
        ask(client).read()
    assert (failure.value.partial, failure.value.expected) == (b"0123", 6)


def test_close_without_answer_ends_before_any_byte(server, client):
    server.reply(CloseWithoutAnswer())

    with pytest.raises(http.client.RemoteDisconnected):
        ask(client)
    assert len(server.requests) == 1


def test_close_after_leaves_a_stale_connection(server, client):
    server.reply(CloseAfter(Answer(body=b"fine")), Answer(body=b"again"))

    answer = ask(client)
    assert (answer.headers["Connection"], answer.read()) == ("keep-alive", b"fine")
    server.wait_for_open_connections(0)
    with pytest.raises(ConnectionError):
        ask(client)
    assert len(server.requests) == 1

    client.close()
    assert ask_and_read(client) == (200, b"again")


def test_close_on_next_request_drops_one_request_but_no_step(server, client):
    server.reply(CloseOnNextRequest(Answer(body=b"fine")), Answer(body=b"again"))

    assert ask_and_read(client, "/1") == (200, b"fine")
    with pytest.raises(http.client.RemoteDisconnected):
        ask(client, "/2")
    client.close()

    assert ask_and_read(client, "/3") == (200, b"again")
    assert [(request.path, request.connection) for request in server.requests] == [("/1", 1), ("/2", 1), ("/3", 2)]


def test_a_gzip_bomb_is_small_on_the_wire(server, client):
    size_bytes = 5_000_001
    server.reply(GzipBomb(size_bytes))

    answer = ask(client)
    packed = answer.read()

    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(packed) < size_bytes // 100
    assert gzip.decompress(packed) == b" " * size_bytes


def test_a_client_can_abandon_a_gzip_bomb(server, client):
    server.reply(GzipBomb(10**12))

    head = zlib.decompressobj(wbits=31).decompress(ask(client).read(4096), max_length=10)
    client.close()

    assert head == b" " * 10


def test_a_hang_answers_when_released(server, client):
    server.reply(Hang(Answer(json="late")), Hang())
    client.request("GET", "/")
    server.wait_for_requests(1)
    server.release()

    assert client.getresponse().read() == b'"late"'
    with pytest.raises(http.client.RemoteDisconnected):
        ask(client)


# waiting and closing


def test_waiting_for_requests_returns_them(server, client):
    client.request("GET", "/waited")

    assert [request.path for request in server.wait_for_requests(1)] == ["/waited"]


def test_a_timeout_while_waiting_reports_the_state(server, client):
    ask_and_read(client)

    with pytest.raises(TimeoutError, match="for 2 requests; there are 1 requests, 1 open connections"):
        server.wait_for_requests(2, timeout_s=0.01)


@pytest.mark.parametrize(
    "step",
    [Hang(), Answer(delay_s=3600.0), Drip(body=b"12", interval_s=3600.0), Answer(body=bytes(64_000_000))],
    ids=["hang", "delay", "drip", "unread"],
)
def test_closing_ends_running_steps(server, client, monkeypatch, step):
    monkeypatch.setattr("pollux_sync.testing.server._CLOSING_GRACE_S", 10.0)
    server.reply(step)
    client.request("GET", "/")
    server.wait_for_requests(1)

    server.close()

    assert server.open_connections == 0


def test_closing_does_not_wait_for_a_stuck_handler(server, client):
    go_on = threading.Event()

    def wait(request):
        go_on.wait()
        return Answer()

    server.handler = wait
    client.request("GET", "/")
    server.wait_for_requests(1)

    server.close()

    assert server.open_connections == 1
    go_on.set()
    server.wait_for_open_connections(0)


def test_closing_leaves_no_thread_and_no_listener(monkeypatch):
    monkeypatch.setattr("pollux_sync.testing.server._CLOSING_GRACE_S", 10.0)
    before = set(threading.enumerate())
    with ScriptedServer() as server, requests.Session() as session:
        session.get(server.url, timeout=TIMEOUT_S)
        assert set(threading.enumerate()) - before
    server.close()

    assert not set(threading.enumerate()) - before
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(server.url, timeout=TIMEOUT_S)
