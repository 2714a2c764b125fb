"""The capacity of the loopback server, measured by a client of bare sockets that parses nothing."""

from __future__ import annotations

import selectors
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loopback import Loopback

_BODY = b'{"model":"m","input":"' + b"Who built the lighthouse? " * 8 + b'"}'
_PATH = "/v1/responses"
_ANSWER_END = b"}"


def measure_capacity(server: Loopback, *, calls: int, connections: int = 32) -> dict[str, float]:
    """Return the calls per second that the server answers, its CPU per call, and its share of one core.

    The client shares the cores with the server, so that the server's own limit is ``1 / cpu_s``.
    """
    before, started = server.fetch_stats(), time.monotonic()
    _drive(server.address, calls, connections)
    wall_s = time.monotonic() - started
    cpu_s = server.fetch_stats()["cpu_s"] - before["cpu_s"]
    return {
        "calls_per_s": calls / wall_s,
        "server_us_per_call": cpu_s / calls * 1e6,
        "server_limit_per_s": calls / cpu_s,
        "server_cpu_share": cpu_s / wall_s,
    }


def _drive(address: tuple[str, int], calls: int, connections: int) -> None:
    request = f"POST {_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(_BODY)}\r\n\r\n".encode() + _BODY
    selector = selectors.DefaultSelector()
    sockets = [socket.create_connection(address) for _ in range(connections)]
    for connection in sockets:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ)
        connection.sendall(request)
    sent, answered = connections, 0
    while answered < calls:
        for key, _ in selector.select():
            if not key.fileobj.recv(65536).endswith(_ANSWER_END):
                continue
            answered += 1
            if sent < calls:
                key.fileobj.sendall(request)
                sent += 1
    for connection in sockets:
        connection.close()
