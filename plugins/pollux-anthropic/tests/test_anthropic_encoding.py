import json

import pytest

from messages_api import REDACTED, text, thinking, tool_use
from pollux_anthropic import INFO, STRICT
from pollux_anthropic.encoding import encode
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
        "properties": {"city": {"type": "string"}, "days": {"type": "array", "items": {"type": "integer"}}},
        "required": ["city"],
    },
}
CALLED = (
    Turn(role="user", content="weather?"),
    Turn(role="assistant", content="let me see", tool_calls=(ToolCall("c1", "weather", '{"city":"Rome"}'),)),
    Turn(role="tool", tool_call_id="c1", content="sunny"),
)


def encode_request(prompt="hi", **fields):
    call = Call(**({"index": 0, "model": "claude-sonnet-4-5", "prompt": prompt, "options": Options()} | fields))
    return encode(call, STRICT)


def encode_body(prompt="hi", **fields):
    return encode_request(prompt, **fields).body


def encode_messages(*turns, prompt=None, **fields):
    return encode_body(prompt, conversation=Conversation(turns=turns), **fields)["messages"]


def build_message(*texts, role="user"):
    return {"role": role, "content": [text(words) for words in texts]}


def file(mime_type):
    return Source("file", "name", mime_type, 3, lambda: b"abc")


def test_writes_a_prompt():
    request = encode_request("hi")
    assert request.path == "/v1/messages"
    assert request.headers == {"anthropic-version": "2023-06-01"}
    assert request.body == {"model": "claude-sonnet-4-5", "max_tokens": 16384, "messages": [build_message("hi")]}


def test_carries_every_setting():
    options = Options(
        system_instruction="be brief", temperature=0.5, top_p=0.9, max_tokens=50, implicit_caching=True, tools=[TOOL]
    )
    settings = {key: value for key, value in encode_body(options=options).items() if key not in {"model", "messages"}}
    assert settings == {
        "system": "be brief",
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 50,
        "cache_control": {"type": "ephemeral"},
        "tools": [{"name": "weather", "description": "now", "input_schema": TOOL["parameters"]}],
    }


#: Effort and budget exclude each other, so no single call can set every option.
EVERY_OPTION = [
    Options(
        system_instruction="be brief",
        response_schema={"type": "object", "properties": {}},
        tools=[TOOL],
        tool_choice="auto",
        temperature=0.5,
        top_p=0.9,
        stop="END",
        parallel_tool_calls=False,
        service_tier="auto",
        reasoning_summary="none",
        max_tokens=5000,
        implicit_caching=True,
        history=[{"role": "user", "content": "weather?"}],
        **reasoning,
    )
    for reasoning in ({"reasoning_effort": "low"}, {"reasoning_budget_tokens": 2048})
]


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-opus-4-6", "claude-sonnet-5", "some-model"])
def test_says_what_writes_every_field(model):
    assert {traits.declared_as for options in EVERY_OPTION for traits in options.iter_set()} == INFO.options
    for options in EVERY_OPTION:
        body = encode_body(
            model=model,
            options=options,
            response_schema={"type": "object"},
            parts=(TextPart("text"), AssetPart(file("image/png"), Asset(id="f", mime_type="image/png"))),
            conversation=Conversation(turns=CALLED),
        )
        assert list_unexplained(body, INFO) == []


@pytest.mark.parametrize(
    ("model", "limit"),
    [
        ("claude-3-haiku-20240307", 4096),
        ("anthropic.claude-3-opus-20240229-v1:0", 4096),
        ("claude-3-5-haiku-20241022", 8192),
        ("claude-3-7-sonnet-20250219", 16384),
        ("claude-opus-4-6", 16384),
        ("some-model", 16384),
    ],
)
def test_always_sends_a_limit(model, limit):
    assert encode_body(model=model)["max_tokens"] == limit


def test_asks_for_a_schema():
    assert encode_body(response_schema={"type": "object"})["output_config"] == {
        "format": {"type": "json_schema", "schema": {"type": "object"}}
    }


