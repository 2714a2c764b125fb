import attrs
import pytest

from gemini_api import KEY
from pollux_gemini import INFO, url_context
from pollux_gemini.encoding import encode
from pollux_sync import CacheHandle, Config, ConfigurationError, Options, Source, SourceError, WebSearch, explain, run
from pollux_sync.data.handles import Asset
from pollux_sync.data.reply import ToolCall
from pollux_sync.data.request import AssetPart, Call, Conversation, InlinePart, TextPart, Turn, UploadPart, UriPart
from raw_fields import list_unexplained

TREE = {
    "type": "object",
    "properties": {
        "root": {"$ref": "#/$defs/Node"},
        "kind": {"const": "tree"},
        "size": {"type": ["integer", "null"]},
        "by": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
    },
    "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}},
    "additionalProperties": False,
}
UNTYPED = {name: value for name, value in TREE.items() if name != "type"}
TOOLS = [{"name": "plant", "description": "a tree", "parameters": UNTYPED}, {"name": "water"}]
YOUTUBE = Source.from_youtube("https://youtu.be/x")


def encode_body(prompt="hi", **fields):
    call = Call(**({"index": 0, "model": "gemini-2.5-flash", "prompt": prompt, "options": Options()} | fields))
    return encode(call).body


def build_content(text, role="user"):
    return {"role": role, "parts": [{"text": text}]}


def asset(mime_type, **fields):
    source = Source("file", "name", mime_type, 3, lambda: b"abc")
    return AssetPart(source, Asset(**({"id": "files/1", "mime_type": mime_type, "uri": "https://f/1"} | fields)))


def test_writes_a_prompt():
    assert encode_body("hi") == {"contents": [build_content("hi")]}


def test_carries_every_setting():
    options = Options(system_instruction="be brief", temperature=0.5, top_p=0.9, max_tokens=50)
    assert encode_body(options=options, response_schema={"type": "object"}) == {
        "contents": [build_content("hi")],
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "generationConfig": {
            "temperature": 0.5,
            "topP": 0.9,
            "maxOutputTokens": 50,
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object"},
        },
    }


EVERY_OPTION = {
    "system_instruction": "be brief",
    "temperature": 0.5,
    "top_p": 0.9,
    "stop": ["END"],
    "seed": 7,
    "service_tier": "flex",
    "reasoning_summary": "none",
    "max_tokens": 50,
    "tools": TOOLS,
    "tool_choice": "required",
    "implicit_caching": True,
}


def test_says_what_writes_every_field():
    handle = CacheHandle(name="cachedContents/1", provider="gemini", model="gemini-3-pro", expires_at=2e9)
    bodies = [
        encode_body(
            model="gemini-3-pro",
            options=Options(**EVERY_OPTION | {name: value}),
            response_schema={"type": "object"},
            parts=(UriPart(url_context("https://a.example")),),
            conversation=Conversation(turns=(Turn(role="user", content="a"), Turn(role="assistant", content="b"))),
        )
        for name, value in {"reasoning_effort": "low", "reasoning_budget_tokens": 128, "cache": handle}.items()
    ]
    named = {"reasoning_effort", "reasoning_budget_tokens", "cache", "response_schema", "history"}
    assert {*EVERY_OPTION} | named == INFO.options
    assert [list_unexplained(body, INFO) for body in bodies] == [[], [], []]


@pytest.mark.parametrize(
    ("tier", "sent"),
    [("auto", "unspecified"), ("default", "standard"), ("flex", "flex"), ("priority", "priority")],
)
def test_names_the_tier_in_the_words_of_the_service(tier, sent):
    assert encode_body(options=Options(service_tier=tier))["serviceTier"] == sent


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-2.5-pro", "models/gemini-2.5-pro"),
        ("models/gemini-2.5-pro", "models/gemini-2.5-pro"),
        ("tunedModels/mine", "tunedModels/mine"),
        ("odd?key=1", "models/odd%3Fkey%3D1"),
    ],
)
def test_names_the_model_in_the_path(model, path):
    assert encode(Call(index=0, model=model, prompt="hi", options=Options())).path == f"/{path}:generateContent"


