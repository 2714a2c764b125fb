"""Heads of answers, in the forms that servers may write."""

import socket
import threading

import pytest

from pollux_sync.data.provider import HttpRequest
from pollux_sync.wire.answers import BrokenExchangeError
from pollux_sync.wire.faults import classify_error
from pollux_sync.wire.http import HttpClient


@pytest.fixture
def serve_answer():
    """Return a function that makes a client of a server which answers with these bytes and closes."""
    listener = socket.create_server(("127.0.0.1", 0))
    answers = []

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65_536)
                connection.sendall(answers.pop(0))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    def client(answer):
        answers.append(answer)
        return HttpClient(f"http://127.0.0.1:{listener.getsockname()[1]}", headers={})

    yield client
    listener.shutdown(socket.SHUT_RDWR)  # closed while it is waited for, its number would go to another's listener
    thread.join()
    listener.close()


def send(client):
    return client.send(HttpRequest(path="/", body={}), 10)


@pytest.mark.parametrize(
    ("head", "headers"),
    [
        (b"HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 2\r\n\r\n", {"x-a": "1", "content-length": "2"}),
        (b"HTTP/1.1 200\r\nContent-Length:2\r\n\r\n", {"content-length": "2"}),
        (b"HTTP/1.0 200 OK\nX-A:  a b \n\n", {"x-a": "a b"}),
        (b"HTTP/1.1 200 OK\r\nX-A: one\r\n  two\r\n\tthree\r\nConnection: close\r\n\r\n", {"x-a": "one two three"}),
        (b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\n\r\n", {"x-a": "2"}),
        (b"HTTP/1.1 200 OK\r\nno colon here\r\nX-A: \xe9\r\n\r\n", {"x-a": "\xe9"}),
        (b"HTTP/1.1 100 Continue\r\nX-B: 0\r\n\r\nHTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n", {"x-a": "1"}),
        (b"HTTP/1.1 103 Early Hints\r\nX-B: 0\r\n\r\nHTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n", {"x-a": "1"}),
    ],
)
def test_reads_a_head(serve_answer, head, headers):
    response = send(serve_answer(head + b"{}"))
    assert (response.status, response.body) == (200, {})
    assert {name: response.headers[name] for name in headers} == headers
    assert "x-b" not in response.headers


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * 70_000 + b"\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 101 + b"\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
        b"HTTP/2 200 OK\r\n\r\n{}",
        b"SPDY/3 200 OK\r\n\r\n{}",
        b"HTTP/1.1 abc OK\r\n\r\n{}",
        b"",
    ],
    ids=[
        "long line",
        "many fields",
        "an endless number",
        "another version",
        "another protocol",
        "no status",
        "nothing",
    ],
)
def test_refuses_a_malformed_head(serve_answer, head):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of urllib3's; what counts is how it is classified
        send(serve_answer(head))
    fault = classify_error(caught.value)
    assert fault is not None
    assert fault.kind == "connection"
    assert fault.retryable


def test_reads_a_chunked_body_and_keeps_the_connection(serve_answer):
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
    assert send(serve_answer(answer)).body == {}


@pytest.mark.parametrize("size", [b"-1", b"-2", b"1" + b"0" * 16, b"x"], ids=["-1", "-2", "2**64", "no number"])
@pytest.mark.parametrize("status", [b"200", b"500"])
@pytest.mark.parametrize("coding", [b"", b"Content-Encoding: gzip\r\n"], ids=["plain", "gzip"])
def test_refuses_a_chunk_of_an_impossible_size(serve_answer, status, coding, size):
    head = b"HTTP/1.1 " + status + b" X\r\nTransfer-Encoding: chunked\r\n" + coding + b"\r\n"
    with pytest.raises(BrokenExchangeError) as caught:
        send(serve_answer(head + size + b"\r\n{}"))
    assert classify_error(caught.value).kind == "connection"


def test_refuses_an_event_in_a_chunk_of_negative_size(serve_answer):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    with pytest.raises(ConnectionError, match="broke off"):
        list(serve_answer(head + b"-1\r\ndata: {}\n\n").stream(HttpRequest(path="/", body={}), 10))


def test_refuses_a_line_in_a_chunk_of_negative_size(serve_answer):
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n{}\n"
    with pytest.raises(BrokenExchangeError):
        list(serve_answer(answer).read_lines(HttpRequest(path="/", body={}), 10))
