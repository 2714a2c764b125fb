"""Ten turns of an agent: turns that the service keeps are not sent again, all others are sent unchanged."""

import pytest

from pollux_sync import Options, Source, run, run_tools, to_jsonable
from responses_api import Files, answer, function_call, message, thought
from ten_turns import CITIES, TOOL, build_tool_outputs, has_two_calls, talk

DECLARED = {
    "type": "function",
    "name": "weather",
    "strict": True,
    "parameters": TOOL["parameters"] | {"additionalProperties": False},
}
QUESTION = {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]}
UNSTORED = {"store": False, "include": ["reasoning.encrypted_content"]}


def build_reasoning(turn, *summaries):
    return thought(*summaries) | {"id": f"rs_{turn}", "encrypted_content": f"gAAAAA{turn}"}


def build_output(turn):
    """Return OpenAI's answer in a turn: reasoning, one call or a comment and two; at last a text."""
    if turn == len(CITIES):
        return [build_reasoning(turn), message("All told.", phase="final_answer")]
    call = function_call("weather", f'{{"city":"{CITIES[turn]}"}}', f"call_{turn}")
    if not has_two_calls(turn):
        return [build_reasoning(turn, f"about {CITIES[turn]}"), call]
    other = function_call("weather", '{"city":"Paris"}', f"call_{turn}b")
    return [
        build_reasoning(turn),
        message("Two at once.", phase="commentary"),
        call,
        build_reasoning(f"{turn}b"),
        other,
    ]


def build_function_outputs(turn):
    """Return the results of the tools of a turn, as they are sent to OpenAI."""
    texts = [f"Error: {text}" if failed else text for text, failed in build_tool_outputs(turn)]
    ids = [f"call_{turn}", f"call_{turn}b"][: len(texts)]
    return [
        {"type": "function_call_output", "call_id": call_id, "output": text}
        for call_id, text in zip(ids, texts, strict=True)
    ]


def whole_input(turn):
    earlier = [item for n in range(turn) for item in (*build_output(n), *build_function_outputs(n))]
    return [{"type": "message", "role": "user", "content": "Weather?"} if turn else QUESTION, *earlier]


@pytest.mark.parametrize("is_stored", [True, False])
def test_goes_on_for_ten_turns(server, config, is_stored):
    raw = {} if is_stored else UNSTORED
    turns = range(len(CITIES) + 1)
    server.reply(*[answer(*build_output(turn), id=f"resp_{turn}", store=is_stored) for turn in turns])
    options = Options(
        tools=[TOOL], system_instruction="be brief", reasoning_effort="low", provider_options={"openai": raw}
    )
    assert talk(config(), options)["answers"] == ["All told."]
    bodies = [request.json() for request in server.requests]
    assert len(bodies) == 10
    for turn in (0, 1, 9):
        new = build_function_outputs(turn - 1) if turn and is_stored else whole_input(turn)
        previous = {"previous_response_id": f"resp_{turn - 1}"} if turn and is_stored else {}
        assert bodies[turn] == {
            "model": "gpt-5-mini",
            "input": new,
            "instructions": "be brief",
            "reasoning": {"effort": "low", "summary": "auto"},
            "tools": [DECLARED],
            **previous,
            **raw,
        }


def test_uploads_the_file_of_an_earlier_turn_for_every_call(server, config, tmp_path):
    """Its id is of no use after the call, nor is that of the response: the reasoning goes along by its own."""
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7")
    said = [thought("a lamp?"), message("A lamp.")]
    files = server.handler = Files(*said)
    storing = config(uploads="always")
    result = run("What?", source=Source.from_file(tmp_path / "a.pdf"), config=storing, options=Options(history=[]))
    for prompt in ("Red?", "Sure?"):
        result = run(prompt, config=storing, options=Options(continue_from=to_jsonable(result)))
    asked = [request.json() for request in server.requests if request.path == "/v1/responses"]

    def build_file_turn(number):
        content = [{"type": "input_file", "file_id": f"file-{number}"}, {"type": "input_text", "text": "What?"}]
        return {"role": "user", "content": content}

    def build_text_turn(text):
        return {"role": "user", "content": [{"type": "input_text", "text": text}]}

    red = {"type": "message", "role": "user", "content": "Red?"}
    assert asked == [
        {"model": "gpt-5-mini", "input": [build_file_turn(1)]},
        {"model": "gpt-5-mini", "input": [build_file_turn(2), *said, build_text_turn("Red?")]},
        {"model": "gpt-5-mini", "input": [build_file_turn(3), *said, red, *said, build_text_turn("Sure?")]},
    ]
    assert files.deleted == ["file-1", "file-2", "file-3"]
    assert [request.method for request in server.requests] == ["POST", "POST", "DELETE"] * 3


