import json
import weakref
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollux_sync import HttpResponse
from pollux_sync.data.streaming import ServerEvent
from pollux_sync.wire.bodies import MAX_BODY_BYTES
from pollux_sync.wire.faults import ReplyError, StreamLimitError
from pollux_sync.wire.sse import EventParser
from streams import Pieces, sse


def parse(*pieces):
    return list(Pieces(pieces))


def parse_data(*pieces):
    return [event.data for event in parse(*pieces)]


def test_reads_names_and_data():
    assert parse(sse(("ping", {}), {"a": 1})) == [ServerEvent("ping", {}), ServerEvent("", {"a": 1})]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_takes_every_kind_of_line_end(end):
    text = end.join(["event: x", "data: 1", "", "data: 2", "", ""]).encode()
    assert parse(text) == [ServerEvent("x", 1), ServerEvent("", 2)]


@given(
    st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=2), max_size=4),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(0, 200), max_size=6),
)
def test_parses_the_same_events_at_every_cut(values, end, cuts):
    lines = [line for value in values for line in (f"data: {json.dumps(value, ensure_ascii=False)}", "")]
    text = "".join(line + end for line in lines).encode()
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:stop] for start, stop in pairwise(places)]
    assert parse_data(*pieces) == values


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_keeps_the_lines_of_one_event_together_wherever_it_is_cut(end):
    text = end.join(["event: x", 'data: {"a":', "data: 1}", "", "data: 2", "", ""]).encode()
    for place in range(1, len(text)):
        assert parse(text[:place], text[place:]) == [ServerEvent("x", {"a": 1}), ServerEvent("", 2)], place


def test_joins_lines_of_data():
    assert parse_data(b'data: {"a":\ndata: 1}\n\n') == [{"a": 1}]


@pytest.mark.parametrize("line", [b": alive\n", b"id: 7\n", b"retry: 10\n", b"nonsense\n", b"event: x\n"])
def test_ignores_lines_without_data(line):
    assert parse_data(line + b"\ndata: 1\n\n") == [1]


def test_ignores_a_byte_order_mark():
    assert parse_data(b"\xef\xbb\xbfdata: 1\n\n") == [1]


def test_ends_at_the_end_mark():
    assert parse_data(sse(1, done=True) + b"data: 2\n\n") == [1]
    assert parse_data(sse(1, done=True), b"data: no json\n\n") == [1]


def test_takes_the_last_event_without_the_blank_line_after_it():
    assert parse_data(b"data: 1\n\ndata: 2") == [1, 2]
    assert parse_data(b"data: 1\n\ndata: 2\r") == [1, 2]


def test_drops_half_an_event_at_the_end():
    assert parse_data(b'data: 1\n\ndata: {"a') == [1]


@pytest.mark.parametrize("data", [b"no json", b"\xff", b"[" * 100_000])
def test_refuses_what_is_not_json(data):
    with pytest.raises(ReplyError, match="not valid JSON"):
        parse_data(b"data: " + data + b"\n\n")


BUSY = {"error": {"code": 503, "message": "busy"}}


@pytest.mark.parametrize(
    ("text", "event"),
    [
        (json.dumps(BUSY).encode(), ServerEvent("", BUSY)),
        (json.dumps(BUSY).encode() + b"\n\n", ServerEvent("", BUSY)),
        (json.dumps(BUSY, indent=2).encode() + b"\n", ServerEvent("", BUSY)),
        (json.dumps(BUSY, indent=2).replace("\n", "\r\n").encode() + b"\r\n\r\n", ServerEvent("", BUSY)),
        (json.dumps([BUSY], indent=2).encode(), ServerEvent("", BUSY)),
        (b"error: " + json.dumps(BUSY).encode() + b"\n\n", ServerEvent("error", BUSY)),
        (b"error: it is busy\n\n", ServerEvent("error", "it is busy")),
        (b"event: error\ndata: it is busy\n\n", ServerEvent("error", "it is busy")),
    ],
)
def test_reads_an_error_in_a_form_of_its_own(text, event):
    for place in range(1, len(text)):
        assert parse(b"data: 1\n\n" + text[:place], text[place:]) == [ServerEvent("", 1), event], place


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"upstream connect error", "upstream connect error"),
        (b"<html>\n<title>502 Bad Gateway</title>\n</html>\n", "an HTML page titled '502 Bad Gateway'"),
        (b'{"error": {"message": "the upst', '{"error": {"message": "the upst'),
    ],
)
def test_tells_what_a_stream_ends_with_in_place_of_an_event(text, words):
    for before in (b"", b"data: 1\n\n"):
        with pytest.raises(ReplyError) as caught:
            parse(before + text)
        assert str(caught.value) == f"the stream ended with: {words}"


