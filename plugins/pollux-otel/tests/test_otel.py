"""The spans of calls, streams and tools, as an exporter receives them."""

import json
import logging
import time
from decimal import Decimal

import attrs
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from pollux_otel import Otel
from pollux_sync import (
    APIError,
    Config,
    Options,
    Reply,
    RetryPolicy,
    Source,
    ToolCall,
    Usage,
    collect_deferred,
    defer_many,
    hookimpl,
    run,
    run_many,
    run_tools,
    stream,
    stream_many,
)
from pollux_sync.hooks.loading import MIDDLEWARE, load
from pollux_sync.testing import BrokenOff, Script, failing

ANSWER = Reply(
    text="Ahab",
    usage=Usage(input_tokens=9, output_tokens=3, cached_tokens=4, reasoning_tokens=1),
    finish_reason="stop",
    response_id="r1",
    model="m-2026",
)
SECRET = "the white whale"


@pytest.fixture
def provider():
    return TracerProvider()


@pytest.fixture
def exporter(provider):
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


@pytest.fixture
def ask(provider, exporter):
    """A function that builds a configuration with a tracer and these answers."""

    def build(*answers, inside=(), content=False, **fields):
        plugins = [Script(*answers, otherwise="fine"), *inside, Otel(content=content, tracer_provider=provider)]
        retry = RetryPolicy(initial_delay_s=0, max_attempts=3)
        return Config(
            **({"provider": "openai", "model": "m", "use_mock": True, "retry": retry, "plugins": plugins} | fields)
        )

    return build


def read_spans(exporter, name):
    return [span for span in exporter.get_finished_spans() if span.name.startswith(name)]


def test_call_is_a_span_of_the_semantic_conventions(ask, exporter):
    options = Options(temperature=0.5, max_tokens=10, top_p=0.9, seed=7, stop="END")
    run("Who?", config=ask(ANSWER, base_url="http://127.0.0.1:8080/v1"), options=options)
    (span,) = read_spans(exporter, "chat m")
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.request.max_tokens": 10,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.seed": 7,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.output.type": "text",
        "server.address": "127.0.0.1",
        "server.port": 8080,
        "gen_ai.response.id": "r1",
        "gen_ai.response.model": "m-2026",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 9,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 1,
    }


def test_names_are_those_of_the_package_of_conventions(ask, exporter):
    from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

    known = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI")}
    run_tools("Who?", tools=[look], config=ask(calling("Ahab"), ANSWER, content=True))
    list(stream("Who?", config=ask(ANSWER, content=True), options=Options(system_instruction="be brief")))
    used = {name for span in exporter.get_finished_spans() for name in span.attributes if name.startswith("gen_ai")}
    assert used <= known
    assert len(used) > 15


@pytest.mark.parametrize(("provider_name", "known_as"), [("gemini", "gcp.gemini"), ("anthropic", "anthropic")])
def test_provider_has_its_well_known_name(ask, exporter, provider_name, known_as):
    run("Who?", config=ask(provider=provider_name))
    assert read_spans(exporter, "chat")[0].attributes["gen_ai.provider.name"] == known_as


def test_price_of_middleware_inside_is_an_attribute(ask, exporter):
    class Pricing:
        @hookimpl
        def pollux_call(self, call, proceed):
            return attrs.evolve(proceed(call), cost_usd=Decimal("0.25"))

    run("Who?", config=ask(inside=[Pricing()]))
    assert read_spans(exporter, "chat")[0].attributes["pollux.cost_usd"] == 0.25


def test_attempts_are_spans_inside_of_the_call(ask, exporter):
    run("Who?", config=ask(failing(503), failing(429), ANSWER))
    (call,) = read_spans(exporter, "chat")
    attempts = read_spans(exporter, "attempt")
    assert [dict(span.attributes) for span in attempts] == [
        {"http.response.status_code": 503, "error.type": "capacity"},
        {"http.response.status_code": 429, "error.type": "rate_limit", "http.request.resend_count": 1},
        {"http.response.status_code": 200, "http.request.resend_count": 2},
    ]
    assert [span.status.status_code.name for span in attempts] == ["ERROR", "ERROR", "UNSET"]
    assert {span.parent.span_id for span in attempts} == {call.context.span_id}
    assert all(span.start_time <= span.end_time for span in attempts)


@pytest.mark.parametrize("call", [run, lambda prompt, config: stream(prompt, config=config).result()])
def test_failure_is_marked_by_its_kind_without_its_message(ask, exporter, call):
    with pytest.raises(APIError):
        call("Who?", config=ask(failing(400, f"no {SECRET}")))
    (span,) = read_spans(exporter, "chat")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "invalid_request"
    assert len(read_spans(exporter, "attempt")) == 1
    assert SECRET not in "".join(span.to_json() for span in exporter.get_finished_spans())


