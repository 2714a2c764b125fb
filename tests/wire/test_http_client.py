import gzip
import json
import socket
import threading
import time
import tracemalloc

import pytest

from pollux_sync.data.provider import HttpRequest
from pollux_sync.errors import ConfigurationError
from pollux_sync.testing.server import (
    Answer,
    CloseAfter,
    CloseOnNextRequest,
    CloseWithoutAnswer,
    Drip,
    DripHeaders,
    GzipBomb,
    Hang,
    ResetBeforeBody,
    ResetInsideBody,
    ScriptedServer,
    Truncated,
)
from pollux_sync.wire.connections import DeadlineMixin
from pollux_sync.wire.faults import classify_error
from pollux_sync.wire.http import HttpClient, SecretHeader

ASK = HttpRequest(path="/ask", body={"question": "¿qué?"})
GOOD = Answer(json={"answer": 42})


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def client(server):
    client = HttpClient(server.url, headers={"Authorization": SecretHeader("Bearer sk-secret")})
    yield client
    client.close()


def catch_fault(client, timeout_s=5.0):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what it is, classify says
        client.send(ASK, timeout_s)
    fault = classify_error(caught.value)
    assert fault is not None
    return fault


def test_sends_json_and_the_key_and_reads_the_answer(server, client):
    server.reply(Answer(json={"answer": 42}, headers={"X-Request-Id": "req_1"}))
    response = client.send(ASK, 5.0)
    (request,) = server.requests
    assert (response.status, response.body, response.request_id) == (200, {"answer": 42}, "req_1")
    assert (request.method, request.path) == ("POST", "/ask")
    assert request.json() == {"question": "¿qué?"}
    assert request.headers["authorization"] == "Bearer sk-secret"
    assert request.headers["content-type"] == "application/json"


def test_sends_no_body_with_get(server, client):
    server.reply(GOOD)
    client.send(HttpRequest(method="GET", path="/models"), 5.0)
    assert (server.requests[0].method, server.requests[0].body) == ("GET", b"")


def test_keeps_the_connection(server, client):
    server.reply(GOOD, GOOD, GOOD)
    for _ in range(3):
        client.send(ASK, 5.0)
    assert [request.connection for request in server.requests] == [1, 1, 1]


def test_shows_neither_key_nor_header_in_reprs(client):
    assert "sk-secret" not in f"{client!r} {client._headers!r}"


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_calls_a_passing_trouble_retryable(server, client, status):
    server.reply(Answer(status=status, json={"error": {"message": "later"}}))
    fault = catch_fault(client)
    assert (fault.status_code, fault.retryable) == (status, True)
    assert "later" in fault.message


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 422, 501])
def test_calls_a_refusal_final(server, client, status):
    server.reply(Answer(status=status, json={"error": "no"}, headers={"Retry-After": "1"}))
    fault = catch_fault(client)
    assert (fault.status_code, fault.retryable) == (status, False)


def test_reports_a_reset_before_the_answer(server, client):
    server.reply(ResetBeforeBody())
    fault = catch_fault(client)
    assert (fault.kind, fault.retryable, fault.status_code) == ("connection", True, None)


@pytest.mark.parametrize("step", [ResetInsideBody(b'{"answer": 42}', 5), Truncated(b'{"answer": 42}', 5)])
def test_reports_a_connection_lost_inside_the_body(server, client, step):
    server.reply(step)
    fault = catch_fault(client)
    assert (fault.kind, fault.retryable) == ("connection", True)


def test_reports_a_close_without_an_answer(server, client):
    server.reply(CloseWithoutAnswer())
    assert catch_fault(client).kind == "connection"


@pytest.mark.parametrize(
    "step",
    [Drip(body=b" " * 500, interval_s=0.02), DripHeaders(interval_s=0.02), Hang()],
    ids=["body", "headers", "all"],
)
def test_has_one_deadline_for_the_complete_answer(server, client, step):
    server.reply(step)
    fault = catch_fault(client, timeout_s=0.2)
    assert (fault.kind, fault.retryable) == ("timeout", True)
    assert "timeout_s" in fault.hint


