"""Tools that the provider runs: sent in its form, refused where it has none, and what they did is in the result."""

import json
from functools import cache
from typing import get_type_hints

import attrs
import pytest

from hosted_answers import ANSWERS, TOKEN
from odd_json import iter_paths, replace_part
from pollux_sync import (
    APIError,
    CodeExecution,
    Config,
    ConfigurationError,
    FileSearch,
    HttpResponse,
    ImageGeneration,
    Options,
    Output,
    RawTool,
    RemoteMCP,
    Reply,
    WebFetch,
    WebSearch,
    collect_deferred,
    defer,
    explain,
    hookimpl,
    run,
    run_tools,
    stages,
    stream,
    to_jsonable,
)
from pollux_sync.data.hosted import HOSTED_KINDS
from pollux_sync.data.request import Call
from pollux_sync.hooks.loading import PROVIDERS, load
from pollux_sync.hooks.relay import read_provider_info
from pollux_sync.testing.server import Answer, Events
from pollux_sync.wire.faults import HttpError, ReplyError
from streams import remove_times, sse

PROVIDER = pytest.mark.parametrize("provider", ANSWERS)
MODEL = "gemini-3-pro"
PLACE = {"city": "Kiel", "country": "DE"}
ADD = {"name": "add", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}


def build_config(provider, **fields):
    return Config(provider=provider, model=MODEL, api_key="key-0123456789", **fields)


def build_options(provider):
    return Options(tools=ANSWERS[provider][0])


def read_tools(provider, *tools):
    """Return the tools in the body of a request, without the functions of the call."""
    (request,) = explain("hi", config=build_config(provider), options=Options(tools=[*tools])).requests
    return request.body["tools"]


@pytest.mark.parametrize(
    ("provider", "tool", "sent"),
    [
        (
            "openai",
            WebSearch(allowed_domains=["example.org"], user_location=PLACE, context_size="low"),
            {
                "type": "web_search",
                "filters": {"allowed_domains": ["example.org"]},
                "user_location": {"type": "approximate", **PLACE},
                "search_context_size": "low",
            },
        ),
        ("openai", CodeExecution(), {"type": "code_interpreter", "container": {"type": "auto"}}),
        (
            "openai",
            FileSearch(stores=("vs_1",), max_results=3),
            {"type": "file_search", "vector_store_ids": ["vs_1"], "max_num_results": 3},
        ),
        ("openai", ImageGeneration(model="m"), {"type": "image_generation", "model": "m"}),
        (
            "anthropic",
            WebSearch(blocked_domains=["example.org"], max_uses=2, user_location=PLACE),
            {
                "type": "web_search_20250305",
                "name": "web_search",
                "blocked_domains": ["example.org"],
                "max_uses": 2,
                "user_location": {"type": "approximate", **PLACE},
            },
        ),
        (
            "anthropic",
            WebFetch(max_content_tokens=99),
            {
                "type": "web_fetch_20250910",
                "name": "web_fetch",
                "citations": {"enabled": True},
                "max_content_tokens": 99,
            },
        ),
        ("gemini", WebSearch(), {"googleSearch": {}}),
        ("gemini", WebFetch(), {"urlContext": {}}),
        (
            "gemini",
            FileSearch(stores=["s"], max_results=3),
            {"fileSearch": {"fileSearchStoreNames": ["s"], "topK": 3}},
        ),
        (
            "openrouter",
            WebSearch(blocked_domains=["example.org"], context_size="low"),
            {
                "type": "openrouter:web_search",
                "parameters": {"excluded_domains": ["example.org"], "search_context_size": "low"},
            },
        ),
        ("openrouter", WebFetch(max_uses=1), {"type": "openrouter:web_fetch", "parameters": {"max_uses": 1}}),
        ("local", RawTool({"type": "browser"}, provider="local"), {"type": "browser"}),
    ],
)
def test_is_sent_in_the_form_of_the_provider(provider, tool, sent):
    config = build_config(provider, base_url="http://127.0.0.1:9/v1") if provider == "local" else build_config(provider)
    (request,) = explain("hi", config=config, options=Options(tools=[tool])).requests
    assert request.body["tools"] == [sent]


