"""Setting up: once in a process, with errors that say what is wrong, and without noise."""

import logging
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
import time
import uuid

import pytest

import pollux_durable
from pollux_durable import StoredDataError, configure, configuring, events, get_handle, reset
from pollux_durable.data.settings import DurableSettings
from pollux_sync import hookimpl
from pollux_sync.errors import ConfigurationError

pytestmark = pytest.mark.usefixtures("unset")


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/durable.db"


@pytest.fixture
def flow(declare):
    @declare
    def flow(ctx):
        return ctx.step.run("step", lambda: "fine")

    return flow


# Once in a process


def test_the_same_settings_may_be_set_twice(url, flow):
    configure(url)
    configure(url)
    assert flow.run(timeout=30) == "fine"
    configure(url)


@pytest.mark.parametrize("settings", [{"version": "2"}, {"plugins": [object()]}], ids=["version", "plugins"])
def test_other_settings_are_refused(url, settings):
    configure(url)
    with pytest.raises(ConfigurationError, match=r"set up with .* already"):
        configure(url, **settings)


def test_without_settings_it_uses_a_file_in_the_current_directory(tmp_path, flow, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("POLLUX_DURABLE_URL", raising=False)
    assert flow.run(timeout=30) == "fine"
    file = tmp_path / ".pollux" / "durable.db"
    assert file.exists()
    if os.name == "posix":
        assert file.stat().st_mode & 0o077 == 0


def test_the_url_may_come_from_the_environment(tmp_path, flow, monkeypatch):
    monkeypatch.setenv("POLLUX_DURABLE_URL", f"sqlite:///{tmp_path}/other.db")
    assert flow.run(timeout=30) == "fine"
    assert (tmp_path / "other.db").exists()


@pytest.mark.parametrize(
    "settings",
    [{"version": ""}, {"version": 1}, {"lease_s": 0}, {"wait_threshold_s": -1}, {"durability": "some"}],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(url, settings):
    with pytest.raises(ConfigurationError):
        configure(url, **settings)


def test_runs_are_there_after_a_restart(url, flow):
    configure(url)
    handle = flow.invoke()
    assert handle.result(30) == "fine"
    reset()
    configure(url)
    assert get_handle(handle.id).result(30) == "fine"


def test_a_waiting_run_is_there_after_a_restart(make_url, declare, wait_status, counted):
    @declare
    def asking(ctx):
        ctx.step.run("before", counted, "before")
        return ctx.step.suspend("ask")

    for engine in ["sqlite", "postgresql"]:
        url = make_url(engine)
        configure(url)
        handle = asking.invoke()
        wait_status(handle, "waiting")
        reset()
        configure(url)
        again = get_handle(handle.id)
        assert again.status == "waiting"
        again.answer("ask", "yes")
        assert again.result(30) == "yes"
        reset()
    assert counted.names == ["before"] * 2


def test_a_run_that_was_going_on_goes_on_after_a_restart(url, declare):
    begun = threading.Event()

    @declare
    def sleeping(ctx):
        begun.set()
        ctx.step.wait_for("pause", seconds=3)
        return "done"

    configure(url)  # the wait is a short one
    handle = sleeping.invoke()
    begun.wait(30)
    assert handle.status == "running"
    reset()
    configure(url)
    assert get_handle(handle.id).result(30) == "done"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_is_refused(flow):
    configure("memory:")
    flow.run(timeout=30)
    child = os.fork()
    if not child:
        code = 1
        try:
            flow.invoke()
        except ConfigurationError as error:
            code = 0 if "parent process" in error.message else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# Databases that cannot be used

SECRET = "s3cr3t-word"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}@127.0.0.1:1/name",
        f"postgresql://127.0.0.1:1/name?user=u&password={SECRET}",
        f"postgresql://user:{SECRET}@/name?host=/nowhere",
    ],
)
def test_a_postgresql_that_cannot_be_reached_is_named_without_its_password(flow, url):
    configure(url)
    with pytest.raises(ConfigurationError, match="cannot be used") as caught:
        flow.invoke()
    assert caught.value.hint
    assert caught.value.__cause__ is None
    assert SECRET not in f"{caught.value}{caught.value.hint}{caught.value!r}"


def test_a_failed_start_can_be_tried_again(flow, url):
    configure("postgresql://127.0.0.1:1/name")
    for _ in range(2):
        with pytest.raises(ConfigurationError):
            flow.invoke()
    reset()
    configure(url)
    assert flow.run(timeout=30) == "fine"


