import gc
import os
import subprocess
import sys
import threading

import attrs
import pytest

from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    HttpResponse,
    Interrupted,
    Options,
    ReasoningDelta,
    Reply,
    RetryPolicy,
    Source,
    StreamDone,
    StreamFinish,
    StreamStart,
    StreamToolCall,
    StreamUsage,
    Terminated,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    hookimpl,
    run_many,
    stream,
    stream_many,
)
from pollux_sync.data.events import (
    AttemptFailed,
    CallFinished,
    CallStarted,
    FileUploaded,
    RetryScheduled,
    UploadDeleted,
)
from pollux_sync.data.reply import Failure
from pollux_sync.data.streaming import EventStream
from pollux_sync.testing import BrokenOff, Script, failing
from streams import remove_times

QUICK = RetryPolicy(initial_delay_s=0, jitter=False)
TOOL = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}


class Observer:
    def __init__(self):
        self.events = []

    @hookimpl
    def pollux_event(self, event):
        self.events.append(event)

    def select(self, *types):
        return [event for event in self.events if isinstance(event, types)]


def build_mock_config(*plugins, **fields):
    return Config(provider="openai", model="m", use_mock=True, plugins=plugins, retry=QUICK, **fields)


def list_types(events):
    return [event.type for event in events]


def test_gives_events_in_order_and_the_envelope_at_last():
    config = build_mock_config()
    events = list(stream("one two", config=config))
    assert list_types(events) == ["start", *["text_delta"] * 3, "usage", "finish", "done"]
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["echo: ", "one ", "two"]
    assert remove_times(events[-1].result) == remove_times(run_many("one two", config=config))
    assert events[-1].output.text == "echo: one two"


def test_gives_reasoning_and_tool_calls():
    options = Options(tools=[TOOL], reasoning_effort="low")
    events = list(stream("one", config=build_mock_config(), options=options))
    assert "reasoning_delta" in list_types(events)
    (called,) = [event for event in events if isinstance(event, StreamToolCall)]
    assert (called.call.name, called.call.arguments) == ("add", '{"a": 0}')
    assert events[-1].result["_conversation_state"]


def test_gives_the_text_alone():
    assert list(stream("one two", config=build_mock_config()).text_chunks) == ["echo: ", "one ", "two"]


def test_result_reads_the_remaining_events():
    events = stream("one two", config=build_mock_config())
    next(events)
    assert events.result()["answers"] == ["echo: one two"]
    assert events.result()["answers"] == ["echo: one two"]


def test_a_stream_that_was_left_has_no_result():
    with stream("one two", config=build_mock_config()) as events:
        next(events)
    assert list(events) == []
    with pytest.raises(ConfigurationError, match="was closed"):
        events.result()


def test_sends_nothing_before_the_first_event_is_requested():
    script = Script("x")
    events = stream("hi", config=build_mock_config(script))
    assert script.requests == []
    next(events)
    assert len(script.requests) == 1
    events.close()


def test_checks_before_it_is_read():
    with pytest.raises(ConfigurationError, match="temperature"):
        stream("hi", config=build_mock_config(), options=Options(temperature="hot"))
    with pytest.raises(ConfigurationError, match="several prompts"):
        stream(["a", "b"], config=build_mock_config())


def test_refuses_repairs():
    with pytest.raises(ConfigurationError, match="schema_repairs"):
        stream("hi", config=build_mock_config(), options=Options(response_schema={"type": "object"}, schema_repairs=1))


def test_refuses_a_provider_that_does_not_stream(config):
    with pytest.raises(ConfigurationError, match="'acme' does not stream"):
        stream("hi", config=config())


def test_retries_a_failure_before_the_first_event():
    observer = Observer()
    script = Script(failing(503), "x")
    result = stream("hi", config=build_mock_config(script, observer)).result()
    assert result["answers"] == ["x"]
    assert [attempt["status_code"] for attempt in result["diagnostics"]["attempts"][0]] == [503, 200]
    assert len(observer.select(RetryScheduled)) == 1