def test_error_of_middleware_is_marked_by_its_class(ask, exporter):
    class Refusing:
        @hookimpl
        def pollux_call(self, call):
            raise OSError("no boat")

    run_many(["Who?"], config=ask(inside=[Refusing()]), options=Options(on_error="keep"))
    assert read_spans(exporter, "chat")[0].attributes["error.type"] == "ProviderBugError"


@pytest.mark.parametrize("ask_all", [run_many, lambda prompts, config: list(stream_many(prompts, config=config))])
def test_calls_of_worker_threads_are_inside_of_the_span_of_the_caller(ask, exporter, provider, ask_all):
    with provider.get_tracer("test").start_as_current_span("job") as job:
        ask_all([str(number) for number in range(8)], config=ask(request_concurrency=4))
    spans = read_spans(exporter, "chat")
    assert len(spans) == 8
    assert {span.parent.span_id for span in spans} == {job.get_span_context().span_id}


def test_request_is_sent_inside_of_the_span(ask, exporter):
    seen = []

    class Spying:
        @hookimpl(wrapper=True)
        def pollux_send(self):
            seen.append(trace.get_current_span().get_span_context().span_id)
            return (yield)

    run_many(["a", "b"], config=ask(inside=[Spying()]))
    assert sorted(seen) == sorted(span.context.span_id for span in read_spans(exporter, "chat"))


def test_stream_is_a_span_that_ends_with_it(ask, exporter):
    events = stream("Who?", config=ask(ANSWER))
    before = time.monotonic()
    next(iter(events))
    assert read_spans(exporter, "chat") == []
    # The caller's own code is not inside of it.
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert events.result()["answers"] == ["Ahab"]
    (span,) = read_spans(exporter, "chat")
    assert span.attributes["gen_ai.request.stream"] is True
    assert 0 <= span.attributes["gen_ai.response.time_to_first_chunk"] <= time.monotonic() - before + 1
    assert span.attributes["gen_ai.usage.output_tokens"] == 3
    assert len(read_spans(exporter, "attempt")) == 1


def test_stream_that_breaks_off_has_failed(ask, exporter):
    with pytest.raises(APIError):
        stream("Who?", config=ask(BrokenOff("Ah"))).result()
    (span,) = read_spans(exporter, "chat")
    assert span.status.status_code is StatusCode.ERROR
    assert "gen_ai.response.time_to_first_chunk" in span.attributes


def test_stream_that_the_caller_leaves_ends_without_a_failure(ask, exporter):
    with stream("Who?", config=ask(ANSWER)) as events:
        next(iter(events))
    (span,) = read_spans(exporter, "chat")
    assert span.status.status_code is StatusCode.UNSET
    assert "gen_ai.response.finish_reasons" not in span.attributes


def look(name: str) -> str:
    """Look someone up."""
    if name == "Starbuck":
        raise LookupError(f"{SECRET} has him")
    return f"{name} hunts {SECRET}"


def calling(*names):
    calls = tuple(ToolCall(f"c{n}", "look", json.dumps({"name": name})) for n, name in enumerate(names))
    return Reply(tool_calls=calls, finish_reason="tool_calls")


def test_tools_are_spans_without_what_went_in_and_out(ask, exporter, provider):
    with provider.get_tracer("test").start_as_current_span("job") as job:
        run_tools("Who?", tools=[look], config=ask(calling("Ahab", "Starbuck"), ANSWER), tool_concurrency=2)
    spans = sorted(read_spans(exporter, "execute_tool look"), key=lambda span: span.attributes["gen_ai.tool.call.id"])
    common = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "look", "gen_ai.tool.type": "function"}
    assert [dict(span.attributes) for span in spans] == [
        {**common, "gen_ai.tool.call.id": "c0"},
        {**common, "gen_ai.tool.call.id": "c1", "error.type": "tool_error"},
    ]
    assert [span.status.status_code.name for span in spans] == ["UNSET", "ERROR"]
    assert {span.parent.span_id for span in spans} == {job.get_span_context().span_id}
    assert len(read_spans(exporter, "chat")) == 2


def test_collected_answer_is_a_span_of_its_job(ask, exporter):
    config = ask(ANSWER)
    handle = defer_many(["Who?"], config=config)
    collect_deferred(handle, config=config)
    (span,) = read_spans(exporter, "chat")
    assert span.kind is SpanKind.INTERNAL
    assert span.attributes["pollux.job_id"] == handle.jobs[0].job_id
    assert span.attributes["gen_ai.usage.input_tokens"] == 9


# Content


