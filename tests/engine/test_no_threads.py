"""Work in a process that gets no thread from the system: a stack of 128 TB fits into no address space."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from acme_server import FileServer
from pollux_sync import Config, Interrupted, TextDelta, hookimpl, stream_many
from pollux_sync.engine.threads import map_threads, start_thread
from pollux_sync.testing import Script

pytestmark = pytest.mark.skipif(os.name != "posix", reason="other systems do not reserve the stack of a thread at once")

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture
def no_threads():
    before = threading.stack_size(1 << 47)
    yield
    threading.stack_size(before)


@pytest.mark.usefixtures("no_threads")
def test_starts_nothing():
    assert start_thread(lambda: None) is None


@pytest.mark.usefixtures("no_threads")
def test_works_in_the_calling_thread():
    threads, results = set(), [None] * 5

    def work(number):
        threads.add(threading.current_thread())
        return number * 2

    map_threads(work, range(5), 3, threading.Event(), results)
    assert results == [0, 2, 4, 6, 8]
    assert threads == {threading.current_thread()}


@pytest.mark.usefixtures("no_threads")
def test_raises_a_defect():
    def work(number):
        raise ZeroDivisionError("defect")

    with pytest.raises(ZeroDivisionError, match="defect"):
        map_threads(work, range(5), 3, threading.Event(), [None] * 5)


def build_config(*plugins):
    return Config(provider="openai", model="m", use_mock=True, plugins=plugins)


@pytest.mark.usefixtures("no_threads")
def test_reads_streams_one_after_the_other():
    events = [*stream_many(["a", "b", "c"], config=build_config())]
    assert events[-1].result["answers"] == ["echo: a", "echo: b", "echo: c"]
    assert [event.call_idx for event in events[:-1]] == sorted(event.call_idx for event in events[:-1])


@pytest.mark.usefixtures("no_threads")
def test_a_stop_keeps_the_streams_that_were_read():
    class Stopping:
        @hookimpl(tryfirst=True)
        def pollux_decode_stream(self, stream, call):
            return self.break_off() if call.index == 1 else None

        def break_off(self):
            yield TextDelta("half ")
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        stream_many(["a", "b", "c"], config=build_config(Script("one"), Stopping())).result()
    assert caught.value.partial_result["answers"] == ["one", "half ", ""]
    assert len(caught.value.outcomes) == 3


SCRIPT = """
import sys, threading
from pollux_sync import *
threading.stack_size(1 << 47)
sources = [Source.from_file(path) for path in sys.argv[2:]]
config = Config(provider="acme", model="m", api_key="k", base_url=sys.argv[1])
print(*run_many(["p0", "p1"], sources=sources, config=config)["answers"])
"""


def test_calls_and_uploads_need_no_thread(acme, server, tmp_path):
    files = server.handler = FileServer()
    pictures = [tmp_path / name for name in ("a.png", "b.png")]
    for path in pictures:
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + path.name.encode())
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, server.url, *map(str, pictures)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(SUPPORT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "P0 P1\n", done.stderr
    assert sorted(files.deleted) == ["id-a.png", "id-b.png"]
