"""Ten turns of an agent, its state kept as JSON in between: every body replays what Gemini said, as it said it."""

import json

from gemini_api import answer, function_call, text, thought
from pollux_sync import Options, Source, run, to_jsonable
from ten_turns import CITIES, TOOL, build_tool_outputs, has_two_calls, talk


def build_answer_parts(turn):
    """Return the answer of a turn: thoughts, one call or two of which one has an id, signatures; then a text."""
    if turn == len(CITIES):
        return [text("All told."), text("", thoughtSignature="ZW5k")]
    signed = function_call("weather", {"city": CITIES[turn]}, call_id=f"id{turn}", signature=f"c2ln{turn}")
    if not has_two_calls(turn):
        return [thought(f"about {CITIES[turn]}"), signed]
    return [text("Two at once."), signed, function_call("weather", {"city": "Paris", "days": [1.5, None]})]


def build_function_responses(turn):
    """Return the results of the tools of a turn, as they are sent to Gemini."""
    (content, failed), *others = build_tool_outputs(turn)
    told = {"id": f"id{turn}", "name": "weather", "response": {"error" if failed else "result": content}}
    other = {"name": "weather", "response": {"sky": "grey"}}
    return [{"functionResponse": response} for response in (told, other)[: 1 + len(others)]]


def build_contents(turn):
    """Return all that is sent to get the answer of a turn."""
    contents = [{"role": "user", "parts": [{"text": "Weather?"}]}]
    for earlier in range(turn):
        contents.append({"role": "model", "parts": build_answer_parts(earlier)})
        contents.append({"role": "user", "parts": build_function_responses(earlier)})
    return contents


def test_replays_ten_turns_as_they_were(server, config):
    options = Options(tools=[TOOL], system_instruction="be brief")
    server.reply(*[answer(*build_answer_parts(turn)) for turn in range(len(CITIES) + 1)])
    assert talk(config(model="gemini-3-pro-preview"), options)["answers"] == ["All told."]
    bodies = [request.json() for request in server.requests]
    assert len(bodies) == 10
    for turn in (0, 1, 9):
        assert bodies[turn] == {
            "contents": build_contents(turn),
            "systemInstruction": {"parts": [{"text": "be brief"}]},
            "tools": [{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": TOOL["parameters"]}]}],
        }


def test_shows_the_files_of_earlier_turns_again(server, config):
    film = Source.from_uri("gs://films/a.mp4", mime_type="video/mp4").with_gemini_video_settings(fps=2)
    server.reply(answer(text("A lamp.")), answer(text("Red.")))
    first = run("What?", source=film, config=config(), options=Options(history=[]))
    run("Which colour?", config=config(), options=Options(continue_from=json.loads(json.dumps(first))))
    shown, _, _ = server.requests[1].json()["contents"]
    assert shown == server.requests[0].json()["contents"][0]
    assert shown["parts"][0]["videoMetadata"] == {"fps": 2.0}


def test_asks_on_after_the_last_answer(server, config):
    server.reply(answer(*build_answer_parts(9)), answer(text("Yes.")))
    first = run("Weather?", config=config(), options=Options(history=[]))
    run("Sure?", config=config(), options=Options(continue_from=to_jsonable(first)))
    assert server.requests[1].json()["contents"] == [
        {"role": "user", "parts": [{"text": "Weather?"}]},
        {"role": "model", "parts": build_answer_parts(9)},
        {"role": "user", "parts": [{"text": "Sure?"}]},
    ]
