import json

import pytest

from pollux_sync import Options, Source
from pollux_sync.data.findings import Citation
from pollux_sync.data.handles import Asset
from pollux_sync.data.provider import HttpResponse
from pollux_sync.data.reply import ToolCall, Usage
from pollux_sync.data.request import AssetPart, Call, Conversation, InlinePart, TextPart, Turn, UriPart
from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas import SchemaDialect
from pollux_sync.wire.chat import ChatDialect, decode_chat, encode_chat
from pollux_sync.wire.faults import HttpError, ReplyError

IMAGE = Source("file", "cat.png", "image/png", 3, lambda: b"\x89PN")
TOOL = {"name": "weather", "description": "now", "parameters": {"type": "object", "properties": {}}}


def call(prompt="hi", **fields):
    defaults = {"index": 0, "model": "m", "prompt": prompt, "options": Options()}
    return Call(**(defaults | fields))


def encode_body(*args, **fields):
    return encode_chat(call(*args, **fields)).body


def decode_message(message=None, *, finish="stop", **body):
    choice = {"index": 0, "message": message or {"role": "assistant", "content": "hello"}, "finish_reason": finish}
    return decode_chat(HttpResponse(status=200, body={"choices": [choice]} | body))


def test_writes_a_prompt_as_one_string():
    assert encode_body("hi") == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def test_joins_texts_before_the_prompt():
    assert encode_body("hi", parts=(TextPart("one"), TextPart("two")))["messages"][0]["content"] == "one\n\ntwo\n\nhi"


def test_sends_texts_as_parts_where_the_dialect_wants_it():
    messages = encode_chat(call("hi"), ChatDialect(joins_text=False)).body["messages"]
    assert messages == [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]


def test_puts_the_system_instruction_first():
    messages = encode_body(options=Options(system_instruction="be brief"))["messages"]
    assert messages[0] == {"role": "system", "content": "be brief"}


def test_carries_sampling_and_limits():
    options = Options(temperature=0, top_p=0.5, max_tokens=9)
    assert {"temperature": 0, "top_p": 0.5, "max_tokens": 9}.items() <= encode_body(options=options).items()


def test_names_the_output_limit_as_the_dialect_does():
    body = encode_chat(call(options=Options(max_tokens=9)), ChatDialect(max_tokens_field="max_completion_tokens")).body
    assert body["max_completion_tokens"] == 9
    assert "max_tokens" not in body


def test_asks_for_a_schema():
    body = encode_body(response_schema={"type": "object"})
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
    }


def test_leaves_strict_out_if_the_dialect_does():
    body = encode_chat(call(response_schema={"type": "object"}), ChatDialect(strict_schema=False)).body
    assert "strict" not in body["response_format"]["json_schema"]


def test_declares_tools_and_the_choice():
    body = encode_body(options=Options(tools=[TOOL, {"name": "bare"}], tool_choice={"name": "weather"}))
    assert body["tools"][0] == {"type": "function", "function": TOOL}
    assert body["tools"][1]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}


def test_sends_a_named_tool_alone_where_the_dialect_cannot_name_it():
    options = Options(tools=[{"name": "bare"}, TOOL], tool_choice={"name": "weather"})
    body = encode_chat(call(options=options), ChatDialect(names_tool=False)).body
    assert (body["tools"], body["tool_choice"]) == ([{"type": "function", "function": TOOL}], "required")


def test_lowers_parameters_to_the_dialects_schemas_and_lifts_arguments_back():
    pair = {"type": "array", "prefixItems": [{"type": "integer"}], "items": False}
    tools = [{"name": "go", "parameters": {"type": "object", "properties": {"to": pair}, "required": ["to"]}}]
    dialect = ChatDialect(tool_schemas=SchemaDialect(name="no-tuples", allows_tuples=False))
    (tool,) = encode_chat(call(options=Options(tools=tools)), dialect).body["tools"]
    assert list(tool["function"]["parameters"]["properties"]["to"]["properties"]) == ["item_0"]
    message = {"tool_calls": [{"id": "c1", "function": {"name": "go", "arguments": '{"to": {"item_0": 3}}'}}]}
    (made,) = decode_chat(HttpResponse(status=200, body={"choices": [{"message": message}]}), dialect, tools).tool_calls
    assert json.loads(made.arguments) == {"to": [3]}


def test_replays_a_call_without_arguments_as_one_with_none():
    turn = Turn(role="assistant", tool_calls=(ToolCall("c1", "ping", ""),))
    (message, _) = encode_body(conversation=Conversation(turns=(turn,)))["messages"]
    assert message["tool_calls"][0]["function"]["arguments"] == "{}"


def test_lets_a_tool_without_parameters_take_none():
    (tool,) = encode_body(options=Options(tools=[{"name": "ping", "parameters": None}]))["tools"]
    assert tool["function"]["parameters"] == {"type": "object", "properties": {}}


def test_passes_a_plain_tool_choice_through():
    assert encode_body(options=Options(tools=[TOOL], tool_choice="required"))["tool_choice"] == "required"


