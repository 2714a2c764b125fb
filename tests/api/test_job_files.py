"""Job files: which paths are refused before anything is sent, and what one file is whatever it is called."""

import copy
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    PolluxError,
    RetryPolicy,
    Source,
    collect_deferred,
    defer_many,
    hookimpl,
    inspect_deferred,
    process,
)
from pollux_sync.engine.journaling import lock_job_file

PROMPTS = ["a", "b"]


class Counter:
    """Counts submissions. Those whose number is in ``lost`` arrive, but their answer does not."""

    def __init__(self, *lost, before=lambda batch: None):
        self.lost = lost
        self.before = before
        self.count = 0

    @hookimpl(wrapper=True)
    def pollux_submit_deferred(self, batch):
        self.before(batch)
        self.count += 1
        job = yield
        if self.count in self.lost:
            raise ConnectionResetError
        return job


@pytest.fixture
def counter():
    return Counter()


@pytest.fixture
def config(counter):
    return build_config(counter)


def build_config(*plugins):
    retry = RetryPolicy(max_attempts=1, initial_delay_s=0)
    return Config(provider="openai", model="m", use_mock=True, plugins=plugins, retry=retry)


# -- what is refused


def nest(folder):
    path = folder / "deep.json"
    path.write_text("[" * 100_000 + "]" * 100_000)
    return path


def nest_in_a_handle(folder):
    path = folder / "deep.json"
    schema = '{"a":' * 900 + "{}" + "}" * 900
    job = '{"job_id": "j", "first": 0, "request_count": 1, "provider_state": ' + schema + "}"
    path.write_text(f'{{"content": "c", "mark": "m", "begun_at": 1.0, "jobs": [{job}], "schema_version": 1}}')
    return path


def go_round(folder):
    path = folder / "round.json"
    path.symlink_to(path)
    return path


def stand_in_a_file(folder):
    (folder / "file").touch()
    return folder / "file" / "job.json"


def make_pipe(folder):
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


PATHS = {
    "missing folder": lambda folder: folder / "missing" / "job.json",
    "empty": lambda _: "",
    "NUL": lambda _: "a\0b",
    "half a character": lambda _: "a\ud800",
    "long name": lambda folder: folder / ("x" * 250),
    "too long name": lambda folder: folder / ("x" * 300),
    "folder": lambda folder: folder,
    "root": lambda _: "/",
    "number": lambda _: 5,
    "bytes": lambda _: b"job.json",
    "deep JSON": nest,
    "deep handle": nest_in_a_handle,
    "link to itself": go_round,
    "a file as folder": stand_in_a_file,
}
if hasattr(os, "mkfifo"):
    PATHS |= {"named pipe": make_pipe, "device": lambda _: os.devnull}


@pytest.mark.parametrize("build", PATHS.values(), ids=PATHS)
def test_what_cannot_be_a_job_file_is_refused_before_anything_is_sent(tmp_path, config, counter, build):
    with pytest.raises(ConfigurationError) as caught:
        defer_many(PROMPTS, config=config, job_file=build(tmp_path))
    assert caught.value.hint
    assert counter.count == 0


@pytest.mark.parametrize("build", PATHS.values(), ids=PATHS)
def test_what_cannot_be_a_job_file_is_refused_as_a_handle(tmp_path, config, build):
    with pytest.raises(ConfigurationError) as caught:
        collect_deferred(build(tmp_path), config=config)
    assert caught.value.hint


# -- a full disk


class Disk:
    """Takes so many files, then is full."""

    def __init__(self, count):
        self.left = count

    def sync(self, descriptor):
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, "no space left on device")


#: One for the new content, one for the folder.
SYNCS_A_WRITE = 2


def test_a_disk_that_is_full_from_the_beginning_is_reported_before_anything_is_sent(
    tmp_path, config, counter, monkeypatch
):
    monkeypatch.setattr(os, "fsync", Disk(0).sync)
    with pytest.raises(ConfigurationError, match="no space left"):
        defer_many(PROMPTS, config=config, job_file=tmp_path / "job.json")
    assert counter.count == 0


