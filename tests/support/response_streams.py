"""The Responses API for tests: pairs of a blocking answer and the same answer streamed."""

from responses_api import function_call, message, refusal, response, thought
from streams import sse

CREATED_FIELDS = ("id", "model", "status")


def event(kind, **fields):
    """Return one event of a streamed response."""
    return {"type": f"response.{kind}", **fields}


def build_stream(body, *events):
    """Return the bytes of a stream: the created event, the events, and the event with the complete response."""
    head = {name: body[name] for name in CREATED_FIELDS} | {"status": "in_progress"}
    return sse(event("created", response=head), *events, event(body["status"], response=body))


def texts(*pieces, kind="output_text", index=0, part=0, **fields):
    """Return the deltas of a text, in a part of an output item."""
    place = {"item_id": f"item_{index}", "output_index": index, "content_index": part}
    return [event(f"{kind}.delta", delta=piece, **place, **fields) for piece in pieces]


def summaries(*pieces, index=0, part=0):
    """Return the deltas of a reasoning summary, in a part of it."""
    place = {"item_id": f"item_{index}", "output_index": index, "summary_index": part}
    return [event("reasoning_summary_text.delta", delta=piece, **place) for piece in pieces]


def call_events(item, *pieces, index=0):
    """Return the events of a tool call whose arguments come in pieces."""
    place = {"item_id": item["id"], "output_index": index}
    added = event("output_item.added", item=item | {"arguments": ""}, output_index=index)
    return [added, *(event("function_call_arguments.delta", delta=piece, **place) for piece in pieces)]


def build_done_events(*items):
    """Return the event of each completed output item."""
    return [event("output_item.done", item=item, output_index=index) for index, item in enumerate(items)]


CUT_OFF = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
FILTERED = {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
ADD = function_call("add", '{"a": 1}')
SUB = function_call("sub", '{"b": 2}', "call_2") | {"id": "fc_2"}
RAW_THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
TWO_PARTS = message("a ") | {"content": [*message("a ")["content"], *message("b")["content"]]}
NOTED = message("See.", annotations=[{"type": "url_citation", "url": "https://a.example"}])
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
BOTH = message("Both.")


def _pair(body, *events):
    return body, build_stream(body, *events)


#: By name: a blocking answer, and the bytes of the same answer streamed.
TRANSCRIPTS = {
    "text": _pair(response(message("Hé, 世界!")), *texts("Hé, ", "世界!")),
    "nothing": _pair(response()),
    "the tier that served": _pair(response(message("x"), service_tier="flex"), *texts("x")),
    "several messages": _pair(response(message("a "), message("b")), *texts("a "), *texts("b", index=1)),
    "several parts": _pair(response(TWO_PARTS), *texts("a "), *texts("b", part=1)),
    "reasoning": _pair(
        response(thought("first"), thought("then", "last"), message("4")),
        *summaries("fir", "st"),
        *summaries("then", index=1),
        *summaries("la", "st", index=1, part=1),
        *texts("4", index=2),
    ),
    "reasoning without a summary": _pair(
        response(RAW_THOUGHT, message("4")), *texts("h", "m", kind="reasoning_text"), *texts("4", index=1)
    ),
    "tool call": _pair(
        response(ADD), event("in_progress", response={"status": "in_progress"}), *call_events(ADD, '{"a"', ": 1}")
    ),
    "parallel tool calls after text": _pair(
        response(BOTH, ADD, SUB),
        *texts("Both."),
        *call_events(ADD, '{"a": 1}', index=1),
        *call_events(SUB, '{"b"', ": 2}", index=2),
    ),
    "refusal": _pair(response(refusal("I won't.")), *texts("I ", "won't.", kind="refusal")),
    "filtered": _pair(response(message("Th"), **FILTERED), *texts("Th")),
    "cut at max_tokens": _pair(response(message("Once"), **CUT_OFF), *texts("Once")),
    "tool call cut at max_tokens": _pair(response(ADD | {"arguments": '{"a'}, **CUT_OFF), *call_events(ADD, '{"a')),
    "failed": _pair(response(message("hal"), status="failed"), *texts("hal")),
    "not stored": _pair(response(message("x"), store=False), *texts("x")),
    "extras": _pair(
        response(SEARCH, NOTED),
        event("web_search_call.searching", item_id="ws_1", output_index=0),
        *texts("See.", index=1),
        event("output_text.annotation.added", annotation=NOTED["content"][0]["annotations"][0]),
    ),
}
