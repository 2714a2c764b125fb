import gzip
import zlib
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollux_sync.wire.inflating import inflate

TEXT = b"The lighthouse was built in 1847. " * 5000


class Body:
    """A body that comes in pieces of ``size`` bytes."""

    def __init__(self, content, size=10_000, *, is_complete=True):
        self._file = BytesIO(content)
        self._size = size
        self.is_complete = is_complete

    def read(self, size):
        return self._file.read(min(size, self._size))

    read1 = read

    @property
    def left(self):
        return len(self._file.getvalue()) - self._file.tell()


def deflate_raw(content):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


PACKERS = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "Deflate ": deflate_raw}


def read_all(body, encoding, size=1000):
    inflated, pieces = inflate(body, encoding), []
    while piece := inflated.read(size):
        pieces.append(piece)
    return pieces


@pytest.mark.parametrize("encoding", PACKERS)
@given(st.binary(max_size=100), st.integers(0, 300), st.integers(1, 200), st.integers(1, 5000))
def test_reads_what_was_compressed(encoding, beginning, count, piece, size):
    content = beginning * count
    pieces = read_all(Body(PACKERS[encoding](content), piece), encoding, size)
    assert b"".join(pieces) == content
    assert all(0 < len(one) <= size for one in pieces)


@pytest.mark.parametrize("piece", range(1, 30))
def test_reads_several_gzip_files_as_one(piece):
    body = Body(gzip.compress(b"one ") + gzip.compress(b"") + gzip.compress(b"two"), piece)
    assert b"".join(read_all(body, "gzip")) == b"one two"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_follows_is_read_but_means_nothing(encoding):
    body = Body(PACKERS[encoding](TEXT) + b"\0" * 100_000)
    assert b"".join(read_all(body, encoding)) == TEXT
    assert body.left == 0


def test_a_small_body_that_becomes_large_is_inflated_as_far_as_it_is_asked_for():
    body = Body(gzip.compress(bytes(200_000_000)))
    assert len(inflate(body, "gzip").read(1000)) == 1000
    assert body.left > 0


def test_read1_returns_what_has_arrived():
    packer = zlib.compressobj(wbits=31)
    arrived = packer.compress(b"event one") + packer.flush(zlib.Z_SYNC_FLUSH)

    class Slow(Body):
        def read1(self, size):
            assert self.left, "it waits for more than has arrived"
            return super().read1(size)

    assert inflate(Slow(arrived), "gzip").read1(1000) == b"event one"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("spoil", [lambda packed: b"no such thing", lambda packed: packed[:-20]], ids=["other", "cut"])
def test_refuses_a_body_that_is_not_what_it_claims(encoding, spoil):
    with pytest.raises(zlib.error):
        read_all(Body(spoil(PACKERS[encoding](TEXT))), encoding)


def test_says_nothing_of_a_body_that_broke_off_which_is_reported_as_such():
    pieces = read_all(Body(gzip.compress(TEXT)[:-20], is_complete=False), "gzip")
    assert TEXT.startswith(b"".join(pieces))


def test_an_empty_body_is_none():
    assert read_all(Body(b""), "gzip") == []


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "identity", ""])
def test_knows_no_other_encoding(encoding):
    assert inflate(Body(TEXT), encoding) is None
