import pytest

from gemini_api import USAGE, function_call, last_piece, piece, text, thought
from gemini_streams import ANSWERS
from long_streams import ENTRIES, N_PIECES, PIECE, read_in_time
from pollux_gemini.streaming import decode_stream, encode_stream, merge_events
from pollux_sync.data.provider import HttpRequest, HttpResponse
from pollux_sync.data.reply import Reply
from pollux_sync.data.streaming import StreamStart, TextDelta, ToolCallDelta
from pollux_sync.wire.faults import HttpError, ReplyError
from streams import Pieces, sse


def decode_events(*pieces):
    return list(decode_stream(Pieces([sse(*pieces)])))


def test_yields_deltas_at_once():
    items = decode_stream(Pieces([sse(piece(text("a"))), sse(piece(function_call("f", {"n": 1}, call_id="c1")))]))
    assert next(items) == StreamStart(model="gemini-2.5-flash", response_id="r1")
    assert next(items) == TextDelta("a")
    assert next(items) == ToolCallDelta(0, '{"n": 1}', id="c1", name="f")


@pytest.mark.parametrize("pieces", [[], [{}], [piece(text("a"))], [piece(text("a")), {"usageMetadata": USAGE}]])
def test_ends_without_a_reply_where_the_answer_was_cut_off(pieces):
    assert not any(isinstance(item, Reply) for item in decode_events(*pieces))


def test_reads_pieces_with_things_it_does_not_know():
    strange = {
        "candidates": ["junk", {"content": {"parts": ["junk", {"news": 1}, {"text": 5}], "news": None}, "news": None}]
    }
    *_, reply = decode_events(
        {"news": {}}, strange, {"candidates": "junk"}, last_piece(text("x"), news=[1]), {"news": 2}
    )
    assert (reply.text, reply.finish_reason) == ("x", "stop")


def test_raises_an_error_among_the_pieces():
    items = decode_stream(Pieces([sse(piece(text("a")), {"error": {"code": 503, "message": "it broke"}})]))
    assert [next(items), next(items)] == [StreamStart(model="gemini-2.5-flash", response_id="r1"), TextDelta("a")]
    assert next(items).type == "usage"
    with pytest.raises(HttpError, match="it broke"):
        next(items)


@pytest.mark.parametrize("data", ["x", [1], None])
def test_raises_for_an_invalid_event(data):
    with pytest.raises(ReplyError, match="not an object"):
        decode_events(data)


@pytest.mark.parametrize("model", ["models/gemini-2.5-flash", "projects/p/models/a:b"])
def test_asks_for_events_in_the_path_and_leaves_the_body(model):
    request = HttpRequest(path=f"/{model}:generateContent", body={"contents": []})
    assert encode_stream(request) == HttpRequest(path=f"/{model}:streamGenerateContent?alt=sse", body={"contents": []})


@pytest.mark.parametrize(("pieces", "answer"), ANSWERS.values(), ids=ANSWERS)
def test_joins_pieces_to_the_answer_at_once(pieces, answer):
    assert merge_events(HttpResponse(status=200, body=pieces)).body == {"candidates": []} | answer


@pytest.mark.parametrize(
    "event",
    [
        piece(text(PIECE)),
        piece(thought(PIECE)),
        piece(function_call("f", {"n": 1}, call_id="c1")),
        piece(text("x"), logprobsResult={"chosenCandidates": ENTRIES}),
    ],
    ids=["text", "thought", "call", "logprobs"],
)
def test_joins_pieces_in_linear_time(event):
    assert read_in_time(decode_stream, [*[event] * N_PIECES, last_piece()])
