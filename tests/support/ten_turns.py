"""Ten turns of an agent: nine call tools, the last is the answer. Between turns the state is stored as JSON."""

import json

from pollux_sync import continue_tool, run, to_jsonable

CITIES = ("Rome", "Oslo", "Bonn", "Bern", "Kyiv", "Riga", "Lyon", "Nice", "Cork")
TOOL = {
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
FAILING = 4


def has_two_calls(turn):
    """Return True if the model calls two tools in this turn."""
    return turn % 3 == 1


def build_tool_outputs(turn):
    """Return the results of the tools in this turn, each as content and a failure flag."""
    first = ("no such city", True) if turn == FAILING else (f"sun {turn}", False)
    return [first, ('{"sky": "grey"}', False)] if has_two_calls(turn) else [first]


def talk(config, options):
    """Hold the conversation; return the envelope of the last turn."""
    result = run("Weather?", config=config, options=options)
    for turn in range(len(CITIES)):
        (calls,) = result["tool_calls"]
        results = [
            {"tool_call_id": call["id"], "content": content} | ({"is_error": True} if failed else {})
            for call, (content, failed) in zip(calls, build_tool_outputs(turn), strict=True)
        ]
        result = continue_tool(json.loads(json.dumps(to_jsonable(result))), results, config=config, options=options)
    return result