def test_reads_json_that_events_follow():
    assert parse_data(b'{"a":\n1}\ndata: 2\n\n') == [{"a": 1}, 2]


def test_reads_lines_of_json():
    assert parse_data(b'{"a": 1}\n{"a": 2}\n') == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("line", [b"{nonsense\n", b"[1, 2]\n", b'"text"\n', b"7\n"])
def test_ignores_lines_that_are_no_objects(line):
    assert parse_data(line + b"\ndata: 1\n\n") == [1]


def test_lines_of_json_count_as_an_event_without_end():
    with pytest.raises(ReplyError, match="has no end"):
        list(Pieces([b"{\n"] * 100, max_event_bytes=100))


def test_shows_the_beginning_of_what_is_not_json():
    with pytest.raises(ReplyError, match=r"not valid JSON: upstream died$"):
        parse_data(b"data: upstream died\n\n")


@pytest.mark.parametrize("body", [b' {"a": 1}\n', b'{"a":\n 1}', b"\n\n[1]"])
def test_reads_a_whole_body_that_is_called_a_stream(body):
    for place in range(1, len(body)):
        whole = Pieces([body[:place], body[place:]]).read_whole()
        assert whole.body == json.loads(body)


@pytest.mark.parametrize("body", [b": alive\n\ndata: 1\n\n", b"\n\ndata: 1\n\n", b'{"a":\n\ndata: 1\n\n'])
def test_leaves_the_events_to_the_stream(body):
    for place in range(1, len(body)):
        stream = Pieces([body[:place], body[place:]])
        assert stream.read_whole() is None
        assert [event.data for event in stream] == [1]


def test_a_stream_that_was_looked_into_is_no_circle():
    # As one it would keep the connection's answer open until the next collection of garbage.
    stream = Pieces([b"data: 1\n\n"])
    stream.read_whole()
    events = iter(stream)
    next(events)
    gone = weakref.ref(stream)
    del stream, events
    assert gone() is None


def test_yields_the_events_before_a_bad_one():
    events = iter(Pieces([b"data: 1\n\ndata: no json\n\ndata: 2\n\n"]))
    assert next(events).data == 1
    with pytest.raises(ReplyError):
        next(events)


@pytest.mark.parametrize(
    ("chunk", "limits"),
    [
        (b":" * 100, {"max_event_bytes": 1000}),
        (b"data: [\n" * 10, {"max_event_bytes": 1000}),
        (b": alive\n" * 10, {"max_bytes": 1000}),
        (b"data: 1\n\n" * 10, {"max_bytes": 1000}),
    ],
    ids=["a line", "an event", "comments", "events"],
)
def test_refuses_an_endless_stream(chunk, limits):
    taken = []

    class Endless(Pieces):
        def iter_chunks(self):
            while True:
                taken.append(chunk)
                yield chunk

    with pytest.raises(ReplyError, match=r"an event has no end|the stream is larger than 1000 bytes"):
        list(Endless((), **limits))
    assert 1000 < sum(map(len, taken)) < 10_000  # the words before the data are not held


def test_bounds_an_event_as_an_answer_and_a_stream_sixteenfold():
    stream = Pieces([])
    assert (stream._max_event_bytes, stream._max_bytes) == (MAX_BODY_BYTES, 16 * MAX_BODY_BYTES)


