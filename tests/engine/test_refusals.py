import time
from pathlib import Path

import attrs
import pytest

from installing import install
from pollux_sync import (
    CacheHandle,
    Config,
    ConfigurationError,
    Options,
    PlanningError,
    Problem,
    Reply,
    Source,
    SourceError,
    continue_tool,
    hookimpl,
    run,
    run_many,
    to_jsonable,
)

HANDLE = CacheHandle("cache-1", "m", "acme", time.time() + 86_400)
TOOL = {"name": "ping"}


@pytest.fixture(autouse=True)
def nothing_sent(server):
    yield
    assert server.requests == []


@pytest.mark.parametrize(
    ("prompts", "named"),
    [
        ("", "prompt is blank"),
        (" \n", "prompt is blank"),
        (["a", ""], r"prompts\[1\] is blank"),
        (["a", 3], r"prompts\[1\] must be a string"),
        ([3], "prompt must be a string"),
        (b"bytes", "prompts must be"),
        (3, "prompts must be"),
        ({"a"}, "prompts must be"),
        ("\ud800", "lone surrogate"),
    ],
)
def test_refuses_prompts_that_are_none(config, prompts, named):
    with pytest.raises(ConfigurationError, match=named) as caught:
        run_many(prompts, config=config())
    assert caught.value.hint


@pytest.mark.parametrize("sources", [Source.from_text("x"), "x", ["x"], [None], 3])
def test_refuses_sources_that_are_none(config, sources):
    with pytest.raises(SourceError) as caught:
        run_many("a", sources=sources, config=config())
    assert "Source.from_text" in caught.value.hint


@pytest.mark.parametrize("prompts", [None, [None, "a"]])
def test_refuses_a_call_without_content(config, prompts):
    with pytest.raises(ConfigurationError, match="nothing to send"):
        run_many(prompts, config=config())


def test_refuses_per_source_without_sources(config):
    with pytest.raises(ConfigurationError, match="per_source"):
        run_many("a", config=config(), per_source=True)


def test_refuses_an_argument_that_is_no_config():
    with pytest.raises(ConfigurationError, match="config must be a Config"):
        run("a", config={"provider": "acme"})  # type: ignore[arg-type]


def test_refuses_options_that_are_none(config):
    with pytest.raises(ConfigurationError, match="options must be Options"):
        run("a", config=config(), options={"temperature": 1})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"reasoning_budget_tokens": 5}, "reasoning_budget_tokens"),
        ({"implicit_caching": True}, "implicit_caching"),
        ({"history": []}, "history"),
        ({"cache": HANDLE}, "cache"),
        ({"tools": [TOOL]}, "tools"),
        ({"top_p": 0.5}, "top_p"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"provider_options": {"nobody": {}}}, "nobody"),
        ({"provider_options": {"acme": {"prompt": "x"}}}, "prompt"),
    ],
)
def test_refuses_an_option_that_the_provider_does_not_declare(config, options, named):
    with pytest.raises(ConfigurationError, match=named) as caught:
        run("a", config=config(), options=Options(**options))
    assert caught.value.hint


def test_takes_implicit_caching_off_everywhere(config, server):
    with pytest.raises(ConfigurationError, match="top_p"):
        run("a", config=config(), options=Options(implicit_caching=False, top_p=1))


def test_refuses_deferred_delivery(config):
    with pytest.warns(DeprecationWarning, match="delivery_mode"):
        options = Options(delivery_mode="deferred")
    with pytest.raises(ConfigurationError, match="delivery_mode") as caught:
        run("a", config=config(), options=options)
    assert "defer()" in caught.value.hint


@pytest.mark.parametrize(
    ("handle", "options", "named"),
    [
        (attrs.evolve(HANDLE, expires_at=1.0), {"tools": [TOOL]}, "expired"),
        (attrs.evolve(HANDLE, provider="other"), {"tools": [TOOL]}, "provider 'other'"),
        (attrs.evolve(HANDLE, model="n"), {"tools": [TOOL]}, "model 'n'"),
        (HANDLE, {"system_instruction": "x", "tools": [TOOL]}, "system_instruction"),
        (HANDLE, {"tools": [TOOL], "tool_choice": "auto"}, "tools cannot"),
    ],
)
def test_refuses_options_that_do_not_fit_the_cache(config, handle, options, named):
    with pytest.raises(ConfigurationError, match=named):
        run_many("a", sources=[Source.from_text("x")], config=config(), options=Options(cache=handle, **options))