@pytest.mark.parametrize(("tier", "sent"), [("auto", "auto"), ("default", "standard_only")])
def test_names_the_tier_in_the_words_of_the_service(tier, sent):
    assert encode_body(options=Options(service_tier=tier))["service_tier"] == sent


ADAPTIVE = {"type": "adaptive", "display": "summarized"}


@pytest.mark.parametrize(
    ("model", "effort", "thinks", "sent"),
    [
        ("claude-opus-4-6", "low", ADAPTIVE, "low"),
        ("claude-sonnet-4-6", "HIGH", ADAPTIVE, "high"),
        ("us.anthropic.claude-opus-4-6-v1:0", "max", ADAPTIVE, "max"),
        ("claude-opus-4-7", "xhigh", ADAPTIVE, "xhigh"),
        ("claude-sonnet-5", "medium", ADAPTIVE, "medium"),
        ("claude-opus-4-20250514", "medium", {"type": "enabled", "budget_tokens": 5120}, None),
        ("claude-opus-4@20250514", "max", {"type": "enabled", "budget_tokens": 12288}, None),
        ("claude-4-opus-20250514", "low", {"type": "enabled", "budget_tokens": 2048}, None),
        ("claude-haiku-4-5-20251001", "high", {"type": "enabled", "budget_tokens": 10240}, None),
        ("claude-3-7-sonnet-latest", "low", {"type": "enabled", "budget_tokens": 2048}, None),
        ("some-model", "low", {"type": "enabled", "budget_tokens": 2048}, None),
    ],
)
def test_lets_each_model_think_in_its_way(model, effort, thinks, sent):
    body = encode_body(model=model, options=Options(reasoning_effort=effort))
    assert body["thinking"] == thinks
    assert body.get("output_config", {}).get("effort") == sent


@pytest.mark.parametrize(
    ("budget", "thinks"), [(0, {"type": "disabled"}), (2000, {"type": "enabled", "budget_tokens": 2000})]
)
@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-opus-4-6"])
def test_passes_a_budget(model, budget, thinks):
    assert encode_body(model=model, options=Options(reasoning_budget_tokens=budget))["thinking"] == thinks


@pytest.mark.parametrize(("summary", "display"), [("auto", "summarized"), ("none", "omitted")])
@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-opus-4-6"])
def test_shows_thoughts_as_the_options_say(model, summary, display):
    for thinks in ({"reasoning_effort": "low"}, {"reasoning_budget_tokens": 2000}):
        body = encode_body(model=model, options=Options(reasoning_summary=summary, **thinks))
        assert body["thinking"]["display"] == display


@pytest.mark.parametrize("settings", [{}, {"reasoning_budget_tokens": 0}])
def test_has_nothing_to_hide_where_it_does_not_think(settings):
    hidden = encode_body(model="claude-opus-4-6", options=Options(reasoning_summary="none", **settings))
    assert hidden == encode_body(model="claude-opus-4-6", options=Options(**settings))


def test_puts_effort_and_schema_together():
    body = encode_body(
        model="claude-opus-4-6", options=Options(reasoning_effort="low"), response_schema={"type": "object"}
    )
    assert body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}}


@pytest.mark.parametrize(
    ("model", "settings", "betas"),
    [
        ("claude-sonnet-4-5", {"tools": [TOOL], "reasoning_effort": "low"}, "interleaved-thinking-2025-05-14"),
        ("claude-sonnet-4-5", {"tools": [TOOL], "reasoning_budget_tokens": 0}, None),
        ("claude-sonnet-4-5", {"reasoning_effort": "low"}, None),
        ("claude-opus-4-6", {"tools": [TOOL], "reasoning_effort": "low"}, None),
    ],
)
def test_interleaves_manual_thinking_with_tools(model, settings, betas):
    assert encode_request(model=model, options=Options(**settings)).headers.get("anthropic-beta") == betas


def test_declares_a_tool_without_parameters():
    assert encode_body(options=Options(tools=[{"name": "ping"}]))["tools"] == [
        {"name": "ping", "input_schema": {"type": "object"}}
    ]


