"""Encoding of calls and decoding of answers, without a server."""

import json

import pytest

from pollux_local import INFO, LocalProvider
from pollux_sync import HttpResponse, Options, Source
from pollux_sync.data.reply import ToolCall
from pollux_sync.data.request import Call, Conversation, InlinePart, TextPart, Turn, UriPart
from raw_fields import list_unexplained

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PAIR = {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False}
MOVE = {"name": "move", "parameters": {"type": "object", "properties": {"to": PAIR}, "required": ["to"]}}
WEATHER = {"name": "weather", "description": "now", "parameters": CITY}


def call(prompt="hi", *, options=None, **fields):
    return Call(index=0, model="m", prompt=prompt, options=options or Options(), **fields)


def encode_body(*args, **fields):
    request = LocalProvider().pollux_encode(call(*args, **fields))
    assert (request.method, request.path, request.headers) == ("POST", "/chat/completions", {})
    return request.body


def test_writes_every_option():
    options = Options(
        system_instruction="be kind",
        temperature=0.5,
        top_p=0.9,
        stop="END",
        seed=7,
        parallel_tool_calls=False,
        max_tokens=7,
        reasoning_effort="low",
        tools=[WEATHER],
        tool_choice="auto",
    )
    assert encode_body(options=options, parts=(TextPart("a text"),), response_schema=CITY) == {
        "model": "m",
        "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "a text\n\nhi"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["END"],
        "seed": 7,
        "parallel_tool_calls": False,
        "max_tokens": 7,
        "reasoning_effort": "low",
        "tools": [{"type": "function", "function": WEATHER}],
        "tool_choice": "auto",
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": CITY, "strict": True}},
    }


def test_says_what_writes_every_field():
    every = {
        "system_instruction": "be kind",
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": "END",
        "seed": 7,
        "service_tier": "flex",
        "parallel_tool_calls": False,
        "max_tokens": 7,
        "tools": [WEATHER],
        "tool_choice": "auto",
        "implicit_caching": True,
    }
    assert {*every, "reasoning_effort", "response_schema", "history"} == INFO.options
    conversation = Conversation(turns=(Turn(role="user", content="a"), Turn(role="assistant", content="b")))
    options = Options(**every, reasoning_effort="low")
    body = encode_body(options=options, response_schema=CITY, conversation=conversation)
    assert list_unexplained(body, INFO) == []


def test_writes_images_and_audio():
    parts = (
        InlinePart(Source("file", "cat.png", "image/png", 3, lambda: b"abc"), b"abc"),
        UriPart(Source.from_uri("https://acme.example/dog.jpg", mime_type="image/jpeg")),
        InlinePart(Source("file", "voice.wav", "audio/x-wav", 3, lambda: b"abc"), b"abc"),
        InlinePart(Source("file", "song.mp3", "audio/mpeg", 3, lambda: b"abc"), b"abc"),
    )
    assert encode_body("which?", parts=parts)["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,YWJj"}},
                {"type": "image_url", "image_url": {"url": "https://acme.example/dog.jpg"}},
                {"type": "input_audio", "input_audio": {"data": "YWJj", "format": "wav"}},
                {"type": "input_audio", "input_audio": {"data": "YWJj", "format": "mp3"}},
                {"type": "text", "text": "which?"},
            ],
        }
    ]


def test_replays_tool_calls_and_their_results():
    turns = (
        Turn(role="user", content="weather?"),
        Turn(role="assistant", tool_calls=(ToolCall("c1", "weather", '{"city": "Rome"}'), ToolCall("c2", "ping", ""))),
        Turn(role="tool", tool_call_id="c1", content="snow"),
        Turn(role="tool", tool_call_id="c2", content="pong"),
    )
    called = [("c1", "weather", '{"city": "Rome"}'), ("c2", "ping", "{}")]
    assert encode_body(None, conversation=Conversation(turns=turns))["messages"] == [
        {"role": "user", "content": "weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
                for id_, name, arguments in called
            ],
        },
        {"role": "tool", "content": "snow", "tool_call_id": "c1"},
        {"role": "tool", "content": "pong", "tool_call_id": "c2"},
    ]


def test_sends_a_tool_that_must_be_called_alone():
    body = encode_body(options=Options(tools=[MOVE, WEATHER], tool_choice={"name": "weather"}))
    assert (body["tools"], body["tool_choice"]) == ([{"type": "function", "function": WEATHER}], "required")


def test_writes_parameters_as_grammars_know_them_and_reads_arguments_as_declared():
    options = Options(tools=[MOVE])
    sent = encode_body(options=options)["tools"][0]["function"]["parameters"]["properties"]["to"]
    assert (sent["type"], list(sent["properties"])) == ("object", ["item_0", "item_1"])
    function = {"name": "move", "arguments": json.dumps({"to": {"item_0": 3, "item_1": "up"}})}
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "function": function}]}
    response = HttpResponse(status=200, body={"choices": [{"message": message, "finish_reason": "tool_calls"}]})
    (made,) = LocalProvider().pollux_decode(response, call(options=options)).tool_calls
    assert json.loads(made.arguments) == {"to": [3, "up"]}


@pytest.mark.parametrize("tool", [MOVE | {"strict": False}, {"name": "ping"}])
def test_does_not_change_parameters_that_are_empty_or_not_strict(tool):
    function = encode_body(options=Options(tools=[tool]))["tools"][0]["function"]
    assert function["parameters"]["properties"] == tool.get("parameters", {}).get("properties", {})