def test_reads_a_long_line_in_many_pieces():
    text = json.dumps("x" * 4_000_000).encode()
    assert parse_data(b"data: ", *(text[n : n + 1000] for n in range(0, len(text), 1000)), b"\n\n") == ["x" * 4_000_000]


def test_refuses_an_event_of_too_many_values():
    with pytest.raises(ReplyError, match="more than 2000000 values"):
        parse(b"data: [" + b"[]," * 1_500_000 + b"[]]\n\n")


class Untyped(Pieces):
    """An answer that does not say what it is."""

    def __init__(self, *pieces, media_type=""):
        super().__init__(pieces)
        self.response = HttpResponse(status=200, headers={"content-type": media_type})


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/json"])
def test_detects_the_format_by_the_first_bytes(media_type):
    whole = Untyped(b" ", b'{"a":', b" 1}", media_type=media_type).detect_format()
    assert (whole.response.body, list(whole)) == ({"a": 1}, [])
    stream = Untyped(b"\n", b"da", b"ta: 1\n\ndata: 2\n\n", media_type=media_type).detect_format()
    assert [event.data for event in stream] == [1, 2]


def test_refuses_an_empty_answer():
    with pytest.raises(ReplyError, match="empty"):
        Untyped().detect_format()


def test_refuses_a_blocking_answer_without_end():
    class Endless(Untyped):
        def iter_chunks(self):
            while True:
                yield b"{" * 1024 * 1024

    with pytest.raises(ReplyError, match=f"larger than {MAX_BODY_BYTES} bytes"):
        Endless().detect_format()


def test_refuses_endless_white_space_without_a_content_type():
    taken = []

    class Blanks(Untyped):
        def iter_chunks(self):
            while sum(taken) <= 100 * MAX_BODY_BYTES:
                taken.append(1024 * 1024)
                yield b" " * taken[-1]

    with pytest.raises(ReplyError, match=f"larger than {MAX_BODY_BYTES} bytes"):
        Blanks().detect_format()
    assert sum(taken) <= MAX_BODY_BYTES + taken[-1]


def test_renews_the_time_limit_with_events_and_comments_only():
    class Renewing(Pieces):
        renewals = 0

        def renew(self):
            self.renewals += 1

    stream = Renewing([b"data", b": 1\n", b"\n", b": alive\n", b"id", b": 1\n\n"])
    assert [event.data for event in stream] == [1]
    assert stream.renewals == 2


@pytest.mark.parametrize("chunk", [b": alive\n\n", b"data: 1\n\n", b"d"], ids=["comments", "events", "a line"])
def test_ends_a_stream_without_end_when_its_time_is_over(chunk):
    class Endless(Pieces):
        def iter_chunks(self):
            while True:
                yield chunk

    stream = Endless(())
    stream.limit(0.05)
    with pytest.raises(StreamLimitError, match=r"did not end within stream_timeout_s=0\.05"):
        for _ in stream:
            pass


def test_a_limit_cuts_the_wait_for_the_next_event():
    renewed = []

    class Renewing(Pieces):
        def renew(self):
            renewed.append(self.left_s)

    Renewing(()).renew()
    Renewing(()).limit(60)
    without, within = renewed
    assert without == inf
    assert 0 < within <= 60


def test_has_no_events_before_the_first_chunk():
    assert EventParser().end() == []
    assert Pieces([]).response == HttpResponse(status=200, headers={"content-type": "text/event-stream"})


def test_reads_an_event_of_very_many_lines_in_linear_time():
    lines = [b"data: \n"] * 200_000
    assert parse_data(b"data: [\n", *lines, b"data: 1]\n\n") == [[1]]


def test_lines_without_data_count_as_an_event_without_end():
    with pytest.raises(ReplyError, match="has no end"):
        list(Pieces([b"data:\n"] * 100, max_event_bytes=100))
