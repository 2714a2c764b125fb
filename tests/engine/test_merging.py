"""Raw fields and headers of the caller in a request: merged, added, or refused before anything is spent."""

import attrs
import pytest

from acme_provider import _part
from acme_server import FileServer, build_answer
from installing import install
from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    Options,
    Source,
    defer,
    defer_many,
    explain,
    hookimpl,
    process,
    run,
    run_many,
    stream,
    stream_many,
)
from pollux_sync.data.provider import HttpRequest
from pollux_sync.data.reply import Reply
from pollux_sync.data.streaming import TextDelta
from pollux_sync.testing import Script
from pollux_sync.testing.server import Answer, Events

SECRET = "tok-very-secret"
BODY = {
    "limits": {"time": 1, "space": {"disk": 2}},
    "tags": ["a"],
    "tools": [{"name": "ping"}],
    "is_fast": True,
    "count": 1,
    "nothing": None,
}


class Writing:
    """Has the provider write a body of its own, beside the parts."""

    def __init__(self, **body):
        self.body = body

    @hookimpl(tryfirst=True)
    def pollux_encode(self, call):
        parts = [_part(part) for part in call.parts]
        return HttpRequest(path="/ask", body=self.body | {"prompt": call.prompt, "parts": parts})


def raw(**fields):
    return Options(provider_options={"acme": fields})


@pytest.fixture
def send(server, config):
    """Return a function that asks with raw fields, of a provider that writes `BODY`; it returns what was sent."""

    def send(**fields):
        server.reply(build_answer())
        run("hi", config=config(plugins=[Writing(**BODY)]), options=raw(**fields))
        return server.requests[-1].json()

    return send


@pytest.fixture
def refuse(server, config):
    """Return a function that asks in vain, and returns the error."""

    def refuse(options, *, plugins=(), **call):
        with pytest.raises(ConfigurationError) as caught:
            run("hi", config=config(plugins=plugins), options=options, **call)
        assert server.requests == []
        return caught.value

    return refuse


def test_merges_objects_at_every_depth(send):
    assert send(limits={"space": {"memory": 3}, "calls": 4})["limits"] == {
        "time": 1,
        "space": {"disk": 2, "memory": 3},
        "calls": 4,
    }


def test_puts_tools_behind_those_of_the_call(send):
    assert send(tools=[{"type": "search"}])["tools"] == [{"name": "ping"}, {"type": "search"}]


def test_puts_a_tuple_of_tools_behind_those_of_the_call(send):
    assert send(tools=({"type": "search"},))["tools"] == [{"name": "ping"}, {"type": "search"}]


@pytest.mark.parametrize("fields", [{"beam": 4}, {"extra": {"a": [1]}}, {"nothing": 5}, {"nothing": None}])
def test_sends_what_the_call_did_not_write(send, fields):
    assert fields.items() <= send(**fields).items()


@pytest.mark.parametrize(
    "fields", [{"count": 1}, {"count": 1.0}, {"is_fast": True}, {"tags": ["a"]}, {"limits": {"time": 1}}]
)
def test_takes_a_value_that_the_call_writes_too(send, fields):
    assert BODY.items() <= send(**fields).items()


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"count": 2}, "count"),
        ({"count": True}, "count"),
        ({"count": None}, "count"),
        ({"is_fast": 1}, "is_fast"),
        ({"tags": ["b"]}, "tags"),
        ({"tags": {}}, "tags"),
        ({"tools": {"type": "search"}}, "tools"),
        ({"limits": 5}, "limits"),
        ({"limits": {"space": {"disk": 3}}}, "limits.space.disk"),
        ({"limits": {"space": []}}, "limits.space"),
    ],
)
def test_refuses_another_value_with_its_path(refuse, fields, path):
    error = refuse(raw(**fields), plugins=[Writing(**BODY)])
    assert error.message == f"provider_options['acme'] sets {path}, which this call writes itself"
    assert error.hint


def test_leaves_the_body_of_the_provider_as_it_is(send):
    before = repr(BODY)
    send(limits={"space": {"memory": 3}}, tools=[{"type": "search"}])
    assert repr(BODY) == before