def test_declares_a_strict_tool_in_the_dialect():
    (tool,) = encode_body(options=Options(tools=[TOOL | {"strict": True}]))["tools"]
    assert tool["strict"] is True
    assert tool["input_schema"] == TOOL["parameters"] | {"additionalProperties": False}


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        ("none", {"type": "none"}),
        ({"name": "weather"}, {"type": "tool", "name": "weather"}),
    ],
)
def test_passes_the_tool_choice(choice, sent):
    assert encode_body(options=Options(tools=[TOOL], tool_choice=choice))["tool_choice"] == sent


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        (TextPart("text"), text("text")),
        (
            AssetPart(file("image/png"), Asset(id="f", mime_type="image/png")),
            {"type": "image", "source": {"type": "file", "file_id": "f"}},
        ),
        (
            AssetPart(file("application/pdf"), Asset(id="f", mime_type="x")),
            {"type": "document", "source": {"type": "file", "file_id": "f"}, "title": "name"},
        ),
        (
            InlinePart(file("image/png"), b"abc"),
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "YWJj"}},
        ),
        (
            InlinePart(file("application/pdf"), b"abc"),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "YWJj"},
                "title": "name",
            },
        ),
        (
            UriPart(Source.from_uri("https://a.example/x.png", mime_type="image/png")),
            {"type": "image", "source": {"type": "url", "url": "https://a.example/x.png"}},
        ),
        (
            UriPart(Source.from_arxiv("1706.03762")),
            {
                "type": "document",
                "source": {"type": "url", "url": "https://arxiv.org/pdf/1706.03762.pdf"},
                "title": "1706.03762.pdf",
            },
        ),
        (
            AssetPart(
                Source.from_file_id("f", mime_type="application/pdf"), Asset(id="f", mime_type="application/pdf")
            ),
            {"type": "document", "source": {"type": "file", "file_id": "f"}},
        ),
    ],
)
def test_puts_a_source_before_the_prompt(part, sent):
    request = encode_request("hi", parts=(part,))
    assert request.body["messages"] == [{"role": "user", "content": [sent, text("hi")]}]
    betas = "files-api-2025-04-14" if isinstance(part, AssetPart) else None
    assert request.headers.get("anthropic-beta") == betas


def test_refuses_a_part_it_cannot_carry():
    with pytest.raises(ConfigurationError, match="UploadPart"):
        encode_body(parts=(UploadPart(file("image/png"), "0" * 64),))


def test_sends_a_source_alone():
    assert encode_body(None, parts=(TextPart("text"), TextPart(" \n")))["messages"] == [build_message("text")]


def test_shows_the_files_of_earlier_turns_again():
    shown = AssetPart(file("application/pdf"), Asset(id="f1", mime_type="application/pdf"))
    turns = (Turn(role="user", content="what?", parts=(shown,)), Turn(role="assistant", content="a lamp"))
    request = encode_request("and now?", conversation=Conversation(turns=turns))
    block = {"type": "document", "source": {"type": "file", "file_id": "f1"}, "title": "name"}
    assert request.body["messages"][0] == {"role": "user", "content": [block, text("what?")]}
    assert "files-api" in request.headers["anthropic-beta"]


def test_shows_what_a_tool_returned():
    turn = Turn(role="tool", tool_call_id="c1", content="a chart", parts=(InlinePart(file("image/png"), b"abc"),))
    (message,) = encode_messages(turn)
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "YWJj"}}
    assert message["content"] == [{"type": "tool_result", "tool_use_id": "c1", "content": [image, text("a chart")]}]


def test_tells_that_a_tool_failed():
    turn = Turn(role="tool", tool_call_id="c1", content="no such city", is_error=True)
    (message,) = encode_messages(turn)
    assert message["content"] == [
        {"type": "tool_result", "tool_use_id": "c1", "content": "no such city", "is_error": True}
    ]


def test_replays_a_conversation():
    assert encode_messages(*CALLED, prompt="and Oslo?") == [
        build_message("weather?"),
        {"role": "assistant", "content": [text("let me see"), tool_use("weather", {"city": "Rome"}, "c1")]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "sunny"}, text("and Oslo?")],
        },
    ]


