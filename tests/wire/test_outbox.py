"""Pieces of a request: small ones leave together, large ones as they are."""

import pytest

from pollux_sync.wire.connections import _Outbox

HEAD, LARGE = b"POST / HTTP/1.1\r\n\r\n", bytes(64 * 1024)


@pytest.fixture
def outbox():
    return _Outbox()


def test_small_pieces_leave_together(outbox):
    file = bytes(50_000)
    for piece in (HEAD, b'{"file":"', file, b'"}'):
        assert not outbox.add(piece)
    assert outbox.take() == [HEAD + b'{"file":"' + file + b'"}']


def test_a_large_piece_is_not_copied(outbox):
    assert [outbox.add(piece) for piece in (HEAD, LARGE)] == [False, True]
    head, large = outbox.take()
    assert (head, large.obj is LARGE) == (HEAD, True)


def test_a_large_piece_without_others_is_not_copied(outbox):
    outbox.add(HEAD)
    outbox.take()
    assert outbox.add(LARGE)
    (large,) = outbox.take()
    assert large.obj is LARGE


@pytest.mark.parametrize("head", [HEAD, LARGE])
def test_what_is_sent_does_not_show(outbox, head):
    outbox.add(head)
    assert repr(outbox.take()).startswith("[<memory at ")


def test_nothing_is_left_after_the_last_piece(outbox):
    outbox.add(HEAD)
    outbox.take()
    assert outbox.take() == []