def test_asks_openai_once_for_what_tools_of_a_kind_found():
    tools = [FileSearch(stores=["a"]), WebSearch(), FileSearch(stores=["b"])]
    (request,) = explain("hi", config=build_config("openai"), options=Options(tools=tools)).requests
    assert request.body["include"] == ["file_search_call.results", "web_search_call.action.sources"]


def test_asks_anthropic_for_no_citations_beside_a_schema():
    options = Options(tools=[WebFetch()], response_schema=dict[str, int])
    (request,) = explain("hi", config=build_config("anthropic"), options=options).requests
    assert request.body["tools"] == [{"type": "web_fetch_20250910", "name": "web_fetch"}]


def test_names_mcp_servers_where_the_provider_wants_them():
    (request,) = explain(
        "hi",
        config=build_config("anthropic"),
        options=Options(tools=[attrs.evolve(ANSWERS["anthropic"][0][-1], allowed_tools=["find"])]),
    ).requests
    assert request.body["mcp_servers"][0]["url"] == "https://mcp.example.org/docs"
    assert request.body["tools"] == [
        {
            "type": "mcp_toolset",
            "mcp_server_name": "docs",
            "default_config": {"enabled": False},
            "configs": {"find": {"enabled": True}},
        }
    ]
    assert "mcp-client" in request.headers["anthropic-beta"]


@PROVIDER
def test_goes_beside_functions(provider):
    function, *others = read_tools(provider, ADD, *ANSWERS[provider][0])
    assert "add" in json.dumps(function)
    assert len(others) == len(ANSWERS[provider][0])


def test_older_geminis_take_no_functions_beside_them():
    config = Config(provider="gemini", model="gemini-2.5-flash", api_key="key-0123456789")
    with pytest.raises(ConfigurationError, match="functions beside tools of the service"):
        explain("hi", config=config, options=Options(tools=[ADD, WebSearch()]))


