"""Connections to SQLite that take turns: none is told that the file is locked by another one of the process."""

import sqlite3
import threading

import pytest

from pollux_durable.sqliteturns import TurnTakingConnection

INSERT = "INSERT INTO numbers VALUES (:number)"


@pytest.fixture
def connect(tmp_path):
    """Open connections that do not wait for SQLite; the first one makes the table."""
    turn, opened = threading.Lock(), []

    def open_one():
        connection = sqlite3.connect(
            tmp_path / "numbers.db", factory=TurnTakingConnection, timeout=0, check_same_thread=False
        )
        connection.turn = turn
        connection.isolation_level = "IMMEDIATE"
        opened.append(connection)
        return connection

    open_one().cursor().execute("CREATE TABLE numbers (number INTEGER)")
    yield open_one
    for connection in opened:
        connection.close()


def write(connection, number):
    connection.cursor().execute(INSERT, {"number": number})


def begin_other(connection):
    """Write in another thread; return the thread."""
    thread = threading.Thread(target=lambda: (write(connection, 2), connection.commit()))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    return thread


@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
def test_the_next_one_writes_when_the_first_has_ended(connect, end):
    first, second = connect(), connect()
    write(first, 1)
    thread = begin_other(second)
    getattr(first, end)()
    thread.join(10)
    numbers = second.cursor().execute("SELECT number FROM numbers ORDER BY number").fetchall()
    assert numbers == ([(1,), (2,)] if end == "commit" else [(2,)])


def test_a_failed_statement_leaves_the_turn_to_the_rollback(connect):
    first, second = connect(), connect()
    with pytest.raises(sqlite3.OperationalError):
        first.cursor().execute("INSERT INTO nothing VALUES (1)")
    thread = begin_other(second)
    first.rollback()
    thread.join(10)
    assert second.cursor().execute("SELECT number FROM numbers").fetchall() == [(2,)]


def test_many_threads_write(connect):
    connections = [connect() for _ in range(8)]

    def write_many(number):
        for _ in range(50):
            connections[number].cursor().executemany(INSERT, [{"number": number}] * 2)
            connections[number].commit()

    threads = [threading.Thread(target=write_many, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert connections[0].cursor().execute("SELECT COUNT(*) FROM numbers").fetchall() == [(800,)]


def test_reading_takes_no_turn(connect):
    first, second = connect(), connect()
    write(first, 1)
    assert second.cursor().execute("SELECT number FROM numbers").fetchall() == []
