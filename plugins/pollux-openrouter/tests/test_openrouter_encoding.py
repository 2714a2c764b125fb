import pytest

from openrouter_api import answer
from pollux_openrouter import INFO
from pollux_openrouter.chatting import encode
from pollux_sync import Config, ConfigurationError, Options, Source, explain, run, run_many
from pollux_sync.data.request import Call, Conversation, TextPart, Turn
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
PNG = b"\x89PNG\r\n\x1a\n"


def encode_body(prompt="hi", **fields):
    call = Call(**({"index": 0, "model": "acme/one:free", "prompt": prompt, "options": Options()} | fields))
    return encode(call).body


def test_writes_a_prompt_as_parts_and_the_model_with_its_suffix():
    content = [{"type": "text", "text": "text"}, {"type": "text", "text": "hi"}]
    assert encode_body("hi", parts=(TextPart("text"),)) == {
        "model": "acme/one:free",
        "messages": [{"role": "user", "content": content}],
    }


def test_carries_every_setting():
    options = Options(system_instruction="be brief", temperature=0.5, top_p=0.9, max_tokens=50, reasoning_effort="low")
    body = encode_body(options=options)
    assert body.pop("messages")[0] == {"role": "system", "content": "be brief"}
    assert body == {
        "model": "acme/one:free",
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 50,
        "reasoning": {"effort": "low"},
    }


def test_says_what_writes_every_field():
    every = {
        "system_instruction": "be kind",
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": "END",
        "seed": 7,
        "service_tier": "flex",
        "reasoning_summary": "concise",
        "parallel_tool_calls": False,
        "max_tokens": 7,
        "tools": [TOOL],
        "tool_choice": "auto",
        "implicit_caching": True,
    }
    assert {*every, "reasoning_effort", "reasoning_budget_tokens", "response_schema", "history"} == INFO.options
    conversation = Conversation(turns=(Turn(role="user", content="a"), Turn(role="assistant", content="b")))
    for reasoning in ({"reasoning_effort": "low"}, {"reasoning_budget_tokens": 2000}):
        options = Options(**every, **reasoning)
        body = encode_body(options=options, response_schema={"type": "object"}, conversation=conversation)
        assert "reasoning" in body
        assert list_unexplained(body, INFO) == []


def test_carries_a_reasoning_budget():
    assert encode_body(options=Options(reasoning_budget_tokens=2000))["reasoning"] == {"max_tokens": 2000}


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({"reasoning_summary": "detailed"}, {"summary": "detailed"}),
        ({"reasoning_summary": "none"}, {"exclude": True}),
        ({"reasoning_summary": "auto", "reasoning_effort": "low"}, {"effort": "low", "summary": "auto"}),
        ({"reasoning_summary": "none", "reasoning_budget_tokens": 2000}, {"max_tokens": 2000, "exclude": True}),
    ],
)
def test_asks_for_a_summary_of_the_thoughts(settings, sent):
    assert encode_body(options=Options(**settings))["reasoning"] == sent


def test_asks_for_a_schema_strictly():
    wanted = encode_body(response_schema={"type": "object"})["response_format"]
    assert (wanted["type"], wanted["json_schema"]["strict"]) == ("json_schema", True)
    assert wanted["json_schema"]["schema"] == {"type": "object"}


def test_declares_tools_in_strict_form():
    body = encode_body(options=Options(tools=[TOOL], tool_choice={"name": "weather"}))
    (tool,) = body["tools"]
    assert tool == {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "now",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "unit": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
                "required": ["city", "unit"],
                "additionalProperties": False,
            },
        },
    }
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}


@pytest.mark.parametrize(
    ("tool", "parameters"),
    [
        (TOOL | {"strict": False}, TOOL["parameters"]),
        ({"name": "bare", "strict": False}, {"type": "object", "properties": {}}),
    ],
)
def test_does_not_change_a_tool_with_strict_false(tool, parameters):
    (sent,) = encode_body(options=Options(tools=[tool]))["tools"]
    assert (sent["function"]["strict"], sent["function"]["parameters"]) == (False, parameters)


