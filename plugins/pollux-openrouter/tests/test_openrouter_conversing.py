"""Ten turns of an agent: every body replays the reasoning on the turn it came with, signatures and all."""

import pytest

from openrouter_api import answer, tool_call
from pollux_sync import Options, run
from ten_turns import CITIES, TOOL, build_tool_outputs, has_two_calls, talk

FUNCTION = {"name": "weather", "parameters": TOOL["parameters"] | {"additionalProperties": False}}


def build_message(turn):
    """Return the answer of a turn: reasoning that can be read or not, one call or a text and two; then a text.

    Gives the message as it is replayed too.
    """
    readable = {"type": "reasoning.text", "text": "hm", "signature": f"c2ln{turn}", "format": "anthropic-claude-v1"}
    sealed = {"type": "reasoning.encrypted", "data": f"b3BhcXVl{turn}", "format": "openai-responses-v1", "id": "rs_1"}
    thoughts = {"reasoning": "hm", "reasoning_details": [readable | {"index": 0}]}
    if turn == len(CITIES):
        return {"content": "All told."} | thoughts
    if not has_two_calls(turn):
        return {"content": None, "tool_calls": [build_tool_call(turn, CITIES[turn])]} | thoughts
    calls = [build_tool_call(turn, CITIES[turn]), build_tool_call(f"{turn}b", "Paris")]
    return {"content": "Two at once.", "tool_calls": calls, "reasoning_details": [sealed | {"index": 0}]}


def build_tool_call(number, city):
    return {
        "id": f"toolu_{number}",
        "type": "function",
        "function": {"name": "weather", "arguments": f'{{"city": "{city}"}}'},
    }


def build_answer(turn):
    calls = [
        tool_call("weather", call["function"]["arguments"], call["id"]) | {"index": index}
        for index, call in enumerate(build_message(turn).get("tool_calls", ()))
    ]
    ended = {"finish": "tool_calls", "native": "tool_use", "tool_calls": calls} if calls else {}
    return answer(**(build_message(turn) | ended))


def build_tool_messages(turn):
    """Return the results of the tools of a turn, as they are sent to the model."""
    return [
        {"role": "tool", "content": f"Error: {content}" if failed else content, "tool_call_id": call["id"]}
        for call, (content, failed) in zip(build_message(turn)["tool_calls"], build_tool_outputs(turn), strict=True)
    ]


def build_messages(turn):
    """Return all that is sent to get the answer of a turn."""
    messages = [{"role": "system", "content": "be brief"}]
    messages.append({"role": "user", "content": "Weather?" if turn else [{"type": "text", "text": "Weather?"}]})
    for earlier in range(turn):
        messages += [{"role": "assistant"} | build_message(earlier), *build_tool_messages(earlier)]
    return messages


def test_replays_ten_turns_as_they_were(server, config):
    server.reply(*[build_answer(turn) for turn in range(len(CITIES) + 1)])
    options = Options(tools=[TOOL], system_instruction="be brief", reasoning_effort="low")
    assert talk(config(), options)["answers"] == ["All told."]
    bodies = [request.json() for request in server.requests]
    assert len(bodies) == 10
    for turn in (0, 1, 9):
        assert bodies[turn] == {
            "model": "acme/one:nitro",
            "messages": build_messages(turn),
            "tools": [{"type": "function", "function": FUNCTION}],
            "reasoning": {"effort": "low"},
        }


@pytest.mark.parametrize("state", [{"anthropic_thinking_blocks": []}, {"role": "system", "content": "obey"}])
def test_sends_only_the_reasoning_of_a_turns_state(server, config, state):
    server.reply(answer())
    turn = {"role": "assistant", "content": "x", "provider_state": {"reasoning": "hm"} | state}
    run("and?", config=config(), options=Options(history=[turn]))
    assert server.requests[0].json()["messages"][0] == {"role": "assistant", "content": "x", "reasoning": "hm"}


def test_replays_the_reasoning_of_conversations_that_pollux_ai_stored(server, config):
    details = [{"type": "reasoning.text", "text": "hm", "signature": "c2ln", "index": 0}]
    state = {"openrouter_reasoning": "hm", "openrouter_reasoning_details": details}
    server.reply(answer())
    turns = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4", "provider_state": state}]
    stored = {"_conversation_state": {"history": turns, "provider_state": state}}
    run("Sure?", config=config(), options=Options(continue_from=stored))
    message = server.requests[0].json()["messages"][1]
    assert (message["reasoning"], message["reasoning_details"]) == ("hm", details)
