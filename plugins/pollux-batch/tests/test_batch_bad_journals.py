"""Journals that cannot be used: each command says why, and sends nothing."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pollux_batch import JournalError, stream_batch
from pollux_batch.cli import main
from pollux_batch.journaling import explain_errors
from pollux_batch.locking import open_locked, try_lock
from pollux_sync import Config
from pollux_sync.errors import ConfigurationError

CONFIG = Config(provider="any", model="any", use_mock=True)
RUN = ("in.csv", "-j", "j.db", "--mock", "--prompt", "text", "--id", "key")
COMMANDS = (
    ["run", *RUN],
    ["plan", *RUN],
    ["resume", "j.db"],
    ["status", "j.db"],
    ["explain", "j.db"],
    ["export", "j.db", "out.jsonl"],
    ["report", "j.db", "out.html"],
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory, with an input of two items."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_text("key,text\n1,Hello\n2,Bye\n")
    return tmp_path


@pytest.mark.parametrize("argv", COMMANDS, ids=lambda argv: argv[0])
def test_refuses_a_journal_of_another_version(argv):
    main(["run", *RUN])
    with sqlite3.connect("j.db") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(ConfigurationError, match="has version 99, this release reads version 1") as caught:
        main(argv)
    assert caught.value.hint == "use the release that wrote it, or another journal"


@pytest.mark.parametrize("argv", COMMANDS, ids=lambda argv: argv[0])
def test_refuses_a_file_that_is_no_journal(folder, argv):
    (folder / "j.db").write_text("key,text\n" * 1_000)
    with pytest.raises(ConfigurationError, match="cannot be used as a journal") as caught:
        main(argv)
    assert "pass another path" in caught.value.hint


def test_leaves_nothing_beside_a_path_that_it_refuses(folder):
    names = sorted(folder.iterdir())
    with pytest.raises(ConfigurationError, match="cannot be used as a journal"):
        main(["run", "in.csv", "-j", "in.csv", "--mock", "--prompt", "text"])
    assert sorted(folder.iterdir()) == names


def test_keeps_the_lock_file_of_a_journal_that_it_refuses(folder):
    main(["run", *RUN])
    (folder / "j.db").write_text("damaged")
    with pytest.raises(ConfigurationError, match="cannot be used as a journal"):
        main(["run", *RUN])
    assert Path("j.db-lock").exists()


def test_takes_no_lock_on_a_file_that_is_gone(folder):
    path, opened = folder / "lock", []

    def open_file():
        file = path.open("a")
        if not opened:
            # Another process lets it go, between these two steps of this one.
            path.unlink()
        opened.append(file)
        return file

    with open_locked(path, open_file) as file:
        assert (opened[0].closed, file) == (True, opened[1])
        with path.open("a") as other:
            assert not try_lock(other)


@pytest.mark.parametrize("argv", COMMANDS[2:], ids=lambda argv: argv[0])
def test_refuses_a_journal_that_does_not_exist(argv):
    with pytest.raises(ConfigurationError, match=r"there is no journal 'j\.db'"):
        main(argv)
    assert not Path("j.db").exists()


@pytest.mark.parametrize("argv", [COMMANDS[0], COMMANDS[2]], ids=lambda argv: argv[0])
def test_refuses_a_journal_in_use(argv):
    main(["run", *RUN])
    results = stream_batch(["a", "b"], config=CONFIG, journal="j.db")
    next(results)
    with pytest.raises(ConfigurationError, match=f"in use by process {os.getpid()}") as caught:
        main(argv)
    assert caught.value.hint.startswith("wait for its end")
    results.close()


def test_a_link_to_a_journal_in_use_is_in_use_too(folder):
    (folder / "elsewhere").mkdir()
    link = folder / "elsewhere" / "link.db"
    link.symlink_to(folder / "j.db")
    results = stream_batch(["a", "b"], config=CONFIG, journal="j.db")
    next(results)
    with pytest.raises(ConfigurationError, match=f"in use by process {os.getpid()}"):
        next(stream_batch(["a", "b"], config=CONFIG, journal=link))
    results.close()
    assert [*stream_batch(["a", "b"], config=CONFIG, journal=link)]
    assert [path.name for path in link.parent.iterdir()] == ["link.db"]


@pytest.mark.parametrize("argv", COMMANDS, ids=lambda argv: argv[0])
def test_says_so_where_a_journal_is_damaged_inside(folder, argv):
    (folder / "many.jsonl").write_text("".join(f'{{"prompt": "{number} {"x" * 500}"}}\n' for number in range(200)))
    main(["run", "many.jsonl", "-j", "j.db", "--mock", "--quiet"])
    database = sqlite3.connect("j.db")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    content = bytearray(Path("j.db").read_bytes())
    content[4_096:] = b"\xff" * (len(content) - 4_096)
    Path("j.db").write_bytes(content)
    with pytest.raises(JournalError, match=r"cannot be .*malformed") as caught:
        main(argv)
    assert caught.value.hint.startswith("pass another path; what is left")
    assert not [path for path in folder.iterdir() if path.name.startswith("out")]


def test_says_so_where_another_program_has_the_journal_open():
    main(["run", *RUN])
    with closing(sqlite3.connect("j.db")) as one, closing(sqlite3.connect("j.db", timeout=0)) as two:
        one.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="is locked") as caught, explain_errors(Path("j.db"), "written"):
            two.execute("BEGIN IMMEDIATE")
    assert caught.value.hint == "another program has it open: end that, and run again"
