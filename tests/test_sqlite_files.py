"""SQLite files that threads share, and that a forked child opens anew."""

import os
import sqlite3
import stat
import threading

import pytest

from pollux_sync import ConfigurationError
from pollux_sync.plugin import SqliteFile

SCRIPT = "CREATE TABLE IF NOT EXISTS words (word TEXT)"


@pytest.fixture
def file(tmp_path):
    file = SqliteFile(tmp_path / "folder" / "words.sqlite", SCRIPT)
    yield file
    file.close()


def add(file, word):
    with file.begin() as connection:
        connection.execute("INSERT INTO words VALUES (?)", (word,))


def add_and_fail(file):
    with file.begin() as connection:
        connection.execute("INSERT INTO words VALUES ('whale')")
        connection.execute("INSERT INTO nothing VALUES ('whale')")


def read(file):
    with file.begin() as connection:
        return sorted(word for (word,) in connection.execute("SELECT word FROM words"))


def test_creates_folder_file_and_tables_for_its_owner_alone(file):
    add(file, "whale")
    assert read(file) == ["whale"]
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_creates_nothing_before_it_is_used(file):
    assert not file.path.parent.exists()


def test_threads_write_side_by_side(file):
    threads = [threading.Thread(target=add, args=(file, str(number))) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read(file)) == 8


def test_waits_for_another_process_that_opens_the_file_at_the_same_time(file):
    file.path.parent.mkdir()
    other = sqlite3.connect(file.path, isolation_level=None)
    # As it is while the other one creates its tables.
    other.execute("BEGIN IMMEDIATE")
    thread = threading.Thread(target=add, args=(file, "whale"))
    thread.start()
    thread.join(0.05)
    other.execute(SCRIPT)
    other.execute("COMMIT")
    other.close()
    thread.join()
    assert read(file) == ["whale"]


def test_keeps_nothing_of_a_block_that_raises(file):
    with pytest.raises(sqlite3.OperationalError):
        add_and_fail(file)
    assert read(file) == []


def test_goes_on_after_close(file):
    add(file, "whale")
    file.close()
    assert read(file) == ["whale"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_opens_the_file_anew(file):
    add(file, "parent")
    child = os.fork()
    if child == 0:
        add(file, "child")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert read(file) == ["child", "parent"]


def test_names_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("no database at all, but long enough to be read as one" * 100)
    with (
        pytest.raises(ConfigurationError, match=r"notes.txt cannot be opened as a SQLite file"),
        SqliteFile(path, SCRIPT).begin(),
    ):
        pass


def test_names_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigurationError, match="cannot be opened"),
        SqliteFile(tmp_path / "file" / "a.sqlite", SCRIPT).begin(),
    ):
        pass
