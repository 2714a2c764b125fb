"""Sources that are bound to the content that was planned: other content is never sent as a whole."""

import hashlib
import os

import attrs
import pytest

from pollux_sync import Source, SourceError
from pollux_sync.data.source import BytesLoader

#: More than one chunk, so that a change can come between two.
CONTENT = bytes(range(256)) * 4096


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(CONTENT)
    return path


def pin(source, **fields):
    sha256, size_bytes = source.measure()
    return source.pin(sha256=sha256, size_bytes=size_bytes, **fields)


def read_until_refused(chunks):
    """Read the chunks until one is refused because the content changed; return how many bytes came until then."""
    sizes = map(len, chunks)
    read = []
    with pytest.raises(SourceError, match=r"film\.mp4' changed while it was sent"):
        read.extend(sizes)
    return sum(read)


def test_reads_what_was_planned(file):
    assert b"".join(pin(Source.from_file(file)).iter_chunks()) == CONTENT


def test_reads_it_at_once(file):
    with pin(Source.from_file(file)).open() as stream:
        assert stream.read() == CONTENT


def test_reads_it_into_a_buffer(file):
    buffer = bytearray(2 * len(CONTENT))
    with pin(Source.from_file(file)).open() as stream:
        size_bytes = stream.readinto(buffer)
    assert buffer[:size_bytes] == CONTENT


def test_reads_it_again(file):
    source = pin(Source.from_file(file))
    assert [hashlib.sha256(b"".join(source.iter_chunks())).digest() for _ in "ab"] == [
        hashlib.sha256(CONTENT).digest()
    ] * 2


def test_knows_the_size_of_what_was_planned(file):
    unmeasured = attrs.evolve(Source.from_file(file), size_bytes=0)
    assert pin(unmeasured).size_bytes == len(CONTENT)


def test_is_read_in_chunks(file):
    assert max(map(len, pin(Source.from_file(file)).iter_chunks())) < len(CONTENT)


def test_keeps_its_path(file):
    assert pin(Source.from_file(file)).path == file


CHANGES = {
    "grows": lambda path: path.write_bytes(CONTENT + b"more"),
    "shrinks": lambda path: path.write_bytes(CONTENT[:-1]),
    "is emptied": lambda path: path.write_bytes(b""),
    "changes at its beginning": lambda path: path.write_bytes(b"x" + CONTENT[1:]),
    "changes at its end": lambda path: path.write_bytes(CONTENT[:-1] + b"x"),
}
#: A change of what has been read already does no harm.
LATE_CHANGES = [name for name in CHANGES if name != "changes at its beginning"]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_is_never_complete_when_the_file_has_changed(file, change):
    source = pin(Source.from_file(file))
    change(file)
    assert read_until_refused(source.iter_chunks()) < len(CONTENT)


@pytest.mark.parametrize("change", [CHANGES[name] for name in LATE_CHANGES], ids=LATE_CHANGES)
def test_is_never_complete_when_the_file_changes_while_it_is_read(file, change):
    chunks = pin(Source.from_file(file)).iter_chunks()
    read_bytes = len(next(chunks))
    change(file)
    assert read_bytes + read_until_refused(chunks) < len(CONTENT)


def test_goes_on_with_the_old_file_when_another_takes_its_name(file, tmp_path):
    chunks = pin(Source.from_file(file)).iter_chunks()
    read = next(chunks)
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "new").replace(file)
    assert read + b"".join(chunks) == CONTENT


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_cannot_be_loaded_whole_when_the_file_has_changed(file, change):
    source = pin(Source.from_file(file))
    change(file)
    with pytest.raises(SourceError, match=r"film\.mp4' changed while it was sent"):
        source.content_loader()


def test_names_a_file_that_is_gone(file):
    source = pin(Source.from_file(file))
    file.unlink()
    with pytest.raises(SourceError, match=r"cannot read .*film\.mp4"):
        list(source.iter_chunks())


def test_names_a_file_whose_reading_fails(file):
    source = pin(Source.from_file(file))
    file.unlink()
    file.mkdir()
    with pytest.raises(SourceError, match=r"cannot read .*film\.mp4"):
        list(source.iter_chunks())


def test_is_read_to_no_end_once_it_is_stopped(file):
    is_stopped = []
    chunks = pin(Source.from_file(file), is_stopped=lambda: bool(is_stopped)).iter_chunks()
    next(chunks)
    is_stopped.append(True)
    with pytest.raises(ConnectionAbortedError, match="the upload was stopped"):
        next(chunks)


def test_ends_as_usual_when_it_is_stopped_after_its_last_piece(file):
    """All of it may be stored by then: an error here would leave a file behind whose name nobody has read."""
    is_stopped = []
    chunks = pin(Source.from_file(file), is_stopped=lambda: bool(is_stopped)).iter_chunks()
    read = 0
    while read < len(CONTENT):
        read += len(next(chunks))
    is_stopped.append(True)
    assert list(chunks) == []


def test_nothing_of_it_is_sent_when_it_is_stopped_before(tmp_path):
    (tmp_path / "empty.txt").touch()
    source = pin(Source.from_file(tmp_path / "empty.txt"), is_stopped=lambda: True)
    with pytest.raises(ConnectionAbortedError, match="the upload was stopped"):
        list(source.iter_chunks())


def test_content_in_memory_is_pinned_too():
    source = Source("file", "a.bin", "text/plain", 3, BytesLoader(b"abc"))
    pinned = source.pin(sha256=hashlib.sha256(b"other").hexdigest(), size_bytes=3)
    with pytest.raises(SourceError, match=r"'a\.bin' changed while it was sent"):
        list(pinned.iter_chunks())


def test_opened_content_can_be_measured_and_read_from_its_beginning_again(file):
    with pin(Source.from_file(file)).open() as stream:
        assert stream.read(1000) == CONTENT[:1000]
        assert (stream.tell(), stream.seek(0, os.SEEK_END), stream.seek(0)) == (1000, len(CONTENT), 0)
        assert (stream.readable(), stream.seekable()) == (True, True)
        assert stream.read() == CONTENT


def test_empty_content_is_complete_at_once(tmp_path):
    (tmp_path / "empty").touch()
    assert list(pin(Source.from_file(tmp_path / "empty")).iter_chunks()) == []


def test_unpinned_file_that_is_gone_is_named(file):
    source = Source.from_file(file)
    file.unlink()
    with pytest.raises(SourceError, match=r"cannot read .*film\.mp4"):
        list(source.iter_chunks())
