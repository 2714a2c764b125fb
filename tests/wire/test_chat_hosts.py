"""Chat Completions as hosts send it: a streamed answer and the same one sent at once become one reply."""

from functools import partial

import pytest

from chat_api import USAGE, completion, tool_call
from chat_streams import HEAD, build_call_start, build_stream, call_piece, chunk
from pollux_sync.data.provider import HttpResponse
from pollux_sync.data.reply import Reply, ToolCall
from pollux_sync.data.streaming import ReasoningDelta, TextDelta, ToolCallDelta
from pollux_sync.wire.chat import ChatDialect, decode_chat
from pollux_sync.wire.chatstream import decode_chat_stream
from pollux_sync.wire.faults import ReplyError
from streams import Pieces, sse

DIALECT = ChatDialect(keeps_reasoning=True)

ADD = '{"a": 1}'
CALLED = {"finish": "tool_calls", "content": None}
ONE_CALL = completion(**CALLED, tool_calls=[tool_call("add", ADD, "c1")])
TWO_CALLS = completion(**CALLED, tool_calls=[tool_call("add", ADD, "c1"), tool_call("sub", ADD, "c2")])
NAMELESS = completion(**CALLED, tool_calls=[tool_call("add", ADD, None), tool_call("add", '{"a": 2}', None)])
SIGNED = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
SOUND = {"id": "a1", "data": "QUJD", "transcript": "Hello there", "expires_at": 9}
THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "2 and "}]}
THINKING_MORE = {"type": "thinking", "thinking": [{"type": "text", "text": "2"}]}
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "2 and 2"}]}
DETAIL = {"type": "reasoning.text", "index": 0, "text": "2 and 2"}
TOKENS = [{"token": token, "logprob": -0.5} for token in ("4", "2")]


def text(value):
    return {"type": "text", "text": value}


def piece(arguments=None, **fields):
    """Return a delta of a tool call without any field that is not given."""
    name = {name: fields.pop(name) for name in ("name",) if name in fields}
    return {"tool_calls": [{**fields, "function": name | ({} if arguments is None else {"arguments": arguments})}]}


def stream_calls(*pieces):
    return build_stream(*pieces, finish="tool_calls")


def add_to_choice(body, **fields):
    return body | {"choices": [body["choices"][0] | fields]}


def join_choices(*chunks):
    return HEAD | {"choices": [choice for one in chunks for choice in one["choices"]]}


def add_choices(*contents):
    choices = [completion(content)["choices"][0] | {"index": index} for index, content in enumerate(contents)]
    return completion() | {"choices": choices}