def test_refuses_sources_beside_a_cache(config):
    with pytest.raises(ConfigurationError, match="sources cannot"):
        run("a", source=Source.from_text("x"), config=config(), options=Options(cache=HANDLE))


def test_refuses_a_source_that_the_provider_cannot_take(config, tmp_path):
    (tmp_path / "sound.mp3").write_bytes(b"ID3")
    with pytest.raises(ConfigurationError, match="audio/mpeg") as caught:
        run("a", source=Source.from_file(tmp_path / "sound.mp3"), config=config())
    assert "image/png" in caught.value.hint


def test_refuses_an_address_of_another_scheme(config):
    with pytest.raises(ConfigurationError, match="gs://"):
        run("a", source=Source.from_uri("gs://bucket/x"), config=config())


def test_refuses_text_that_is_not_utf8(config, tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(SourceError, match="UTF-8"):
        run("a", source=Source.from_file(tmp_path / "latin.txt"), config=config())


def test_reports_a_loader_that_fails_before_anything_else(config):
    def broken() -> bytes:
        raise RuntimeError("no disk")

    source = Source("text", "t", "text/plain", 0, broken)
    with pytest.raises(SourceError, match="no disk"):
        run("a", source=source, config=config(), options=Options(top_p=1))


def fail_to_load():
    raise ValueError("my database is down")


def fail_to_connect():
    raise ConnectionError("my database is down")


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        (fail_to_load, "my database is down"),
        (fail_to_connect, "my database is down"),
        (lambda: "text", "returned str, not bytes"),
        (lambda: None, "returned NoneType, not bytes"),
    ],
)
@pytest.mark.parametrize(("kind", "mime_type"), [("text", "text/plain"), ("file", "image/png")])
def test_reports_a_loader_of_the_caller_that_fails(config, loader, message, kind, mime_type):
    with pytest.raises(SourceError, match=f"'mine'.*{message}") as caught:
        run("a", source=Source(kind, "mine", mime_type, 3, loader), config=config())
    assert caught.value.hint


@pytest.mark.parametrize("size", [3, 2_000_000])
@pytest.mark.parametrize("loader", [fail_to_load, lambda: "x" * 2_000_000, lambda: None])
def test_a_loader_that_fails_is_an_error_of_the_source_where_it_is_opened(loader, size):
    source = Source("file", "mine", "application/pdf", size, loader)
    for read in (source.load, source.open, source.measure, source.pin(sha256="0", size_bytes=size).open):
        with pytest.raises(SourceError, match="'mine'"):
            read()


@pytest.mark.parametrize("name", ["cat.png", "cat.txt"])
def test_reports_a_file_that_vanished(config, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"\x89PNG")
    source = Source.from_file(path)
    path.unlink()
    with pytest.raises(SourceError, match=r"cat\.(png|txt)"):
        run("a", source=source, config=config())


def test_asks_policies_before_any_side_effect(config, tmp_path):
    class Policy:
        @hookimpl
        def pollux_validate(self, call):
            return Problem("no cats", "dogs are fine") if "cat" in call.prompt else None

    (tmp_path / "cat.png").write_bytes(b"\x89PNG")
    with pytest.raises(ConfigurationError, match="no cats") as caught:
        run_many(["dog", "cat"], sources=[Source.from_file(tmp_path / "cat.png")], config=config(plugins=[Policy()]))
    assert caught.value.hint == "dogs are fine"


def test_refuses_a_plan_with_calls_out_of_order(config):
    class Shuffler:
        @hookimpl(wrapper=True)
        def pollux_plan(self, plan):
            plan = yield
            return attrs.evolve(plan, calls=plan.calls[::-1])

    with pytest.raises(PlanningError, match="out of order"):
        run_many(["a", "b"], config=config(plugins=[Shuffler()]))