@pytest.mark.parametrize("writes", [2, 3], ids=["job", "handle"])
def test_a_disk_that_fills_up_after_the_submission_is_an_error_that_says_what_exists(
    tmp_path, config, counter, monkeypatch, writes
):
    path = tmp_path / "job.json"
    monkeypatch.setattr(os, "fsync", Disk(writes * SYNCS_A_WRITE).sync)
    with pytest.raises(PolluxError, match="no space left") as caught:
        defer_many(PROMPTS, config=config, job_file=path)
    monkeypatch.undo()
    assert not isinstance(caught.value, ConfigurationError)
    assert "mock-job-1" in caught.value.message
    assert "free space" in caught.value.hint
    assert repr(str(path)) in caught.value.hint
    defer_many(PROMPTS, config=config, job_file=path)
    assert counter.count == 1


def test_a_disk_that_fills_up_before_the_submission_leaves_nothing(tmp_path, config, counter, monkeypatch):
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    source = Source.from_file(tmp_path / "a.pdf")
    monkeypatch.setattr(os, "fsync", Disk(2 * SYNCS_A_WRITE).sync)
    with pytest.raises(PolluxError, match="no space left"):
        defer_many(PROMPTS, sources=[source], config=config, job_file=tmp_path / "job.json")
    assert counter.count == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf"]
    with process.clients.lease(config) as hooks:
        assert hooks.client.files == frozenset()


def test_says_that_the_requests_do_not_fit_on_the_disk(config, counter, monkeypatch):
    # A device that is always full, in place of the file of requests.
    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, *how: real(Path("/dev/full") if path.name == "requests.jsonl" else path, *how)
    )
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("this system has no such device")
    with pytest.raises(PolluxError, match="No space left") as caught:
        defer_many(PROMPTS, config=config)
    assert "TMPDIR" in caught.value.hint
    assert counter.count == 0


# -- one file by several names


def link_file(folder):
    (folder / "link.json").symlink_to(folder / "job.json")
    return folder / "link.json"


def link_folder(folder):
    (folder / "elsewhere").symlink_to(folder)
    return folder / "elsewhere" / "job.json"


def name_relatively(folder):
    return "job.json"


def name_roundabout(folder):
    (folder / "inner").mkdir()
    return folder / "inner" / ".." / "job.json"


NAMES = [link_file, link_folder, name_relatively, name_roundabout]


@pytest.mark.parametrize("build", NAMES)
def test_a_job_file_reached_by_two_names_is_one_job(tmp_path, config, counter, monkeypatch, build):
    monkeypatch.chdir(tmp_path)
    handle = defer_many(PROMPTS, config=config, job_file=build(tmp_path))
    assert defer_many(PROMPTS, config=config, job_file=tmp_path / "job.json") == handle
    assert counter.count == 1


@pytest.mark.parametrize("build", NAMES)
def test_a_job_file_reached_by_two_names_is_locked_for_both(tmp_path, config, monkeypatch, build):
    monkeypatch.chdir(tmp_path)
    name = build(tmp_path)
    with (
        lock_job_file(tmp_path / "job.json"),
        pytest.raises(ConfigurationError, match="another process"),
    ):
        defer_many(PROMPTS, config=config, job_file=name)


def test_a_link_stays_a_link(tmp_path, config):
    link = link_file(tmp_path)
    defer_many(PROMPTS, config=config, job_file=link)
    assert link.is_symlink()
    assert json.loads((tmp_path / "job.json").read_text())["handle"]


def test_an_unfinished_job_file_with_a_second_name_is_refused(tmp_path):
    counter = Counter(1)
    config, path = build_config(counter), tmp_path / "job.json"
    with pytest.raises(APIError):
        defer_many(PROMPTS, config=config, job_file=path)
    (tmp_path / "second.json").hardlink_to(path)
    with pytest.raises(ConfigurationError, match="hard link"):
        defer_many(PROMPTS, config=config, job_file=path)
    (tmp_path / "second.json").unlink()
    assert defer_many(PROMPTS, config=config, job_file=path).job_id == "mock-job-1"


# -- what a kill leaves

