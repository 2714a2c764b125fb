"""The Messages API for tests: pairs of a blocking answer and the same answer streamed."""

from messages_api import (
    PING,
    REDACTED,
    block,
    build_end_events,
    build_start_event,
    response,
    text,
    text_block,
    thinking,
    thinking_block,
    tool_block,
    tool_use,
)

NOTE = {"type": "char_location", "cited_text": "blue"}
CITED = {"type": "citations_delta", "citation": NOTE}
WHY = {"type": "refusal", "category": "bio", "explanation": "not this"}
SEARCH = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "é"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []}
CUT_OFF = '{"city": "Ro'


def build_text_delta(words):
    return {"type": "text_delta", "text": words}


#: What Claude streams, and what it answers at once.
TRANSCRIPTS = {
    "text": (
        [build_start_event(), PING, *text_block(0, "Hel", "lo ", "wörld"), *build_end_events()],
        response(text("Hello wörld")),
    ),
    "text blocks": (
        [build_start_event(), *text_block(0, "a"), *text_block(1), *text_block(2, "b", "c"), *build_end_events()],
        response(text("a"), text(""), text("bc")),
    ),
    "citations": (
        [
            build_start_event(),
            *text_block(0, "The sky is "),
            *block(1, text("", citations=[]), build_text_delta("bl"), CITED, build_text_delta("ue")),
            *text_block(2, "."),
            *build_end_events(),
        ],
        response(text("The sky is "), text("blue", citations=[NOTE]), text(".")),
    ),
    "reasoning": (
        [
            build_start_event(),
            *thinking_block(0, "fir", "st"),
            *block(1, REDACTED),
            *thinking_block(2, "then", signature="sig2"),
            *text_block(3, "x"),
            *build_end_events(),
        ],
        response(thinking("first"), REDACTED, thinking("then", "sig2"), text("x")),
    ),
    "tool": (
        [build_start_event(), *tool_block(0, "ping", "", '{"n', 'é":', "1}"), *build_end_events("tool_use")],
        response(tool_use("ping", {"né": 1}), stop_reason="tool_use"),
    ),
    "parallel tools": (
        [
            build_start_event(),
            *text_block(0, "both"),
            *tool_block(1, "a", '{"n": 1}'),
            *tool_block(2, "b", call_id="toolu_2"),
            *build_end_events("tool_use"),
        ],
        response(text("both"), tool_use("a", {"n": 1}), tool_use("b", {}, "toolu_2"), stop_reason="tool_use"),
    ),
    "refusal": (
        [build_start_event(), *build_end_events("refusal", stop_details=WHY)],
        response(stop_reason="refusal", stop_details=WHY),
    ),
    "truncated": (
        [build_start_event(), *text_block(0, "hel"), *build_end_events("max_tokens")],
        response(text("hel"), stop_reason="max_tokens"),
    ),
    "a call that was cut off": (
        [build_start_event(), *tool_block(0, "x", *CUT_OFF), *build_end_events("max_tokens")],
        response(tool_use("x", CUT_OFF), stop_reason="max_tokens"),
    ),
    "empty": ([build_start_event(), *build_end_events()], response()),
    "a tool of the service": (
        [
            build_start_event(),
            *text_block(0, "look"),
            *tool_block(1, "web_search", '{"query":', ' "é"}', call_id="srv_1", kind="server_tool_use"),
            *block(2, FOUND),
            *text_block(3, "found"),
            *build_end_events(),
        ],
        response(text("look"), SEARCH, FOUND, text("found")),
    ),
    "the tier that served": (
        [
            build_start_event(usage={"input_tokens": 5, "service_tier": "priority"}),
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
            {"type": "message_stop"},
        ],
        response(usage={"input_tokens": 5, "service_tier": "priority", "output_tokens": 3}),
    ),
    "usage that is counted anew": (
        [
            build_start_event(usage={"input_tokens": 5, "output_tokens": 1}),
            {
                "type": "message_delta",
                "delta": {"stop_reason": "stop_sequence", "stop_sequence": "x"},
                "usage": {"input_tokens": 9, "cache_read_input_tokens": None, "output_tokens": 3},
            },
            {"type": "message_stop"},
        ],
        response(usage={"input_tokens": 9, "output_tokens": 3}, stop_reason="stop_sequence", stop_sequence="x"),
    ),
}
