import attrs
import pytest

from pollux_openai import INFO, STRICT
from pollux_openai.encoding import encode
from pollux_sync import Config, ConfigurationError, Options, Source, explain, run
from pollux_sync.data.handles import Asset
from pollux_sync.data.reply import ToolCall
from pollux_sync.data.request import AssetPart, Call, Conversation, InlinePart, TextPart, Turn, UploadPart, UriPart
from raw_fields import list_unexplained

TOOL = {
    "name": "weather",
    "description": "now",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
        "required": ["city"],
    },
}
CALLED = (
    Turn(role="user", content="weather?"),
    Turn(role="assistant", content="let me see", tool_calls=(ToolCall("c1", "weather", '{"city":"Rome"}'),)),
    Turn(role="tool", tool_call_id="c1", content="sunny"),
)


def encode_body(prompt="hi", **fields):
    call = Call(**({"index": 0, "model": "gpt-5-mini", "prompt": prompt, "options": Options()} | fields))
    return encode(call, STRICT).body


def build_user_message(text):
    return {"role": "user", "content": [{"type": "input_text", "text": text}]}


def file(mime_type):
    return Source("file", "name", mime_type, 3, lambda: b"abc")


def test_writes_a_prompt():
    assert encode_body("hi") == {"model": "gpt-5-mini", "input": [build_user_message("hi")]}


def test_carries_every_setting():
    options = Options(system_instruction="be brief", temperature=0.5, top_p=0.9, max_tokens=50, reasoning_effort="low")
    settings = {key: value for key, value in encode_body(options=options).items() if key not in {"model", "input"}}
    assert settings == {
        "instructions": "be brief",
        "temperature": 0.5,
        "top_p": 0.9,
        "max_output_tokens": 50,
        "reasoning": {"effort": "low", "summary": "auto"},
    }


EVERY_OPTION = Options(
    system_instruction="be brief",
    response_schema={"type": "object", "properties": {}},
    tools=[TOOL],
    tool_choice="auto",
    temperature=0.5,
    top_p=0.9,
    parallel_tool_calls=False,
    service_tier="flex",
    max_tokens=50,
    reasoning_effort="low",
    reasoning_summary="concise",
    history=[{"role": "user", "content": "weather?"}],
)


def test_says_what_writes_every_field():
    # The service caches by itself.
    assert {traits.declared_as for traits in EVERY_OPTION.iter_set()} | {"implicit_caching"} == INFO.options
    body = encode_body(
        options=EVERY_OPTION,
        response_schema={"type": "object"},
        parts=(TextPart("text"), AssetPart(file("image/png"), Asset(id="f", mime_type="image/png"))),
        conversation=Conversation(turns=CALLED, response_id="resp_1"),
    )
    assert list_unexplained(body, INFO) == []


@pytest.mark.parametrize(
    ("effort", "summary", "sent"),
    [
        (None, None, None),
        ("low", None, {"effort": "low", "summary": "auto"}),
        ("low", "detailed", {"effort": "low", "summary": "detailed"}),
        ("low", "none", {"effort": "low"}),
        (None, "concise", {"summary": "concise"}),
        (None, "none", None),
    ],
)
def test_asks_for_a_summary_of_the_thoughts(effort, summary, sent):
    options = Options(reasoning_effort=effort, reasoning_summary=summary)
    assert encode_body(options=options).get("reasoning") == sent


def test_asks_for_a_schema_strictly():
    assert encode_body(response_schema={"type": "object"})["text"] == {
        "format": {"type": "json_schema", "name": "answer", "schema": {"type": "object"}, "strict": True}
    }


def test_declares_tools_in_strict_form():
    (tool,) = encode_body(options=Options(tools=[TOOL]))["tools"]
    assert tool == {
        "type": "function",
        "name": "weather",
        "description": "now",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    }


def test_does_not_change_a_tool_with_strict_false():
    (tool,) = encode_body(options=Options(tools=[TOOL | {"strict": False}]))["tools"]
    assert (tool["strict"], tool["parameters"]) == (False, TOOL["parameters"])


