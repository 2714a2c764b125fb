"""Requests whose bodies are files, forms and large texts, and the secrets that answers may echo."""

import socket
import threading
import traceback
from contextlib import suppress

import pytest

from pollux_sync import ConfigurationError, Source, SourceError
from pollux_sync.data.bodies import InlineText
from pollux_sync.data.payloads import FormPayload, RawPayload
from pollux_sync.data.provider import HttpRequest
from pollux_sync.testing.server import (
    Answer,
    CloseAfter,
    CloseOnNextRequest,
    Hang,
    ResetBeforeBody,
    ScriptedServer,
)
from pollux_sync.wire.faults import HttpError, ReplyError, classify_error
from pollux_sync.wire.http import HttpClient, SecretHeader

KEY = "sk-very-secret-key"
GOOD = Answer(json={"answer": 42})
#: More than the buffers of both ends of a connection take in.
LARGE_BYTES = 24 * 1024 * 1024


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


def build_client(url, **fields):
    return HttpClient(url, headers={"Authorization": SecretHeader(f"Bearer {KEY}")}, secrets=(KEY,), **fields)


@pytest.fixture
def client(server):
    client = build_client(server.url)
    yield client
    client.close()


class Content:
    """Readable content of any size, which counts how much of it was read."""

    def __init__(self, size_bytes=0, chunk=b"x" * 65_536, fail_at=None):
        self.size_bytes = size_bytes
        self.read_bytes = 0
        self._chunk, self._fail_at = chunk, fail_at

    def iter_chunks(self):
        left = self.size_bytes
        while left:
            if self._fail_at is not None and self.read_bytes >= self._fail_at:
                raise SourceError("'film.mp4' changed while it was sent")
            piece = self._chunk[:left]
            left -= len(piece)
            self.read_bytes += len(piece)
            yield piece


class Misjudged:
    """Content that is not of the size that it claims."""

    def __init__(self, content, size_bytes):
        self.size_bytes = size_bytes
        self.iter_chunks = content.iter_chunks


def build_request(*pieces, **fields):
    return HttpRequest(path="/files", payload=RawPayload("video/mp4", pieces), **fields)


def catch_fault(client, request, timeout_s=5.0):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of several libraries; what counts is how it is classified
        client.send(request, timeout_s)
    fault = classify_error(caught.value)
    assert fault is not None
    return fault


def test_sends_a_payload_with_its_exact_length_and_type(server, client):
    server.reply(GOOD)
    client.send(build_request(b"<", Content(100_000), b">"), 5.0)
    (request,) = server.requests
    assert (request.headers["content-length"], request.headers["content-type"]) == ("100002", "video/mp4")
    assert "transfer-encoding" not in request.headers
    assert request.body == b"<" + b"x" * 100_000 + b">"


def test_sends_an_empty_payload(server, client):
    server.reply(GOOD)
    client.send(build_request(), 5.0)
    assert (server.requests[0].headers["content-length"], server.requests[0].body) == ("0", b"")


def test_sends_a_form(server, client, tmp_path):
    server.reply(GOOD)
    (tmp_path / "a.pdf").write_bytes(b"%PDF-")
    form = FormPayload(file_name="a.pdf", file_type="application/pdf", content=Source.from_file(tmp_path / "a.pdf"))
    client.send(HttpRequest(path="/files", payload=form), 5.0)
    (request,) = server.requests
    assert request.headers["content-type"] == form.content_type
    assert request.body == b"".join(form.iter_chunks())


def test_sends_a_body_with_inline_texts_as_it_would_be_written_whole(server, client):
    server.reply(GOOD)
    large, small = InlineText(b"ABC" * 50_000, "data:image/png;base64,"), InlineText(b"xyz")
    body = {"text": 'a "ü"', "image": large, "more": [small, 1]}
    request = HttpRequest(path="/ask", body=body)
    client.send(request, 5.0)
    (sent,) = server.requests
    assert sent.body == request.content
    assert (sent.headers["content-type"], int(sent.headers["content-length"])) == ("application/json", len(sent.body))


def test_keeps_the_connection_after_a_payload(server, client):
    server.reply(GOOD, GOOD)
    for _ in range(2):
        client.send(build_request(Content(1_000_000)), 5.0)
    assert [request.connection for request in server.requests] == [1, 1]