def test_raises_with_the_partial_text():
    observer = Observer()
    script = Script(BrokenOff("half an "))
    events = stream("hi", config=build_mock_config(script, observer))
    told = []
    with pytest.raises(APIError, match="the connection failed") as caught:
        told.extend(events)
    error = caught.value
    assert (error.partial_text, error.kind, error.call_idx) == ("half an ", "connection", 0)
    assert error.partial_result["answers"] == ["half an "]
    assert error.partial_result["status"] == "error"
    assert [type(event) for event in observer.events[1:]] == [CallStarted, AttemptFailed, CallFinished]
    assert len(script.requests) == 1


def test_a_break_is_not_what_the_caller_handles():
    try:
        raise TimeoutError("of another service")  # noqa: TRY301 - what a user's code would do
    except TimeoutError:
        with pytest.raises(APIError) as caught:
            list(stream("hi", config=build_mock_config(Script(BrokenOff("half an ")))))
    assert caught.value.kind == "connection"


def test_a_scripted_break_just_fails_a_call_that_is_not_streamed():
    with pytest.raises(APIError, match="the connection failed"):
        run_many("hi", config=build_mock_config(Script(BrokenOff("half", ConnectionResetError()), BrokenOff("half"))))


def test_keeps_a_failure_with_on_error_keep():
    events = list(stream("hi", config=build_mock_config(Script(BrokenOff("half"))), options=Options(on_error="keep")))
    finish, done = events[-2:]
    assert isinstance(finish, StreamFinish)
    assert (finish.finish_reason, finish.error.kind) == ("error", "connection")
    assert done.result["answers"] == ["half"]
    assert done.result["errors"][0]["kind"] == "connection"


def test_an_empty_stream_is_cut_off():
    class Nothing:
        @hookimpl(tryfirst=True)
        def pollux_stream(self):
            return EventStream(HttpResponse(status=200))

    with pytest.raises(APIError, match="cut off") as caught:
        stream("hi", config=build_mock_config(Nothing())).result()
    assert len(caught.value.attempts) == 2


def test_a_plugin_that_fails_while_it_decodes_is_named():
    class Broken:
        @hookimpl(tryfirst=True)
        def pollux_decode_stream(self, stream):
            yield TextDelta("a")
            raise KeyError("b")

    with pytest.raises(Exception, match="pollux_decode_stream of plugin Broken") as caught:
        stream("hi", config=build_mock_config(Broken())).result()
    assert caught.value.partial_text == "a"


def test_a_plugin_that_gives_no_events_is_named():
    class Wrong:
        @hookimpl(tryfirst=True)
        def pollux_decode_stream(self):
            return 7

    with pytest.raises(Exception, match="pollux_decode_stream of plugin Wrong"):
        stream("hi", config=build_mock_config(Wrong())).result()


def test_applies_rewrites_and_notifies_observers():
    class Shouting:
        @hookimpl(wrapper=True)
        def pollux_rewrite_call(self):
            call = yield
            return attrs.evolve(call, prompt=call.prompt.upper())

    observer = Observer()
    result = stream("hi", config=build_mock_config(Shouting(), observer)).result()
    assert result["answers"] == ["echo: HI"]
    assert len(observer.select(CallStarted, CallFinished)) == 2


def test_notifies_observers_of_a_closed_stream():
    observer = Observer()
    with stream("hi", config=build_mock_config(observer)) as events:
        next(events)
    (finished,) = observer.select(CallFinished)
    assert isinstance(finished.outcome, Failure)
    assert "was left" in str(finished.outcome.error)


