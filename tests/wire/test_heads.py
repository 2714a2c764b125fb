"""Heads of requests as they are sent, and heads of answers as they are read."""

import io

import pytest

from pollux_sync.data.provider import HttpRequest
from pollux_sync.errors import ConfigurationError
from pollux_sync.testing.server import Answer, ScriptedServer
from pollux_sync.wire.heads import encode_fields, encode_first_line, parse_head, read_fields
from pollux_sync.wire.http import HttpClient


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1beta/models/m:generateContent?alt=sse&x=a%20b", "/v1beta/models/m:generateContent?alt=sse&x=a%20b"),
        ("/files/a b", "/files/a%20b"),
        ("/files/ä☃", "/files/%C3%A4%E2%98%83"),
        ("/files/100%", "/files/100%25"),
        ("/files/100%zz%41", "/files/100%25zz%41"),
        ("/files/[x]?y={z}", "/files/%5Bx%5D?y=%7Bz%7D"),
        ("/files/x#part", "/files/x"),
        ("/a\r\nX-Injected: 1", "/a%0D%0AX-Injected:%201"),
        ("http://host:80/a b", "http://host:80/a%20b"),
    ],
)
def test_a_target_holds_only_what_it_may(target, sent):
    assert encode_first_line("GET", target) == f"GET {sent} HTTP/1.1\r\n".encode()


@pytest.mark.parametrize("method", ["", "GET /x", "PO\r\nST", "GÉT"])
def test_refuses_what_is_no_method(method):
    with pytest.raises(ConfigurationError, match="no method"):
        encode_first_line(method, "/")


def test_fields_are_sent_as_they_are():
    fields = {"X-Name": " é\t1", "!#$%&'*+-.^_`|~": ""}
    assert encode_fields(fields) == b"X-Name:  \xe9\t1\r\n!#$%&'*+-.^_`|~: \r\n"


@pytest.mark.parametrize("name", ["", "X Name", "X:Name", "X\r\nY", "Ä"])
def test_refuses_the_name_of_a_field(name):
    with pytest.raises(ConfigurationError, match="no header"):
        encode_fields({name: "1"})


@pytest.mark.parametrize("value", ["sk-1\n", "sk-1\r\nX-Injected: 1", "sk-1\0", "sk-1☃", "sk-1\x7f"])
def test_refuses_the_value_of_a_field_without_showing_it(value):
    with pytest.raises(ConfigurationError, match="'X-Key' cannot be sent") as caught:
        encode_fields({"X-Key": value})
    assert "sk-1" not in f"{caught.value} {caught.value.hint}"


def open_reader(content, size=8192):
    return io.BufferedReader(io.BytesIO(content), size)


PLAIN = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 2\r\n\r\n{}"


def test_takes_a_plain_head_at_once():
    reader = open_reader(PLAIN)
    assert parse_head(reader) == (1, 200, {"x-a": "1", "content-length": "2"})
    assert reader.read() == b"{}"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\nX-A: 1\n\n",
        b"HTTP/1.1 200 OK\r\nX-A: 1\nX-B: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\n  2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n X-A: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\nX-A: 1\r\n\r\n",
        b"HTTP/2 200 OK\r\nX-A: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 101 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\n",
        b"",
    ],
)
def test_leaves_any_other_head_unread(head):
    reader = open_reader(head)
    assert parse_head(reader) is None
    assert reader.read() == head


def test_leaves_a_head_unread_that_has_not_arrived_whole():
    reader = open_reader(PLAIN, size=20)
    assert parse_head(reader) is None
    assert reader.read() == PLAIN


@pytest.mark.parametrize("ending", [b"\r\n", b"\n"])
def test_refuses_two_lengths(ending):
    fields = [b"Content-Length: 2", b"content-length: 3", b""]
    reader = open_reader(ending.join([*fields, b"{}"]))
    with pytest.raises(Exception, match="two lengths"):
        read_fields(reader)


def test_takes_one_length_twice():
    assert read_fields(open_reader(b"Content-Length: 2\r\ncontent-length: 2\r\n\r\n")) == {"content-length": "2"}


def test_names_the_host_without_a_usual_port_and_a_zone():
    hosts = {
        "http://127.0.0.1:80/v1": "127.0.0.1",
        "https://api.example/v1": "api.example",
        "https://API.example:8443": "api.example:8443",
        "http://[fe80::1%25eth0]:81": "[fe80::1]:81",
        "http://user:password@api.example:443": "api.example:443",
    }
    clients = {url: HttpClient(url, headers={}) for url in hosts}
    assert {url: client._headers._fields["Host"] for url, client in clients.items()} == hosts


def test_a_host_of_ones_own_is_sent_once():
    with ScriptedServer(default=Answer(json={})) as server:
        client = HttpClient(server.url, headers={"host": "api.acme.example"})
        client.send(HttpRequest(path="/"), 5.0)
        client.close()
        assert server.requests[0].headers["host"] == "api.acme.example"


def test_the_body_names_its_own_length_and_type():
    with ScriptedServer(default=Answer(json={})) as server:
        client = HttpClient(server.url, headers={"content-type": "text/plain", "Content-Length": "7"})
        client.send(HttpRequest(path="/", body={}, headers={"Content-Type": "text/html"}), 5.0)
        client.close()
        headers = server.requests[0].headers
        assert (headers["content-type"], headers["content-length"]) == ("application/json", "2")