KILLED = """
import os, signal, sys
from pathlib import Path
from pollux_sync import Config, defer_many, hookimpl
from pollux_sync.engine import journaling

def kill(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

class Killer:
    @hookimpl(tryfirst=True)
    def pollux_submit_deferred(self):
        if sys.argv[2] == "submission":
            kill()
        # The next content of the job file is written, but not put into its place any more.
        Path.replace = kill

config = Config(provider="openai", model="m", use_mock=True, plugins=[Killer()])
defer_many(["a", "b"], config=config, job_file=sys.argv[1])
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The system's temporary folder, for this process and those that it starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


#: The file, its lock and its next content; and the temporary folder.
LEFT = {"submission": [2, 1], "write": [3, 0]}


@pytest.mark.parametrize("during", LEFT)
def test_what_a_kill_leaves_is_removed_by_the_next_call(tmp_path, config, temporary, during):
    folder = tmp_path / "jobs"
    folder.mkdir()
    path = folder / "job.json"
    killed = subprocess.run([sys.executable, "-c", KILLED, path, during], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [len(list(place.iterdir())) for place in (folder, temporary)] == LEFT[during]
    defer_many(PROMPTS, config=config, job_file=path)
    assert list(folder.iterdir()) == [path]
    assert list(temporary.iterdir()) == []


def test_looking_at_a_job_removes_what_a_kill_left_beside_its_file(tmp_path, config):
    path = tmp_path / "job.json"
    defer_many(PROMPTS, config=config, job_file=path)
    (tmp_path / ".job.json.lock").touch()
    (tmp_path / ".job.json.abcd1234.tmp").touch()
    inspect_deferred(path, config=config)
    assert list(tmp_path.iterdir()) == [path]


def test_looking_at_a_job_takes_nothing_from_a_process_that_submits(tmp_path, config):
    path = tmp_path / "job.json"
    defer_many(PROMPTS, config=config, job_file=path)
    with lock_job_file(path):
        (tmp_path / ".job.json.abcd1234.tmp").touch()
        inspect_deferred(path, config=config)
        assert len(list(tmp_path.iterdir())) == 3


def test_what_belongs_to_another_job_file_stays(tmp_path, config):
    others = {tmp_path / name for name in (".job.json.abcd1234.tmp", ".jobs.abcd1234.tmp", ".job.notes.tmp")}
    for other in others:
        other.touch()
    defer_many(PROMPTS, config=config, job_file=tmp_path / "job")
    assert set(tmp_path.iterdir()) == {tmp_path / "job", *others}


# -- an ambiguous end


def submit_and_lose(tmp_path, **fields):
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    sources = [Source.from_file(tmp_path / "a.pdf")]
    with pytest.raises(APIError) as caught:
        defer_many(PROMPTS, sources=sources, config=build_config(Counter(1)), **fields)
    assert caught.value.phase == "batch_submit"
    return caught.value


def test_an_ambiguous_end_says_what_may_exist(tmp_path):
    error = submit_and_lose(tmp_path)
    (asset,) = [name for name in str(error).split() if name.startswith("mock://")]
    mark = asset.removeprefix("(known: ").removeprefix("mock://uploaded/").partition("-a.pdf")[0]
    assert f"a job of 2 requests named {mark}-000000 may exist" in str(error)
    assert f"files whose names begin with {mark} may exist" in str(error)


def test_an_ambiguous_end_without_a_job_file_says_where_to_look(tmp_path):
    hint = submit_and_lose(tmp_path).hint
    assert "lists of batches and files" in hint
    assert "with job_file= the next call finds it itself" in hint


def test_an_ambiguous_end_with_a_job_file_says_to_call_again(tmp_path):
    path = tmp_path / "job.json"
    assert f"call again with job_file={str(path)!r}" in submit_and_lose(tmp_path, job_file=path).hint


def test_an_ambiguous_end_keeps_what_the_fault_said(tmp_path):
    error = submit_and_lose(tmp_path)
    assert "the connection failed" in error.message
    assert "check that the server runs" in error.hint
    assert (error.kind, error.retryable) == ("connection", True)


def test_an_ambiguous_end_survives_a_copy(tmp_path):
    error = submit_and_lose(tmp_path)
    assert str(copy.copy(error)) == str(error)


def test_ctrl_c_carries_what_may_exist_as_a_note():
    class Interrupt:
        @hookimpl(tryfirst=True)
        def pollux_submit_deferred(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        defer_many(PROMPTS, config=build_config(Interrupt()))
    assert "a job of 2 requests" in caught.value.__notes__[0]
