"""The claims of docs/reference/provider-capabilities.md on options, sources and schemas, without a network.

Calls go the whole way from `run` through the provider's own hooks; only the wire is the test's.
"""

import base64
import json
import time

import attrs
import pytest

from capabilities import CALLS, CONTENT, NO, OPTIONS, PAGE, SOURCES, declarations, page
from pollux_sync import (
    APIError,
    CacheHandle,
    Config,
    ConfigurationError,
    HttpResponse,
    Options,
    Reply,
    RetryPolicy,
    Source,
    WebSearch,
    create_cache,
    defer,
    explain,
    hookimpl,
    list_models,
    run,
    run_many,
    stream,
)
from pollux_sync.data.handles import Asset
from pollux_sync.engine.conversing import STATE_KEY
from pollux_sync.schemas import lint

pytestmark = pytest.mark.usefixtures("no_network")
INFOS = declarations()

#: Configurations that meet the conditions under which a provider honours its options.
MET = {
    "anthropic": {"model": "claude-sonnet-4-6"},
    "gemini": {"model": "gemini-2.5-flash"},
    "local": {"provider_options": {"takes_reasoning_effort": True, "takes_service_tier": True}},
}

OLD_CLAUDE, OLD_GEMINI = {"model": "claude-3-5-haiku"}, {"model": "gemini-2.0-flash"}
#: For each condition that a provider declares: a configuration and a value (or several options) that do not meet it,
#: and what is refused.
UNMET = {
    ("anthropic", "response_schema"): ({}, dict, "has no JSON mode"),
    ("anthropic", "temperature"): ({}, 1.5, "temperature must be at most 1"),
    ("anthropic", "top_p"): ({}, {"top_p": 0.5, "temperature": 0.5}, "does not take top_p beside temperature"),
    ("anthropic", "reasoning_effort"): (OLD_CLAUDE, "low", "cannot think"),
    ("anthropic", "reasoning_budget_tokens"): (OLD_CLAUDE, 2048, "cannot think"),
    ("anthropic", "reasoning_summary"): (
        {},
        {"reasoning_summary": "concise", "reasoning_effort": "low"},
        "takes no reasoning_summary 'concise'",
    ),
    ("anthropic", "service_tier"): ({}, "flex", "has no service_tier 'flex'"),
    ("gemini", "tool_choice"): ({}, {"tools": [WebSearch()], "tool_choice": "required"}, "is about functions"),
    ("gemini", "temperature"): ({}, 2.5, "temperature must be at most 2"),
    ("gemini", "stop"): ({}, {"stop": ["a", "b", "c", "d", "e", "f"]}, "stop takes up to 5 texts"),
    ("gemini", "response_schema"): (
        {},
        {"response_schema": {"type": "object"}, "tools": [{"name": "ping"}]},
        "does not take a response_schema beside tools",
    ),
    ("gemini", "reasoning_effort"): (OLD_GEMINI, "low", "cannot think"),
    ("gemini", "reasoning_budget_tokens"): (OLD_GEMINI, 2048, "cannot think"),
    ("gemini", "reasoning_summary"): ({}, "detailed", "takes no reasoning_summary 'detailed'"),
    ("local", "response_schema"): ({"base_url": "https://api.openai.com/v1"}, dict, "needs the word JSON"),
    ("openai", "response_schema"): ({}, dict, "needs the word JSON"),
    ("openrouter", "response_schema"): ({"model": "openai/gpt-5-mini"}, dict, "needs the word JSON"),
    ("local", "reasoning_effort"): ({"provider_options": {}}, "low", "ignore reasoning_effort"),
    ("local", "service_tier"): ({"provider_options": {}}, "flex", "ignore service_tier"),
} | {
    (name, "implicit_caching"): ({}, "1h", "cannot promise to keep what it caches for 1h")
    for name in ("gemini", "local", "openai", "openrouter")
}

PING, PONG = {"name": "ping"}, {"name": "pong"}
UPLOADED = "file-1"


