"""Waits for an answer: in the main thread in stretches, between which Python acts on signals."""

import threading
import time

import pytest

from pollux_sync.wire.answers import _STRETCH_S, _DeadlineReader

DEADLINE_S = 60.0


class QuietSocket:
    """A socket on which nothing comes for two waits. It does not wait."""

    def __init__(self):
        self.timeout = None
        self.waits = []

    def settimeout(self, timeout):
        self.timeout = timeout

    def gettimeout(self):
        return self.timeout

    def recv_into(self, buffer):
        self.waits.append(self.timeout)
        if len(self.waits) < 3:
            raise TimeoutError
        buffer[:3] = b"abc"
        return 3


def read(sock, deadline):
    return _DeadlineReader(sock, deadline).readinto(memoryview(bytearray(8)))


def test_the_main_thread_waits_in_stretches():
    sock = QuietSocket()
    assert read(sock, time.monotonic() + DEADLINE_S) == 3
    assert sock.waits == [_STRETCH_S] * 3


def test_another_thread_waits_until_the_deadline():
    sock = QuietSocket()
    thread = threading.Thread(target=read, args=(sock, time.monotonic() + DEADLINE_S))
    thread.start()
    thread.join(10)
    assert all(wait > DEADLINE_S / 2 for wait in sock.waits)


def test_the_deadline_ends_the_stretches():
    sock = QuietSocket()
    with pytest.raises(TimeoutError, match="within the time limit"):
        read(sock, time.monotonic() - 1)
    assert sock.waits == []