#: By the shape: a blocking answer, and the bytes of the same answer streamed.
HOSTS = {
    "content in parts": (
        completion([text("14"), text("4")]),
        build_stream({"content": [text("1")]}, {"content": "4"}, {"content": [text("4")]}),
    ),
    "thoughts in parts": (
        completion([THOUGHT, text("42")]),
        build_stream({"content": [THINKING]}, {"content": [THINKING_MORE, text("4")]}, {"content": "2"}),
    ),
    "thoughts as a part's text": (
        completion([{"type": "thinking", "thinking": "2 and 2"}, text("4")]),
        build_stream({"content": [{"type": "reasoning", "text": "2 and 2"}]}, {"content": "4"}),
    ),
    "parts that are no text": (
        completion([text("See."), {"type": "reference", "reference_ids": [1]}]),
        build_stream({"content": "See."}, {"content": [{"type": "reference", "reference_ids": [1]}]}),
    ),
    "tagged thoughts": (
        completion("<think>\n2 and 2\n</think>\n\n4 <think>"),
        build_stream(*[{"content": c} for c in ("<", "think>\n2 ", "and 2\n</th", "ink>", "\n", "\n4 ", "<think>")]),
    ),
    "tagged thoughts that were cut off": (
        completion("<think>2 and", finish="length"),
        build_stream({"content": "<think>2"}, {"content": " and"}, finish="length"),
    ),
    "a text that begins like a tag": (completion("<th>4"), build_stream({"content": "<th"}, {"content": ">4"})),
    "a text that is no more than that": (completion("<th"), build_stream({"content": "<th"})),
    "reasoning in two fields": (
        completion("4", reasoning="2 and 2", reasoning_content="2 and 2"),
        build_stream(
            {"reasoning": "2 and", "reasoning_content": "2 and"},
            {"reasoning": " 2", "reasoning_content": " 2"},
            {"content": "4"},
        ),
    ),
    "reasoning in a field and in details": (
        completion("4", reasoning="2 and 2", reasoning_details=[DETAIL]),
        build_stream({"reasoning_details": [DETAIL], "reasoning": "2 and 2"}, {"content": "4"}),
    ),
    "reasoning in details alone": (
        completion("4", reasoning_details=[DETAIL]),
        build_stream(
            {"reasoning_details": [DETAIL | {"text": "2 and "}]},
            {"reasoning_details": [DETAIL | {"text": "2"}]},
            {"content": "4"},
        ),
    ),
    "the whole message again": (
        completion("42", reasoning_content="2 and 2"),
        sse(
            chunk(reasoning_content="2 and 2"),
            add_to_choice(chunk(content="4"), message={"content": "4"}),
            add_to_choice(
                chunk("stop", content="2"),
                message={"role": "assistant", "content": "42", "reasoning_content": "2 and 2"},
            ),
            HEAD | {"choices": [], "usage": USAGE},
            done=True,
        ),
    ),
    "the message in one piece": (
        completion("42", finish="tool_calls", reasoning_content="2 and 2", tool_calls=[tool_call("add", ADD, "c1")]),
        sse(
            add_to_choice(
                chunk("tool_calls"),
                message={
                    "role": "assistant",
                    "content": "42",
                    "reasoning_content": "2 and 2",
                    "tool_calls": [tool_call("add", ADD, "c1")],
                },
            ),
            HEAD | {"choices": [], "usage": USAGE},
            done=True,
        ),
    ),
    "calls by index": (
        TWO_CALLS,
        stream_calls(
            build_call_start("add", "c1"),
            build_call_start("sub", "c2", index=1),
            call_piece(ADD[:3], 1),
            call_piece(ADD),
            call_piece(ADD[3:], 1),
        ),
    ),
    "calls without an index": (
        TWO_CALLS,
        stream_calls(
            piece(ADD[:3], id="c1", name="add"), piece(ADD[3:]), piece("", id="c2", name="sub"), piece(ADD, id="c2")
        ),
    ),
    "an index only after the first piece": (
        ONE_CALL,
        stream_calls(piece(ADD[:3], id="c1", name="add"), piece(ADD[3:], index=0)),
    ),
    "whole calls of one index": (
        TWO_CALLS,
        stream_calls(piece(ADD, id="c1", index=0, name="add"), piece(ADD, id="c2", index=0, name="sub")),
    ),
    "calls of one index by id": (
        TWO_CALLS,
        stream_calls(
            piece(ADD[:3], id="c1", index=0, name="add"),
            piece(ADD[:5], id="c2", index=0, name="sub"),
            piece(ADD[3:], id="c1", index=0, name="add"),
            piece(ADD[5:], id="c2", index=0, name="sub"),
        ),
    ),
    "whole calls without ids": (
        NAMELESS,
        stream_calls(piece(ADD, index=0, name="add"), piece('{"a": 2}', index=0, name="add")),
    ),
    "whole calls without anything": (NAMELESS, stream_calls(piece(ADD, name="add"), piece('{"a": 2}', name="add"))),
    "a name and an id with each piece": (
        ONE_CALL,
        stream_calls(piece(ADD[:3], id="c1", index=0, name="add"), piece(ADD[3:], id="c1", index=0, name="add")),
    ),
    "a name with each piece": (
        completion(**CALLED, tool_calls=[tool_call("add", ADD, None)]),
        stream_calls(piece("", name="add"), piece(ADD[:3], name="add"), piece(ADD[3:], name="add")),
    ),
    "another id with each piece": (
        ONE_CALL,
        stream_calls(
            piece("", id="c1", index=0, name="add"), piece(ADD[:3], id="x2", index=0), piece(ADD[3:], id="x3", index=0)
        ),
    ),
    "the whole call again": (
        ONE_CALL,
        stream_calls(
            piece("", id="c1", index=0, name="add"), piece(ADD, index=0), piece(ADD, id="c1", index=0, name="add")
        ),
    ),
    "arguments as an object": (
        completion(**CALLED, tool_calls=[tool_call("add", {"a": "ö"}, "c1")]),
        stream_calls(piece({"a": "ö"}, id="c1", index=0, name="add")),
    ),
    "a call without arguments": (
        completion(**CALLED, tool_calls=[tool_call("now", None, "c1")]),
        stream_calls(piece(id="c1", index=0, name="now")),
    ),
    "calls of one id by index": (
        completion(**CALLED, tool_calls=[tool_call("add", ADD, "c"), tool_call("add", '{"a": 2}', "c")]),
        stream_calls(
            piece("", id="c", index=0, name="add"),
            piece("", id="c", index=1, name="add"),
            piece(ADD, id="c", index=0),
            piece('{"a": 2}', id="c", index=1),
        ),
    ),
    "a function call": (
        completion(None, finish="function_call", function_call={"name": "add", "arguments": ADD}),
        build_stream(
            {"function_call": {"name": "add", "arguments": ""}},
            {"function_call": {"arguments": ADD[:3]}},
            {"function_call": {"arguments": ADD[3:]}},
            finish="function_call",
        ),
    ),
    "signatures on calls": (
        completion(**CALLED, tool_calls=[tool_call("add", ADD, "c1") | SIGNED], **SIGNED),
        stream_calls({"extra_content": {"google": {}}}, piece(ADD, id="c1", index=0, name="add", **SIGNED), SIGNED),
    ),
    "a spoken answer": (
        completion(None, audio=SOUND),
        build_stream(
            {"audio": {"id": "a1", "transcript": "Hello"}},
            {"audio": {"data": "QU", "transcript": " there"}},
            {"audio": {"data": "JD"}},
            {"audio": {"expires_at": 9}},
        ),
    ),
    "several answers": (
        add_choices("42", "Two.", "<think>x"),
        sse(
            chunk(role="assistant", content="4"),
            add_to_choice(chunk(role="assistant", content="Tw"), index=1),
            join_choices(
                chunk("stop", content="2"), add_to_choice(chunk(role="assistant", content="<think>"), index=2)
            ),
            add_to_choice(chunk("stop", content="o."), index=1),
            add_to_choice(chunk("stop", content="x"), index=2),
            HEAD | {"choices": [], "usage": USAGE},
            done=True,
        ),
    ),
    "logprobs": (
        add_to_choice(completion("42"), logprobs={"content": TOKENS, "refusal": None}),
        sse(
            add_to_choice(chunk(content="4"), logprobs={"content": TOKENS[:1], "refusal": None}),
            add_to_choice(chunk(content="2"), logprobs={"content": TOKENS[1:], "refusal": None}),
            chunk("stop"),
            HEAD | {"choices": [], "usage": USAGE},
            done=True,
        ),
    ),
    "tier, stop sequence, sources and price": (
        add_to_choice(completion("4"), stop_reason="END")
        | {"service_tier": "flex", "citations": ["https://a.example"], "usage": USAGE | {"cost": 0}},
        sse(
            chunk(content="4") | {"service_tier": "flex"},
            add_to_choice(chunk("stop"), stop_reason="END"),
            HEAD | {"choices": [], "usage": USAGE | {"cost": 0}, "citations": ["https://a.example"]},
            done=True,
        ),
    ),
    "usage in the last choice": (
        completion("4"),
        sse(chunk(content="4"), add_to_choice(chunk("stop"), usage=USAGE), done=True),
    ),
    "usage in an object of the host": (
        completion("4"),
        sse(chunk(content="4"), chunk("stop") | {"x_groq": {"usage": USAGE}}, done=True),
    ),
    "usage before an empty one": (
        completion("4"),
        sse(chunk(content="4") | {"usage": USAGE}, chunk("stop") | {"usage": {}}, done=True),
    ),
    "no head": (
        {"choices": completion("4")["choices"]},
        sse({"choices": [{"delta": {"content": "4"}}]}, {"choices": [{"delta": {}, "finish_reason": "stop"}]}),
    ),
}