def test_does_not_read_content_ahead_of_what_was_sent():
    content = Content(LARGE_BYTES)
    with SlowReader() as url:
        client = build_client(url)
        catch_fault(client, build_request(content), timeout_s=0.3)
        client.close()
    assert content.read_bytes < LARGE_BYTES


def test_ends_at_the_deadline_when_the_server_does_not_read():
    with SlowReader() as url:
        client = build_client(url)
        assert catch_fault(client, build_request(Content(LARGE_BYTES)), timeout_s=0.3).kind == "timeout"
        client.close()


def test_ends_at_the_deadline_when_the_server_reads_slowly():
    # Each piece is read in time; all of them together are not.
    with SlowReader(read_every_s=0.02) as url:
        client = build_client(url)
        assert catch_fault(client, build_request(Content(LARGE_BYTES)), timeout_s=0.5).kind == "timeout"
        client.close()


def test_ends_at_the_deadline_when_the_server_does_not_answer(server, client):
    server.reply(Hang())
    assert catch_fault(client, build_request(Content(10)), timeout_s=0.2).kind == "timeout"


def test_does_not_send_the_document_to_the_target_of_a_redirect(server, client):
    with ScriptedServer(default=GOOD) as elsewhere:
        server.reply(Answer(status=307, headers={"Location": f"{elsewhere.url}/files"}))
        fault = catch_fault(client, build_request(Content(10)))
        assert elsewhere.requests == []
    assert (fault.kind, fault.status_code, len(server.requests)) == ("refused", 307, 1)


def test_does_not_send_the_document_to_a_redirect_of_the_same_server(server, client):
    server.reply(Answer(status=308, headers={"Location": "/elsewhere"}), GOOD)
    assert catch_fault(client, build_request(Content(10))).status_code == 308
    assert len(server.requests) == 1


def test_reports_the_answer_of_a_server_that_refuses_before_it_has_read_all():
    with EarlyRefuser() as url:
        client = build_client(url)
        fault = catch_fault(client, build_request(Content(LARGE_BYTES)))
        client.close()
    assert (fault.kind, fault.status_code) == ("invalid_request", 413)
    assert "too large" in fault.message


@pytest.mark.parametrize("resends_stale", [False, True])
def test_reports_the_early_refusal_on_a_kept_connection(resends_stale):
    with EarlyCloser() as url:
        client = build_client(url, resends_stale=resends_stale)
        assert client.send(HttpRequest(path="/ask", body={}), 5.0).status == 200
        fault = catch_fault(client, build_request(Content(LARGE_BYTES)))
        client.close()
    assert (fault.kind, fault.status_code) == ("invalid_request", 413)


def test_does_not_use_a_connection_again_whose_request_was_not_sent_to_its_end():
    with EarlyRefuser() as url:
        client = build_client(url)
        catch_fault(client, build_request(Content(LARGE_BYTES)))
        assert catch_fault(client, build_request(Content(10))).status_code == 413
        client.close()


def test_reports_content_that_changes_while_it_is_sent(server, client):
    with pytest.raises(SourceError, match="changed while it was sent"):
        client.send(build_request(Content(1_000_000, fail_at=500_000)), 5.0)
    server.wait_for_open_connections(0)
    assert server.requests == []


@pytest.mark.parametrize("size_bytes", [1, 10, 1_000_000])
@pytest.mark.parametrize(("more", "reason"), [(1, "longer"), (-1, "shorter")])
def test_refuses_content_of_another_size_than_announced(server, client, size_bytes, more, reason):
    server.reply(GOOD, GOOD)
    client.send(build_request(Content(10)), 5.0)
    content = Misjudged(Content(size_bytes + more), size_bytes)
    with pytest.raises(SourceError, match=reason):
        client.send(build_request(content), 5.0)
    client.send(build_request(Content(10)), 5.0)
    assert [len(request.body) for request in server.requests] == [10, 10]
    assert [request.connection for request in server.requests] == [1, 2]


def test_can_send_after_content_that_changed(server, client):
    with pytest.raises(SourceError):
        client.send(build_request(Content(1_000_000, fail_at=500_000)), 5.0)
    server.reply(GOOD)
    assert client.send(build_request(Content(10)), 5.0).status == 200