def samples(option, config):
    """Options that differ in this one: no two of them may make the same request."""
    history = [{"role": "user", "content": "earlier"}]
    state = {"version": 1, "provider": config.provider, "history": [{"role": "user", "content": "before"}]}
    cache = CacheHandle("caches/1", config.model, config.provider, time.time() + 3600)
    tools = {"tools": [PING, PONG]}
    return {
        "system_instruction": [{}, {"system_instruction": "Be brief."}],
        "response_schema": [{}, {"response_schema": record("a")}, {"response_schema": record("b")}],
        "tools": [{}, {"tools": [PING]}, tools],
        "tool_choice": [tools, *(tools | {"tool_choice": c} for c in ("auto", "required", "none", PONG))],
        "temperature": [{}, {"temperature": 0}, {"temperature": 0.5}],
        "top_p": [{}, {"top_p": 0}, {"top_p": 0.5}],
        "stop": [{}, {"stop": "END"}, {"stop": ["END", "."]}],
        "seed": [{}, {"seed": 0}, {"seed": 7}],
        "service_tier": [{}, {"service_tier": "auto"}, {"service_tier": "default"}],
        "parallel_tool_calls": [tools, *(tools | {"parallel_tool_calls": value} for value in (True, False))],
        "max_tokens": [{}, {"max_tokens": 1}, {"max_tokens": 77}],
        "reasoning_effort": [{}, {"reasoning_effort": "low"}, {"reasoning_effort": "high"}],
        "reasoning_budget_tokens": [{}, {"reasoning_budget_tokens": 0}, {"reasoning_budget_tokens": 2048}],
        "reasoning_summary": [{"reasoning_effort": "low", "reasoning_summary": shown} for shown in ("auto", "none")],
        "history": [{}, {"history": history}, {"continue_from": {STATE_KEY: state}}],
        "cache": [{}, {"cache": cache}],
        "implicit_caching": [{"implicit_caching": value} for value in (False, True, "5m", "1h")],
    }[option]


def record(*names, optional=(), **schemas):
    properties = {name: {"type": "string"} for name in (*names, *optional)} | schemas
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


class Wire:
    """In the place of the network: keeps what would go there."""

    def __init__(self):
        self.requests = []
        self.uploaded = []
        self.deleted = []

    @hookimpl(tryfirst=True)
    def pollux_open(self):
        return self

    @hookimpl(tryfirst=True)
    def pollux_close(self):
        return True

    @hookimpl(tryfirst=True)
    def pollux_upload(self, source):
        self.uploaded.append(source.content_loader())
        return Asset(id=UPLOADED, mime_type=source.mime_type, uri=f"https://host.example/{UPLOADED}")

    @hookimpl(tryfirst=True)
    def pollux_delete_upload(self, asset):
        self.deleted.append(asset.id)
        return True

    @hookimpl(tryfirst=True)
    def pollux_send(self, request):
        self.requests.append(request)
        return HttpResponse(status=200)

    @hookimpl(tryfirst=True)
    def pollux_decode(self):
        return Reply(text="{}", finish_reason="stop")

    @property
    def is_untouched(self):
        return not (self.requests or self.uploaded or self.deleted)


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def config(info, wire):
    """Makes configurations of the provider that meet its conditions."""

    def make(**fields):
        reach = {"api_key": "sk-made-up"} if info.needs_key else {}
        address = {} if info.base_url_policy == "fixed" else {"base_url": "https://host.example/v1"}
        meeting = {"model": "m"} | MET.get(info.name, {})
        return Config(**({"provider": info.name, "plugins": [wire]} | reach | address | meeting | fields))

    return make


def capture_request(wire, config, options=None, source=None):
    """The one request that the call makes, as JSON text."""
    wire.requests.clear()
    run("a question", source=source, config=config, options=Options(**(options or {})))
    (request,) = wire.requests
    return json.dumps(attrs.asdict(request) | {"fields": request.body}, sort_keys=True)


def assert_refused(wire, match, **call):
    with pytest.raises(ConfigurationError, match=match) as caught:
        run("a question", **call)
    assert caught.value.hint
    assert wire.is_untouched


def cells(features, *, declared):
    """One test for each provider and feature of which ``declared`` is true."""
    return [
        pytest.param(info, *f, id="-".join([info.name, *f])) for info in INFOS for f in features if declared(info, *f)
    ]


OPTION_CELLS = [(option,) for option in OPTIONS]


def is_in_the_request(info, option):
    """Return whether a declared option changes the request of a single call: some services cache by themselves."""
    return option in info.options and (option != "implicit_caching" or takes_ttl(info))


def takes_ttl(info):
    return info.prefix_caching is not None and bool(info.prefix_caching.ttls)


@pytest.mark.parametrize(("info", "option"), cells(OPTION_CELLS, declared=is_in_the_request))
def test_declared_option_changes_the_request(info, option, wire, config):
    given = samples(option, config())
    assert len({capture_request(wire, config(), options) for options in given}) == len(given)


@pytest.mark.parametrize("info", [info for info in INFOS if not takes_ttl(info)], ids=lambda info: info.name)
def test_service_that_caches_by_itself_is_not_asked_to(info, wire, config):
    requests = [capture_request(wire, config(), {"implicit_caching": value}) for value in (False, True)]
    assert requests[0] == requests[1]


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
def test_first_of_several_calls_goes_ahead_with_implicit_caching(info, wire, config):
    n_sent = []

    class Watch:
        @hookimpl(tryfirst=True)
        def pollux_decode(self):
            n_sent.append(len(wire.requests))

    options = Options(implicit_caching=True)
    result = run_many(
        [*"abcdef"], sources=[Source.from_text("x")], config=config(plugins=[wire, Watch()]), options=options
    )
    assert n_sent[0] == 1
    assert result["status"] == "ok"