def decode_whole(body):
    return decode_chat(HttpResponse(status=200, body=body), DIALECT)


def decode_pieces(*pieces):
    *deltas, reply = decode_chat_stream(Pieces(pieces), partial(decode_chat, dialect=DIALECT))
    return deltas, reply


def join(deltas, kind):
    return "".join(delta.text for delta in deltas if isinstance(delta, kind))


def join_arguments(deltas):
    pieces = [delta for delta in deltas if isinstance(delta, ToolCallDelta)]
    count = len({delta.index for delta in pieces})
    return ["".join(delta.arguments for delta in pieces if delta.index == index) for index in range(count)]


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.soak)])
@pytest.mark.parametrize(("body", "stream"), HOSTS.values(), ids=HOSTS)
def test_a_streamed_answer_equals_the_blocking_one_wherever_its_bytes_are_cut(body, stream, step):
    whole = decode_whole(body)
    cuts = [(stream[:end], stream[end:]) for end in range(1, len(stream), step)]
    for pieces in [(stream,), *cuts]:
        deltas, reply = decode_pieces(*pieces)
        assert reply == whole
        assert (join(deltas, TextDelta), join(deltas, ReasoningDelta)) == (reply.text, reply.reasoning or "")
        assert [text or "{}" for text in join_arguments(deltas)] == [call.arguments for call in reply.tool_calls]