def test_closing_the_client_ends_a_document_on_its_way():
    with SlowReader() as url:
        client = build_client(url)
        timer = threading.Timer(0.2, client.close)
        timer.start()
        assert catch_fault(client, build_request(Content(LARGE_BYTES)), timeout_s=60.0).kind == "connection"
        timer.join()


@pytest.mark.parametrize("step", [CloseAfter(GOOD), CloseOnNextRequest(GOOD)], ids=["closed since", "closes on use"])
def test_sends_the_whole_document_again_when_the_connection_was_stale(server, monkeypatch, step):
    monkeypatch.setattr("pollux_sync.wire.http._STALE_WITHIN_S", 10.0)
    client = build_client(server.url, resends_stale=True)
    server.reply(step, GOOD)
    client.send(build_request(Content(10)), 5.0)
    client.send(build_request(Content(1000)), 5.0)
    client.close()
    assert server.requests[-1].body == b"x" * 1000


def test_sends_a_document_once_where_a_repetition_could_cost_money(server, client):
    server.reply(ResetBeforeBody(), GOOD)
    assert catch_fault(client, build_request(Content(10))).kind == "connection"
    assert len(server.requests) == 1


# Addresses and answers of uploads


def test_sends_to_a_whole_address_of_the_same_server(server, client):
    server.reply(GOOD)
    client.send(HttpRequest(path=f"{server.url}/upload?id=1"), 5.0)
    assert server.requests[0].path == "/upload?id=1"


def test_sends_to_a_whole_address_through_a_proxy(server):
    client = build_client("http://api.acme.example/v1", proxy=server.url)
    server.reply(GOOD)
    client.send(HttpRequest(path="http://api.acme.example/upload?id=1"), 5.0)
    client.close()
    assert server.requests[0].path == "http://api.acme.example/upload?id=1"


@pytest.mark.parametrize("folder", ["b\u00fccher", "my files", "b%C3%BCcher"])
def test_sends_to_a_whole_address_through_a_proxy_from_a_base_that_needs_quoting(server, folder):
    client = build_client(f"http://api.acme.example/{folder}", proxy=server.url)
    server.reply(GOOD)
    client.send(HttpRequest(path="http://api.acme.example/upload?id=1"), 5.0)
    client.close()
    assert server.requests[0].path == "http://api.acme.example/upload?id=1"


@pytest.mark.parametrize("host", ["\u2024", "*.example"])
def test_refuses_a_host_that_no_request_can_name(host):
    with pytest.raises(ConfigurationError, match="base_url cannot be used"):
        build_client(f"http://{host}/v1")


@pytest.mark.parametrize(
    "address",
    ["http://evil.example/upload", "https://127.0.0.1/upload", "http://127.0.0.1:1/upload", "http://user@evil.example"],
)
def test_sends_neither_key_nor_document_to_another_server(server, client, address):
    with pytest.raises(ReplyError, match="refers to another host"):
        client.send(HttpRequest(path=address, payload=RawPayload("text/plain", (b"x",))), 5.0)
    assert server.requests == []


def test_takes_an_answer_without_a_body_where_it_is_optional(server, client):
    server.reply(Answer(status=204, headers={"X-Upload": "1"}))
    response = client.send(HttpRequest(method="DELETE", path="/", is_answer_optional=True), 5.0)
    assert (response.status, response.body, response.headers["x-upload"]) == (204, None, "1")


def test_refuses_an_answer_without_a_body_where_it_is_not(server, client):
    server.reply(Answer(status=204))
    assert catch_fault(client, HttpRequest(path="/")).kind == "malformed"


def test_reports_a_refusal_without_a_body(server, client):
    server.reply(Answer(status=500))
    assert catch_fault(client, HttpRequest(path="/", is_answer_optional=True)).status_code == 500


# What answers may echo