def test_declares_a_tool_without_parameters():
    (tool,) = encode_body(options=Options(tools=[{"name": "ping"}]))["tools"]
    assert tool["parameters"]["properties"] == {}


@pytest.mark.parametrize(
    ("choice", "sent"), [("required", "required"), ({"name": "weather"}, {"type": "function", "name": "weather"})]
)
def test_passes_the_tool_choice(choice, sent):
    assert encode_body(options=Options(tools=[TOOL], tool_choice=choice))["tool_choice"] == sent


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        (TextPart("text"), {"type": "input_text", "text": "text"}),
        (AssetPart(file("image/png"), Asset(id="f", mime_type="image/png")), {"type": "input_image", "file_id": "f"}),
        (AssetPart(file("application/pdf"), Asset(id="f", mime_type="x")), {"type": "input_file", "file_id": "f"}),
        (AssetPart(file("audio/mpeg"), Asset(id="f", mime_type="x")), {"type": "input_file", "file_id": "f"}),
        (
            InlinePart(file("image/png"), b"abc"),
            {"type": "input_image", "image_url": "data:image/png;base64,YWJj"},
        ),
        (
            InlinePart(file("application/pdf"), b"abc"),
            {"type": "input_file", "filename": "name", "file_data": "data:application/pdf;base64,YWJj"},
        ),
        (
            UriPart(Source.from_uri("https://a.example/x.png", mime_type="image/png")),
            {"type": "input_image", "image_url": "https://a.example/x.png"},
        ),
        (
            UriPart(Source.from_arxiv("1706.03762")),
            {"type": "input_file", "file_url": "https://arxiv.org/pdf/1706.03762.pdf"},
        ),
    ],
)
def test_puts_a_source_before_the_prompt(part, sent):
    assert encode_body("hi", parts=(part,))["input"] == [
        {"role": "user", "content": [sent, *build_user_message("hi")["content"]]}
    ]


def test_refuses_a_part_it_cannot_carry():
    with pytest.raises(ConfigurationError, match="UploadPart"):
        encode_body(parts=(UploadPart(file("image/png"), "0" * 64),))


def test_sends_a_source_alone():
    assert encode_body(None, parts=(TextPart("text"),))["input"] == [build_user_message("text")]


