"""All middleware in the order that docs/how-to/middleware.md gives, on calls, streams and deferred jobs."""

import json
import logging
import re
import time

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chat_service import ChatService
from pollux_cache import Cache
from pollux_cost import Cost, Price
from pollux_fallback import Fallback
from pollux_limit import Limit
from pollux_log import Log, LogFile
from pollux_otel import Otel
from pollux_redact import Redact
from pollux_sync import (
    Config,
    Options,
    Reply,
    RetryPolicy,
    Source,
    Usage,
    collect_deferred,
    defer_many,
    hookimpl,
    run_many,
    stream_many,
)
from pollux_sync.testing import Script
from pollux_sync.testing.server import Answer

NAME, MAIL, CARD = "Ada Morrow", "ada@lamp.example", "4111 1111 1111 1111"
PRIVATE = (NAME, MAIL, CARD)
PROMPT = f"Write to {NAME} at {MAIL}."
OPTIONS = Options(system_instruction=f"The card is {CARD}.", on_error="keep")
LETTER = Source.from_text(f"A letter of {NAME}")
RETRY = RetryPolicy(max_attempts=2, initial_delay_s=0)
PRICES = {"m": Price(input=1, output=1)}


class Stack:
    """All middleware in one list, with the files that it keeps in one folder and the vault in another."""

    def __init__(self, folder, *, second):
        self.kept, self.vault = folder / "kept", folder / "vault"
        self.spans = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self.cost = Cost(budget_usd=1, prices=PRICES)
        self.log = Log(self.kept / "log.sqlite")
        self.cache = Cache(self.kept / "answers.sqlite")
        self.redact = Redact(names=[NAME], path=self.vault / "vault.sqlite")
        self.plugins = [
            Limit(requests_per_minute=1000),
            self.cost,
            Fallback(second),
            self.cache,
            self.log,
            Otel(content=True, tracer_provider=provider),
            self.redact,
        ]

    def close(self):
        for layer in (self.cache, self.log, self.redact):
            layer.close()

    def read_kept(self):
        """Return all that was kept of the calls, as bytes: the files of the cache and the log, and the spans."""
        files = [file.read_bytes() for file in self.kept.iterdir()]
        return b"".join([*files, *(span.to_json().encode() for span in self.spans.get_finished_spans())])

    def list_records(self):
        file = LogFile.find(self.kept / "log.sqlite")
        records = file.list_records(100)
        file.close()
        return records


@pytest.fixture
def server():
    with ChatService() as server:
        yield server


@pytest.fixture
def second():
    with ChatService("second: {}".format) as second:
        yield second


def build_local(server, **fields):
    return Config(provider="local", model="m", base_url=f"{server.url}/v1", retry=RETRY, **fields)


@pytest.fixture
def stack(tmp_path, second):
    stack = Stack(tmp_path, second=build_local(second, plugins=[Cost(prices=PRICES)]))
    yield stack
    stack.close()


def repeat(body):
    """Answer with all that was asked."""
    return Reply(text=json.dumps(body), usage=Usage(input_tokens=9, output_tokens=9), finish_reason="stop")


def ask_calls(config, prompts=(PROMPT,)):
    return run_many(list(prompts), sources=[LETTER], config=config, options=OPTIONS)


def ask_streams(config, prompts=(PROMPT,)):
    return stream_many(list(prompts), sources=[LETTER], config=config, options=OPTIONS).result()


def ask_deferred(config, prompts=(PROMPT,)):
    return collect_deferred(defer_many(list(prompts), sources=[LETTER], config=config, options=OPTIONS), config=config)


@pytest.fixture(params=["calls", "streams", "deferred"])
def ask(request, server, stack):
    """A function that asks prompts in one of the three ways, with these plugins."""
    if request.param == "deferred":
        script = Script(otherwise=repeat)
        return lambda plugins, *prompts: ask_deferred(
            Config(provider="openai", model="m", use_mock=True, plugins=[script, *plugins]), *prompts
        )
    way = {"calls": ask_calls, "streams": ask_streams}[request.param]
    return lambda plugins, *prompts: way(build_local(server, plugins=plugins), *prompts)