@pytest.fixture
def chatty(tmp_path, monkeypatch):
    install(tmp_path / "more", "pollux-mock2", mock2="mock2:Mock2")
    (tmp_path / "more" / "mock2.py").write_text(
        "import attrs\nfrom pollux_sync import hookimpl\nfrom pollux_sync.builtin.mock import MockProvider, _INFO\n"
        "class Mock2(MockProvider):\n    @hookimpl\n    def pollux_provider_info(self):\n"
        "        return attrs.evolve(_INFO, name='mock2')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "more"))
    return Config(provider="mock2", model="m")


def test_refuses_a_conversation_over_several_prompts(chatty):
    with pytest.raises(ConfigurationError, match="one prompt"):
        run_many(["a", "b"], config=chatty, options=Options(history=[]))


@pytest.mark.parametrize("state", [{}, {"_conversation_state": None}, {"_conversation_state": []}])
def test_refuses_to_continue_an_envelope_without_state(chatty, state):
    with pytest.raises(ConfigurationError, match="no conversation state"):
        run("a", config=chatty, options=Options(continue_from=state))


def test_refuses_to_continue_with_another_provider(chatty):
    state = {"_conversation_state": {"version": 1, "provider": "acme", "history": []}}
    with pytest.raises(ConfigurationError, match="'acme', not 'mock2'"):
        run("a", config=chatty, options=Options(continue_from=state))


def test_refuses_a_state_from_the_future(chatty):
    state = {"_conversation_state": {"version": 99, "provider": "mock2", "history": []}}
    with pytest.raises(ConfigurationError, match="newer pollux-sync"):
        run("a", config=chatty, options=Options(continue_from=state))


def test_refuses_history_content_that_is_no_data(chatty):
    with pytest.raises(ConfigurationError, match=r"history\[0\] cannot be written as JSON"):
        run("a", config=chatty, options=Options(history=[{"role": "user", "content": object()}]))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("system_instruction", "\ud800"),
        ("tools", [{"name": "f", "parameters": {"a": object()}}]),
        ("tools", [{"name": "f", "parameters": "none"}]),
        ("tools", [{"name": "f"}, {"name": "f"}]),
        ("provider_options", {"acme": {"seed": float("nan")}}),
    ],
)
def test_refuses_values_that_cannot_be_sent(field, value):
    with pytest.raises(ConfigurationError, match=field) as caught:
        Options(**{field: value})
    assert caught.value.hint


@pytest.mark.parametrize(
    "item",
    [
        {"role": "assistant", "tool_calls": 5},
        {"role": "assistant", "provider_state": "zzz"},
    ],
)
def test_refuses_turns_that_are_none(chatty, item):
    with pytest.raises(ConfigurationError, match=r"history\[0\] is not a turn"):
        run("a", config=chatty, options=Options(history=[item]))


@pytest.mark.parametrize("results", [None, [], "x", ["x"], [{}], [{"tool_call_id": "c", "role": "user"}]])
def test_refuses_tool_results_that_are_none(chatty, results):
    state = {"_conversation_state": {"history": []}}
    with pytest.raises(ConfigurationError, match="tool_results"):
        continue_tool(state, results, config=chatty)


def test_refuses_to_continue_from_anything_but_a_result(chatty):
    with pytest.raises(ConfigurationError, match="no conversation state"):
        continue_tool("x", [{"tool_call_id": "c", "content": "x"}], config=chatty)


@pytest.mark.parametrize("path", ["notes.txt", Path("notes.txt")])
def test_refuses_a_path_where_a_source_belongs(chatty, path):
    with pytest.raises(SourceError, match="must be a Source") as caught:
        run("a", source=path, config=chatty)
    assert "Source.from_file('notes.txt')" in caught.value.hint


def test_what_is_no_result_has_no_json_form():
    with pytest.raises(ConfigurationError, match="got Reply"):
        to_jsonable(Reply())


def test_says_that_run_takes_one_source(config):
    with pytest.raises(SourceError, match="must be a Source, got list") as caught:
        run("a", source=[Source.from_text("x")], config=config())
    assert caught.value.hint == "run takes one source; run_many takes a list"


def test_speaks_of_tools_as_several(config):
    tools = [{"name": "weather", "parameters": {"type": "object", "properties": {}}}]
    with pytest.raises(ConfigurationError) as caught:
        run("a", config=config(), options=Options(tools=tools))
    assert caught.value.hint.startswith("leave them out")
