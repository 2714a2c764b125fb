"""The commands about a database: doctor, migrate, and what is refused. No worker is there."""

import json
import shutil
import socket
import sqlite3
import time

import pytest

from pollux_durable import Workflow, configure, reset
from pollux_durable.cli import main
from pollux_durable.data.settings import DurableSettings
from pollux_durable.diagnosing import diagnose
from pollux_durable.invoking import build_root
from pollux_durable.opening import open_viewer
from pollux_durable.tables.waits import Wait
from pollux_sync import hookimpl
from pollux_sync.errors import ConfigurationError

SECRET = "s3cret/p@ss"


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A database with all tables."""
    path = tmp_path_factory.mktemp("template") / "durable.db"
    assert main(["migrate", "--url", f"sqlite:///{path}"]) == 0
    return path


@pytest.fixture
def path(template, tmp_path):
    """A new database with all tables."""
    return shutil.copy(template, tmp_path / "durable.db")


@pytest.fixture
def url(path):
    return f"sqlite:///{path}"


class Reversing:
    """A plugin with a codec."""

    @hookimpl
    def pollux_durable_codec(self):
        return self

    def encode(self, text):
        return text[::-1]

    decode = encode


def flow(ctx, payload=None):
    """Stand for a workflow of another process."""


def submit(url, execution_id, *, plugins=(), payload=None, version="1"):
    with open_viewer(DurableSettings(url=url, execute=False, version=version), plugins) as host:
        host.start([build_root(Workflow(flow), payload, {"execution_id": execution_id})])


def change(path, sql):
    connection = sqlite3.connect(path)
    connection.execute(sql)
    connection.commit()
    connection.close()


def test_ls_takes_the_database_of_the_environment_or_the_default_one(url, path, monkeypatch, capsys):
    submit(url, "one")
    monkeypatch.setenv("POLLUX_DURABLE_URL", url)
    main(["ls"])
    monkeypatch.delenv("POLLUX_DURABLE_URL")
    folder = path.parent / ".pollux"
    folder.mkdir()
    shutil.copy(path, folder)
    monkeypatch.chdir(path.parent)
    main(["ls"])
    assert capsys.readouterr().out.count("one  flow      queued") == 2


@pytest.mark.parametrize("command", ["ls", "show x", "logs x", "cancel x", "gc --older 1d"])
def test_a_look_at_a_file_that_is_not_there_makes_none(tmp_path, command):
    with pytest.raises(ConfigurationError, match="there is no database"):
        main([*command.split(), "--url", f"sqlite:///{tmp_path}/none/durable.db"])
    assert [*tmp_path.iterdir()] == []


def test_a_file_without_tables_is_refused_with_what_makes_them(tmp_path):
    (tmp_path / "empty.db").touch()
    with pytest.raises(ConfigurationError) as caught:
        main(["ls", "--url", f"sqlite:///{tmp_path}/empty.db"])
    assert caught.value.hint == "pollux-sync durable migrate"


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "text.db").write_text("no database " * 100)
    with pytest.raises(ConfigurationError, match="not a database"):
        main(["ls", "--url", f"sqlite:///{tmp_path}/text.db"])


@pytest.mark.parametrize("url", ["durable.db", "mysql://localhost/runs", "memory:"])
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(ConfigurationError):
        main(["ls", "--url", url])


def test_no_output_has_a_password(capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        url = f"postgresql://me:{SECRET}@127.0.0.1:{port}/runs?password={SECRET}"
        with pytest.raises(ConfigurationError) as caught:
            main(["ls", "--url", url])
        assert main(["doctor", "--url", url]) == 1
    told = capsys.readouterr()
    for text in (str(caught.value), told.out, told.err, repr(caught.value)):
        assert SECRET not in text
        assert "p@ss" not in text
        assert "s3cret" not in text
    assert "problem: the database 'postgresql://127.0.0.1" in told.out


def test_migrate_changes_nothing_the_second_time(url, path, capsys):
    before = path.read_bytes()
    assert main(["migrate", "--url", url, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["tables"] == "1"
    assert path.read_bytes() == before


def test_a_worker_begins_without_creating_what_is_there(url, path):
    before = sqlite3.connect(path)
    n_statements = len(before.execute("SELECT sql FROM sqlite_master").fetchall())
    before.close()
    with open_viewer(DurableSettings(url=url, execute=False)) as host:
        assert host.engine.describe()["dbos"].startswith("3.4")
        assert len(host.engine.describe()) == 3
    after = sqlite3.connect(path)
    assert len(after.execute("SELECT sql FROM sqlite_master").fetchall()) == n_statements
    after.close()


def test_a_database_of_a_newer_release_is_refused(url, path, capsys):
    change(path, "UPDATE pollux_meta SET value = '99' WHERE name = 'schema'")
    assert main(["doctor", "--url", url]) == 1
    assert "tables of version 99" in capsys.readouterr().out


def test_doctor_names_runs_that_no_live_worker_can_carry_on(url, capsys):
    submit(url, "one")
    submit(url, "two", version="2")
    with open_viewer(DurableSettings(url=url, execute=False)) as host:
        host.workers.beat("alive", "1")
    assert main(["doctor", "--url", url]) == 1
    shown = capsys.readouterr().out
    assert "1 run of version '2' cannot go on" in shown
    assert "\n  two\n" in shown
    assert "live workers  alive (version 1, " in shown
    assert shown.endswith("problems: 1\n")


def test_doctor_finds_dead_workers_and_waits_that_nobody_ended(url, path):
    submit(url, "one")
    with open_viewer(DurableSettings(url=url, execute=False)) as host:
        host.workers.beat("silent", "1")
        host.waits.add(Wait(execution_id="one", step_key="pause", kind="sleep", wake_at=time.time() - 60))
        host.waits.mark_parked("one")
    change(path, "UPDATE pollux_workers SET beat = 0")
    found = diagnose(DurableSettings(url=url))
    assert found.facts["dead workers"].startswith("silent (version 1")
    assert found.facts["open runs"] == "1"
    (stuck,) = [problem for problem in found.problems if "woken" in problem.message]
    assert stuck.execution_ids == ("one",)


def test_doctor_counts_what_a_missing_codec_has_written(url, capsys):
    submit(url, "plain")
    submit(url, "encoded", plugins=[Reversing()], payload="x")
    with open_viewer(DurableSettings(url=url, execute=False), [Reversing()]) as host:
        host.states.acquire("flow", "here", "plain")
        host.states.save("flow", "here", "plain", {"a": 1})
        assert host.read_run("encoded").payload == "x"
    problems = diagnose(DurableSettings(url=url)).problems
    (unread,) = [problem for problem in problems if "codec" in problem.message]
    assert unread.message.startswith("1 run, 1 rows of pollux_states cannot be read")
    assert unread.execution_ids == ("encoded",)
    # What cannot be read does not keep the rest from being seen.
    main(["ls", "--url", url])
    main(["show", "encoded", "--url", url])
    assert "encoded" in capsys.readouterr().out
    assert not [p for p in diagnose(DurableSettings(url=url), [Reversing()]).problems if "codec" in p.message]


def test_gc_keeps_runs_that_wait_for_a_worker(url, capsys):
    submit(url, "one")
    main(["gc", "--older", "0s", "--url", url, "--json"])
    assert json.loads(capsys.readouterr().out) == {"runs": 0, "events": 0, "workers": 0}


def test_gc_forgets_workers_and_events_of_nobody_that_are_old(url, path, capsys):
    with open_viewer(DurableSettings(url=url, execute=False)) as host:
        host.workers.beat("silent", "1")
    change(path, "UPDATE pollux_workers SET beat = 0")
    change(path, "INSERT INTO pollux_events (topic, data, at) VALUES ('user/1', '1', 0)")
    main(["gc", "--older", "1d", "--url", url, "--dry-run", "--json"])
    main(["gc", "--older", "1d", "--url", url, "--json"])
    main(["gc", "--older", "1d", "--url", url, "--json"])
    decode = json.JSONDecoder().raw_decode
    printed, counts = capsys.readouterr().out, []
    while printed.strip():
        found, end = decode(printed.strip())
        counts.append((found["events"], found["workers"]))
        printed = printed.strip()[end:]
    assert counts == [(1, 1), (1, 1), (0, 0)]


@pytest.fixture
def in_memory():
    """Durable workflows in memory, and nothing set up before and after."""
    reset()
    configure("memory:")
    yield
    reset()


def test_retry_and_fork_do_the_same_in_memory(in_memory):
    from pollux_durable.registry import registry

    calls = []

    def lower(ctx):
        return ctx.step.run("count", lambda: calls.append("lower") or len(calls))

    def upper(ctx):
        ctx.step.run("first", lambda: calls.append("first"))
        return ctx.step.invoke_and_wait("child", lower_flow)

    lower_flow, upper_flow = Workflow(lower, id="memory-lower"), Workflow(upper, id="memory-upper")
    try:
        registry.add(lower_flow)
        registry.add(upper_flow)
        handle = upper_flow.invoke()
        assert handle.result(10) == 2
        handle.retry(from_step="child")
        assert handle.result(10) == 3
        assert calls == ["first", "lower", "lower"]
        assert handle.fork(from_step="child").result(10) == 4
        assert [step.key for step in handle.steps()] == ["first", "child"]
        assert [child.workflow_id for child in handle.children()] == ["memory-lower"]
    finally:
        for name in ("memory-lower", "memory-upper"):
            registry._workflows.pop(name, None)
