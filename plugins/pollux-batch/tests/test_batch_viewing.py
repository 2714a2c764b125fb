"""A look at a journal leaves its folder as it was, whoever writes there, and loses no answer."""

import hashlib
import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pollux_batch import JournalError, inspect_journal, run_batch, stream_batch
from pollux_batch.cli import main
from pollux_batch.inspecting import JournalView
from pollux_batch.journaling import open_database
from pollux_sync import Config
from pollux_sync.errors import ConfigurationError

CONFIG = Config(provider="any", model="any", use_mock=True)
PROMPTS = [f"p{n}" for n in range(20)]
NOBODY = 65_534
KILLED = """
import os, sys
from pollux_batch import stream_batch
from pollux_sync import Config
config = Config(provider="any", model="any", use_mock=True)
results = stream_batch([f"p{n}" for n in range(20)], config=config, journal=sys.argv[1])
for _ in range(20):
    next(results)
os._exit(0)
"""


@pytest.fixture
def folder():
    """A folder of its own that others may read, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def path(folder):
    """The journal of a job that has ended."""
    run_batch(PROMPTS, config=CONFIG, journal=folder / "j.db")
    return folder / "j.db"


@pytest.fixture
def killed(folder):
    """The journal of a job whose process was killed after its last answer."""
    path = folder / "killed.db"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=True, env=os.environ)
    assert log_of(path).stat().st_size
    return path


def log_of(path):
    return path.with_name(f"{path.name}-wal")


def read_folder(folder):
    """Return name, content and time of all files. What SQLite makes of a log, its index, is no content."""
    return {
        path.name: (hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if not path.name.endswith("-shm")
    } | {path.name: None for path in folder.glob("*-shm")}


@contextmanager
def forbid_writing(folder):
    """Be somebody who may not write to a folder."""
    folder.chmod(0o555)
    is_root = not os.geteuid()
    if is_root:  # who may write everywhere
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)


def test_inspecting_leaves_the_folder_of_an_ended_job_as_it_was(folder, path):
    before = read_folder(folder)
    assert inspect_journal(path).answers == 20
    assert read_folder(folder) == before


@pytest.mark.parametrize("command", ["status", "explain", "export", "report", "resume --explain", "plan"])
def test_commands_leave_the_folder_of_an_ended_job_as_it_was(folder, tmp_path, command):
    (folder / "in.csv").write_text("text\nHello\n")
    run = [str(folder / "in.csv"), "-j", str(folder / "j.db"), "--mock", "--prompt", "text"]
    main(["run", *run])
    before = read_folder(folder)
    name, *options = command.split()
    out = {"export": "out.jsonl", "report": "out.html"}.get(name)
    arguments = run if name == "plan" else [str(folder / "j.db"), *options]
    assert main([name, *arguments, *([str(tmp_path / out)] if out else [])]) == 0
    assert read_folder(folder) == before


def test_reads_the_log_of_a_killed_job_and_leaves_it_as_it_is(folder, killed):
    before = read_folder(folder)
    for _ in range(2):
        assert inspect_journal(killed).answers == 20
    assert read_folder(folder) == before
    assert run_batch(PROMPTS, config=CONFIG, journal=killed).summary()["replayed"] == 20


def test_reads_the_log_of_a_killed_job_by_a_link(folder, killed):
    (folder / "elsewhere").mkdir()
    link = folder / "elsewhere" / "link.db"
    link.symlink_to(killed)
    with forbid_writing(folder):
        assert inspect_journal(link).answers == 20


def test_reads_a_journal_that_is_being_written(path):
    results = stream_batch([*PROMPTS, "new"], config=CONFIG, journal=path)
    n_read = sum(1 for _ in zip(range(20), results, strict=False))
    report = inspect_journal(path)
    assert (report.answers >= 20, report.runs[-1].state) == (True, "running")
    assert n_read + len([*results]) == 21
    assert inspect_journal(path).answers == 21


def test_leaves_nothing_where_the_job_ends_meanwhile(folder, path):
    names = {path.name for path in folder.iterdir()}
    results = stream_batch([*PROMPTS, "new"], config=CONFIG, journal=path)
    next(results)
    with JournalView(path) as view, JournalView(path) as other:
        results.close()
        assert view.count_answers() == other.count_answers() >= 20
    assert {path.name for path in folder.iterdir()} == names


def test_leaves_the_log_to_a_job_that_begins_meanwhile(path):
    with JournalView(path) as view:
        assert view.count_answers() == 20
        results = stream_batch([*PROMPTS, *"abc"], config=CONFIG, journal=path)
        next(results)
    assert len([*results]) == 22
    assert inspect_journal(path).answers == 23


def test_reads_an_ended_job_in_a_folder_without_permission(folder, path):
    with forbid_writing(folder):
        before = read_folder(folder)
        assert inspect_journal(path).answers == 20
        assert read_folder(folder) == before


def test_reads_a_killed_job_in_a_folder_without_permission(folder, killed):
    with forbid_writing(folder):
        before = read_folder(folder)
        assert inspect_journal(killed).answers == 20
        assert read_folder(folder) == before


def test_reads_a_running_job_in_a_folder_without_permission(folder, path):
    results = stream_batch([*PROMPTS, "new"], config=CONFIG, journal=path)
    next(results)
    with forbid_writing(folder):
        assert inspect_journal(path).runs[-1].state == "running"
    assert len([*results]) == 20


def test_gives_no_answer_that_changes_while_it_is_read(folder, path):
    with forbid_writing(folder):
        view = JournalView(path)
    with view:
        run_batch(["another"], config=CONFIG, journal=path)
        with pytest.raises(JournalError, match="has changed while it was read") as caught:
            view.count_answers()
    assert caught.value.hint == "look at it again"


def test_leaves_nothing_beside_a_file_that_is_no_journal(folder):
    path = folder / "other.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE runs (id, ended_at)")
    before = read_folder(folder)
    with pytest.raises(ConfigurationError, match="no journal"):
        inspect_journal(path)
    assert read_folder(folder) == before


def test_looks_at_a_journal_whose_first_run_is_about_to_begin(tmp_path):
    path = tmp_path / "job.db"
    with closing(open_database(path)) as database:
        assert database.execute("SELECT COUNT(*) FROM runs").fetchone() == (0,)
        assert inspect_journal(path).runs == ()
