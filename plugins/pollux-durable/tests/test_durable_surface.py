"""What the package offers, and the parts that need a service or another package."""

import attrs
import pytest

import pollux_durable
from pollux_durable import (
    Agent,
    Engine,
    RequestChangedError,
    RunFailedError,
    WebSearchConfig,
    create_ask_user_tool,
    create_web_search_tool,
    get_handle,
    list_runs,
    memory,
    workflow,
)
from pollux_durable.configuring import find_host
from pollux_durable.errors import PayloadError
from pollux_sync import Config, ConfigurationError, Reply, ToolCall
from pollux_sync.testing import Script
from pollux_sync.testing.server import Answer, CloseWithoutAnswer, ScriptedServer


def test_every_public_name_is_there():
    assert [name for name in pollux_durable.__all__ if getattr(pollux_durable, name, None) is None] == []
    assert set(dir(pollux_durable)) == set(pollux_durable.__all__)
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        _ = pollux_durable.colour


def test_engines_have_all_methods_of_the_protocol():
    from pollux_durable import dbosengine

    names = {name for name in vars(Engine) if not name.startswith("_")} - {"database", "executor_id"}
    for engine in (memory.MemoryEngine, dbosengine.DbosEngine):
        assert names <= set(dir(engine))


# The web


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


def search(server, **settings):
    config = WebSearchConfig(**{"api_key": "made-up", "base_url": f"{server.url}/search", **settings})
    return create_web_search_tool(config).call(None, {"query": "Rome"})["value"]


def test_searches_by_tavily(server):
    found = {"title": "Rome", "url": "https://example.org", "content": "A city.", "score": 0.9, "raw_content": None}
    server.reply(Answer(json={"results": [found], "query": "Rome"}))
    assert search(server, max_results=2, topic="news") == [
        {"title": "Rome", "url": "https://example.org", "content": "A city.", "score": 0.9}
    ]
    (request,) = server.requests
    assert request.headers["authorization"] == "Bearer made-up"
    assert request.json() == {"query": "Rome", "max_results": 2, "topic": "news"}


@pytest.mark.parametrize(
    "step",
    [Answer(status=401, json={"detail": "no"}), Answer(json={"results": 5}), Answer(json=[]), CloseWithoutAnswer()],
)
def test_says_why_a_search_failed_and_never_the_key(server, step):
    server.reply(step)
    with pytest.raises(RuntimeError, match="the search failed") as caught:
        search(server)
    assert "made-up" not in str(caught.value)


def test_refuses_to_search_without_a_key(server, monkeypatch):
    monkeypatch.delenv("TAVILY_API_KEY", raising=False)
    with pytest.raises(PayloadError, match="without a key"):
        search(server, api_key=None)
    assert "made-up" not in repr(WebSearchConfig(api_key="made-up"))


def test_refuses_to_ask_for_no_results():
    with pytest.raises(ConfigurationError, match="max_results"):
        WebSearchConfig(max_results=0)


# A prompt that was changed


def build(*answers, **settings):
    """Return an agent that asks a person in its first round, and its script."""
    script = Script(Reply(tool_calls=(ToolCall("c", "ask_user", '{"question": "Which?"}'),)), *answers)
    config = Config(provider="openai", model="m", use_mock=True, plugins=(script,))
    return Agent(config=config, system_prompt="Be short.", tools=[create_ask_user_tool()], **settings), script


def change_prompt(agent, text):
    options = attrs.evolve(agent.plan.options, system_instruction=text)
    agent.plan = attrs.evolve(agent.plan, options=options)


def wait_parked(handle, poll):
    """Wait until the agent waits for the person; return the run that asks."""
    child = f"{handle.id}.tools:1[0]"
    poll(lambda: any(info.execution_id == child and info.waits_for == "ask_user" for info in list_runs()))
    poll(lambda: handle.status == "waiting")
    return get_handle(child)


@pytest.mark.usefixtures("memory")
def test_a_changed_prompt_stops_a_replay_and_shows_both_texts(poll):
    agent, script = build("Blue.", id="changed-fail")
    handle = agent.invoke("Paint")
    asking = wait_parked(handle, poll)
    change_prompt(agent, "Be long.")
    asking.answer("ask_user", "blue")
    with pytest.raises(RunFailedError) as caught:
        handle.result(20)
    assert caught.value.error_type == RequestChangedError.__name__
    assert '"Be short."' in str(caught.value)
    assert '"Be long."' in str(caught.value)
    assert len(script.requests) == 1


@pytest.mark.usefixtures("memory")
def test_a_changed_prompt_is_asked_anew_if_the_agent_says_so(poll):
    agent, script = build("Purple, at length.", id="changed-ask", on_change="ask")
    handle = agent.invoke("Paint")
    asking = wait_parked(handle, poll)
    change_prompt(agent, "Be long.")
    asking.answer("ask_user", "blue")
    assert handle.result(20).result == "Purple, at length."
    assert [request["system"] for request in script.requests] == ["Be short.", "Be long."]


@pytest.mark.usefixtures("memory")
def test_answers_are_taken_from_their_records_in_a_replay(poll):
    agent, script = build("Blue.", id="replayed")
    handle = agent.invoke("Paint")
    wait_parked(handle, poll).answer("ask_user", "blue")
    assert handle.result(20).result == "Blue."
    assert len(script.requests) == 2


# Traces


@pytest.fixture
def spans():
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(provider)
    yield exporter
    provider.shutdown()


def test_puts_spans_of_the_workflow_around_its_blocks(own_registry, spans):
    pollux_durable.configure("memory:")

    @workflow
    def traced(ctx):
        with ctx.step.trace("reading", {"pages": 3}):
            return ctx.step.run("read", lambda: 3)

    assert traced.run() == 3
    assert [(span.name, dict(span.attributes)) for span in spans.get_finished_spans()] == [("reading", {"pages": 3})]
    assert find_host().tracer is not None