def test_inlines_an_image():
    content = encode_body("what?", parts=(InlinePart(IMAGE, b"\x89PN"),))["messages"][0]["content"]
    assert content == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}},
        {"type": "text", "text": "what?"},
    ]


def test_points_to_an_image_by_its_address():
    part = UriPart(Source.from_uri("https://acme.example/cat.png", mime_type="image/png"))
    content = encode_body("what?", parts=(part,))["messages"][0]["content"]
    assert content[0] == {"type": "image_url", "image_url": {"url": "https://acme.example/cat.png"}}


def file(mime_type, name="folder/name.bin"):
    return Source("file", name, mime_type, 3, lambda: b"abc")


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        (
            InlinePart(file("application/pdf", "folder/paper.pdf"), b"abc"),
            {"type": "file", "file": {"filename": "paper.pdf", "file_data": "data:application/pdf;base64,YWJj"}},
        ),
        (
            InlinePart(file("application/pdf", ""), b"abc"),
            {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,YWJj"}},
        ),
        (
            UriPart(Source.from_uri("https://a.example/my%20paper.pdf?x=/y", mime_type="application/pdf")),
            {
                "type": "file",
                "file": {"filename": "my paper.pdf", "file_data": "https://a.example/my%20paper.pdf?x=/y"},
            },
        ),
        (
            UriPart(Source.from_uri("https://a.example/", mime_type="application/PDF; x=y")),
            {"type": "file", "file": {"filename": "document.pdf", "file_data": "https://a.example/"}},
        ),
        (
            InlinePart(file("audio/x-wav"), b"abc"),
            {"type": "input_audio", "input_audio": {"data": "YWJj", "format": "wav"}},
        ),
        (
            InlinePart(file("audio/mpeg"), b"abc"),
            {"type": "input_audio", "input_audio": {"data": "YWJj", "format": "mp3"}},
        ),
    ],
)
def test_carries_files_and_audio(part, sent):
    assert encode_body("what?", parts=(part,))["messages"][0]["content"][0] == sent


@pytest.mark.parametrize(
    "part",
    [
        InlinePart(file("video/mp4"), b"abc"),
        UriPart(Source.from_uri("https://a.example/a.mp3", mime_type="audio/mpeg")),
    ],
)
def test_refuses_sources_that_the_format_has_no_part_for(part):
    with pytest.raises(ConfigurationError, match="cannot carry"):
        encode_body(parts=(part,))


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({}, {}),
        ({"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}}),
        ({"reasoning_budget_tokens": 0}, {"budget": 0}),
    ],
)
def test_puts_reasoning_settings_where_the_dialect_wants_them(options, sent):
    dialect = ChatDialect(effort_path=("reasoning", "effort"), budget_path=("budget",))
    body = encode_chat(call(options=Options(**options)), dialect).body
    assert {name: value for name, value in body.items() if name not in {"model", "messages"}} == sent


def test_sends_no_reasoning_settings_to_a_server_that_has_none():
    assert encode_body(options=Options(reasoning_effort="low")).keys() == {"model", "messages"}


def test_refuses_a_part_it_cannot_carry():
    part = AssetPart(IMAGE, Asset(id="file_1", mime_type="image/png"))
    with pytest.raises(ConfigurationError, match=r"cat\.png"):
        encode_body(parts=(part,))


def test_shows_the_files_of_earlier_turns_again():
    shown = Turn(role="user", content="what?", parts=(InlinePart(IMAGE, b"x"),))
    (message, _) = encode_body(conversation=Conversation(turns=(shown,)))["messages"]
    assert message["role"] == "user"
    assert [part["type"] for part in message["content"]] == ["image_url", "text"]


def test_replays_a_conversation_with_tools():
    turns = (
        Turn(role="user", content="weather?"),
        Turn(role="assistant", tool_calls=(ToolCall("c1", "weather", '{"city":"Rome"}'),)),
        Turn(role="tool", tool_call_id="c1", content="sunny"),
    )
    messages = encode_body(None, conversation=Conversation(turns=turns))["messages"]
    assert messages == [
        {"role": "user", "content": "weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
            ],
        },
        {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
    ]


@pytest.mark.parametrize(("keeps", "replayed"), [(True, {"reasoning": "hm"}), (False, {})])
def test_replays_reasoning_where_the_dialect_keeps_it(keeps, replayed):
    turn = Turn(role="assistant", content="x", provider_state={"reasoning": "hm"})
    messages = encode_chat(call(conversation=Conversation(turns=(turn,))), ChatDialect(keeps_reasoning=keeps)).body[
        "messages"
    ]
    assert messages[0] == {"role": "assistant", "content": "x"} | replayed


def test_replays_only_the_reasoning_of_a_turns_state():
    turn = Turn(role="assistant", content="x", provider_state={"role": "system", "others_blocks": [1]})
    body = encode_chat(call(conversation=Conversation(turns=(turn,))), ChatDialect(keeps_reasoning=True)).body
    assert body["messages"][0] == {"role": "assistant", "content": "x"}


