"""A way through a SOCKS proxy, which is a real one on loopback."""

import socket
import threading
from contextlib import suppress

import pytest

from pollux_sync.data.provider import HttpRequest
from pollux_sync.testing.server import Answer, ScriptedServer
from pollux_sync.wire.faults import classify_error
from pollux_sync.wire.http import HttpClient

pytest.importorskip("socks")

ASK = HttpRequest(path="/ask", body={})


class SocksProxy:
    """A proxy of SOCKS 5 that lets everybody in, or one that drips its greeting. As a context it is the address."""

    def __init__(self, drips_every_s=None):
        self.connected = []
        self._drips_every_s = drips_every_s
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self):
        self._threads[0].start()
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(self, *error):
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client, suppress(OSError):
                    self._serve(client)

    def _serve(self, client):
        client.recv(client.recv(2)[1])  # the methods of authentication that the client offers
        client.sendall(b"\x05\x00")
        kind = client.recv(4)[3]
        host = socket.inet_ntoa(client.recv(4)) if kind == 1 else client.recv(client.recv(1)[0]).decode()
        port = int.from_bytes(client.recv(2), "big")
        self.connected.append((host, port))
        granted = b"\x05\x00\x00\x01" + bytes(6)
        if self._drips_every_s:
            for byte in granted:
                client.sendall(bytes([byte]))
                self._over.wait(self._drips_every_s)
        client.sendall(granted)
        with socket.create_connection(("127.0.0.1", port)) as server:
            back = threading.Thread(target=pump, args=(server, client), daemon=True)
            self._threads.append(back)
            back.start()
            pump(client, server)
            back.join()


def pump(source, target):
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def server():
    with ScriptedServer(default=Answer(json={"answer": 42})) as server:
        yield server


@pytest.mark.parametrize(("scheme", "host"), [("socks5", "127.0.0.1"), ("socks5h", "api.example")])
def test_sends_through_the_proxy_and_keeps_the_connection(server, scheme, host):
    port = int(server.url.rpartition(":")[2])
    proxy = SocksProxy()
    with proxy as address:
        client = HttpClient(f"http://{host}:{port}/v1", headers={}, proxy=f"{scheme}://{address}")
        assert client.send(ASK, 5.0).body == client.send(ASK, 5.0).body == {"answer": 42}
        client.close()
    assert proxy.connected == [(host, port)]
    assert [request.path for request in server.requests] == ["/v1/ask"] * 2


def test_ends_a_proxy_that_drips_at_the_deadline(server):
    with SocksProxy(drips_every_s=0.1) as address:
        client = HttpClient(server.url, headers={}, proxy=f"socks5://{address}")
        with pytest.raises(Exception) as caught:  # noqa: PT011 - of urllib3's; what counts is how it is classified
            client.send(ASK, 0.3)
        client.close()
    assert classify_error(caught.value).kind == "timeout"
    assert server.requests == []


@pytest.mark.parametrize("answers", [b"", b"\x05\xff", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_reports_what_is_no_such_proxy(server, answers):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            with listener.accept()[0] as client:
                client.recv(100)
                client.sendall(answers)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        client = HttpClient(server.url, headers={}, proxy=f"socks5://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(Exception) as caught:  # noqa: PT011 - of urllib3's; what counts is how it is classified
            client.send(ASK, 5.0)
        client.close()
        thread.join()
    assert classify_error(caught.value).kind == "connection"
    assert server.requests == []