@pytest.mark.parametrize(
    ("provider", "tool", "message"),
    [
        ("gemini", ImageGeneration(), "has no ImageGeneration"),
        ("anthropic", FileSearch(stores=["s"]), "has no FileSearch"),
        ("openrouter", CodeExecution(), "has no CodeExecution"),
        ("openai", WebSearch(max_uses=1, blocked_domains=["a"]), "does not honour blocked_domains, max_uses"),
        ("gemini", WebSearch(user_location=PLACE), "does not honour user_location"),
        ("openai", RawTool({"type": "computer"}, provider="anthropic"), "for provider 'anthropic', not 'openai'"),
        ("anthropic", WebSearch(allowed_domains=["a"], blocked_domains=["b"]), "allowed_domains and blocked_domains"),
    ],
)
def test_is_refused_by_name(provider, tool, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        explain("hi", config=build_config(provider), options=Options(tools=[tool]))
    assert caught.value.hint


@pytest.mark.parametrize(
    "build",
    [
        lambda: WebSearch(allowed_domains="example.org"),
        lambda: WebSearch(allowed_domains=[]),
        lambda: WebSearch(max_uses=0),
        lambda: WebSearch(user_location={"town": "Kiel"}),
        lambda: WebSearch(user_location={}),
        lambda: WebSearch(context_size="huge"),
        lambda: FileSearch(stores=[]),
        lambda: RawTool({}, provider="openai"),
        lambda: FileSearch(stores=None),
        lambda: RawTool({"type": {1}}, provider="openai"),
        lambda: RawTool({"type": "x"}, provider=None),
        lambda: RemoteMCP(name=None, url="https://mcp.example.org"),
        lambda: RemoteMCP(name="docs", url=None),
        lambda: RemoteMCP(name="docs", url="https://ann:secret@mcp.example.org"),
    ],
)
def test_refuses_fields_that_make_no_sense(build):
    with pytest.raises(ConfigurationError) as caught:
        build()
    assert caught.value.hint
    assert "secret" not in str(caught.value)


def test_keeps_lists_as_tuples():
    domains = ["example.org"]
    tool = WebSearch(allowed_domains=domains)
    domains.append("example.com")
    assert tool.allowed_domains == ("example.org",)
    assert {tool, FileSearch(stores=["s"])} == {tool, FileSearch(stores=("s",))}


def test_does_not_show_the_fields_of_a_raw_tool():
    assert repr(RawTool({"key": "k"}, provider="openai")) == "RawTool(provider='openai')"


@pytest.mark.parametrize(
    "tools",
    [
        [WebSearch(), WebSearch(allowed_domains=["a"])],
        [FileSearch(stores=["s"]), FileSearch(stores=["s"])],
        [RemoteMCP(name="docs", url="https://a.example"), RemoteMCP(name="docs", url="https://b.example")],
        [RawTool({"a": 1}, provider="openai"), RawTool({"a": 1}, provider="openai")],
    ],
)
def test_is_passed_once(tools):
    with pytest.raises(ConfigurationError, match=f"tools hold {type(tools[0]).__name__} more than once"):
        Options(tools=tools)


def test_takes_several_servers_stores_and_raw_tools():
    tools = [
        *(FileSearch(stores=[name]) for name in "ab"),
        *(RemoteMCP(name=name, url="https://a.example") for name in "ab"),
        *(RawTool({"type": name}, provider="openai") for name in "ab"),
    ]
    assert Options(tools=tools).hosted_tools == tools


@pytest.mark.parametrize(
    "take",
    [
        lambda tools: Options(tools=tools),
        lambda tools: run_tools("hi", tools=tools, config=build_config("openai")),
    ],
)
def test_a_class_is_refused_in_place_of_a_tool(take):
    with pytest.raises(ConfigurationError, match="is the class WebSearch") as caught:
        take([WebSearch])
    assert "WebSearch()" in caught.value.hint


@pytest.mark.parametrize("kind", HOSTED_KINDS.values())
def test_its_types_can_be_read(kind):
    assert {field.name for field in attrs.fields(kind)} <= get_type_hints(kind).keys()


@PROVIDER
@pytest.mark.parametrize("streams", [False, True], ids=["blocking", "stream"])
def test_what_it_did_is_in_the_result(provider, streams, server):
    _, body, events, expected = ANSWERS[provider]
    config = build_config(provider, base_url=f"{server.url}/v1")
    server.reply(Events([sse(*events, done=True)]) if streams else Answer(json=body))
    if streams:
        *_, last = stream("hi", config=config, options=build_options(provider))
        result = last.result
    else:
        result = run("hi", config=config, options=build_options(provider))
    output = Output(result)
    assert output.citations == expected["citations"]
    assert output.hosted_calls == expected["hosted_calls"]
    assert output.files == expected["files"]
    assert output.usage.web_search_requests == expected["searches"]
    assert result["citations"] == [[attrs.asdict(c, filter=lambda _, v: v is not None) for c in expected["citations"]]]
    for citation in output.citations:
        assert citation.end is None or 0 <= citation.start < citation.end <= len(output.text)
    json.dumps(to_jsonable(result))


@PROVIDER
def test_streams_like_it_answers_at_once(provider, server):
    _, body, events, _ = ANSWERS[provider]
    config = build_config(provider, base_url=f"{server.url}/v1")
    server.reply(Answer(json=body))
    whole = run("hi", config=config, options=build_options(provider))
    server.reply(Events([sse(*events, done=True)]))
    *_, last = stream("hi", config=config, options=build_options(provider))
    assert remove_times(last.result) == remove_times(whole)


@PROVIDER
def test_survives_being_stored(provider):
    reply = decode(provider, ANSWERS[provider][1])
    assert Reply.from_dict(json.loads(json.dumps(reply.to_dict()))) == reply


@cache
def open_call(provider):
    return stages.open_hooks(build_config(provider)), Call(
        index=0, model=MODEL, prompt="hi", options=build_options(provider)
    )


def decode(provider, body):
    hooks, call = open_call(provider)
    return stages.decode_reply(HttpResponse(status=200, body=body), call, hooks)


@PROVIDER
def test_reads_damaged_answers(provider):
    body = ANSWERS[provider][1]
    for path in iter_paths(body):
        for odd in (None, True, 3, "x", [3], {"": None}):
            try:
                reply = decode(provider, replace_part(body, path, odd))
            except (HttpError, ReplyError, ConfigurationError):
                continue
            json.dumps(reply.to_dict())


@PROVIDER
def test_is_part_of_a_tool_loop(provider, server):
    _, body, _, expected = ANSWERS[provider]
    server.reply(Answer(json=body))
    config = build_config(provider, base_url=f"{server.url}/v1")

    def add(n: int) -> int:
        return n

    result = run_tools("hi", tools=[add, *ANSWERS[provider][0]], config=config)
    assert Output(result).files == expected["files"]
    (request,) = server.requests
    assert TOKEN in request.body.decode() or provider == "openrouter"


@PROVIDER
def test_shows_no_token(provider):
    options = build_options(provider)
    shown = explain("hi", config=build_config(provider), options=options)
    assert TOKEN not in f"{shown!r}{shown}{options!r}"


def test_every_declared_field_exists():
    for provider in ANSWERS:
        for kind, fields in read_provider_info(load(PROVIDERS, provider)).hosted_tools.items():
            assert fields <= set(attrs.fields_dict(HOSTED_KINDS[kind]))


def test_is_answered_by_the_mock():
    result = run("hi", config=Config(provider="openai", model="m", use_mock=True), options=Options(tools=[WebSearch()]))
    assert [call.kind for call in Output(result).hosted_calls] == ["web_search"]


def test_may_be_deferred():
    config = Config(provider="openai", model="m", use_mock=True)
    result = collect_deferred(defer("hi", config=config, options=Options(tools=[WebSearch()])), config=config)
    assert [call.kind for call in Output(result).hosted_calls] == ["web_search"]


def test_a_token_is_not_deferred():
    options = build_options("openai")
    with pytest.raises(ConfigurationError, match="would be in a file"):
        defer("hi", config=Config(provider="openai", model="m", use_mock=True), options=options)


@PROVIDER
def test_a_token_is_not_part_of_the_request_key(provider):
    hooks, call = open_call(provider)
    tools = [attrs.evolve(tool, token="another") if tool.kind == "remote_mcp" else tool for tool in call.options.tools]
    other = attrs.evolve(call, options=Options(tools=tools))
    assert stages.request_key(other, hooks) == stages.request_key(call, hooks)
    assert TOKEN.encode() not in stages.render_request(call, hooks).content


def test_an_error_shows_no_token_that_a_middleware_has_added(server):
    class Middleware:
        @hookimpl
        def pollux_rewrite_call(self, call):
            return attrs.evolve(call, options=build_options("openai"))

    server.reply(Answer(status=400, json={"error": {"message": f"the server refused {TOKEN}"}}))
    config = build_config("openai", base_url=f"{server.url}/v1", plugins=[Middleware()])
    with pytest.raises(APIError) as caught:
        run("hi", config=config)
    assert TOKEN not in f"{caught.value!r}{caught.value}"


def test_the_mark_in_place_of_a_token_is_no_secret():
    options = build_options("openai").hide_secrets()
    assert (options.secrets, options.hide_secrets()) == ((), options)


def test_an_error_shows_no_token(server):
    server.reply(Answer(status=400, json={"error": {"message": f"the server refused {TOKEN}"}}))
    with pytest.raises(APIError) as caught:
        run("hi", config=build_config("openai", base_url=f"{server.url}/v1"), options=build_options("openai"))
    assert TOKEN not in f"{caught.value!r}{caught.value}"