def test_sends_every_kind_of_source(server, config, tmp_path):
    contents = {"cat.png": PNG, "paper.pdf": b"%PDF-1.7", "hi.wav": b"RIFF", "hi.mp3": b"ID3", "notes.md": b"# Notes"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    sources = [
        *(Source.from_file(tmp_path / name) for name in contents),
        Source.from_uri("https://a.example/dog.jpg", mime_type="image/jpeg"),
        Source.from_uri("https://a.example/report.pdf", mime_type="application/pdf"),
        Source.from_arxiv("1706.03762"),
    ]
    server.reply(answer())
    run_many("what?", sources=sources, config=config())
    (message,) = server.requests[0].json()["messages"]
    png, pdf, wav, mp3, notes, dog, report, paper, _ = message["content"]
    assert png["image_url"]["url"].startswith("data:image/png;base64,")
    assert pdf["file"] == {"filename": "paper.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjc="}
    assert [wav["input_audio"]["format"], mp3["input_audio"]["format"]] == ["wav", "mp3"]
    assert notes == {"type": "text", "text": "# Notes"}
    assert dog["image_url"] == {"url": "https://a.example/dog.jpg"}
    assert report["file"] == {"filename": "report.pdf", "file_data": "https://a.example/report.pdf"}
    assert paper["file"] == {"filename": "1706.03762.pdf", "file_data": "https://arxiv.org/pdf/1706.03762.pdf"}


@pytest.mark.parametrize(
    "source",
    [
        Source.from_youtube("https://youtu.be/x"),
        Source.from_uri("https://a.example/film.mp4", mime_type="video/mp4"),
        Source.from_uri("https://a.example/song.mp3", mime_type="audio/mpeg"),
        Source.from_uri("https://a.example/unknown"),
        Source.from_uri("gs://bucket/x.png", mime_type="image/png"),
        Source("file", "film.mp4", "video/mp4", 3, lambda: b"abc"),
        Source("file", "data.zip", "application/zip", 3, lambda: b"abc"),
    ],
)
def test_refuses_input_that_the_api_does_not_accept(server, config, source):
    with pytest.raises(ConfigurationError, match="cannot take") as caught:
        run("what?", source=source, config=config())
    assert "convert other content" in caught.value.hint
    assert server.requests == []


@pytest.mark.parametrize(
    ("fields", "option"),
    [
        ({"reasoning": {"effort": "low"}}, {"reasoning_effort": "high"}),
        ({"reasoning_effort": "low"}, {"reasoning_effort": "high"}),
        ({"reasoning_effort": "low"}, {"reasoning_budget_tokens": 2000}),
        ({"max_tokens": 5}, {"max_tokens": 9}),
        ({"max_completion_tokens": 5}, {"max_tokens": 9}),
    ],
)
def test_refuses_raw_fields_beside_the_option_that_says_the_same(server, config, fields, option):
    with pytest.raises(ConfigurationError, match=next(iter(fields))) as caught:
        run("hi", config=config(), options=Options(**option, provider_options={"openrouter": fields}))
    assert (caught.value.hint, server.requests) == (f"leave it out, or leave {next(iter(option))} out", [])


@pytest.mark.parametrize("fields", [{"reasoning": {"exclude": True}}, {"reasoning_effort": "low"}, {"max_tokens": 5}])
def test_sends_raw_fields_that_no_option_says(server, config, fields):
    server.reply(answer())
    run("hi", config=config(), options=Options(provider_options={"openrouter": fields}))
    assert fields.items() <= server.requests[0].json().items()


def test_passes_routing_fields_on(server, config):
    server.reply(answer())
    raw = {"models": ["acme/two"], "provider": {"sort": "price"}}
    run("hi", config=config(), options=Options(provider_options={"openrouter": raw}))
    assert raw.items() <= server.requests[0].json().items()


def test_names_the_calling_program(server, config):
    server.reply(answer())
    run("hi", config=config(provider_options={"site_url": "https://mine.example", "app_name": "Mine"}))
    (request,) = server.requests
    assert (request.path, request.headers["authorization"]) == ("/api/v1/chat/completions", "Bearer sk-or-very-secret")
    assert (request.headers["http-referer"], request.headers["x-title"]) == ("https://mine.example", "Mine")


def test_names_no_program_by_default(server, config):
    server.reply(answer())
    run("hi", config=config())
    assert not {"http-referer", "x-title"} & set(server.requests[0].headers)


@pytest.mark.parametrize("name", ["Café", "a\r\nX-Evil: 1"])
def test_refuses_a_name_that_no_header_holds(name):
    with pytest.raises(ConfigurationError, match="app_name"):
        Config(provider="openrouter", model="m", api_key="k", provider_options={"app_name": name})


def test_needs_a_key(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="no API key") as caught:
        Config(provider="openrouter", model="m")
    assert "OPENROUTER_API_KEY" in caught.value.hint


def test_uses_openrouters_address_by_default():
    assert (INFO.base_url, INFO.base_url_policy) == ("https://openrouter.ai/api/v1", "optional")


CLAUDE = "anthropic/claude-sonnet-4.6"
MARK = {"type": "ephemeral"}
SHARED = [Source.from_text("shared")]
PDF = Source.from_uri("https://acme.example/a.pdf", mime_type="application/pdf")


def explain_body(prompts="ab", *, model=CLAUDE, sources=SHARED, **options):
    config = Config(provider="openrouter", model=model, api_key="sk-or-made-up")
    options = Options(**({"implicit_caching": True} | options))
    return explain([*prompts], sources=sources, config=config, options=options).requests[0].body


def list_marks(parts):
    return [part.get("cache_control") for part in parts]


def test_marks_the_last_shared_text_for_a_vendor_that_caches_up_to_a_mark():
    (message,) = explain_body(sources=[Source.from_text("shared"), PDF])["messages"]
    assert list_marks(message["content"]) == [MARK, None, None]


def test_marks_the_instruction_or_the_last_tool_where_no_text_is_shared():
    body = explain_body(sources=[], system_instruction="Be brief.", tools=[TOOL])
    assert body["messages"][0]["content"] == [{"type": "text", "text": "Be brief.", "cache_control": MARK}]
    assert list_marks(explain_body(sources=[], tools=[TOOL])["tools"]) == [MARK]


def test_marks_the_end_of_a_single_prompt():
    (message,) = explain_body("a")["messages"]
    assert list_marks(message["content"]) == [None, MARK]


def test_marks_a_call_that_continues_with_the_result_of_a_tool():
    turns = (Turn(role="tool", tool_call_id="c", content="sunny"),)
    options = Options(system_instruction="Be brief.", implicit_caching=True)
    body = encode_body(None, model=CLAUDE, options=options, conversation=Conversation(turns=turns))
    assert list_marks(body["messages"][0]["content"]) == [MARK]


@pytest.mark.parametrize("call", [{"model": "google/gemini-2.5-pro"}, {"implicit_caching": None}])
def test_marks_nothing_for_other_vendors_and_unasked(call):
    assert "cache_control" not in str(explain_body(**call))