def test_declares_tools_in_one_entry_with_their_complete_schema():
    assert encode_body(options=Options(tools=TOOLS))["tools"] == [
        {
            "functionDeclarations": [
                {"name": "plant", "description": "a tree", "parametersJsonSchema": TREE},
                {"name": "water"},
            ]
        }
    ]


@pytest.mark.parametrize(
    ("choice", "strict", "sent"),
    [
        (None, False, None),
        ("auto", False, {"mode": "AUTO"}),
        ("required", False, {"mode": "ANY"}),
        ("none", True, {"mode": "NONE"}),
        ({"name": "water"}, True, {"mode": "ANY", "allowedFunctionNames": ["water"]}),
        (None, True, {"mode": "VALIDATED"}),
        ("auto", True, {"mode": "VALIDATED"}),
    ],
)
def test_passes_the_tool_choice(choice, strict, sent):
    tools = [TOOLS[0] | {"strict": strict}, TOOLS[1]]
    config = encode_body(options=Options(tools=tools, tool_choice=choice)).get("toolConfig")
    assert config == (sent and {"functionCallingConfig": sent})


@pytest.mark.parametrize(
    ("model", "options", "sent"),
    [
        ("gemini-3-pro-preview", {"reasoning_effort": "low"}, {"includeThoughts": True, "thinkingLevel": "LOW"}),
        ("gemini-99-new", {"reasoning_effort": "XHigh"}, {"includeThoughts": True, "thinkingLevel": "XHIGH"}),
        ("gemini-3-flash", {"reasoning_budget_tokens": 0}, {"includeThoughts": False, "thinkingBudget": 0}),
        ("models/gemini-2.5-pro", {"reasoning_effort": "high"}, {"includeThoughts": True, "thinkingBudget": 24_576}),
        ("gemini-2.5-pro", {"reasoning_budget_tokens": 128}, {"includeThoughts": True, "thinkingBudget": 128}),
        ("gemini-2.5-flash", {"reasoning_budget_tokens": 0}, {"includeThoughts": False, "thinkingBudget": 0}),
        ("gemini-2.5-flash", {"reasoning_summary": "auto"}, {"includeThoughts": True}),
        ("gemini-2.5-flash", {"reasoning_summary": "none"}, {"includeThoughts": False}),
        ("gemini-2.0-flash", {"reasoning_summary": "none"}, None),
        (
            "gemini-3-flash",
            {"reasoning_summary": "none", "reasoning_effort": "low"},
            {"includeThoughts": False, "thinkingLevel": "LOW"},
        ),
        (
            "gemini-2.5-flash",
            {"reasoning_summary": "auto", "reasoning_budget_tokens": 0},
            {"includeThoughts": False, "thinkingBudget": 0},
        ),
        ("gemini-2.0-flash", {"reasoning_budget_tokens": 0}, None),
        ("gemini-3-pro-preview", {}, None),
    ],
)
def test_tells_each_model_how_to_think_in_its_own_way(model, options, sent):
    body = encode_body(model=model, options=Options(**options))
    assert body.get("generationConfig") == (sent and {"thinkingConfig": sent})


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        (TextPart("text"), {"text": "text"}),
        (asset("image/png"), {"fileData": {"fileUri": "https://f/1", "mimeType": "image/png"}}),
        (
            asset("image/png", uri=None),
            {
                "fileData": {
                    "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/1",
                    "mimeType": "image/png",
                }
            },
        ),
        (
            InlinePart(asset("image/png").source, b"abc"),
            {"inlineData": {"mimeType": "image/png", "data": "YWJj"}},
        ),
        (
            InlinePart(asset("video/mp4").source.with_gemini_video_settings(fps=2), b"abc"),
            {"inlineData": {"mimeType": "video/mp4", "data": "YWJj"}, "videoMetadata": {"fps": 2.0}},
        ),
        (
            attrs.evolve(asset("video/mp4"), source=asset("video/mp4").source.with_gemini_video_settings(fps=2)),
            {"fileData": {"fileUri": "https://f/1", "mimeType": "video/mp4"}, "videoMetadata": {"fps": 2.0}},
        ),
        (
            UriPart(YOUTUBE.with_gemini_video_settings(start_offset="1s", end_offset="9s")),
            {
                "fileData": {"fileUri": "https://youtu.be/x", "mimeType": "video/mp4"},
                "videoMetadata": {"startOffset": "1s", "endOffset": "9s"},
            },
        ),
        (
            UriPart(Source.from_uri("gs://b/x.ogg", mime_type="audio/ogg")),
            {"fileData": {"fileUri": "gs://b/x.ogg", "mimeType": "audio/ogg"}},
        ),
        (UriPart(Source.from_uri("https://a.example/x")), {"fileData": {"fileUri": "https://a.example/x"}}),
        (
            UriPart(Source.from_arxiv("1706.03762")),
            {"fileData": {"fileUri": "https://arxiv.org/pdf/1706.03762.pdf", "mimeType": "application/pdf"}},
        ),
    ],
)
def test_puts_a_source_before_the_prompt(part, sent):
    assert encode_body("hi", parts=(part,)) == {"contents": [{"role": "user", "parts": [sent, {"text": "hi"}]}]}


