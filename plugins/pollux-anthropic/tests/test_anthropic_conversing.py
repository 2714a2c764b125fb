"""Ten turns of an agent: every body replays what Claude thought, said and called, signatures and all."""

from messages_api import REDACTED, Files, answer, text, thinking, tool_use
from pollux_sync import Options, Source, WebSearch, run, to_jsonable
from ten_turns import CITIES, TOOL, build_tool_outputs, has_two_calls, talk


def build_answer_blocks(turn):
    """Return Claude's answer in a turn: thoughts, one call or two; at last a text. Once it thinks between its calls."""
    if turn == len(CITIES):
        return [thinking("so", "c2lnOQ=="), text("All told.")]
    thought = REDACTED if turn == 2 else thinking(f"about {CITIES[turn]}", f"c2lnbmVk{turn}")
    call = tool_use("weather", {"city": CITIES[turn]}, f"toolu_{turn}")
    if not has_two_calls(turn):
        return [thought, call]
    other = tool_use("weather", {"city": "Paris"}, f"toolu_{turn}b")
    between = [thinking("and another", "c2lnYg==")] if turn == 7 else []
    return [thought, text("Two at once."), call, *between, other]


def build_tool_results(turn):
    """Return the results of the tools of a turn, as they are sent to Claude."""
    ids = [f"toolu_{turn}", f"toolu_{turn}b"]
    return [
        {"type": "tool_result", "tool_use_id": call_id, "content": content} | ({"is_error": True} if failed else {})
        for call_id, (content, failed) in zip(ids, build_tool_outputs(turn), strict=False)
    ]


def build_messages(turn):
    """Return all that is sent to get the answer of a turn."""
    messages = [{"role": "user", "content": [text("Weather?")]}]
    for earlier in range(turn):
        messages.append({"role": "assistant", "content": build_answer_blocks(earlier)})
        messages.append({"role": "user", "content": build_tool_results(earlier)})
    return messages


def test_replays_ten_turns_as_they_were(server, config):
    turns = range(len(CITIES) + 1)
    ends = ["tool_use"] * len(CITIES) + ["end_turn"]
    server.reply(*[answer(*build_answer_blocks(turn), id=f"msg_{turn}", stop_reason=ends[turn]) for turn in turns])
    options = Options(tools=[TOOL], system_instruction="be brief", reasoning_effort="low", max_tokens=4000)
    assert talk(config(), options)["answers"] == ["All told."]
    bodies = [request.json() for request in server.requests]
    assert len(bodies) == 10
    for turn in (0, 1, 9):
        assert bodies[turn] == {
            "model": "claude-sonnet-4-5",
            "max_tokens": 4000,
            "system": "be brief",
            "messages": build_messages(turn),
            "tools": [{"name": "weather", "input_schema": TOOL["parameters"]}],
            "thinking": {"type": "enabled", "budget_tokens": 2048},
            "cache_control": {"type": "ephemeral"},
        }
    assert {request.headers["anthropic-beta"] for request in server.requests} == {"interleaved-thinking-2025-05-14"}


def test_uploads_the_file_of_an_earlier_turn_for_every_call(server, config, tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7")
    said = [thinking("a lamp?"), text("A lamp.")]
    files = server.handler = Files(*said)
    storing = config(uploads="always")
    result = run("What?", source=Source.from_file(tmp_path / "a.pdf"), config=storing, options=Options(history=[]))
    for prompt in ("Red?", "Sure?"):
        result = run(prompt, config=storing, options=Options(continue_from=to_jsonable(result)))
    asked = [request for request in server.requests if request.path == "/v1/messages"]

    def body(number, *prompts):
        document = {"type": "document", "source": {"type": "file", "file_id": f"file-{number}"}, "title": "a.pdf"}
        shown = [document, text("What?")]
        messages = [{"role": "user", "content": shown}]
        for prompt in prompts:
            messages += [{"role": "assistant", "content": said}, {"role": "user", "content": [text(prompt)]}]
        rest = {"model": "claude-sonnet-4-5", "max_tokens": 16384, "cache_control": {"type": "ephemeral"}}
        return rest | {"messages": messages}

    assert [request.json() for request in asked] == [body(1), body(2, "Red?"), body(3, "Red?", "Sure?")]
    assert {request.headers["anthropic-beta"] for request in asked} == {"files-api-2025-04-14"}
    assert files.deleted == ["file-1", "file-2", "file-3"]
    assert [request.method for request in server.requests] == ["POST", "POST", "DELETE"] * 3


def test_goes_on_where_the_service_paused(server, config):
    search = tool_use("web_search", {"query": "tides"}, "srv_1") | {"type": "server_tool_use"}
    found = {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []}
    server.reply(
        answer(text("I look."), search, found, stop_reason="pause_turn"),
        answer(search, found, stop_reason="pause_turn"),
        answer(text("At nine.")),
    )
    tools = [WebSearch()]
    result = run("High water?", config=config(), options=Options(tools=tools))
    assert result["metrics"]["finish_reasons"] == ["paused"]
    for _ in range(2):
        result = run(config=config(), options=Options(tools=tools, continue_from=to_jsonable(result)))
    assert result["answers"] == ["At nine."]
    question = {"role": "user", "content": [text("High water?")]}
    assert server.requests[1].json()["messages"] == [
        question,
        {"role": "assistant", "content": [text("I look."), search, found]},
    ]
    assert server.requests[2].json()["messages"] == [
        question,
        {"role": "assistant", "content": [text("I look."), search, found, search, found]},
    ]