def test_caller_has_the_data_and_nothing_that_is_kept_or_sent_has(ask, stack, server, caplog):
    with caplog.at_level(logging.DEBUG):
        result = ask(stack.plugins)
    assert PROMPT in result["answers"][0]
    kept = stack.read_kept() + b"".join(request.body for request in server.requests) + caplog.text.encode()
    for value in PRIVATE:
        assert value.encode() not in kept
        assert json.dumps(value)[1:-1].encode() not in kept
    # What was kept holds the calls, and the vault that was asked for holds the data.
    assert b"[NAME_" in kept
    assert any(MAIL.encode() in file.read_bytes() for file in stack.vault.iterdir())


def test_every_layer_has_its_part(ask, stack):
    result = ask(stack.plugins)
    (record,) = stack.list_records()
    chat = next(span for span in stack.spans.get_finished_spans() if span.name.startswith("chat"))
    assert result["metrics"]["cost_usd"] == pytest.approx(float(record.cost_usd))
    assert result["metrics"]["cost_usd"] == pytest.approx(chat.attributes["pollux.cost_usd"])
    assert float(stack.cost.spent_usd) == pytest.approx(result["metrics"]["cost_usd"])
    assert result["metrics"]["cost_usd"] > 0
    assert "[EMAIL_" in record.answer


@pytest.mark.parametrize("way", [ask_calls, ask_streams])
def test_kept_answer_is_logged_traced_and_restored_and_costs_nothing(way, stack, server):
    config = build_local(server, plugins=stack.plugins)
    first, again = way(config), way(config)
    assert again["answers"] == first["answers"]
    assert len(server.requests) == 1
    assert again["metrics"]["cost_usd"] == 0
    assert [record.notes["cache"]["hit"] for record in stack.list_records()] == [True, False]
    assert len([span for span in stack.spans.get_finished_spans() if span.name.startswith("chat")]) == 2


@pytest.mark.parametrize("way", [ask_calls, ask_streams])
def test_other_provider_gets_placeholders_too(way, stack, server, second):
    server.handler = lambda request: Answer(status=503)
    result = way(build_local(server, plugins=stack.plugins))
    assert result["answers"][0].startswith("second: ")
    assert PROMPT in result["answers"][0]
    assert not any(value.encode() in second.requests[0].body for value in PRIVATE)
    assert stack.list_records()[0].notes["fallback"]["to"] == "local/m"
    assert len([span for span in stack.spans.get_finished_spans() if span.name == "attempt"]) == 3


@pytest.mark.parametrize("way", [ask_calls, ask_streams])
def test_answer_of_another_provider_is_not_kept(way, stack, server, second):
    config = build_local(server, plugins=stack.plugins)
    handler, server.handler = server.handler, lambda request: Answer(status=503)
    way(config)
    server.handler = handler
    assert way(config)["answers"][0].startswith("echo: ")
    assert len(second.requests) == 1


@pytest.mark.parametrize("way", [ask_calls, ask_streams])
def test_threads_keep_calls_apart(way, stack, server):
    prompts = [f"Write to a{number}@lamp.example." for number in range(24)]
    result = way(build_local(server, plugins=stack.plugins), prompts)
    assert [prompt in answer for prompt, answer in zip(prompts, result["answers"], strict=True)] == [True] * 24
    assert len(stack.list_records()) == 24
    assert b"@lamp" not in stack.read_kept()


class Broken:
    """Raises around each kind of call."""

    @hookimpl
    def pollux_call(self, call):
        raise OSError("no boat")

    @hookimpl
    def pollux_call_stream(self, call):
        raise OSError("no boat")

    @hookimpl
    def pollux_call_deferred(self, call):
        raise OSError("no boat")


@pytest.mark.parametrize("place", range(7))
def test_layer_that_raises_fails_the_call_and_is_named(ask, stack, server, second, place):
    (error,) = ask([*stack.plugins[:place], Broken(), *stack.plugins[place:]])["errors"]
    assert error["type"] == "ProviderBugError"
    assert re.fullmatch(r"pollux_call\w* of plugin .*Broken.* raised OSError: no boat", error["message"])
    assert server.requests == second.requests == []


class BrokenObserver:
    @hookimpl
    def pollux_event(self, event):
        raise OSError("no boat")


class SlowObserver:
    @hookimpl
    def pollux_event(self, event):
        time.sleep(0.01)


@pytest.mark.parametrize("observer", [BrokenObserver, SlowObserver])
def test_observer_that_raises_or_sleeps_changes_nothing(ask, stack, observer):
    result = ask([observer(), *stack.plugins])
    plain = ask([stack.redact])
    assert result["answers"] == plain["answers"]
    assert len(stack.list_records()) == 1