def test_has_web_pages_read_by_gemini():
    parts = tuple(UriPart(url_context(url)) for url in ("https://a.example", "https://b.example"))
    body = encode_body("compare", parts=parts, options=Options(tools=[TOOLS[1]]))
    texts = ["https://a.example", "https://b.example", "compare"]
    assert body["contents"] == [{"role": "user", "parts": [{"text": text} for text in texts]}]
    assert body["tools"] == [{"functionDeclarations": [{"name": "water"}]}, {"urlContext": {}}]


@pytest.mark.parametrize("url", ["gs://b/x", "notes.txt"])
def test_reads_no_pages_but_those_of_the_web(url):
    with pytest.raises(SourceError):
        url_context(url)


def test_refuses_a_part_it_cannot_carry():
    with pytest.raises(ConfigurationError, match="UploadPart"):
        encode_body(parts=(UploadPart(asset("image/png").source, "0" * 64),))


def test_sends_a_source_alone_and_no_empty_part():
    assert encode_body(None, parts=(TextPart(""), TextPart("text")))["contents"] == [build_content("text")]


CALLED = (
    Turn(role="system", content="be kind"),
    Turn(role="user", content="weather?"),
    Turn(
        role="assistant",
        content="let me see",
        tool_calls=(ToolCall("c1", "weather", '{"city":"Rome"}'), ToolCall("c2", "weather", "no json")),
    ),
    Turn(role="tool", tool_call_id="c1", content='{"sky": "clear"}'),
    Turn(role="tool", tool_call_id="c2", content="[1]"),
    Turn(role="tool", tool_call_id="c9", content="?"),
)


