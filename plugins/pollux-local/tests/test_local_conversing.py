"""Ten turns of an agent: every body replays answers, calls and results, and the reasoning before calls."""

from chat_api import answer, tool_call
from pollux_sync import Config, Options, run, run_tools
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
        thought = {"role": "assistant", "reasoning_content": "hm"}
        messages += [thought | build_message(earlier), *build_tool_messages(earlier)]
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


def build_config(server):
    return Config(provider="local", model="tiny", base_url=f"{server.url}/v1")


def list_answers(request):
    return [message for message in request.json()["messages"] if message["role"] == "assistant"]


def test_sends_signatures_back_with_the_calls_that_they_came_with(server):
    signed = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    calls = [tool_call("weather", '{"city": "Rome"}', None) | signed, tool_call("weather", '{"city": "Oslo"}', None)]
    server.reply(answer(None, finish="tool_calls", tool_calls=calls), answer("Sunny."))

    def weather(city: str) -> str:
        """Return the weather of a city."""
        return f"sunny in {city}"

    run_tools("Weather?", tools=[weather], config=build_config(server))
    ((message,),) = [list_answers(request) for request in server.requests[1:]]
    assert [call.get("extra_content") for call in message["tool_calls"]] == [signed["extra_content"], None]


def test_does_not_send_reasoning_back_without_calls(server):
    server.reply(answer("4", reasoning_content="2 and 2"), answer("5"))
    first = run("2 + 2?", config=build_config(server), options=Options(history=[]))
    run("And 1?", config=build_config(server), options=Options(continue_from=first))
    assert list_answers(server.requests[1]) == [{"role": "assistant", "content": "4"}]


def test_leaves_signatures_out_of_a_turn_whose_calls_were_edited(server):
    call = {"id": "c1", "name": "weather", "arguments": "{}"}
    state = {"call_extras": [{"extra_content": {"a": 1}}, {}], "reasoning_content": "hm"}
    turns = [
        {"role": "assistant", "tool_calls": [call], "provider_state": state},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    server.reply(answer())
    run("So?", config=build_config(server), options=Options(history=turns))
    ((message,),) = [list_answers(request) for request in server.requests]
    assert ("extra_content" in message["tool_calls"][0], message["reasoning_content"]) == (False, "hm")