def test_replays_a_conversation_with_calls_before_their_text():
    assert encode_body(None, conversation=Conversation(turns=CALLED))["input"] == [
        {"type": "message", "role": "user", "content": "weather?"},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Rome"}'},
        {"type": "message", "role": "assistant", "content": "let me see"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
    ]


def test_shows_the_files_of_earlier_turns_again():
    shown = AssetPart(file("image/png"), Asset(id="f1", mime_type="image/png"))
    turns = (Turn(role="user", content="what?", parts=(shown,)), Turn(role="assistant", content="a lamp"))
    first, *_ = encode_body("and now?", conversation=Conversation(turns=turns))["input"]
    text = {"type": "input_text", "text": "what?"}
    assert first == {"role": "user", "content": [{"type": "input_image", "file_id": "f1"}, text]}


def test_shows_what_a_tool_returned():
    turn = Turn(role="tool", tool_call_id="c1", content="a chart", parts=(InlinePart(file("image/png"), b"abc"),))
    image = {"type": "input_image", "image_url": "data:image/png;base64,YWJj"}
    output = [image, {"type": "input_text", "text": "a chart"}]
    body = encode_body(None, conversation=Conversation(turns=(turn,)))
    assert body["input"] == [{"type": "function_call_output", "call_id": "c1", "output": output}]


def test_sends_only_turns_after_a_stored_response():
    conversation = Conversation(turns=CALLED, response_id="resp_1")
    body = encode_body("and Oslo?", conversation=conversation)
    assert body["previous_response_id"] == "resp_1"
    assert body["input"] == [
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        build_user_message("and Oslo?"),
    ]


def offline(**fields):
    return Config(**({"provider": "openai", "model": "m", "api_key": "k", "base_url": "http://127.0.0.1:9"} | fields))


@pytest.mark.parametrize(
    "source",
    [
        Source.from_youtube("https://youtu.be/x"),
        Source.from_uri("https://a.example/film.mp4", mime_type="video/mp4"),
        Source.from_uri("https://a.example/unknown"),
        Source.from_uri("gs://bucket/x.png", mime_type="image/png"),
    ],
)
def test_refuses_input_that_the_api_does_not_accept(source):
    with pytest.raises(ConfigurationError, match="cannot take") as caught:
        run("what?", source=source, config=offline())
    assert "Source.from_file" in caught.value.hint


@pytest.mark.parametrize("mime", ["application/pdf", "text/csv", "application/vnd.ms-excel", "image/webp"])
def test_takes_addresses_of_documents_and_images(mime):
    assert INFO.find_rule(Source.from_uri("https://a.example/x", mime_type=mime)).delivery == "uri"


@pytest.mark.parametrize("option", [{"reasoning_budget_tokens": 5}, {"implicit_caching": "5m"}])
def test_refuses_options_that_the_api_lacks(option):
    with pytest.raises(ConfigurationError, match=next(iter(option))):
        run("hi", config=offline(), options=Options(**option))


@pytest.mark.parametrize(
    ("options", "raw", "path", "hint"),
    [
        ({"max_tokens": 9}, {"max_output_tokens": 5}, "max_output_tokens", "leave it out, or leave max_tokens out"),
        (
            {"response_schema": {"type": "object"}},
            {"text": {"format": {"type": "text"}}},
            "text.format.type",
            "leave it out, or leave response_schema out",
        ),
        (
            {"reasoning_effort": "low"},
            {"reasoning": {"summary": "detailed"}},
            "reasoning.summary",
            "leave it out, or leave reasoning_effort out",
        ),
    ],
)
def test_refuses_raw_fields_that_an_option_has_written(options, raw, path, hint):
    with pytest.raises(ConfigurationError, match=f"sets {path}, ") as caught:
        run("hi", config=offline(), options=Options(**options, provider_options={"openai": raw}))
    assert caught.value.hint == hint


def test_sends_raw_fields_beside_the_format_of_a_schema():
    options = Options(response_schema={"type": "object"}, provider_options={"openai": {"text": {"verbosity": "low"}}})
    text = explain("hi", config=offline(), options=options).requests[0].body["text"]
    assert (text["verbosity"], text["format"]["type"]) == ("low", "json_schema")


@attrs.frozen
class Deep:
    deeper: "Deep | None" = None
    by_name: dict[str, "Deep"] = attrs.field(factory=dict)


def test_lowers_a_recursive_type_into_strict_form(server, config):
    from responses_api import answer, message

    server.reply(
        answer(message('{"deeper": null, "by_name": [{"key": "a", "value": {"deeper": null, "by_name": []}}]}'))
    )
    result = run("deep", config=config(), options=Options(response_schema=Deep))
    assert result["structured"] == [Deep(by_name={"a": Deep()})]


def test_refuses_answers_in_the_background_before_it_asks_for_one(server, config):
    options = Options(provider_options={"openai": {"background": True}})
    with pytest.raises(ConfigurationError, match="background") as caught:
        run("hi", config=config(), options=options)
    assert ("defer_many" in caught.value.hint, server.requests) == (True, [])


def test_needs_a_key(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="no API key") as caught:
        Config(provider="openai", model="m")
    assert "OPENAI_API_KEY" in caught.value.hint


@pytest.mark.parametrize("also", [{"api_key": "k"}, {"base_url": "http://127.0.0.1:9"}])
def test_a_client_brings_its_own_key_and_address(also):
    with pytest.raises(ConfigurationError, match="brings its own"):
        Config(provider="openai", model="m", client=object(), **also)


def test_ignores_the_sdks_base_url_variable(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere.example")
    assert Config(provider="openai", model="m", api_key="k").base_url is None