#: What of the reply the shapes above must have.
FACTS = {
    "content in parts": {"text": "144"},
    "thoughts in parts": {"text": "42", "reasoning": "2 and 2"},
    "thoughts as a part's text": {"text": "4", "reasoning": "2 and 2"},
    "parts that are no text": {"text": "See.", "artifacts": {"parts": [{"type": "reference", "reference_ids": [1]}]}},
    "tagged thoughts": {"text": "4 <think>", "reasoning": "2 and 2"},
    "tagged thoughts that were cut off": {"text": "", "reasoning": "2 and"},
    "reasoning in two fields": {"reasoning": "2 and 2"},
    "reasoning in details alone": {"reasoning": "2 and 2", "provider_state": {"reasoning_details": [DETAIL]}},
    "the whole message again": {"text": "42", "reasoning": "2 and 2"},
    "calls without an index": {"tool_calls": (ToolCall("c1", "add", ADD), ToolCall("c2", "sub", ADD))},
    "whole calls without ids": {"tool_calls": (ToolCall("call_0", "add", ADD), ToolCall("call_1", "add", '{"a": 2}'))},
    "arguments as an object": {"tool_calls": (ToolCall("c1", "add", '{"a": "ö"}'),)},
    "signatures on calls": {"provider_state": SIGNED | {"call_extras": [SIGNED]}},
    "a spoken answer": {"text": "Hello there", "artifacts": {"audio": SOUND}},
    "logprobs": {"artifacts": {"logprobs": {"content": TOKENS}}},
    "tier, stop sequence, sources and price": {
        "service_tier": "flex",
        "artifacts": {"citations": ["https://a.example"], "stop_reason": "END", "cost": 0},
    },
    "no head": {"text": "4", "response_id": None},
}


@pytest.mark.parametrize(("name", "facts"), FACTS.items(), ids=FACTS)
def test_reads_what_a_host_sends(name, facts):
    body, _ = HOSTS[name]
    reply = decode_whole(body)
    assert {field: getattr(reply, field) for field in facts} == facts


def test_keeps_further_answers():
    body, _ = HOSTS["several answers"]
    others = decode_whole(body).artifacts["choices"]
    assert [choice["message"]["content"] for choice in others] == ["Two.", "<think>x"]


def test_tells_what_it_has_of_an_answer_that_breaks_off():
    stream = decode_chat_stream(Pieces([sse(chunk(content="4<") | {"usage": USAGE}, chunk(content=""), "junk")]), None)
    deltas = []
    with pytest.raises(ReplyError):
        deltas.extend(stream)
    assert (join(deltas, TextDelta), deltas[-1].usage.output_tokens) == ("4<", 7)


def test_passes_on_a_half_tag_of_an_answer_that_breaks_off():
    deltas = [*decode_chat_stream(Pieces([sse(chunk(content="<th"))]), None)]
    assert join(deltas, TextDelta) == "<th"


def test_keeps_the_first_answer_where_the_others_are_cut_off():
    body = sse(chunk("stop", content="42"), add_to_choice(chunk(content="Tw"), index=1), "junk")
    deltas, reply = decode_pieces(body)
    assert (join(deltas, TextDelta), reply.text, isinstance(reply, Reply)) == ("42", "42", True)