@pytest.mark.parametrize(
    ("info", "option"), cells(OPTION_CELLS, declared=lambda info, option: option not in info.options)
)
def test_undeclared_option_is_refused(info, option, wire, config):
    for options in samples(option, config())[1:]:
        assert_refused(wire, f"does not support {option}", config=config(), options=Options(**options))


@pytest.mark.parametrize(
    ("info", "option"), cells(OPTION_CELLS, declared=lambda info, option: option in info.conditions)
)
def test_option_is_refused_where_its_condition_is_not_met(info, option, wire, config):
    fields, value, refusal = UNMET[info.name, option]
    options = value if isinstance(value, dict) else {option: value}
    assert_refused(wire, refusal, config=config(**fields), options=Options(**options))


def test_every_condition_is_tested():
    assert {(info.name, option) for info in INFOS for option in info.conditions} == set(UNMET)


SOURCE_CELLS = [(kind, name) for kind, sources in SOURCES.items() for name in sources]


def find_rule(info, kind, name):
    return info.find_rule(SOURCES[kind][name])


def find_trace(source, delivery):
    """Return the text that a source leaves in the request with this delivery."""
    return {
        "text": CONTENT,
        "inline": base64.b64encode(CONTENT.encode()).decode(),
        "upload": UPLOADED,
        "uri": source.identifier,
        "stored": source.identifier,
    }[delivery]


@pytest.mark.parametrize(("info", "kind", "name"), cells(SOURCE_CELLS, declared=find_rule))
def test_declared_source_has_the_delivery_of_the_table(info, kind, name, wire, config):
    source, delivery = SOURCES[kind][name], find_rule(info, kind, name).delivery
    request = capture_request(wire, config(uploads="always" if delivery == "upload" else "auto"), source=source)
    assert find_trace(source, delivery) in request
    stored = [UPLOADED] if delivery == "upload" else []
    assert (wire.uploaded, wire.deleted) == ([CONTENT.encode() for _ in stored], stored)


def stores_files(info):
    return any(rule.delivery == "upload" for rule in info.sources)


def has_inline_limits(info, kind, name):
    rule = find_rule(info, kind, name)
    return rule is not None and rule.inline is not None


def has_one_delivery(info, kind, name):
    """Return whether `uploads` is allowed and changes nothing for the source."""
    return stores_files(info) and find_rule(info, kind, name) and not has_inline_limits(info, kind, name)


@pytest.mark.parametrize(("info", "kind", "name"), cells(SOURCE_CELLS, declared=has_inline_limits))
def test_small_file_goes_inside_the_request_where_that_is_declared(info, kind, name, wire, config):
    source = SOURCES[kind][name]
    assert find_trace(source, "inline") in capture_request(wire, config(), source=source)
    assert wire.uploaded == []


@pytest.mark.parametrize(("info", "kind", "name"), cells(SOURCE_CELLS, declared=has_one_delivery))
def test_source_has_the_declared_delivery_alone_without_inline_limits(info, kind, name, wire, config):
    source = SOURCES[kind][name]
    requests = [capture_request(wire, config(uploads=uploads), source=source) for uploads in ("auto", "always")]
    assert requests[0] == requests[1]


@pytest.mark.parametrize("info", [info for info in INFOS if not stores_files(info)], ids=lambda info: info.name)
def test_uploads_always_is_refused_where_no_files_are_stored(config):
    with pytest.raises(ConfigurationError, match="stores no files, so uploads cannot be 'always'"):
        config(uploads="always")


@pytest.mark.parametrize(
    ("info", "kind", "name"), cells(SOURCE_CELLS, declared=lambda info, *cell: find_rule(info, *cell) is None)
)
def test_undeclared_source_is_refused(info, kind, name, wire, config):
    assert_refused(wire, "cannot take", config=config(), source=SOURCES[kind][name])


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
def test_table_shows_all_that_is_declared(info):
    matched = [info.find_rule(source) for sources in SOURCES.values() for source in sources.values()]
    assert set(info.sources) <= set(matched)
    assert set(info.conditions) <= info.options <= set(OPTIONS)


