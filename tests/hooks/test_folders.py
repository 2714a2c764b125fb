"""Temporary folders: they go with their block, or with the process that was killed in it."""

import fcntl
import subprocess
import sys
import tempfile

import pytest

from pollux_sync import PolluxError
from pollux_sync.hooks.folders import open_temporary_folder

HOLD = (
    "import sys; from pollux_sync.hooks.folders import open_temporary_folder\n"
    "with open_temporary_folder() as folder:\n"
    "    (folder / 'requests.jsonl').write_text('{}'); print(folder, flush=True); sys.stdin.read()"
)


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """The system's temporary folder, for this process and those that it starts."""
    root = tmp_path / "temporary"
    root.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(root))
    monkeypatch.setenv("TMPDIR", str(root))
    return root


@pytest.fixture
def other():
    """Another process with a temporary folder."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline()
        yield other
        other.kill()


def test_goes_with_its_content_when_the_block_ends(root):
    with open_temporary_folder() as folder:
        (folder / "requests.jsonl").write_text("{}")
        assert folder.parent == root
    assert list(root.iterdir()) == []


def test_is_for_its_user_alone():
    with open_temporary_folder() as folder:
        assert folder.stat().st_mode & 0o077 == 0


def test_that_of_a_killed_process_goes_at_the_next_use(root, other):
    other.kill()
    other.wait()
    assert len(list(root.iterdir())) == 1
    with open_temporary_folder() as folder:
        assert list(root.iterdir()) == [folder]


def test_that_of_a_living_process_stays(root, other):
    with open_temporary_folder():
        assert len(list(root.iterdir())) == 2


def test_that_of_a_process_killed_before_it_held_the_lock_goes(root):
    (root / "pollux-sync-abcd1234").mkdir()
    with open_temporary_folder() as folder:
        assert list(root.iterdir()) == [folder]


@pytest.mark.parametrize("name", ["pollux-sync-abcd1234", "pollux-sync-worktree", "other-abcd1234"])
def test_a_folder_that_is_not_ours_stays(root, name):
    mine = root / name / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with open_temporary_folder():
        pass
    assert mine.read_text() == "mine"


def test_a_link_to_a_folder_stays(root, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "owner.lock").touch()
    (root / "pollux-sync-abcd1234").symlink_to(target)
    with open_temporary_folder():
        pass
    assert (target / "owner.lock").exists()


def test_blocks_within_each_other_keep_their_folders():
    with open_temporary_folder() as outer, open_temporary_folder() as inner:
        assert outer != inner
        assert outer.is_dir()


def test_says_when_no_folder_can_be_made(root):
    root.rmdir()
    root.touch()  # a file where the folder should be
    with pytest.raises(PolluxError, match="no temporary folder") as caught, open_temporary_folder():
        pass
    assert "TMPDIR" in caught.value.hint


def test_one_that_another_process_took_for_an_orphan_is_made_anew(root, monkeypatch):
    lock, taken = fcntl.flock, []

    def lock_late(descriptor, how):
        if not taken:
            taken.extend(root.iterdir())
            (taken[0] / "owner.lock").unlink()
            taken[0].rmdir()
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    with open_temporary_folder() as folder:
        assert [folder] == list(root.iterdir()) != taken