def test_merges_neighbours_of_one_role_and_skips_empty_turns():
    turns = [
        Turn(role="user", content="a"),
        Turn(role="assistant"),
        Turn(role="user", content=" "),
        Turn(role="user", content="b"),
        Turn(role="assistant", content="c"),
        Turn(role="assistant", content="d"),
    ]
    assert encode_messages(*turns, prompt="e") == [
        build_message("a", "b"),
        build_message("c", "d", role="assistant"),
        build_message("e"),
    ]


def test_puts_system_turns_into_the_instruction():
    conversation = Conversation(turns=(Turn(role="system", content="be kind"), Turn(role="user", content="a")))
    body = encode_body(None, conversation=conversation, options=Options(system_instruction="be brief"))
    assert (body["system"], body["messages"]) == ("be brief\n\nbe kind", [build_message("a")])


THOUGHTS = [thinking("one"), REDACTED, thinking("two")]


def build_assistant_turn(content="", state=None, calls=()):
    return Turn(role="assistant", content=content, tool_calls=calls, provider_state=state)


def test_replays_thoughts_first_and_in_their_order():
    turn = build_assistant_turn("so", {"anthropic_thinking_blocks": THOUGHTS}, (ToolCall("c1", "x", "{}"),))
    (message,) = encode_messages(turn)
    assert message["content"] == [*THOUGHTS, text("so"), tool_use("x", {}, "c1")]


def test_replays_interleaved_blocks_as_they_came():
    blocks = [thinking("a"), text("b"), thinking("c"), tool_use("x", {"k": 1}, "c1")]
    turn = build_assistant_turn("b", {"anthropic_content_blocks": blocks}, (ToolCall("c1", "x", '{"k": 1}'),))
    assert encode_messages(turn) == [{"role": "assistant", "content": blocks}]


@pytest.mark.parametrize(
    ("content", "calls", "sent"),
    [
        ("b", (), [text("b")]),
        ("B!", (ToolCall("c1", "x", "{}"),), [text("B!"), tool_use("x", {}, "c1")]),
    ],
)
def test_puts_thoughts_first_where_the_turn_was_changed(content, calls, sent):
    blocks = [text("b"), thinking("c"), tool_use("x", {}, "c1")]
    (message,) = encode_messages(build_assistant_turn(content, {"anthropic_content_blocks": blocks}, calls))
    assert message["content"] == [thinking("c"), *sent]


def test_replays_blocks_whose_texts_were_joined():
    blocks = [text("a"), thinking("c"), text("b "), text("c")]
    (message,) = encode_messages(build_assistant_turn("a\n\nb \n\nc", {"anthropic_content_blocks": blocks}))
    assert message["content"] == blocks


@pytest.mark.parametrize("state", [{"anthropic_thinking_blocks": "junk"}, {"anthropic_content_blocks": [1]}, {"x": 1}])
def test_tolerates_foreign_state(state):
    assert encode_messages(build_assistant_turn("so", state)) == [build_message("so", role="assistant")]


def test_skips_a_turn_of_thoughts_alone():
    assert encode_messages(build_assistant_turn("", {"anthropic_thinking_blocks": THOUGHTS}), prompt="hi") == [
        build_message("hi")
    ]


@pytest.mark.parametrize("arguments", ["not json", "[1]", ""])
def test_bad_arguments_become_none(arguments):
    (message,) = encode_messages(build_assistant_turn(calls=(ToolCall("c1", "x", arguments),)))
    assert message["content"] == [tool_use("x", {}, "c1")]


def offline(**fields):
    return Config(
        **({"provider": "anthropic", "model": "claude-sonnet-4-5", "api_key": "sk-ant-x"} | fields),
        base_url="http://127.0.0.1:9",
    )


