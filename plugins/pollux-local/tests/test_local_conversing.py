"""Ten turns of an agent: every body replays answers, calls and results, without the reasoning."""

from chat_api import answer, tool_call
from pollux_sync import Config, Options
from ten_turns import CITIES, TOOL, build_tool_outputs, has_two_calls, talk


def build_message(turn):
    """Return the model's answer in a turn, without its reasoning: one call or a text and two; at last a text."""
    if turn == len(CITIES):
        return {"content": "All told."}
    calls = [tool_call("weather", f'{{"city":"{CITIES[turn]}"}}', f"id{turn}")]
    if not has_two_calls(turn):
        return {"content": None, "tool_calls": calls}
    return {"content": "Two at once.", "tool_calls": [*calls, tool_call("weather", '{"city":"Paris"}', f"id{turn}b")]}


def build_tool_messages(turn):
    """Return the results of the tools of a turn, as they are sent to the model."""
    return [
        {"role": "tool", "content": f"Error: {content}" if failed else content, "tool_call_id": call["id"]}
        for call, (content, failed) in zip(build_message(turn)["tool_calls"], build_tool_outputs(turn), strict=True)
    ]


def build_messages(turn):
    """Return all that is sent to get the answer of a turn."""
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "Weather?"}]
    for earlier in range(turn):
        messages += [{"role": "assistant"} | build_message(earlier), *build_tool_messages(earlier)]
    return messages


def test_replays_ten_turns_as_they_were(server):
    ends = ["tool_calls"] * len(CITIES) + ["stop"]
    server.reply(*[answer(finish=end, reasoning_content="hm", **build_message(turn)) for turn, end in enumerate(ends)])
    config = Config(provider="local", model="tiny", base_url=f"{server.url}/v1")
    result = talk(config, Options(tools=[TOOL], system_instruction="be brief"))
    assert (result["answers"], result["reasoning"]) == (["All told."], ["hm"])
    bodies = [request.json() for request in server.requests]
    assert len(bodies) == 10
    for turn in (0, 1, 9):
        assert bodies[turn] == {
            "model": "tiny",
            "messages": build_messages(turn),
            "tools": [{"type": "function", "function": TOOL}],
        }