#: A type with everything that dialects differ in.
SHAPES = record(
    "always",
    optional=["maybe"],
    mapped={"type": "object", "additionalProperties": {"type": "integer"}},
    pair={"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False, "minItems": 2},
    anything={},
    node={"$ref": "#/$defs/node"},
) | {"$defs": {"node": record("name", nodes={"type": "array", "items": {"$ref": "#/$defs/node"}})}}


def iter_objects(value):
    """Every JSON object inside of a value."""
    if isinstance(value, dict):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        yield from iter_objects(item)


def schema_with(request, name):
    """The schema in the request that has a property of this name."""
    found = (inner for inner in iter_objects(json.loads(request)) if name in inner.get("properties", ()))
    return next(found, None)


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
def test_schema_is_sent_in_the_form_of_the_dialect(info, wire, config):
    request = capture_request(wire, config(), {"response_schema": SHAPES})
    sent, node = schema_with(request, "always"), schema_with(request, "nodes")
    properties = sent["properties"]
    facts = {
        "all_required": "maybe" in sent["required"],
        "allows_open_maps": properties["mapped"]["type"] == "object",
        "allows_tuples": "prefixItems" in properties["pair"],
        "allows_any": "type" not in properties["anything"],
        "allows_recursion": "$ref" in node["properties"]["nodes"]["items"],
    }
    assert facts == {name: getattr(info.schema_dialect, name) for name in facts}


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
def test_schema_without_an_object_at_its_root_is_put_into_one_where_it_must(info, wire, config):
    schema = {"type": "array", "items": record("item")}
    request = capture_request(wire, config(), {"response_schema": schema})
    assert bool(schema_with(request, "value")) == info.schema_dialect.needs_object_root
    assert schema_with(request, "item")


def build_schema_of_size(limit, size):
    """A type that measures exactly so much of one limit."""
    names = [f"p{number}" for number in range(size)]
    union = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    if limit == "max_depth":
        return record("leaf") if size == 1 else record(inner=build_schema_of_size(limit, size - 1))
    return {
        "max_properties": lambda: record(*names),
        "max_optional": lambda: record(optional=names),
        "max_unions": lambda: record(**dict.fromkeys(names, union)),
        "max_enum_values": lambda: record(choice={"type": "integer", "enum": list(range(size))}),
        "max_name_chars": lambda: record("x" * size),
    }[limit]()


LIMITS = [(field.name,) for field in attrs.fields(type(INFOS[0].schema_dialect.limits))]


def read_limit(info, limit):
    return getattr(info.schema_dialect.limits, limit)


@pytest.mark.parametrize(("info", "limit"), cells(LIMITS, declared=read_limit))
def test_schema_fits_up_to_the_limit_and_is_refused_above(info, limit, wire, config):
    most = read_limit(info, limit)
    # Not asked for with a call: 5000 properties cost seconds there, and what refuses them is the same function.
    assert not any(
        finding.severity == "error" for finding in lint(build_schema_of_size(limit, most), info.schema_dialect)
    )
    above = Options(response_schema=build_schema_of_size(limit, most + 1))
    wire.requests.clear()
    assert_refused(wire, f"{most} are allowed", config=config(), options=above)


@pytest.mark.parametrize(("info", "limit"), cells(LIMITS, declared=lambda *cell: read_limit(*cell) is None))
def test_schema_without_a_known_limit_may_be_large(info, limit, wire, config):
    assert capture_request(wire, config(), {"response_schema": build_schema_of_size(limit, 50)})


def test_page_matches_the_declarations():
    assert PAGE.read_text(encoding="utf-8") == page(INFOS), "make docs writes it anew"


#: One of each call that is a provider's to answer, as the page names them.
CALLING = {
    "`stream`, `stream_many`": lambda config: stream("hi", config=config).result(),
    "`defer`, `defer_many`": lambda config: defer("hi", config=config),
    "`create_cache`": lambda config: create_cache([Source.from_text("long")], config=config),
    "`list_models`": lambda config: list_models(config=config),
    "`explain(count_tokens=True)`": lambda config: explain("hi", config=config, count_tokens=True),
}


class Unreachable:
    """A client whose every request fails."""

    files = property(lambda self: self)

    def __getattr__(self, name):
        def fail(*args, **kwargs):
            raise ConnectionResetError

        return fail


class OfTheTest:
    """Middleware that opens it."""

    @hookimpl(tryfirst=True)
    def pollux_open(self):
        return Unreachable()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
def test_calls_match_the_page(info, call):
    line = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| {call} |"))
    cell = line.split("|")[2 + [known.name for known in INFOS].index(info.name)].strip()
    plugins = [] if info.name == "mock" else [OfTheTest()]
    config = Config(
        provider=info.name,
        model="gemini-2.5-flash",
        api_key="k",
        plugins=plugins,
        base_url=None if info.name == "mock" else "http://127.0.0.1:9/v1",
        retry=RetryPolicy(max_attempts=1),
    )
    if cell == NO:
        with pytest.raises(ConfigurationError):
            CALLING[call](config)
    elif info.name == "mock":
        CALLING[call](config)
    else:
        with pytest.raises(APIError):
            CALLING[call](config)