REASONED = [thought("hm"), message("Four.")]
WRITTEN = {"type": "message", "role": "assistant", "content": "Four."}


def replay(server, config, first, *, change=None, **fields):
    """Return the items that replay an answer when the conversation continues without its id."""
    server.reply(first, answer(message("Yes.")))
    # An answer of reasoning alone is empty, and would be raised as an error.
    opening = Options(history=[], on_error="keep")
    state = run("2 + 2?", config=config(), options=opening)["_conversation_state"]
    state.pop("response_id", None)
    turn = state["history"][1]
    turn.update(change or {})
    run("Sure?", config=config(**fields), options=Options(continue_from={"_conversation_state": state}))
    body = server.requests[1].json()
    assert "previous_response_id" not in body
    return body["input"][1:-1]


@pytest.mark.parametrize(
    ("output", "fields"),
    [
        (REASONED, {}),
        ([thought() | {"encrypted_content": "gAAAAA"}, message("Four.")], {"store": False}),
        ([message("Four.", phase="final_answer")], {}),
    ],
    ids=["stored", "encrypted", "with a phase"],
)
def test_replays_an_answer_as_it_came(server, config, output, fields):
    assert replay(server, config, answer(*output, **fields)) == output


@pytest.mark.parametrize(
    ("output", "fields"),
    [
        ([message("Four.")], {}),
        (REASONED, {"store": False}),
        (REASONED, {"store": None}),
        (REASONED, {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}),
    ],
    ids=["plain", "not stored", "perhaps not stored", "cut off"],
)
def test_encodes_an_answer_again_if_its_reasoning_is_missing_or_unreadable(server, config, output, fields):
    assert replay(server, config, answer(*output, **fields)) == [WRITTEN]


@pytest.mark.parametrize(
    ("change", "sent"),
    [
        ({"content": "Five."}, [WRITTEN | {"content": "Five."}]),
        (
            {"tool_calls": [{"id": "c1", "name": "x"}]},
            [
                {"type": "function_call", "call_id": "c1", "name": "x", "arguments": "{}"},
                WRITTEN,
                {
                    "type": "function_call_output",
                    "call_id": "c1",
                    "output": "Error: There is no result: the conversation "
                    "was interrupted before this call was carried out.",
                },
            ],
        ),
        ({"provider_state": {"openai_output": "junk", "openai_model": "gpt-5-mini"}}, [WRITTEN]),
    ],
)
def test_writes_a_turn_anew_that_was_changed(server, config, change, sent):
    assert replay(server, config, answer(*REASONED), change=change) == sent


def test_spares_another_model_the_reasoning(server, config):
    assert replay(server, config, answer(*REASONED), model="gpt-4.1") == [WRITTEN]


def test_skips_an_answer_of_reasoning_alone(server, config):
    assert replay(server, config, answer(thought("hm"))) == []


@pytest.mark.parametrize("lost", [{"store": False}, {"store": None}, {"id": None}])
def test_goes_on_from_the_last_answer_or_from_none(server, config, lost):
    server.reply(*[answer(message("x"), **({"id": f"resp_{n}"} | (lost if n == 1 else {}))) for n in range(4)])
    result = run("a", config=config(), options=Options(history=[]))
    for prompt in ("b", "c", "d"):
        result = run(prompt, config=config(), options=Options(continue_from=result))
    sent = [request.json() for request in server.requests]
    assert [body.get("previous_response_id") for body in sent] == [None, "resp_0", None, "resp_2"]
    assert [len(body["input"]) for body in sent] == [1, 1, 5, 1]


def test_depends_on_nothing_stored_once_the_caller_forbids_it(server, config):
    """Compatible servers answer "store": true also to a request with false."""
    server.reply(*[answer(message("x"), id=f"resp_{n}") for n in range(3)])
    result = run("a", config=config(), options=Options(history=[]))
    for prompt in ("b", "c"):
        options = Options(
            continue_from=result, provider_options={"openai": {"store": False}} if prompt == "b" else None
        )
        result = run(prompt, config=config(), options=options)
    sent = [request.json() for request in server.requests]
    assert [body.get("previous_response_id") for body in sent] == [None, None, None]
    assert [len(body["input"]) for body in sent] == [1, 3, 5]


def test_runs_tools_at_a_server_that_confirms_no_storage(server, config):
    """llama.cpp's answers have an id but no "store", and it refuses a request with previous_response_id."""
    call = answer(function_call("weather", "{}"))
    call.json.pop("store")
    server.reply(call, answer(message("Sunny.")))

    def weather() -> str:
        return "sun"

    assert run_tools("Weather?", tools=[weather], config=config())["answers"] == ["Sunny."]
    second = server.requests[1].json()
    assert "previous_response_id" not in second
    assert [item.get("type") for item in second["input"]] == ["message", "function_call", "function_call_output"]