def test_deletes_uploads_also_when_left(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    observer = Observer()
    with stream("hi", source=Source.from_file(path), config=build_mock_config(observer)) as events:
        next(events)
    assert len(observer.select(FileUploaded)) == len(observer.select(UploadDeleted)) == 1


def test_stream_many_returns_the_result_of_run_many():
    config = build_mock_config()
    prompts = [f"question {number}" for number in range(20)]
    events = list(stream_many(prompts, config=config))
    assert remove_times(events[-1].result) == remove_times(run_many(prompts, config=config))
    for index in range(20):
        own = [event for event in events[:-1] if event.call_idx == index]
        assert list_types(own) == ["start", *["text_delta"] * 3, "usage", "finish"]


def test_many_interleave():
    both = threading.Barrier(2, timeout=30)

    class Meeting:
        """Ends no answer before both have begun."""

        @hookimpl(tryfirst=True)
        def pollux_decode_stream(self, stream, call):
            yield TextDelta("a")
            both.wait()
            yield Reply(text="a")

    events = list(stream_many(["one", "two"], config=build_mock_config(Meeting())))
    first_end = next(place for place, event in enumerate(events) if isinstance(event, StreamFinish))
    assert {event.call_idx for event in events[:first_end] if isinstance(event, TextDelta)} == {0, 1}


def test_many_of_none_are_done_at_once():
    assert list_types(stream_many([], config=build_mock_config())) == ["done"]


def test_one_of_many_that_fails_does_not_end_the_others():
    script = Script().on("bad", failing(400)).on("worse", BrokenOff("hal"))
    events, error = [], None
    try:
        events.extend(stream_many(["good", "bad", "worse"], config=build_mock_config(script, request_concurrency=1)))
    except APIError as caught:
        error = caught
    assert error.call_idx == 1
    assert error.partial_result["answers"] == ["echo: good", "", "hal"]


def test_many_stop_after_a_refused_key():
    script = Script(failing(401))
    with pytest.raises(APIError) as caught:
        stream_many(["a", "b", "c"], config=build_mock_config(script, request_concurrency=1)).result()
    assert len(script.requests) == 1
    assert [error["kind"] for error in caught.value.partial_result["errors"]] == ["auth"] * 3


@pytest.mark.parametrize("concurrency", [1, 2])
def test_closing_many_streams_sends_nothing_more(concurrency):
    script = Script(otherwise="one two three")
    prompts = [f"p{number}" for number in range(2000)]
    with stream_many(prompts, config=build_mock_config(script, request_concurrency=concurrency)) as events:
        next(events)
    sent = len(script.requests)
    assert sent < 2000
    assert len(script.requests) == sent


def test_result_raises_the_failure_again():
    events = stream("hi", config=build_mock_config(Script(BrokenOff("half"))))
    with pytest.raises(APIError) as first:
        list(events)
    with pytest.raises(APIError) as again:
        events.result()
    assert again.value is first.value


STOP_CAUSES = pytest.mark.parametrize(
    ("cause", "expected"), [(KeyboardInterrupt(), Interrupted), (SystemExit(7), Terminated)]
)


@STOP_CAUSES
def test_a_stop_carries_the_partial_result(cause, expected):
    class Stopping:
        @hookimpl(tryfirst=True)
        def pollux_decode_stream(self, stream, call):
            yield TextDelta("half ")
            raise cause

    with pytest.raises(expected) as caught:
        stream("hi", config=build_mock_config(Stopping())).result()
    assert caught.value.partial_result["answers"] == ["half "]


def test_result_raises_the_stop_again():
    class Stopping:
        @hookimpl(tryfirst=True)
        def pollux_decode_stream(self, stream, call):
            raise SystemExit(7)
            yield

    events = stream("hi", config=build_mock_config(Stopping()))
    with pytest.raises(Terminated) as first:
        list(events)
    with pytest.raises(Terminated) as again:
        events.result()
    assert again.value is first.value


@STOP_CAUSES
def test_a_stop_between_events_of_many_carries_the_answers_that_are_there(cause, expected):
    release = threading.Event()

    class Slow:
        """Middleware that delays the second answer until ``release`` is set."""

        @hookimpl(tryfirst=True)
        def pollux_decode_stream(self, stream, call):
            if call.index:
                release.wait(30)
            yield Reply(text=f"echo: {call.prompt}")

    events = stream_many(["a", "b"], config=build_mock_config(Slow(), request_concurrency=1))
    while next(events).type != "finish":
        pass
    with pytest.raises(expected) as caught:
        events._events.throw(cause)
    assert caught.value.partial_result["answers"][0] == "echo: a"
    assert caught.value.partial_result["errors"][1]["message"].startswith("the stream was left")
    release.set()


@STOP_CAUSES
def test_a_stop_before_anything_came_carries_an_empty_answer(cause, expected):
    class Stopping:
        @hookimpl(wrapper=True)
        def pollux_rewrite_call(self):
            yield
            raise cause

    with pytest.raises(expected) as caught:
        stream("hi", config=build_mock_config(Stopping())).result()
    assert caught.value.partial_result["answers"] == [""]


def test_only_one_thread_reads():
    class Waiting:
        def __init__(self):
            self.begun, self.go_on = threading.Event(), threading.Event()

        @hookimpl(tryfirst=True)
        def pollux_decode_stream(self, stream, call):
            self.begun.set()
            self.go_on.wait(30)
            yield Reply(text="a")

    waiting = Waiting()
    events = stream("hi", config=build_mock_config(waiting))
    reader = threading.Thread(target=events.result)
    reader.start()
    assert waiting.begun.wait(30)
    with pytest.raises(ConfigurationError, match="another thread"):
        next(events)
    waiting.go_on.set()
    reader.join()


def test_every_event_has_a_call_or_none():
    assert [event.call_idx for event in stream("a", config=build_mock_config())][-2:] == [0, None]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_leaves_the_parents_stream_alone(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    observer = Observer()
    events = stream("a b c", source=Source.from_file(path), config=build_mock_config(observer))
    next(events)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:  # pragma: no cover - not measured in the child
        try:
            next(events)
        except ConfigurationError as error:
            os.write(writing, error.message.encode())
        events.close()
        os.write(writing, b", deleted %d" % len(observer.select(UploadDeleted)))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 1000) == b"the stream belongs to another process, deleted 0"
    assert events.result()["status"] == "ok"
    assert len(observer.select(UploadDeleted)) == 1


def test_files_of_unclosed_streams_are_deleted_at_exit():
    code = """
import tempfile, pathlib
from pollux_sync import Config, Source, hookimpl, stream
class Told:
    @hookimpl
    def pollux_event(self, event):
        print(type(event).__name__)
path = pathlib.Path(tempfile.mkdtemp(), "a.png")
path.write_bytes(b"PNG")
config = Config(provider="x", model="m", use_mock=True, plugins=[Told()])
events = stream("a b", source=Source.from_file(path), config=config)
next(events)
print("end")
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split("end")[1].split() == ["CallFinished", "UploadDeleted"]


def test_closing_many_streams_ends_their_threads():
    before = threading.active_count()
    with stream_many([f"p{number}" for number in range(50)], config=build_mock_config()) as events:
        next(events)
    assert threading.active_count() == before


def test_a_defect_in_a_thread_is_raised():
    class Odd:
        @hookimpl(tryfirst=True)
        def pollux_decode_stream(self, stream, call):
            raise SystemExit(3)

    with pytest.raises(SystemExit):
        list(stream_many(["a", "b"], config=build_mock_config(Odd())))


def test_a_thousand_that_are_left_leave_nothing():
    config = build_mock_config()
    for _ in range(20):
        next(stream("a b c", config=config))
    gc.collect()
    before, threads = len(gc.get_objects()), threading.active_count()
    for _ in range(1000):
        next(stream("a b c", config=config))
    gc.collect()
    assert threading.active_count() == threads
    assert len(gc.get_objects()) - before < 200


def test_typed_answers_and_usage_are_in_the_result():
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    events = list(stream("hi", config=build_mock_config(Script({"n": 7})), options=Options(response_schema=schema)))
    assert events[-1].result["structured"] == [{"n": 7}]
    assert isinstance(events[0], StreamStart)
    assert isinstance(events[-1], StreamDone)
    assert [type(event) for event in events].count(StreamUsage) == 1


def test_scripted_replies_are_streamed_with_all_they_hold():
    reply = Reply(text="a b", reasoning="c d", tool_calls=(ToolCall("1", "add", "{}"),), finish_reason="tool_calls")
    events = list_types(stream("hi", config=build_mock_config(Script(reply))))
    assert events == [
        "start",
        *["reasoning_delta"] * 2,
        *["text_delta"] * 2,
        *["tool_call_delta", "tool_call", "usage", "finish", "done"],
    ]


def test_what_an_answer_was_billed_before_it_broke_off_is_counted():
    class Billing:
        @hookimpl(tryfirst=True)
        def pollux_decode_stream(self, stream, call):
            yield TextDelta("half")
            yield StreamUsage(Usage(input_tokens=7))
            raise ConnectionResetError

    told = []
    with pytest.raises(APIError) as caught:
        told.extend(stream("hi", config=build_mock_config(Billing())))
    assert caught.value.partial_result["usage"] == {"input_tokens": 7}


class FailsOnce:
    """A provider whose first answer fails after the first item of ``items``, its second does not."""

    def __init__(self, *items):
        self.items = items
        self.has_failed = False

    @hookimpl(tryfirst=True)
    def pollux_decode_stream(self, stream, call):
        yield self.items[0]
        if not self.has_failed:
            self.has_failed = True
            raise ConnectionResetError
        yield from self.items[1:]
        yield Reply(text="done", finish_reason="stop")


@pytest.mark.parametrize("first", [StreamStart(response_id="r"), StreamUsage(Usage(input_tokens=7))])
def test_retries_a_failure_before_the_first_output(first):
    events = list(stream("hi", config=build_mock_config(FailsOnce(first, TextDelta("done")))))
    assert [event.type for event in events] == ["start", "text_delta", "usage", "finish", "done"]
    (attempts,) = events[-1].result["diagnostics"]["attempts"]
    assert [attempt["kind"] for attempt in attempts] == ["connection", None]


@pytest.mark.parametrize("first", [TextDelta("x"), ReasoningDelta("x"), ToolCallDelta(0, name="f")])
def test_does_not_retry_a_failure_after_the_first_output(first):
    with pytest.raises(APIError) as caught:
        stream("hi", config=build_mock_config(FailsOnce(first))).result()
    assert len(caught.value.attempts) == 1


def test_counts_what_was_billed_before_the_first_output():
    config = build_mock_config(FailsOnce(StreamUsage(Usage(input_tokens=7))))
    config = attrs.evolve(config, retry=RetryPolicy(max_attempts=1))
    with pytest.raises(APIError) as caught:
        stream("hi", config=config).result()
    assert caught.value.partial_result["usage"] == {"input_tokens": 7}


def test_a_bill_is_no_beginning():
    class Billing:
        @hookimpl(tryfirst=True)
        def pollux_decode_stream(self, stream, call):
            yield StreamUsage(Usage(input_tokens=7))
            raise ConnectionResetError

    with pytest.raises(APIError) as caught:
        stream("hi", config=build_mock_config(Billing())).result()
    assert len(caught.value.attempts) == 2


@STOP_CAUSES
def test_a_stop_in_one_of_many_streams_carries_the_answers_of_all(cause, expected):
    class Stopping:
        @hookimpl(tryfirst=True)
        def pollux_decode_stream(self, stream, call):
            yield TextDelta("half ")
            raise cause

    with pytest.raises(expected) as caught:
        stream_many(["a", "b"], config=build_mock_config(Stopping(), request_concurrency=1)).result()
    assert len(caught.value.partial_result["answers"]) == 2


class InPieces:
    """A model whose answer arrives letter by letter."""

    def __init__(self, text):
        self.text = text

    @hookimpl
    def pollux_decode_stream(self):
        yield StreamStart()
        yield from map(TextDelta, self.text)
        yield Reply(text=self.text, finish_reason="stop")


def stream_in_pieces(text, **options):
    config = Config(provider="openai", model="m", use_mock=True, plugins=[InPieces(text)])
    return stream("hi", config=config, options=Options(**options))


def test_partials_grow_to_the_answer():
    events = stream_in_pieces('{"city": "Rome", "heat": 30}', response_schema=dict)
    values = list(events.partials)
    assert values[:3] == [{}, {"city": ""}, {"city": "R"}]
    assert values[-2:] == [{"city": "Rome"}, {"city": "Rome", "heat": 30}]
    assert events.result()["structured"] == [{"city": "Rome", "heat": 30}]


def test_partials_need_one_prompt_with_a_schema():
    config = Config(provider="openai", model="m", use_mock=True)
    several = stream_many(["a", "b"], config=config, options=Options(response_schema=dict))
    for events in (stream_in_pieces("x"), several):
        with events, pytest.raises(ConfigurationError, match="one prompt with a response_schema"):
            _ = events.partials