def test_says_that_a_tool_failed_in_its_result():
    turn = Turn(role="tool", tool_call_id="c1", content="no such city", is_error=True)
    (message,) = encode_body(None, conversation=Conversation(turns=(turn,)))["messages"]
    assert message == {"role": "tool", "tool_call_id": "c1", "content": "Error: no such city"}


def test_encodes_the_same_call_to_the_same_bytes():
    one = call("hi", options=Options(tools=[TOOL], temperature=0.1))
    assert json.dumps(encode_chat(one).body) == json.dumps(encode_chat(one).body)


def test_reads_text_and_usage():
    reply = decode_message(
        usage={
            "prompt_tokens": 5,
            "completion_tokens": 7,
            "total_tokens": 12,
            "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 4},
        },
        id="chatcmpl-1",
        model="m-2026",
    )
    assert (reply.text, reply.finish_reason, reply.response_id, reply.model) == (
        "hello",
        "stop",
        "chatcmpl-1",
        "m-2026",
    )
    assert reply.usage == Usage(
        input_tokens=5,
        output_tokens=7,
        total_tokens=12,
        reasoning_tokens=4,
        cached_tokens=3,
        cache_write_tokens=2,
    )


@pytest.mark.parametrize("usage", [None, [], {}, {"prompt_tokens": None, "prompt_tokens_details": None}])
def test_takes_missing_usage_for_unknown(usage):
    assert decode_message(usage=usage).usage == Usage()


@pytest.mark.parametrize(
    ("raw", "finish"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("novel", None), (None, None)],
)
def test_normalises_the_finish_reason_and_keeps_the_raw_one(raw, finish):
    reply = decode_message(finish=raw)
    assert (reply.finish_reason, reply.raw_finish_reason) == (finish, raw)


def test_reads_tool_calls():
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}},
        {"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}},
        {"type": "function", "function": {"name": "ping", "arguments": None}},
        {"type": "custom"},
        "junk",
    ]
    reply = decode_message({"content": None, "tool_calls": calls}, finish="stop")
    assert reply.tool_calls == (
        ToolCall("c1", "weather", '{"city":"Rome"}'),
        ToolCall("call_1", "weather", '{"city": "Oslo"}'),
        ToolCall("call_2", "ping", "{}"),
    )
    assert (reply.text, reply.finish_reason) == ("", "tool_calls")


def test_reads_a_function_call_of_the_first_kind():
    message = {"content": None, "function_call": {"name": "weather", "arguments": "{}"}}
    reply = decode_message(message, finish="function_call")
    assert (reply.tool_calls, reply.finish_reason) == ((ToolCall("call_0", "weather", "{}"),), "tool_calls")


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_reads_reasoning_wherever_it_is(field):
    assert decode_message({"content": "x", field: "because"}).reasoning == "because"


def test_missing_reasoning_is_none():
    assert decode_message({"content": "x", "reasoning": None}).reasoning is None


def test_reads_a_refusal():
    reply = decode_message({"content": None, "refusal": "I can't"})
    assert (reply.text, reply.finish_reason) == ("I can't", "refusal")


def test_reads_content_in_parts():
    content = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}, None]
    assert decode_message({"content": content}).text == "ab"


def test_keeps_annotations_as_artifacts():
    assert decode_message({"content": "x", "annotations": [{"url": "u"}]}).artifacts == {"annotations": [{"url": "u"}]}


@pytest.mark.parametrize("thoughts", ["<think>hm</think>", "<think>\n</think>\n"])
def test_names_no_passage_of_a_text_from_which_thoughts_were_cut(thoughts):
    note = {"type": "url_citation", "url_citation": {"url": "https://a.example", "start_index": 0, "end_index": 4}}
    reply = decode_message({"content": f"{thoughts}Blue", "annotations": [note]})
    assert (reply.text, reply.citations) == ("Blue", (Citation(url="https://a.example"),))
    (citation,) = decode_message({"content": "Blue", "annotations": [note]}).citations
    assert (citation.start, citation.end) == (0, 4)


def test_keeps_reasoning_details_for_replay_where_the_dialect_does():
    body = {"choices": [{"message": {"content": "x", "reasoning_details": [{"id": 1}], "reasoning": "r"}}]}
    reply = decode_chat(HttpResponse(status=200, body=body), ChatDialect(keeps_reasoning=True))
    assert reply.provider_state == {"reasoning": "r", "reasoning_details": [{"id": 1}]}


def test_tolerates_a_choice_without_a_message():
    assert decode_chat(HttpResponse(status=200, body={"choices": [{"finish_reason": "stop"}]})).text == ""


@pytest.mark.parametrize(
    "body",
    [{"error": {"message": "no"}}, {"choices": [{"error": {"code": 502, "message": "no"}}]}],
    ids=["body", "choice"],
)
def test_raises_an_error_inside_a_200(body):
    with pytest.raises(HttpError, match="no"):
        decode_chat(HttpResponse(status=200, body=body))


@pytest.mark.parametrize("body", [[], "text", {}, {"choices": []}, {"choices": None}, {"choices": ["x"]}])
def test_raises_when_there_is_no_answer(body):
    with pytest.raises(ReplyError):
        decode_chat(HttpResponse(status=200, body=body))