def test_each_request_on_a_kept_connection_has_its_own_deadline(server, client):
    server.reply(GOOD, GOOD, Answer(json={}, delay_s=1.1))
    client.send(ASK, 20.0)  # connects, so that the time of the next one is for its answer alone
    client.send(ASK, 1.0)
    assert client.send(ASK, 20.0).status == 200
    assert server.requests[2].connection == 1


def test_does_not_follow_a_redirect_to_another_host(server, client):
    with ScriptedServer(default=GOOD) as elsewhere:
        server.reply(Answer(status=307, headers={"Location": f"{elsewhere.url}/ask?x=1"}))
        fault = catch_fault(client)
        assert elsewhere.requests == []
        assert elsewhere.url in fault.message
    assert (fault.kind, fault.status_code, fault.retryable) == ("refused", 307, False)


def test_stops_a_gzip_bomb_while_it_inflates(server, client):
    server.reply(GzipBomb(400 * 1024 * 1024))
    tracemalloc.start()
    fault = catch_fault(client, timeout_s=60.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (fault.kind, fault.retryable) == ("malformed", False)
    assert peak < 200 * 1024 * 1024


def test_reads_a_gzip_answer(server, client):
    body = gzip.compress(json.dumps({"answer": 42}).encode())
    server.reply(Answer(body=body, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}))
    assert client.send(ASK, 5.0).body == {"answer": 42}


def test_reports_a_broken_gzip_answer(server, client):
    server.reply(Answer(body=b"no gzip at all", headers={"Content-Encoding": "gzip"}))
    assert catch_fault(client).kind == "malformed"


def test_names_the_media_type_that_is_not_json(server, client):
    server.reply(Answer(body=b"<html><title>Sign in</title></html>", headers={"Content-Type": "text/html"}))
    fault = catch_fault(client)
    assert (fault.kind, fault.retryable, fault.status_code) == ("malformed", False, 200)
    assert "text/html" in fault.message
    assert "base_url" in fault.hint


def test_takes_json_under_a_wrong_content_type(server, client):
    server.reply(Answer(body=b'{"answer": 42}', headers={"Content-Type": "text/plain"}))
    assert client.send(ASK, 5.0).body == {"answer": 42}


@pytest.mark.parametrize(
    "body", [b"", b"  \n", b'{"answer": 4', b"[[[[" * 50_000], ids=["empty", "blank", "cut", "deep"]
)
def test_reports_a_body_that_is_not_json(server, client, body):
    server.reply(Answer(body=body, headers={"Content-Type": "application/json"}))
    fault = catch_fault(client)
    assert (fault.kind, fault.retryable) == ("malformed", True)


def test_keeps_only_the_start_of_a_long_error_page(server, client):
    server.reply(Answer(status=500, body=b"x" * 100_000, headers={"Content-Type": "text/plain"}))
    assert len(catch_fault(client).message) < 2100