@pytest.mark.parametrize("url", ["mysql://host/name", "nonsense", "sqlite://", "sqlite:///:memory:", "postgres://h/n"])
def test_another_database_is_refused(flow, url):
    configure(url)
    with pytest.raises(ConfigurationError, match="neither a file of SQLite nor PostgreSQL"):
        flow.invoke()


def test_a_file_that_is_no_database_is_refused(flow, tmp_path):
    (tmp_path / "notes.txt").write_text("these are my notes, and no database" * 100)
    configure(f"sqlite:///{tmp_path}/notes.txt")
    with pytest.raises(ConfigurationError, match="cannot be used: file is not a database"):
        flow.invoke()


def test_a_path_that_cannot_be_written_is_refused(flow, tmp_path):
    (tmp_path / "file").touch()
    configure(f"sqlite:///{tmp_path}/file/durable.db")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        flow.invoke()


def test_a_database_of_a_newer_release_is_refused(url, flow):
    configure(url)
    with configuring.find_host().engine.database.transact() as transaction:
        transaction.execute("UPDATE pollux_meta SET value = '99' WHERE name = 'schema'")
    reset()
    configure(url)
    with pytest.raises(StoredDataError, match="tables of version 99"):
        flow.invoke()


def test_settings_show_no_password():
    settings = DurableSettings(url=f"postgresql://user:{SECRET}@x@host/name?password={SECRET}")
    assert SECRET not in f"{settings!r}{settings.shown_url}"
    assert settings.shown_url == "postgresql://host/name"


def test_an_error_of_a_statement_shows_no_values(url):
    import sqlalchemy

    configure(url)
    database = configuring.find_host().engine.database
    with pytest.raises(sqlalchemy.exc.SQLAlchemyError) as caught, database.transact() as transaction:
        transaction.execute("SELECT * FROM pollux_nowhere WHERE x = :x", {"x": SECRET})
    assert SECRET not in str(caught.value)


# What the database holds


@pytest.fixture
def plant(tmp_path):
    """Return what puts a pickle, which would make a file, into columns of the database, and that file."""

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    def plant(table, columns, execution_id):
        import base64

        payload = base64.b64encode(pickle.dumps(Bomb())).decode()
        assignments = ", ".join(f"{column} = :payload" for column in columns)
        with sqlite3.connect(tmp_path / "durable.db") as connection:
            connection.execute(
                f"UPDATE {table} SET serialization = 'py_pickle', {assignments} WHERE workflow_uuid = :id",  # noqa: S608
                {"payload": payload, "id": execution_id},
            )
        connection.close()
        return tmp_path / "exploded"

    return plant


def test_a_planted_result_is_not_loaded(url, flow, plant, tmp_path):
    configure(url)
    handle = flow.invoke()
    handle.result(30)
    exploded = plant("workflow_output", ["output"], handle.id) if _has_table(tmp_path, "workflow_output") else None
    exploded = plant("workflow_status", ["inputs"], handle.id) or exploded
    with pytest.raises(StoredDataError, match="cannot be read"):
        handle.result(30)
    assert not exploded.exists()
    assert [info.execution_id for info in configuring.find_host().list_runs()] == [handle.id]


def _has_table(folder, name):
    with sqlite3.connect(folder / "durable.db") as connection:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
    connection.close()
    return "serialization" in columns


def test_a_planted_step_is_not_loaded(url, declare, plant, wait_status):
    @declare
    def asking(ctx):
        ctx.step.run("step", lambda: 1)
        return ctx.step.suspend("ask")

    configure(url, wait_threshold_s=0)
    handle = asking.invoke()
    wait_status(handle, "waiting")
    exploded = plant("operation_outputs", ["output"], handle.id)
    handle.answer("ask", 1)
    with pytest.raises(pollux_durable.RunFailedError) as caught:
        handle.result(30)
    assert caught.value.error_type == "StoredDataError"
    assert not exploded.exists()


class Reversed:
    """A codec for tests: it writes texts backwards."""

    def encode(self, text):
        return text[::-1]

    def decode(self, text):
        return text[::-1]


class CodecPlugin:
    @hookimpl
    def pollux_durable_codec(self):
        return Reversed()


PLUGIN = CodecPlugin()
WORD = "needle-in-the-haystack"


def run_with_codec(url, declare):
    class State(pollux_durable.WorkflowState):
        word: str = WORD

    @declare(state_schema=State)
    def flow(ctx, payload: dict):
        word = ctx.step.run("step", lambda: payload["word"])
        ctx.step.publish_event("publish", "topic", {"word": word})
        return {"word": word}

    configure(url, plugins=[PLUGIN])
    handle = flow.invoke({"word": WORD})
    assert handle.result(30) == {"word": WORD}
    return handle


