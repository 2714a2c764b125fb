from functools import partial

import pytest

from chat_streams import build_call_start, call_piece, chunk
from long_streams import N_PIECES, PIECE, read_in_time
from pollux_sync.wire.chat import ChatDialect, decode_chat
from pollux_sync.wire.chatstream import decode_chat_stream

DIALECT = ChatDialect()

decode = partial(decode_chat_stream, decode=lambda response: decode_chat(response, DIALECT, None))


@pytest.mark.parametrize(("text", "count"), [(PIECE, N_PIECES), ("tiny", 50_000)], ids=["long", "tiny and very many"])
def test_joins_the_pieces_of_arguments_in_linear_time(text, count):
    pieces = [chunk(**call_piece(text))] * count
    reply = read_in_time(decode, [chunk(**build_call_start("add", "c1")), *pieces, chunk("tool_calls")])
    assert reply.tool_calls[0].arguments == text * count


@pytest.mark.parametrize("field", ["content", "reasoning_content"])
def test_joins_the_pieces_of_a_text_in_linear_time(field):
    reply = read_in_time(decode, [*[chunk(**{field: PIECE})] * N_PIECES, chunk("stop")])
    assert (reply.text or reply.reasoning) == PIECE * N_PIECES


def test_joins_the_pieces_of_a_list_in_linear_time():
    bodies = []

    def keep(response):
        bodies.append(response.body)
        return decode_chat(response, DIALECT, None)

    piece = chunk(reasoning_details=[{"type": "reasoning.text", "index": 0, "text": PIECE}])
    read_in_time(partial(decode_chat_stream, decode=keep), [*[piece] * N_PIECES, chunk("stop")])
    (entry,) = bodies[0]["choices"][0]["message"]["reasoning_details"]
    assert entry == {"type": "reasoning.text", "index": 0, "text": PIECE * N_PIECES}


def test_finds_the_call_of_a_piece_in_constant_time():
    n_calls = N_PIECES // 10
    starts = [chunk(**build_call_start("add", f"c{index}", index=index)) for index in range(n_calls)]
    pieces = [chunk(**call_piece("{}", index=index)) for index in range(n_calls)]
    reply = read_in_time(decode, [*starts, *pieces, chunk("tool_calls")])
    assert [call.arguments for call in reply.tool_calls] == ["{}"] * n_calls