def test_names_the_option_to_leave_out_if_the_call_has_it(refuse):
    options = attrs.evolve(raw(temperature=1), temperature=0.5)
    assert refuse(options, plugins=[Writing(temperature=0.5)]).hint == "leave it out, or leave temperature out"


def test_names_the_option_to_use_if_the_call_does_not_have_it(refuse):
    error = refuse(raw(temperature=1), plugins=[Writing(temperature=0.5)])
    assert error.hint == "leave it out and use Options(temperature=...)"


# what a provider declares


@pytest.fixture
def declaring(tmp_path, monkeypatch, server):
    """Return a function that makes configurations for a provider with declarations."""
    install(tmp_path / "declaring", "pollux-declaring", declaring="declaring_provider:Declaring")
    monkeypatch.syspath_prepend(str(tmp_path / "declaring"))
    fields = {"provider": "declaring", "model": "m", "api_key": "k-secret", "base_url": server.url}
    return lambda **more: Config(**fields, **more)


@pytest.fixture
def refuse_declared(server, declaring):
    def refuse(**options):
        with pytest.raises(ConfigurationError) as caught:
            run("hi", config=declaring(), options=Options(**options))
        assert server.requests == []
        return caught.value

    return refuse


def declared(**fields):
    return {"provider_options": {"declaring": fields}}


def test_refuses_what_may_never_be_set(refuse_declared):
    error = refuse_declared(**declared(model="x"))
    assert error.message == "provider_options['declaring'] sets model, which Options and Config manage"
    assert error.hint == "leave model out and use Config(model=...)"


def test_refuses_a_field_inside_an_object_that_may_never_be_set(refuse_declared):
    error = refuse_declared(**declared(stream_options={"include_usage": False}))
    assert " sets stream_options.include_usage, " in error.message


@pytest.mark.parametrize("value", [{"chunk": 9}, None])
def test_takes_other_fields_of_that_object_and_null_in_its_place(server, declaring, value):
    server.reply(build_answer())
    run("hi", config=declaring(), options=Options(**declared(stream_options=value)))
    assert server.requests[0].json()["stream_options"] == value


def test_refuses_another_value_in_place_of_that_object(refuse_declared):
    assert "must be a dict" in refuse_declared(**declared(stream_options=7)).message


@pytest.mark.parametrize(
    ("fields", "options", "hint"),
    [
        ({"text": {"format": {"type": "y"}}}, {}, "leave it out and use Options(response_schema=...)"),
        ({"text": 1}, {}, "leave it out and use a text"),
        ({"effort": {"level": 2}}, {"temperature": 1}, "leave it out, or leave temperature out"),
        (
            {"effort": {"level": 2}},
            {"temperature": 1, "system_instruction": "Be brief."},
            "leave it out, or leave temperature and system_instruction out",
        ),
    ],
)
def test_looks_for_the_hint_at_the_longest_path_that_is_known(refuse_declared, fields, options, hint):
    assert refuse_declared(**declared(**fields), **options).hint == hint


def test_joins_lists_of_headers_without_doubles(server, declaring):
    server.reply(build_answer())
    headers = {"declaring": {"x-BETAS": "tools, files,,more"}}
    run("hi", config=declaring(headers={"X-betas": "mine,tools"}), options=Options(provider_headers=headers))
    assert server.requests[0].headers["x-betas"] == "mine,tools,files,more"


def test_refuses_another_header_that_the_call_writes(refuse_declared):
    error = refuse_declared(provider_headers={"declaring": {"X-Version": "2"}})
    assert error.message == "provider_headers['declaring'] holds 'X-Version', which this call writes itself"


def test_takes_a_header_that_the_call_writes_too(server, declaring):
    server.reply(build_answer())
    run("hi", config=declaring(), options=Options(provider_headers={"declaring": {"X-Version": "1"}}))
    assert server.requests[0].headers["x-version"] == "1"


