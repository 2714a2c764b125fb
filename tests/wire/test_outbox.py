"""Pieces of a request: small ones leave together, large ones as they are."""

import pytest

from pollux_sync.wire.outbox import Outbox, limit_size, skip_bytes

HEAD, LARGE = b"POST / HTTP/1.1\r\n\r\n", bytes(64 * 1024)


@pytest.fixture
def outbox():
    return Outbox()


def test_small_pieces_leave_together(outbox):
    file = bytes(50_000)
    for piece in (HEAD, b'{"file":"', file, b'"}'):
        outbox.add(piece)
    assert not outbox.is_full
    assert outbox.take() == [HEAD + b'{"file":"' + file + b'"}']


def test_large_pieces_are_not_copied(outbox):
    for piece in (HEAD, b"{", LARGE, LARGE, b"}", b""):
        outbox.add(piece)
    before, *large, after = outbox.take()
    assert (before, after) == (HEAD + b"{", b"}")
    assert [piece.obj is LARGE for piece in large] == [True, True]


def test_it_is_full_when_a_socket_would_not_be_handed_more_at_once(outbox):
    filled = []
    for _ in range(4):
        outbox.add(LARGE)
        filled.append(outbox.is_full)
    assert filled == [False, False, False, True]
    outbox.take()
    assert not outbox.is_full


@pytest.mark.parametrize("head", [HEAD, LARGE])
def test_what_is_sent_does_not_show(outbox, head):
    outbox.add(head)
    assert repr(outbox.take()).startswith("[<memory at ")


def test_nothing_is_left_after_the_last_piece(outbox):
    outbox.add(HEAD)
    outbox.take()
    assert outbox.take() == []


@pytest.mark.parametrize("taken", [1, 2, 3, 7, 12])
def test_pieces_go_on_where_a_socket_took_a_part_of_them(taken):
    pieces, sent = [memoryview(b"abc"), memoryview(b"d"), memoryview(b"efghijkl")], b""
    while pieces:
        part = b"".join(limit_size(pieces, taken))
        assert len(part) <= taken
        sent += part
        pieces = skip_bytes(pieces, len(part))
    assert sent == b"abcdefghijkl"