def test_is_not_misled_by_a_netrc_file(server, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("default login mallory password stolen\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    client = HttpClient(server.url, headers={"Authorization": SecretHeader("Bearer sk-secret")})
    server.reply(GOOD)
    client.send(ASK, 5.0)
    client.close()
    assert server.requests[0].headers["authorization"] == "Bearer sk-secret"


def test_sends_through_the_proxy_of_the_environment(server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    client = HttpClient("http://api.acme.example/v1", headers={})
    server.reply(GOOD)
    assert client.send(ASK, 5.0).body == {"answer": 42}
    client.close()
    assert server.requests[0].path == "http://api.acme.example/v1/ask"


def test_a_connection_made_while_the_client_closes_sends_nothing(server, client, monkeypatch):
    make = client._pool._new_conn

    def make_late():
        client.close()
        return make()

    monkeypatch.setattr(client._pool, "_new_conn", make_late)
    assert catch_fault(client).kind == "connection"
    assert server.requests == []


def test_a_header_of_a_request_replaces_that_of_the_client_in_capitals_or_not(server):
    client = HttpClient(server.url, headers={"X-Version": "1", "X-Team": "a"})
    server.reply(GOOD)
    client.send(HttpRequest(path="/ask", body={}, headers={"x-version": "2"}), 5.0)
    client.close()
    assert server.requests[0].headers["x-version"] == "2"
    assert server.requests[0].headers["x-team"] == "a"


def test_keeps_no_cookies(server, client):
    server.reply(Answer(json={}, headers={"Set-Cookie": "track=me"}), GOOD)
    client.send(ASK, 5.0)
    client.send(ASK, 5.0)
    assert "cookie" not in server.requests[1].headers


def test_refuses_a_request_body_that_json_cannot_hold(server, client):
    with pytest.raises(ConfigurationError, match="JSON"):
        client.send(HttpRequest(path="/ask", body={"value": object()}), 5.0)
    assert server.requests == []


def test_reports_a_refused_connection(client, server):
    server.close()
    fault = catch_fault(client)
    assert (fault.kind, fault.retryable) == ("connection", True)
    assert "base_url" in fault.hint


def test_serves_many_threads_at_once(server):
    server.handler = lambda request: Answer(json=request.json())
    client = HttpClient(server.url, headers={}, pool_size=8)
    answers: dict[int, int] = {}

    def ask(number):
        for _ in range(10):
            answers[number] = client.send(HttpRequest(path="/", body={"n": number}), 5.0).body["n"]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    assert answers == {number: number for number in range(8)}


@pytest.mark.parametrize("step", [CloseAfter(GOOD), CloseOnNextRequest(GOOD)], ids=["closed since", "closes on use"])
def test_resends_once_when_a_kept_connection_was_stale(server, monkeypatch, step):
    monkeypatch.setattr("pollux_sync.wire.http._STALE_WITHIN_S", 10.0)
    client = HttpClient(server.url, headers={}, resends_stale=True)
    server.reply(step, GOOD)
    assert client.send(ASK, 5.0).body == client.send(ASK, 5.0).body == {"answer": 42}
    client.close()


def test_resends_within_the_remaining_time(server, monkeypatch):
    client = HttpClient(server.url, headers={}, resends_stale=True)
    server.reply(CloseOnNextRequest(GOOD), GOOD)
    client.send(ASK, 5.0)
    limits_s = record_limits(client, monkeypatch)
    client.send(ASK, 5.0)
    client.close()
    first_s, second_s = limits_s
    assert 0 < second_s < first_s == 5.0


def record_limits(client, monkeypatch):
    """Return a list that gets the time limit of each exchange that the client begins on a connection."""
    limits_s = []
    exchange = client._pool.exchange

    def record(method, outbox, body, timeout_s):
        limits_s.append(timeout_s)
        return exchange(method, outbox, body, timeout_s)

    monkeypatch.setattr(client._pool, "exchange", record)
    return limits_s


def test_does_not_resend_on_a_fresh_connection(server):
    client = HttpClient(server.url, headers={}, resends_stale=True)
    server.reply(ResetBeforeBody(), GOOD)
    assert catch_fault(client).kind == "connection"
    client.close()
    assert len(server.requests) == 1


def test_does_not_resend_a_request_that_failed_late(server):
    class Die:
        def play(self, wire):
            wire.pause(0.6)
            wire.reset()

    client = HttpClient(server.url, headers={}, resends_stale=True)
    server.reply(GOOD, Die(), GOOD)
    client.send(ASK, 5.0)
    assert catch_fault(client).kind == "connection"
    client.close()
    assert len(server.requests) == 2


def test_does_not_resend_where_that_could_cost_money(server, client):
    server.reply(CloseOnNextRequest(GOOD), GOOD)
    client.send(ASK, 5.0)
    assert catch_fault(client).kind == "connection"
    assert len(server.requests) == 2


def test_closes_a_connection_that_opens_while_the_client_closes(server, client):
    connection = client._pool._new_conn()
    client.close()
    connection.timeout = 5
    with pytest.raises(ConnectionAbortedError):
        connection.connect()
    server.wait_for_open_connections(0)


@pytest.mark.parametrize(("timeout_s", "connect_s"), [(5.0, 5.0), (600.0, 30.0)])
def test_bounds_the_time_to_connect(client, monkeypatch, timeout_s, connect_s):
    limits_s = []

    def refuse(connection, address, timeout_s):
        limits_s.append(timeout_s)
        raise ConnectionRefusedError

    monkeypatch.setattr(DeadlineMixin, "open_socket", refuse)
    assert catch_fault(client, timeout_s).kind == "connection"
    assert limits_s == [pytest.approx(connect_s, abs=1.0)]


def test_the_addresses_of_a_host_share_the_time_to_connect(monkeypatch):
    limits_s, resolve = [], socket.getaddrinfo

    def refuse(connection, address, timeout_s):
        limits_s.append(timeout_s)
        raise ConnectionRefusedError

    def resolve_fivefold(host, *arguments, **options):
        return resolve("127.0.0.1", *arguments, **options) * 5

    monkeypatch.setattr("pollux_sync.wire.connections.getaddrinfo", resolve_fivefold)
    monkeypatch.setattr(DeadlineMixin, "open_socket", refuse)
    client = HttpClient("http://many.example:9", headers={})
    assert catch_fault(client, 10.0).kind == "connection"
    assert limits_s == [pytest.approx(10.0 / left, abs=0.5) for left in (5, 4, 3, 2, 1)]


def test_goes_on_to_the_next_address_of_a_host(server, monkeypatch):
    resolve = socket.getaddrinfo

    def resolve_twice(host, port, *arguments, **options):
        return [*resolve("127.0.0.1", closed, *arguments), *resolve("127.0.0.1", port, *arguments)]

    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    monkeypatch.setattr("pollux_sync.wire.connections.getaddrinfo", resolve_twice)
    server.reply(GOOD)
    client = HttpClient(server.url.replace("127.0.0.1", "two.example"), headers={})
    assert client.send(ASK, 5.0).status == 200
    client.close()


def test_reports_a_name_that_nobody_knows():
    assert catch_fault(HttpClient("http://nowhere.invalid", headers={})).kind == "connection"


def test_reports_a_name_that_cannot_be_one():
    fault = catch_fault(HttpClient(f"http://{'a' * 64}.example", headers={}))
    assert (fault.kind, fault.message.partition(" (")[0]) == ("invalid_request", "the address cannot be used")


def test_connects_before_the_request_is_there_and_sends_it_over_that_connection(server, client):
    server.reply(GOOD)
    client.connect_early()
    client.connect_early()
    server.wait_for_open_connections(1)
    assert client.send(ASK, 5.0).body == {"answer": 42}
    assert server.open_connections == 1
    # It is open: there is nothing to begin.
    client.connect_early()
    assert server.open_connections == 1


def test_the_request_has_its_whole_time_after_an_early_connection(server, client, monkeypatch):
    server.reply(Drip(body=b'{"answer": 42}', interval_s=0.01))
    monkeypatch.setattr("pollux_sync.wire.http._MAX_EARLY_S", 0.05)
    client.connect_early()
    server.wait_for_open_connections(1)
    time.sleep(0.1)
    assert client.send(ASK, 5.0).body == {"answer": 42}


def test_a_request_waits_for_a_connection_that_is_being_opened(server, client, monkeypatch):
    server.reply(GOOD, GOOD)
    opened, connect = [], type(client._pool)._connect

    def connect_slowly(pool, connection):
        opened.append(connection)
        time.sleep(0.1)
        connect(pool, connection)

    monkeypatch.setattr(type(client._pool), "_connect", connect_slowly)
    client.connect_early()
    client.send(ASK, 5.0)
    client.send(ASK, 5.0)
    assert len(opened) == 1


def test_an_early_connection_that_fails_is_the_failure_of_the_request(server):
    client = HttpClient(server.url, headers={})
    server.close()
    client.connect_early()
    fault = catch_fault(client)
    assert fault.kind == "connection"
    client.connect_early()
    client.close()
    client.connect_early()  # does nothing


def test_closing_ends_an_early_connection(server, client):
    client.connect_early()
    server.wait_for_open_connections(1)
    client.close()
    server.wait_for_open_connections(0)