def test_replays_a_conversation_from_elsewhere():
    body = encode_body(
        "and Oslo?", conversation=Conversation(turns=CALLED), options=Options(system_instruction="be brief")
    )
    assert body == {
        "systemInstruction": {"parts": [{"text": "be brief\n\nbe kind"}]},
        "contents": [
            build_content("weather?"),
            {
                "role": "model",
                "parts": [
                    {"text": "let me see"},
                    {"functionCall": {"id": "c1", "name": "weather", "args": {"city": "Rome"}}},
                    {"functionCall": {"id": "c2", "name": "weather", "args": {}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": "c1", "name": "weather", "response": {"sky": "clear"}}},
                    {"functionResponse": {"id": "c2", "name": "weather", "response": {"result": "[1]"}}},
                    {"functionResponse": {"name": "unknown_tool", "response": {"result": "?"}}},
                    {"text": "and Oslo?"},
                ],
            },
        ],
    }


STORED = [
    {"text": "hm", "thought": True},
    {"functionCall": {"name": "ping", "args": {"n": 1}}, "thoughtSignature": "c2ln"},
    {"text": "a"},
    {"text": "b", "new": [1]},
]


@pytest.mark.parametrize(
    ("turn", "sent"),
    [
        ({}, STORED),
        ({"content": "other"}, [{"text": "other"}, {"functionCall": {"id": "x", "name": "ping", "args": {"n": 1}}}]),
        (
            {"tool_calls": (ToolCall("x", "ping", '{"n": 2}'),)},
            [{"text": "ab"}, {"functionCall": {"id": "x", "name": "ping", "args": {"n": 2}}}],
        ),
        ({"tool_calls": ()}, [{"text": "ab"}]),
    ],
)
def test_replays_original_parts_unless_the_turn_was_edited(turn, sent):
    unchanged = {
        "role": "assistant",
        "content": "ab",
        "tool_calls": (ToolCall("x", "ping", '{"n": 1}'),),
        "provider_state": {"gemini_parts": STORED},
    }
    conversation = Conversation(turns=(Turn(**(unchanged | turn)), Turn(role="tool", tool_call_id="x", content="{}")))
    contents = encode_body(None, conversation=conversation)["contents"]
    assert contents[0] == {"role": "model", "parts": sent}


def test_leaves_out_turns_that_say_nothing():
    turns = (Turn(role="user", content="a"), Turn(role="assistant"), Turn(role="user", content="b"))
    parts = [{"text": text} for text in ("a", "b", "hi")]
    assert encode_body(conversation=Conversation(turns=turns))["contents"] == [{"role": "user", "parts": parts}]


def offline(**fields):
    return Config(**({"provider": "gemini", "model": "m", "api_key": KEY, "base_url": "http://127.0.0.1:9"} | fields))


def raw(fields):
    return {"provider_options": {"gemini": fields}}


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("m", {"temperature": 2.5}, "at most 2"),
        ("gemini-2.0-flash", {"reasoning_effort": "low"}, "cannot think"),
        ("gemini-1.5-pro", {"reasoning_budget_tokens": 5}, "cannot think"),
        ("gemini-3-pro", {"reasoning_effort": "max"}, "'max'.*minimal, low, medium, high, xhigh"),
        ("gemini-2.5-flash", {"reasoning_effort": "xhigh"}, "'xhigh'.*minimal, low, medium, high"),
        ("gemini-2.5-pro", {"reasoning_budget_tokens": 0}, "always thinks.*128"),
        ("gemini-2.5-flash-lite", {"reasoning_budget_tokens": 511}, "511.*from 512 to 24576, or 0"),
        ("gemini-2.5-pro", {"reasoning_budget_tokens": 40_000}, "40000.*from 128 to 32768$"),
        ("m", {"implicit_caching": "5m"}, "cannot promise to keep what it caches for 5m"),
        ("m", raw({"contents": []}), "contents"),
        ("m", {"top_p": 0.5, **raw({"generationConfig": {"topP": 1}})}, "sets generationConfig.topP, "),
        ("m", {"top_p": 0.5, **raw({"generationConfig": 7})}, "sets generationConfig, "),
        ("gemini-2.5-pro", {"tools": TOOLS, **raw({"tools": [{"googleSearch": {}}]})}, "beside functions"),
    ],
)
def test_refuses_unsupported_requests_before_sending(model, options, said):
    with pytest.raises(ConfigurationError, match=f"(?s){said}") as caught:
        run("hi", config=offline(model=model), options=Options(**options))
    assert caught.value.hint


SEARCH = {"googleSearch": {}}


def explain_tools(model, sources=(), **options):
    request = explain("hi", sources=sources, config=offline(model=model), options=Options(**options)).requests[0]
    return request.body["tools"], request.body.get("toolConfig")


def test_sends_its_own_tools_behind_functions_to_gemini_3():
    config = {"includeServerSideToolInvocations": True}
    options = raw({"tools": [SEARCH], "toolConfig": config}) | {"tools": [{"name": "water"}], "tool_choice": "auto"}
    assert explain_tools("gemini-3-pro", **options) == (
        [{"functionDeclarations": [{"name": "water"}]}, SEARCH],
        {"functionCallingConfig": {"mode": "AUTO"}, **config},
    )


PAGE = url_context("https://a.example")
WATER = {"name": "water"}