def test_a_codec_changes_all_that_is_stored(url, declare, tmp_path):
    run_with_codec(url, declare)
    stream = events.stream_topic("topic", last_sequence_id=0, timeout=30)
    assert next(stream).data == {"word": WORD}
    stream.close()
    reset()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("durable.db*"))
    assert WORD[::-1].encode() in stored
    assert WORD.encode() not in stored


def test_a_missing_codec_is_named(url, declare):
    handle = run_with_codec(url, declare)
    reset()
    configure(url)
    with pytest.raises(StoredDataError, match="written with a codec"):
        get_handle(handle.id).result(30)
    with pytest.raises(StoredDataError, match="written with a codec"):
        next(events.stream_topic("topic", last_sequence_id=0, timeout=30))
    steps = configuring.find_host().engine.list_steps(handle.id)
    assert {step.error["type"] for step in steps} == {"StoredDataError"}


def test_a_plugin_without_hooks_is_refused(flow):
    configure("memory:", plugins=[object()])
    with pytest.raises(ConfigurationError, match="has no hook of pollux-durable"):
        flow.invoke()


def test_plugins_are_told_of_runs_that_wait_for_an_answer(declare, wait_status):
    told = []

    class Notifier:
        @hookimpl
        def pollux_suspend_notify(self, suspension):
            told.append(suspension)
            raise ValueError("the mail server is away")

    @declare
    def asking(ctx):
        return ctx.step.suspend("ask", {"question": "ok?"})

    configure("memory:", plugins=[Notifier()])
    handle = asking.invoke()
    wait_status(handle, "waiting")
    (suspension,) = told
    assert (suspension.execution_id, suspension.step_key) == (handle.id, "ask")
    assert suspension.data == {"question": "ok?"}


def test_a_workflow_of_another_version_is_not_carried_out(url, declare, wait_status):
    @declare
    def asking(ctx):
        return ctx.step.suspend("ask")

    configure(url, wait_threshold_s=0)
    handle = asking.invoke()
    wait_status(handle, "waiting")
    reset()
    configure(url, version="2")
    again = get_handle(handle.id)
    again.answer("ask", "yes")
    time.sleep(1)
    assert again.status == "queued"
    reset()
    configure(url)
    assert get_handle(handle.id).result(30) == "yes"


# Quiet, closed, light


def test_the_log_of_the_engine_is_quiet(url, declare, capfd, caplog):
    configure(url)

    @declare
    def failing(ctx):
        ctx.step.run("step", lambda: 1 / 0, max_retries=0)

    with caplog.at_level(logging.INFO), pytest.raises(pollux_durable.RunFailedError):
        failing.run(timeout=30)
    reset()
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]


CHECK_IMPORTS = """
import sys
import pollux_sync, pollux_durable
from pollux_durable import Queue, WorkflowState, configure, workflow
found = sorted({"dbos", "sqlalchemy", "psycopg"} & {*sys.modules})
assert not found, found
"""
CHECK_LAUNCH = """
import os, sys
from pathlib import Path
from pollux_durable import configure, workflow

@workflow
def flow(ctx):
    return ctx.step.run("step", lambda: 1)

configure(sys.argv[1])
assert flow.run(timeout=30) == 1
assert not [name for name in sys.modules if name.startswith("dbos_enterprise")]
open_files = [*Path("/proc/self/fd").iterdir()]
inodes = {os.readlink(file) for file in open_files if file.exists()}
for table in ("tcp", "tcp6", "udp", "udp6"):
    for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
        words = line.split()
        assert not (f"socket:[{words[9]}]" in inodes and words[3] in ("0A", "07")), line
"""


def run_python(script, *arguments):
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ,
    )


def test_an_import_brings_no_engine():
    done = run_python(CHECK_IMPORTS)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_script_listens_nowhere_and_says_nothing(url):
    done = run_python(CHECK_LAUNCH, url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_public_names_are_there():
    for name in pollux_durable.__all__:
        assert getattr(pollux_durable, name) is not None
    assert dir(pollux_durable) == pollux_durable.__all__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = pollux_durable.nothing


def test_an_engine_may_come_from_a_plugin(flow):
    from pollux_durable.memory import MemoryEngine

    class EnginePlugin:
        @hookimpl
        def pollux_durable_engine(self, settings, store):
            return MemoryEngine(store) if settings.url == "else:where" else None

    configure("else:where", plugins=[EnginePlugin()])
    assert flow.run(timeout=30, execution_id=str(uuid.uuid4())) == "fine"