def test_refuses_the_header_that_carries_the_key(refuse_declared):
    error = refuse_declared(provider_headers={"declaring": {"x-declaring": SECRET}})
    assert error.message == "provider_headers['declaring'] holds 'x-declaring', which carries the key"
    assert SECRET not in f"{error!r} {error.hint}"


# before anything is spent


@pytest.fixture
def picture(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return Source.from_file(tmp_path / "a.png")


@pytest.mark.parametrize("ask", [run_many, explain, stream_many])
def test_refuses_before_a_file_is_stored(server, config, picture, ask):
    reach = config(plugins=[Writing(count=1), Streaming()], uploads="always")
    with pytest.raises(ConfigurationError, match="sets count, "):
        ask(["hi", "ho"], sources=[picture], config=reach, options=raw(count=2))
    assert server.requests == []


class Streaming:
    @hookimpl
    def pollux_decode_stream(self, stream):
        for event in stream:
            yield TextDelta(event.data["answer"])
            yield Reply(text=event.data["answer"], finish_reason="stop")


class Needy:
    """Encodes no call without parts."""

    @hookimpl(tryfirst=True)
    def pollux_encode(self, call):
        first = call.parts[0]
        return HttpRequest(path="/ask", body={"first": _part(first), "count": 1, "prompt": call.prompt})


def test_asks_though_the_provider_encodes_no_call_without_its_parts(server, config, picture):
    files = server.handler = FileServer()
    reach = config(plugins=[Needy()], uploads="always")
    assert run("hi", source=picture, config=reach, options=raw(beam=4))["answers"] == ["HI"]
    assert (server.requests[1].json()["beam"], files.deleted) == (4, ["id-a.png"])


@pytest.mark.parametrize("is_strict", ["0", "1"])
def test_refuses_at_the_last_moment_where_the_provider_needs_the_parts(server, config, picture, monkeypatch, is_strict):
    monkeypatch.setenv("POLLUX_SYNC_STRICT_PLUGINS", is_strict)
    files = server.handler = FileServer()
    with pytest.raises(ConfigurationError, match="sets count, "):
        run("hi", source=picture, config=config(plugins=[Needy()], uploads="always"), options=raw(count=2))
    assert [request.path for request in server.requests] == ["/files", "/files/id-a.png"]
    assert files.deleted == ["id-a.png"]


class Counting:
    """Counts how often a call is encoded, and keeps its parts."""

    def __init__(self):
        self.parts = []

    @hookimpl(wrapper=True)
    def pollux_encode(self, call):
        self.parts.append(call.all_parts)
        return (yield)


def test_encodes_once_more_only_for_raw_fields(server, config):
    server.handler = FileServer()
    for options, n_times in (
        (None, 3),
        (raw(), 3),
        (raw(beam=4), 4),
        (Options(provider_options={"mock": {"a": 1}}), 3),
    ):
        counting = Counting()
        run_many(["a", "b", "c"], config=config(plugins=[counting]), options=options)
        assert len(counting.parts) == n_times


def test_tries_without_the_files_of_earlier_turns(server, config, picture):
    counting = Counting()
    script = Script("fine")
    reach = Config(provider="acme", model="m", use_mock=True, plugins=[script, counting])
    turn = {"role": "user", "content": "What is it?", "sources": [picture.to_dict()]}
    run("Sure?", config=reach, options=Options(history=[turn], provider_options={"acme": {"beam": 4}}))
    assert [len(parts) for parts in counting.parts] == [0, 1]


def test_tries_a_call_whose_source_can_be_used(server, config):
    sources = [Source("text", "x", "text/plain", 1, lambda: b"\xff"), Source.from_text("b")]
    options = attrs.evolve(raw(count=2), on_error="keep")
    with pytest.raises(ConfigurationError, match="sets count, "):
        run_many("hi", sources=sources, config=config(plugins=[Writing(count=1)]), options=options, per_source=True)
    assert server.requests == []


class Silencing:
    """Takes the raw fields out of every call when it is sent, or puts them in."""

    def __init__(self, fields):
        self.options = raw(**fields)

    @hookimpl(wrapper=True)
    def pollux_rewrite_call(self, call):
        return attrs.evolve((yield), options=self.options)


def test_refuses_what_middleware_has_put_in_when_the_call_is_sent(server, config):
    with pytest.raises(ConfigurationError, match="sets count, ") as caught:
        run("hi", config=config(plugins=[Writing(count=1), Silencing({"count": 2})]))
    assert (caught.value.call_idx, server.requests) == (0, [])


# headers


def headers(**fields):
    return Options(provider_headers={"acme": {name.replace("_", "-"): value for name, value in fields.items()}})


def test_sends_headers_of_the_call(server, config):
    server.reply(build_answer())
    run("hi", config=config(headers={"X-Team": "red", "X-Floor": "3"}), options=headers(x_team="blue"))
    sent = server.requests[0].headers
    assert (sent["x-team"], sent["x-floor"], sent["authorization"]) == ("blue", "3", "Bearer sk-secret")


def test_sends_headers_of_the_call_with_a_stream(server, config):
    server.reply(Events([b'data: {"answer": "fine"}\n\n']))
    stream("hi", config=config(plugins=[Streaming()]), options=headers(x_team="blue")).result()
    assert server.requests[0].headers["x-team"] == "blue"


def test_sends_headers_with_no_upload(server, config, picture):
    server.handler = FileServer()
    run("hi", source=picture, config=config(uploads="always"), options=headers(x_team="blue"))
    assert [request.headers.get("x-team") for request in server.requests] == [None, "blue", None]


def test_headers_for_another_provider_wait(server, config):
    server.reply(build_answer())
    run("hi", config=config(), options=Options(provider_headers={"mock": {"X-Team": "blue"}}))
    assert "x-team" not in server.requests[0].headers


def test_refuses_headers_for_a_provider_that_is_not_installed(refuse):
    error = refuse(Options(provider_headers={"acmee": {"X-Team": "blue"}}))
    assert error.message == "provider_headers names 'acmee', which is not installed"
    assert error.hint.startswith("did you mean 'acme'?")


def test_shows_names_and_no_secret_values_in_an_explanation(config):
    explanation = explain("hi", config=config(), options=headers(X_Token=SECRET, X_Team="blue"))
    (request,) = explanation.requests
    assert (request.headers["X-Token"], request.headers["X-Team"]) == ("[REDACTED]", "blue")
    assert SECRET not in f"{explanation!r} {explanation} {explanation.to_dict()} {request.curl}"


def test_shows_no_secret_value_that_the_service_repeats(server, config):
    server.reply(Answer(status=401, json={"error": {"message": f"bad token {SECRET}"}}))
    with pytest.raises(APIError, match=r"bad token \[REDACTED\]") as caught:
        run("hi", config=config(), options=headers(X_Token=SECRET))
    assert SECRET not in f"{caught.value!r} {vars(caught.value)} {caught.value.__cause__!r}"


def test_shows_no_secret_value_in_the_repr_of_a_request():
    request = HttpRequest(path="/ask", headers={"X-Token": SECRET, "X-Team": "blue"})
    assert SECRET not in repr(request)
    assert "'X-Team': 'blue'" in repr(request)


def test_refuses_to_defer_headers():
    reach = Config(provider="openai", model="m", use_mock=True)
    options = Options(provider_headers={"openai": {"X-Team": "blue"}})
    with pytest.raises(ConfigurationError, match="provider_headers cannot be deferred") as caught:
        defer("hi", config=reach, options=options)
    assert caught.value.hint == "leave it out, or call run_many()"


def test_refuses_to_defer_raw_fields_before_a_file_is_stored(picture):
    reach = Config(provider="openai", model="m", use_mock=True, plugins=[Script("fine")])
    options = Options(temperature=0, provider_options={"openai": {"temperature": 1}})
    with pytest.raises(ConfigurationError, match="sets temperature, "):
        defer_many(["hi"], sources=[picture], config=reach, options=options)
    with process.clients.lease(reach) as hooks:
        assert (hooks.client.files, hooks.client.jobs) == (frozenset(), {})
