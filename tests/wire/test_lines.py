"""Bodies that are read line by line."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollux_sync.data.provider import HttpRequest
from pollux_sync.testing.server import Answer, Events, Hang, ScriptedServer, Truncated
from pollux_sync.wire.bodies import MAX_BODY_BYTES
from pollux_sync.wire.faults import ReplyError, classify_error
from pollux_sync.wire.http import HttpClient
from pollux_sync.wire.lines import split_lines

RESULTS = HttpRequest(method="GET", path="/results")
BLANKS = b" \t\r\n\v\f"
PIECE = b"x" * (1024 * 1024)


@given(st.lists(st.binary(max_size=8), max_size=20))
def test_lines_do_not_depend_on_where_the_body_is_cut(chunks):
    whole = [stripped for line in b"".join(chunks).split(b"\n") if (stripped := line.strip())]
    assert list(split_lines(chunks)) == whole


@given(st.lists(st.binary(min_size=1).filter(lambda line: b"\n" not in line and line.strip(BLANKS) == line)))
def test_yields_the_lines_that_were_written(lines):
    body = b"".join(line + b"\n" for line in lines)
    assert list(split_lines([body[start : start + 3] for start in range(0, len(body), 3)])) == lines


@pytest.mark.parametrize("body", [b"", b"\n", b"\r\n\r\n", b" \n\t\n"])
def test_leaves_out_blank_lines(body):
    assert list(split_lines([body])) == []


def test_takes_the_ends_of_windows():
    assert list(split_lines([b"a\r", b"\nb\r\n"])) == [b"a", b"b"]


def test_takes_a_last_line_without_its_end():
    assert list(split_lines([b"a\n", b"b"])) == [b"a", b"b"]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c"])
def test_splits_at_a_line_feed_only(separator):
    line = f'{{"text": "one{separator}two"}}'.encode()
    assert list(split_lines([line + b"\n"])) == [line]


def test_yields_a_line_as_soon_as_it_has_ended():
    lines = split_lines(iter([b"a\nb", pytest.fail]))
    assert next(lines) == b"a"


def test_refuses_a_line_over_the_limit_before_it_is_read_to_its_end():
    read = []

    def drip():
        for _ in range(2 * MAX_BODY_BYTES // len(PIECE)):
            read.append(len(PIECE))
            yield PIECE

    with pytest.raises(ReplyError, match="a line of the answer is larger"):
        list(split_lines(drip()))
    assert sum(read) == MAX_BODY_BYTES + len(PIECE)


def test_body_may_be_larger_than_the_limit_of_a_line_and_is_not_kept():
    line = PIECE + b"\n"
    tracemalloc.start()
    count = sum(1 for _ in split_lines(line for _ in range(2 * MAX_BODY_BYTES // len(line))))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 2 * MAX_BODY_BYTES // len(line)
    assert peak_bytes < 8 * len(line)


def test_refuses_a_line_of_too_many_values():
    with pytest.raises(ReplyError, match="more than 2000000 values"):
        list(split_lines([b"{}\n", b"[" + b"[]," * 1_500_000 + b"[]]"]))


# Through the client


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def client(server):
    client = HttpClient(server.url, headers={}, secrets=("sk-very-secret",))
    yield client
    client.close()


def test_reads_the_lines_of_an_answer(server, client):
    server.reply(Events([b'{"a":', b"1}\n\n", b'{"b": 2}']))
    assert list(client.read_lines(RESULTS, 5.0)) == [b'{"a":1}', b'{"b": 2}']


def test_keeps_the_connection_after_the_last_line(server, client):
    server.reply(Answer(body=b"a\n"), Answer(json={}))
    list(client.read_lines(RESULTS, 5.0))
    client.send(RESULTS, 5.0)
    assert [request.connection for request in server.requests] == [1, 1]


def test_closes_the_connection_of_lines_that_are_left(server, client):
    # More than the client reads at once, so that the first line comes before the last.
    server.reply(Events([b"a\n", (b"x" * 99 + b"\n") * 1000], ending="hang"))
    lines = client.read_lines(RESULTS, 5.0)
    assert next(lines) == b"a"
    lines.close()
    server.wait_for_open_connections(0)


def test_sends_nothing_before_the_first_line_is_asked_for(server, client):
    client.read_lines(RESULTS, 5.0)
    assert server.requests == []


def catch_fault(lines):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of several libraries; what counts is how it is classified
        list(lines)
    fault = classify_error(caught.value)
    assert fault is not None
    return fault


def test_reports_a_refusal_without_the_key(server, client):
    server.reply(Answer(status=404, json={"error": {"message": "no results for sk-very-secret"}}))
    fault = catch_fault(client.read_lines(RESULTS, 5.0))
    assert (fault.kind, fault.status_code) == ("not_found", 404)
    assert "no results for [REDACTED]" in fault.message


def test_has_one_deadline_for_all_lines(server, client):
    server.reply(Events([b"a\n"] * 500, interval_s=0.02))
    assert catch_fault(client.read_lines(RESULTS, 0.2)).kind == "timeout"


def test_ends_when_the_server_falls_silent_between_lines(server, client):
    server.reply(Events([b"a\n"], ending="hang"))
    assert catch_fault(client.read_lines(RESULTS, 0.2)).kind == "timeout"


def test_ends_when_the_server_does_not_answer(server, client):
    server.reply(Hang())
    assert catch_fault(client.read_lines(RESULTS, 0.2)).kind == "timeout"


@pytest.mark.parametrize("step", [Truncated(b"a\nb\n", 2), Events([b"a\n"], ending="close")], ids=["length", "chunks"])
def test_reports_an_answer_that_was_cut_between_lines(server, client, step):
    server.reply(step)
    assert catch_fault(client.read_lines(RESULTS, 5.0)).kind == "connection"
