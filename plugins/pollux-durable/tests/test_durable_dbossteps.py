"""Steps and ends of runs are written by statements of ours, which leave what those of DBOS would."""

from importlib.metadata import version

import pytest
import sqlalchemy as sa

import pollux_durable
from pollux_durable import batch, dbosengine
from pollux_durable.configuring import find_host

_ROWS = {
    "operation_outputs": "function_id, function_name, output, error, serialization, application_name",
    "workflow_status": "status, deduplication_id, owner_xid, queue_name, name, class_name, config_name,"
    " application_name, application_version, authenticated_user, recovery_attempts, priority, serialization,"
    " queue_partition_key, parent_workflow_id, attributes, is_debounced, rate_limited",
    "workflow_output": "output, error",
}
_TIMES = """\
SELECT
    s.started_at_epoch_ms <= s.completed_at_epoch_ms,
    s.completed_at_epoch_ms <= r.completed_at + 1000,
    r.updated_at = r.completed_at,
    s.retention_timestamp > 0
FROM {schema}operation_outputs s
JOIN {schema}workflow_status r ON r.workflow_uuid = s.workflow_uuid
WHERE r.workflow_uuid = :id"""


def read_rows(statement, **values):
    with find_host().engine.database.transact() as transaction:
        return transaction.execute(statement, values)


def read_run(execution_id):
    """Return the rows of a run, and whether their times fit."""
    schema = find_host().engine._schema
    rows = {
        table: read_rows(f"SELECT {columns} FROM {schema}{table} WHERE workflow_uuid = :id ORDER BY 1", id=execution_id)  # noqa: S608
        for table, columns in _ROWS.items()
    }
    return rows | {"times": read_rows(_TIMES.format(schema=schema), id=execution_id)}


def fail():
    raise ValueError("no boat")


@pytest.fixture
def carry_out(unset, make_url, declare):
    """Carry the same runs out on a new database; return their rows."""

    @declare(id="short-way")
    def flow(ctx, payload):
        ctx.step.run("first", dict, town="Harbour")
        ctx.step.run("nothing", lambda: None)
        if payload:
            ctx.step.run("last", fail, max_retries=0)
        return "done"

    def carry_out(engine):
        pollux_durable.configure(make_url(engine))
        handles = batch.invoke(flow.id, [0, 1])
        assert handles[0].result(30) == "done"
        with pytest.raises(pollux_durable.RunFailedError, match="no boat"):
            handles[1].result(30)
        rows = [read_run(handle.id) for handle in handles]
        pollux_durable.reset()
        return rows

    return carry_out


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_leaves_the_rows_of_dbos(carry_out, engine, monkeypatch):
    ours = carry_out(engine)
    monkeypatch.setattr(dbosengine, "_READ_RELEASES", frozenset())
    assert ours == carry_out(engine)
    assert len(ours[0]["operation_outputs"]) == 2
    assert ours[1]["workflow_status"][0][0] == "ERROR"


def test_knows_the_release_that_is_installed():
    assert version("dbos") in dbosengine._READ_RELEASES


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, unset, make_url):
    pollux_durable.configure(make_url(request.param))
    return find_host().engine.database


def test_raises_errors_of_one_kind_and_rolls_back(database):
    def insert():
        with database.transact() as transaction:
            transaction.execute("INSERT INTO pollux_cancels (execution_id, aborts, at) VALUES ('a', 0, 0)")
            transaction.execute("INSERT INTO pollux_cancels (execution_id, aborts, at) VALUES ('b', 0, NULL)")

    with pytest.raises(sa.exc.DBAPIError) as caught:
        insert()
    assert not caught.value.connection_invalidated
    assert read_rows("SELECT execution_id FROM pollux_cancels") == []


def test_drops_a_connection_that_is_lost(unset, make_url):
    pollux_durable.configure(make_url("postgresql"))
    database = find_host().engine.database

    def lose_connection():
        with database.transact() as transaction, database.transact() as other:
            [(number,)] = transaction.execute("SELECT pg_backend_pid()")
            other.execute("SELECT pg_terminate_backend(:number)", {"number": number})
            transaction.execute("SELECT 1")

    with pytest.raises(sa.exc.OperationalError) as caught:
        lose_connection()
    assert caught.value.connection_invalidated
    assert read_rows("SELECT 1") == [(1,)]