#: Answers that report an error, and the body of a successful one that cannot be decoded.
ECHOES = {
    "a JSON body": Answer(status=401, json={"error": {"message": f"bad key {KEY}"}}),
    "a page": Answer(status=500, body=f"<html>{KEY}".encode(), headers={"Content-Type": "text/html"}),
    "a header": Answer(status=401, json={}, headers={"X-Request-Id": f"for {KEY}", "WWW-Authenticate": KEY}),
    "a success that is not JSON": Answer(body=f"hello {KEY}".encode(), headers={"Content-Type": "text/html"}),
    "a success that is cut off": Answer(body=f'{{"a": "{KEY}'.encode(), headers={"Content-Type": "application/json"}),
    "a redirect": Answer(status=307, headers={"Location": f"https://evil.example/?key={KEY}"}),
}


ECHOED = [
    pytest.param(way, answer, id=f"{way}-{name}")
    for way in ("send", "stream", "read_lines")
    for name, answer in ECHOES.items()
    # Streams and lines that have begun are decoded elsewhere.
    if way == "send" or answer.status != 200
]


@pytest.mark.parametrize(("way", "answer"), ECHOED)
def test_key_that_an_answer_echoes_is_in_no_attribute_and_no_local(server, client, way, answer):
    server.reply(answer)
    with pytest.raises((HttpError, ReplyError)) as caught:
        list(getattr(client, way)(HttpRequest(path="/ask", body={}), 5.0))
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    frames = [
        text for frame in shown.stack if "pollux_sync" in frame.filename for text in (frame.locals or {}).values()
    ]
    assert KEY not in "".join(frames)
    assert KEY not in f"{caught.value} {caught.value!r} {vars(caught.value)} {caught.value.response!r}"
    response = caught.value.response
    assert KEY not in f"{response.headers} {response.body} {response.content!r}"


def test_key_at_the_place_where_a_page_is_cut_is_not_left_in_half(server, client):
    server.reply(Answer(status=500, body=b"x" * 1990 + KEY.encode()))
    with pytest.raises(HttpError) as caught:
        client.send(HttpRequest(path="/ask"), 5.0)
    assert caught.value.response.body == "x" * 1990 + "[REDACTED]"


def test_key_that_looks_like_a_number_or_a_name_stays_there(server):
    body = {"error": {"code": 1234, "message": "the 1234 is bad"}}
    server.reply(Answer(status=400, json=body))
    client = HttpClient(server.url, headers={}, secrets=("1234", "message"))
    with pytest.raises(HttpError) as caught:
        client.send(HttpRequest(path="/ask"), 5.0)
    assert caught.value.response.body == {"error": {"code": 1234, "message": "the [REDACTED] is bad"}}


@pytest.mark.parametrize("step", [ResetBeforeBody(), Hang()], ids=["reset", "silence"])
def test_key_is_in_no_local_of_a_request_that_failed(server, client, step):
    server.reply(step)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of several libraries
        client.send(build_request(Content(1_000_000)), 0.3)
    assert KEY not in "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())


# Servers that the scripted one cannot be


class _Listening:
    """A server that a thread of its own runs; as a context it is the address."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        # Small, so that a client cannot leave much in it. Accepted connections inherit it.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self):
        self._thread.start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self):
        with suppress(OSError):
            while True:
                with self._listener.accept()[0] as connection, suppress(ConnectionError):
                    self.serve(connection)

    def __exit__(self, *error):
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


class SlowReader(_Listening):
    """A server that reads nothing, or 4 KiB at a time."""

    def __init__(self, read_every_s=None):
        super().__init__()
        self._read_every_s = read_every_s

    def serve(self, connection):
        while not self._over.wait(self._read_every_s):
            connection.recv(4096)


class EarlyRefuser(_Listening):
    """A server that answers as soon as it has read the head of a request, and closes."""

    def serve(self, connection):
        self.refuse(connection)
        # As servers do: with bytes unread, closing would reset the connection and the answer would be lost.
        connection.settimeout(5.0)
        with suppress(TimeoutError):
            while connection.recv(65_536):
                pass

    def refuse(self, connection):
        body = b'{"error": {"message": "the file is too large"}}'
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 413 No\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        connection.shutdown(socket.SHUT_WR)


class EarlyCloser(EarlyRefuser):
    """A server that takes one request and refuses the next, of which it reads no more than the head."""

    def serve(self, connection):
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        self.refuse(connection)
        # The answer arrives first, and the reset ends the client's sending.
        self._over.wait(0.2)