def ask_everything(config, folder):
    picture = folder / "whale.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    options = Options(
        system_instruction=f"Serve {SECRET}.",
        history=[
            {"role": "user", "content": f"I am {SECRET}."},
            {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "name": "look", "arguments": "{}"}]},
            {"role": "tool", "tool_call_id": "1", "content": "seen"},
        ],
    )
    return run("Who?", source=Source.from_file(picture), config=config, options=options)


def test_content_is_not_in_the_spans(ask, exporter, tmp_path):
    ask_everything(ask(attrs.evolve(ANSWER, text=SECRET, reasoning=SECRET)), tmp_path)
    assert SECRET not in "".join(span.to_json() for span in exporter.get_finished_spans())


def test_content_is_in_the_spans_where_it_is_asked_for(ask, exporter, tmp_path):
    answer = attrs.evolve(ANSWER, reasoning="hm", tool_calls=(ToolCall("2", "look", "{}"),))
    ask_everything(ask(answer, content=True), tmp_path)
    attributes = read_spans(exporter, "chat")[0].attributes
    assert json.loads(attributes["gen_ai.system_instructions"]) == [{"type": "text", "content": f"Serve {SECRET}."}]
    called = {"type": "tool_call", "id": "1", "name": "look", "arguments": "{}"}
    assert json.loads(attributes["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": f"I am {SECRET}."}]},
        {"role": "assistant", "parts": [called]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "1", "response": "seen"}]},
        {"role": "user", "parts": [{"type": "file", "mime_type": "image/png"}, {"type": "text", "content": "Who?"}]},
    ]
    parts = [{"type": "reasoning", "content": "hm"}, {"type": "text", "content": "Ahab"}, {**called, "id": "2"}]
    assert json.loads(attributes["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": parts, "finish_reason": "stop"}
    ]


@pytest.mark.parametrize(("value", "is_there"), [("true", True), ("True", True), ("false", False), ("", False)])
def test_variable_asks_for_content(provider, exporter, monkeypatch, value, is_there):
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", value)
    otel = Otel(tracer_provider=provider)
    run("Who?", config=Config(provider="openai", model="m", use_mock=True, plugins=[otel]))
    assert ("gen_ai.input.messages" in read_spans(exporter, "chat")[0].attributes) is is_there


# An observer changes nothing


class Broken(SpanProcessor):
    def on_start(self, span, parent_context=None):
        raise OSError(SECRET)

    def on_end(self, span):
        raise OSError(SECRET)


class BrokenAtTheEnd(SpanProcessor):
    def on_end(self, span):
        raise OSError(SECRET)


class Slow(SpanProcessor):
    def on_end(self, span):
        time.sleep(0.01)


def ask_each_way(config):
    handle = defer_many(["Who?"], config=config)
    return [
        run("Who?", config=config)["answers"],
        run_many(["Who?", "Why?"], config=config)["answers"],
        stream("Who?", config=config).result()["answers"],
        collect_deferred(handle, config=config)["answers"],
        run_tools("Who?", tools=[look], config=config)["answers"],
    ]


@pytest.mark.parametrize("processor", [Broken, BrokenAtTheEnd, Slow])
def test_tracer_that_fails_or_sleeps_changes_no_result(ask, provider, processor, caplog):
    provider.add_span_processor(processor())
    with caplog.at_level(logging.WARNING, "pollux_otel"):
        assert ask_each_way(ask()) == ask_each_way(Config(**UNTRACED))
    assert ("a span cannot be written: OSError" in caplog.text) is (processor is not Slow)
    assert SECRET not in caplog.text


UNTRACED = {"provider": "openai", "model": "m", "use_mock": True, "plugins": [Script(otherwise="fine")]}


def test_failure_stays_the_same_under_a_tracer_that_fails(ask, provider):
    provider.add_span_processor(Broken())
    with pytest.raises(APIError, match="status 400: no") as caught:
        run("Who?", config=ask(failing(400, "no")))
    assert len(caught.value.attempts) == 1


def test_call_that_is_not_sampled_leaves_nothing(exporter):
    provider = TracerProvider(sampler=ALWAYS_OFF)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    otel = Otel(content=True, tracer_provider=provider)
    config = Config(provider="openai", model="m", use_mock=True, plugins=[Script(otherwise="fine"), otel])
    assert ask_each_way(config) == ask_each_way(Config(**UNTRACED))
    assert exporter.get_finished_spans() == ()


def test_process_without_a_tracer_provider_gets_its_answers():
    config = Config(provider="openai", model="m", use_mock=True, plugins=[Script(otherwise="fine"), "otel"])
    assert run("Who?", config=config)["answers"] == ["fine"]
    assert isinstance(load(MIDDLEWARE, "otel").plugin, Otel)
