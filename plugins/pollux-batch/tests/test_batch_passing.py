"""Messages between processes are what they were, however they are written."""

import io
import pickle
import threading

import pytest

from pollux_batch.data.messages import IncomingAnswer, LaneOpening, OutgoingCall
from pollux_batch.passing import MessageWriter, pack_message, read_message
from pollux_sync.data.bodies import InlineText
from pollux_sync.data.streaming import ServerEvent, StreamedResponse
from pollux_sync.errors import APIError
from pollux_sync.plugin import HttpRequest, HttpResponse, RawPayload, SecretHeader

BODY = {"model": "m", "n": [1, 2.5, None, True, 10**30], "text": "größe \ud83d \x00", "nested": {"": []}}
PLAIN = [
    OutgoingCall(1, 2, HttpRequest(path="/ask", body=BODY), 600.0),
    OutgoingCall(1, 2, HttpRequest(path="/ask", method="GET", headers={"a": "b"}, is_answer_optional=True), 0.5),
    IncomingAnswer(3, HttpResponse(status=200, headers={"x": "y"}, body=BODY, content=b'{"a": 1}')),
    IncomingAnswer(3, HttpResponse(status=204)),
]


def pass_on(message):
    return read_message(io.BytesIO(pack_message(message)))


@pytest.mark.parametrize("message", PLAIN)
def test_plain_data_is_passed_without_pickling(message, monkeypatch):
    monkeypatch.setattr(pickle, "dumps", None)
    passed = pass_on(message)
    assert passed == message
    if isinstance(message, IncomingAnswer):
        assert passed.answer.content == message.answer.content


OTHER = [
    OutgoingCall(1, 2, HttpRequest(path="/ask", body={"file": InlineText(b"abc", "data:")}), 1.0),
    OutgoingCall(1, 2, HttpRequest(path="/ask", payload=RawPayload("text/plain", (b"abc",))), 1.0),
    OutgoingCall(1, 2, HttpRequest(path="/ask", headers={"a": SecretHeader("sk-1")}), 1.0),
    IncomingAnswer(3, StreamedResponse(status=200, events=(ServerEvent("", {"a": 1}),), is_done=True)),
    LaneOpening(4, 5, b"config"),
]


@pytest.mark.parametrize("message", OTHER, ids=["file", "payload", "secret", "events", "opening"])
def test_everything_else_is_what_it_was(message):
    passed = pass_on(message)
    assert type(passed) is type(message)
    if isinstance(message, OutgoingCall):
        assert passed.request.split_content() == message.request.split_content()
        assert {name: type(value) for name, value in passed.request.headers.items()} == {
            name: type(value) for name, value in message.request.headers.items()
        }
    else:
        assert passed == message


def test_an_error_is_what_it_was():
    passed = pass_on(IncomingAnswer(1, APIError("late", kind="timeout", retryable=True)))
    assert (passed.answer.message, passed.answer.kind, passed.answer.retryable) == ("late", "timeout", True)


def test_an_answer_that_is_nested_deeply_is_passed_or_refused():
    deep = []
    for _ in range(3_000):
        deep = [deep]
    try:
        content = pack_message(IncomingAnswer(1, HttpResponse(status=200, body=deep)))
    except RecursionError:
        return
    assert read_message(io.BytesIO(content)).answer.body


def test_messages_follow_one_another():
    pipe = io.BytesIO(b"".join(map(pack_message, PLAIN)))
    assert [read_message(pipe) for _ in PLAIN] == PLAIN
    with pytest.raises(EOFError):
        read_message(pipe)


@pytest.mark.parametrize("size", [0, 5, 20])
def test_a_message_that_is_cut_off_is_the_end(size):
    with pytest.raises(EOFError):
        read_message(io.BytesIO(pack_message(PLAIN[0])[:size]))


class SlowPipe(io.BytesIO):
    """A pipe whose first write lasts until it is let go."""

    def __init__(self):
        super().__init__()
        self.writes = 0
        self.began, self.goes_on = threading.Event(), threading.Event()

    def write(self, content):
        self.writes += 1
        self.began.set()
        self.goes_on.wait(10)
        return super().write(content)


def test_messages_that_come_while_one_is_written_go_out_together():
    pipe = SlowPipe()
    writer = MessageWriter(pipe)
    first = threading.Thread(target=writer.write, args=(pack_message(PLAIN[0]),))
    first.start()
    pipe.began.wait(10)
    for message in PLAIN[1:]:
        writer.write(pack_message(message))  # returns: the thread that is writing takes it along
    pipe.goes_on.set()
    first.join(10)
    assert pipe.writes == 2
    pipe.seek(0)
    assert [read_message(pipe) for _ in PLAIN] == PLAIN


def test_a_failed_write_is_raised_and_stops_no_later_one():
    class Broken(io.BytesIO):
        def write(self, content):
            raise BrokenPipeError

    writer = MessageWriter(Broken())
    for _ in range(2):
        with pytest.raises(BrokenPipeError):
            writer.write(b"abc")
