"""Chat Completions as they are streamed, and as they are answered at once, written for tests."""

from chat_api import USAGE, completion, tool_call
from streams import sse

HEAD = {name: value for name, value in completion().items() if name not in {"choices", "usage"}}


def chunk(finish=None, **delta):
    """One piece of an answer."""
    return HEAD | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def build_stream(*pieces, finish="stop"):
    """A whole stream of pieces, each a delta, with the usage that comes after the last."""
    chunks = [chunk(role="assistant", content=None), *(chunk(**piece) for piece in pieces), chunk(finish)]
    return sse(*chunks, HEAD | {"choices": [], "usage": USAGE}, done=True)


def call_piece(arguments, index=0, **first):
    """A piece of a tool call; ``name`` and ``id`` come with the first."""
    name = first.pop("name", None)
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return {"tool_calls": [{"index": index, "function": function, **first}]}


def build_call_start(name, call_id, arguments="", index=0):
    """The first piece of a tool call."""
    return call_piece(arguments, index, name=name, id=call_id, type="function")


#: Pairs of what is answered at once, and the same streamed.
TRANSCRIPTS = {
    "text": (completion("Hé, 世界!"), build_stream({"content": "Hé, "}, {"content": "世界!"})),
    "nothing": (completion(None), build_stream()),
    "reasoning": (
        completion("4", reasoning_content="2 and 2"),
        build_stream({"reasoning_content": "2 and"}, {"reasoning_content": " 2"}, {"content": "4"}),
    ),
    "refusal": (completion(None, refusal="I won't."), build_stream({"refusal": "I "}, {"refusal": "won't."})),
    "filtered": (completion("Th", finish="content_filter"), build_stream({"content": "Th"}, finish="content_filter")),
    "cut at max_tokens": (completion("Once", finish="length"), build_stream({"content": "Once"}, finish="length")),
    "tool call": (
        completion(None, finish="tool_calls", tool_calls=[tool_call("add", '{"a": 1}')]),
        build_stream(build_call_start("add", "call_1"), call_piece('{"a"'), call_piece(": 1}"), finish="tool_calls"),
    ),
    "parallel tool calls after text": (
        completion(
            "Both.",
            finish="tool_calls",
            tool_calls=[tool_call("add", '{"a": 1}', "c1"), tool_call("sub", '{"b": 2}', "c2")],
        ),
        build_stream(
            {"content": "Both."},
            build_call_start("add", "c1"),
            call_piece('{"a": 1}'),
            build_call_start("sub", "c2", '{"b"', 1),
            call_piece(": 2}", 1),
            finish="tool_calls",
        ),
    ),
    "annotations": (
        completion("See.", annotations=[{"type": "url_citation"}, {"type": "other"}]),
        build_stream(
            {"content": "See."}, {"annotations": [{"type": "url_citation"}]}, {"annotations": [{"type": "other"}]}
        ),
    ),
}
