"""An agent's ten turns: nine that call tools, its state kept as JSON in between, then the last word."""

import json

from pollux_sync import continue_tool, run, to_jsonable

CITIES = ("Rome", "Oslo", "Bonn", "Bern", "Kyiv", "Riga", "Lyon", "Nice", "Cork")
TOOL = {
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
FAILING = 4


def has_two_calls(turn):
    """Whether the model calls two tools at once in a turn."""
    return turn % 3 == 1


def build_tool_outputs(turn):
    """What the tools give in a turn: content, and whether the tool failed."""
    first = ("no such city", True) if turn == FAILING else (f"sun {turn}", False)
    return [first, ('{"sky": "grey"}', False)] if has_two_calls(turn) else [first]


def talk(config, options):
    """The result of the last turn."""
    result = run("Weather?", config=config, options=options)
    for turn in range(len(CITIES)):
        (calls,) = result["tool_calls"]
        results = [
            {"tool_call_id": call["id"], "content": content} | ({"is_error": True} if failed else {})
            for call, (content, failed) in zip(calls, build_tool_outputs(turn), strict=True)
        ]
        result = continue_tool(json.loads(json.dumps(to_jsonable(result))), results, config=config, options=options)
    return result