@pytest.mark.parametrize(
    ("model", "settings", "message", "hint"),
    [
        ("claude-sonnet-4-5", {"reasoning_budget_tokens": 500}, "at least 1024", "0 switches"),
        ("claude-sonnet-4-5", {"reasoning_budget_tokens": 2048, "max_tokens": 2048}, "max_tokens 2048", "above 2048"),
        ("claude-sonnet-4-5", {"reasoning_budget_tokens": 16384}, "max_tokens 16384", "above 16384"),
        ("claude-sonnet-4-5", {"reasoning_effort": "high", "max_tokens": 77}, "max_tokens 77", "above 10240"),
        ("claude-sonnet-4-5", {"reasoning_effort": "hugely"}, "'hugely'", "low, medium, high, max"),
        ("claude-opus-4-6", {"reasoning_effort": "xhigh"}, "'xhigh'", "low, medium, high, max"),
        ("claude-3-5-haiku-latest", {"reasoning_effort": "low"}, "cannot think", "newer model"),
        ("claude-sonnet-4-5", {"temperature": 1.5}, "at most 1", "scale"),
    ],
)
def test_refuses_before_sending(model, settings, message, hint):
    with pytest.raises(ConfigurationError, match=message) as caught:
        run("hi", config=offline(model=model), options=Options(**settings))
    assert hint in caught.value.hint


def test_refuses_a_strict_tool_that_cannot_be():
    wide = {"type": "object", "properties": {f"f{number}": {"type": "string"} for number in range(25)}}
    options = Options(tools=[{"name": "walk", "strict": True, "parameters": wide}])
    with pytest.raises(ConfigurationError, match="'walk' cannot be strict"):
        run("hi", config=offline(), options=options)


@pytest.mark.parametrize(
    "source",
    [
        Source.from_youtube("https://youtu.be/x"),
        Source.from_uri("https://a.example/film.mp4", mime_type="video/mp4"),
        Source.from_uri("https://a.example/unknown"),
        Source.from_uri("gs://bucket/x.png", mime_type="image/png"),
        file("audio/mpeg"),
        file("image/tiff"),
        file("application/vnd.ms-excel"),
    ],
)
def test_refuses_input_that_the_api_does_not_accept(source):
    with pytest.raises(ConfigurationError, match="cannot take") as caught:
        run("what?", source=source, config=offline())
    assert "Source.from_file" in caught.value.hint


@pytest.mark.parametrize(
    ("mime", "delivery"),
    [("text/csv", "text"), ("text/markdown", "text"), ("image/webp", "upload"), ("application/pdf", "upload")],
)
def test_takes_text_as_text_and_uploads_the_rest(mime, delivery):
    assert INFO.find_rule(file(mime)).delivery == delivery


def test_refuses_raw_fields_that_an_option_has_written():
    raw = {"thinking": {"type": "disabled"}}
    options = Options(reasoning_budget_tokens=2048, provider_options={"anthropic": raw})
    with pytest.raises(ConfigurationError, match=r"sets thinking\.type, ") as caught:
        run("hi", config=offline(), options=options)
    assert caught.value.hint == "leave it out, or leave reasoning_budget_tokens out"


def test_lets_a_cache_of_one_call_live_as_long_as_a_raw_field_says():
    raw = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    requests = explain("hi", config=offline(), options=Options(provider_options={"anthropic": raw})).requests
    assert requests[0].body["cache_control"] == raw["cache_control"]


def test_says_how_to_switch_off_a_cache_that_no_option_asked_for():
    options = Options(provider_options={"anthropic": {"cache_control": None}})
    with pytest.raises(ConfigurationError, match="sets cache_control, ") as caught:
        run("hi", config=offline(), options=options)
    assert "Options(implicit_caching=False) switches off" in caught.value.hint


def test_needs_a_key(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="no API key") as caught:
        Config(provider="anthropic", model="m")
    assert "ANTHROPIC_API_KEY" in caught.value.hint


def test_bodies_are_plain_data():
    options = Options(tools=[TOOL], tool_choice="auto", reasoning_effort="low", implicit_caching=True)
    body = encode_body(options=options, conversation=Conversation(turns=CALLED), response_schema={"type": "object"})
    assert json.loads(json.dumps(body)) == body