@pytest.mark.parametrize(
    ("model", "capabilities", "sources", "tools", "raw_fields", "is_shown"),
    [
        ("gemini-3-pro", {}, [], [WebSearch()], {}, True),
        ("gemini-2.5-pro", {}, [], [WebSearch()], {}, None),
        ("gemini-2.5-pro", {"tools": True}, [], [WATER, WebSearch()], {}, True),
        ("gemini-3-pro", {}, [], [WATER], {"tools": [SEARCH]}, True),
        ("gemini-3-pro", {}, [PAGE], [WATER], {}, True),
        ("gemini-3-pro", {}, [], [WATER], {}, None),
        ("gemini-3-pro", {}, [], [WebSearch()], {"toolConfig": {"includeServerSideToolInvocations": False}}, False),
    ],
)
def test_has_the_answer_show_what_its_own_tools_did(model, capabilities, sources, tools, raw_fields, is_shown):
    config = offline(model=model, capabilities=capabilities)
    options = Options(tools=tools, **raw(raw_fields))
    body = explain("hi", sources=sources, config=config, options=options).requests[0].body
    assert body.get("toolConfig", {}).get("includeServerSideToolInvocations") is is_shown


def test_sends_its_own_tools_behind_that_of_a_page_to_every_model():
    page = url_context("https://a.example")
    tools, _ = explain_tools("gemini-2.5-flash", sources=[page], **raw({"tools": [SEARCH]}))
    assert tools == [{"urlContext": {}}, SEARCH]


def test_sends_its_own_tools_beside_functions_where_the_configuration_says_that_the_model_takes_them():
    config = offline(model="gemini-2.5-pro", capabilities={"tools": True})
    options = Options(tools=[{"name": "water"}], **raw({"tools": [SEARCH]}))
    assert explain("hi", config=config, options=options).requests[0].body["tools"][1:] == [SEARCH]


@pytest.mark.parametrize("kind", ["application/pdf", "image/heic", "video/mp4", "application/octet-stream"])
def test_uploads_files_of_any_type_but_text(kind):
    assert INFO.find_rule(asset(kind).source).delivery == "upload"


@pytest.mark.parametrize("name", ["a.py", "a.ts", "a.toml", "a.ipynb", "a.svg"])
def test_sends_files_of_text_as_text(tmp_path, name):
    (tmp_path / name).write_text("content")
    source = Source.from_file(tmp_path / name)
    body = explain("hi", sources=[source], config=offline()).requests[0].body
    assert body["contents"][0]["parts"] == [{"text": "content"}, {"text": "hi"}]


@pytest.mark.parametrize(("model", "is_inside"), [("gemini-3-pro", True), ("gemini-2.5-flash", False)])
def test_shows_what_a_tool_returned_inside_its_result_where_the_model_reads_it_there(model, is_inside):
    chart = InlinePart(Source("file", "a.png", "image/png", 3, lambda: b"abc"), b"abc")
    turns = (
        Turn(role="assistant", tool_calls=(ToolCall("c1", "draw", "{}"),)),
        Turn(role="tool", tool_call_id="c1", content="a chart", parts=(chart,)),
    )
    body = encode_body(None, model=model, conversation=Conversation(turns=turns))
    response = {"id": "c1", "name": "draw", "response": {"result": "a chart"}}
    image = {"inlineData": {"mimeType": "image/png", "data": "YWJj"}}
    inside = [{"functionResponse": response | {"parts": [image]}}]
    assert body["contents"][1]["parts"] == (inside if is_inside else [{"functionResponse": response}, image])


def test_sends_a_stored_file_that_a_tool_returned_beside_its_result():
    turns = (
        Turn(role="assistant", tool_calls=(ToolCall("c1", "draw", "{}"),)),
        Turn(role="tool", tool_call_id="c1", content="a chart", parts=(asset("image/png"),)),
    )
    body = encode_body(None, model="gemini-3-pro", conversation=Conversation(turns=turns))
    assert [[*part] for part in body["contents"][1]["parts"]] == [["functionResponse"], ["fileData"]]


def test_needs_a_key(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="no API key") as caught:
        Config(provider="gemini", model="m")
    assert "GEMINI_API_KEY" in caught.value.hint
