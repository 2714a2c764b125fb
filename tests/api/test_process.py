import gc
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from acme_server import FileServer
from pollux_sync import Config, hookimpl, run
from pollux_sync.data.config import CA_BUNDLE_VARIABLES, PROXY_VARIABLES, ConfigValues
from pollux_sync.process import ClientPool

SUPPORT = Path(__file__).parents[1] / "support"


class FakeHooks:
    """Stands for open hooks; only whether it was closed matters here."""

    def __init__(self, config):
        self.config = config
        self.closed = 0

    def close(self):
        self.closed += 1


@pytest.fixture
def open_log():
    return []


@pytest.fixture
def pool(open_log):
    def open_hooks(config):
        open_log.append(FakeHooks(config))
        return open_log[-1]

    return ClientPool(open_hooks, capacity=2)


def build_config(model):
    return ConfigValues(provider="p", model=model)


def test_equal_configs_share_one_client(pool, open_log):
    for _ in range(3):
        with pool.lease(build_config("a")):
            pass
    assert len(open_log) == 1


@pytest.mark.parametrize("name", [*CA_BUNDLE_VARIABLES, *PROXY_VARIABLES, *map(str.lower, PROXY_VARIABLES)])
def test_opens_another_client_when_the_environment_names_another_way(pool, open_log, monkeypatch, name):
    monkeypatch.delenv(name, raising=False)
    for value in ("one", "one", "two"):
        with pool.lease(build_config("a")):
            pass
        monkeypatch.setenv(name, value)
    with pool.lease(build_config("a")):
        pass
    assert len(open_log) == 3


def test_notices_another_way_in_an_environment_that_was_replaced(pool, open_log, monkeypatch):
    monkeypatch.setattr("os.environ", {"HTTPS_PROXY": "http://one.example"})
    for _ in range(2):
        with pool.lease(build_config("a")):
            os.environ["HTTPS_PROXY"] = "http://two.example"
    assert len(open_log) == 2


def test_a_mock_keeps_its_client_whatever_the_environment_names(pool, open_log, monkeypatch):
    config = ConfigValues(provider="p", model="m", use_mock=True)
    for value in ("one", "two"):
        monkeypatch.setenv("HTTPS_PROXY", value)
        with pool.lease(config):
            pass
    assert len(open_log) == 1


def test_closes_the_least_recently_used_idle_client(pool, open_log):
    for model in ("a", "b", "a", "c"):
        with pool.lease(build_config(model)):
            pass
    assert {hooks.config.model: hooks.closed for hooks in open_log} == {"a": 0, "b": 1, "c": 0}


def test_never_closes_a_client_in_use(pool, open_log):
    with pool.lease(build_config("a")), pool.lease(build_config("b")), pool.lease(build_config("c")):
        assert [hooks.closed for hooks in open_log] == [0, 0, 0]


def test_closes_all_at_the_end(pool, open_log):
    for model in ("a", "b"):
        with pool.lease(build_config(model)):
            pass
    pool.close()
    assert [hooks.closed for hooks in open_log] == [1, 1]


def test_a_forked_child_starts_afresh_without_closing(pool, open_log):
    with pool.lease(build_config("a")):
        pass
    pool.forget()
    with pool.lease(build_config("a")):
        pass
    assert [hooks.closed for hooks in open_log] == [0, 0]


class Equal:
    """Equal to all of its kind, and not hashable."""

    __hash__ = None

    def __eq__(self, other):
        return isinstance(other, Equal)

    @hookimpl
    def pollux_event(self, event):
        pass


def test_two_plugin_objects_never_share_a_client_however_equal(pool, open_log):
    for _ in range(2):
        plugin = Equal()
        for _ in range(2):
            with pool.lease(ConfigValues(provider="p", model="m", plugins=[plugin])):
                pass
    assert len(open_log) == 2


def test_opens_one_client_under_many_threads(server, config):
    opened = []

    class Watch:
        @hookimpl(wrapper=True)
        def pollux_open(self):
            client = yield
            opened.append(client)
            return client

    server.handler = FileServer()
    shared = config(plugins=[Watch()])
    threads = [threading.Thread(target=run, args=("hi",), kwargs={"config": shared}) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 1


FORK = """
import os, sys
from pollux_sync import Config, run
config = Config(provider="acme", model="m", api_key="k", base_url=sys.argv[1])
assert run("before", config=config)["answers"] == ["BEFORE"]
child = os.fork()
answer = run("child" if child == 0 else "parent", config=config)["answers"][0]
if child == 0:
    sys.exit(0 if answer == "CHILD" else 1)
assert answer == "PARENT"
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_works_on_both_sides_of_a_fork(server, acme, tmp_path):
    server.handler = FileServer()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(SUPPORT)])}
    done = subprocess.run([sys.executable, "-c", FORK, server.url], env=environment, timeout=20, check=False)
    assert done.returncode == 0
    pool = {request.json()["prompt"]: request.connection for request in server.requests}
    assert pool["before"] == pool["parent"] != pool["child"]


def test_works_inside_a_running_event_loop(server, config):
    import asyncio

    server.handler = FileServer()

    async def main():
        return run("hi", config=config())

    assert asyncio.run(main())["answers"] == ["HI"]
    gc.collect()


def test_use_mock_needs_no_plugin_named_so():
    assert run("x", config=Config(provider="a:b", model="m", use_mock=True))["answers"] == ["echo: x"]


def test_a_client_is_released_by_the_garbage_collector_while_another_one_opens():
    held = []

    def open_hooks(config):
        held.clear()  # as when the collector ends an abandoned stream in this very moment
        return FakeHooks(config)

    pool = ClientPool(open_hooks)

    class Abandoned:
        def __init__(self):
            self.lease = pool.lease(build_config("a"))
            self.lease.__enter__()

        def __del__(self):
            self.lease.__exit__()

    held.append(Abandoned())
    with pool.lease(build_config("b")):
        pass


@pytest.mark.skipif(os.name != "posix", reason="other systems have no signals to end by")
def test_an_unhandled_interrupt_ends_the_process_by_the_signal_after_all_exit_handlers(tmp_path):
    script = """
import atexit, logging, sys, tempfile, weakref
folder = tempfile.TemporaryDirectory(dir=sys.argv[1])
atexit.register(print, "handler ran")
from pollux_sync import Config, Session, hookimpl, run
from pollux_sync.plugin import UploadDeleted

class Interrupting:
    @hookimpl(tryfirst=True)
    def pollux_send(self, request):
        raise KeyboardInterrupt

session = Session(Config(provider="openai", model="m", use_mock=True))
weakref.finalize(session, print, "session ended")
run("hi", config=Config(provider="openai", model="m", use_mock=True, plugins=[Interrupting()]))
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGINT, done.stderr
    assert {"handler ran", "session ended"} <= set(done.stdout.splitlines())
    assert list(tmp_path.iterdir()) == []
