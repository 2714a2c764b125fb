"""Streams over the core's HTTP client and over the caller's SDK client: the same events, envelopes and errors."""

import gzip

import httpx2
import pytest
from anthropic import Anthropic, AnthropicBedrock

from messages_api import (
    PING,
    UnendedAnswer,
    answer,
    build_end_events,
    build_start_event,
    events,
    stream_answer,
    text,
    text_block,
    thinking,
    thinking_block,
    tool_block,
    tool_use,
)
from pollux_anthropic.carrier import AnthropicCarrier
from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    Options,
    RetryPolicy,
    StreamStart,
    TextDelta,
    continue_tool,
    run,
    stream,
    stream_many,
    to_jsonable,
)
from pollux_sync.data.provider import HttpRequest
from pollux_sync.testing.server import Answer, CloseWithoutAnswer, Drip, Hang, ResetInsideBody, Truncated
from streams import SSE, remove_times

KEY = "sk-ant-very-secret"
TOOL = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
SAID = [
    build_start_event(),
    PING,
    *thinking_block(0, "hm", "m"),
    *text_block(1, "fo", "ur"),
    *tool_block(2, "weather", '{"city": ', '"Rome"}'),
    *build_end_events("tool_use"),
]
ANSWERED = [thinking("hmm"), text("four"), tool_use("weather", {"city": "Rome"})]
PART = [build_start_event(), *text_block(0, "The", " sky")[:3]]
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
CHUNKED = SSE | {"Transfer-Encoding": "chunked"}


def chunks(*parts):
    """The events, each in a chunk of its own; and the end of the body."""
    pieces = [events(part) for part in parts]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def catch_error(asked):
    with pytest.raises(APIError) as caught:
        list(asked)
    return caught.value


def test_asks_as_run_does_but_for_a_stream(server, config):
    server.reply(answer(*ANSWERED, stop_reason="tool_use"), stream_answer(*SAID))
    options = Options(tools=[TOOL], reasoning_effort="low", max_tokens=4000)
    run("2 + 2?", config=config(), options=options)
    list(stream("2 + 2?", config=config(), options=options))
    asked, streamed = server.requests
    assert streamed.json() == asked.json() | {"stream": True}
    assert (streamed.method, streamed.path) == ("POST", "/v1/messages")
    assert streamed.headers["anthropic-beta"] == asked.headers["anthropic-beta"]
    assert streamed.headers["accept-encoding"] == "identity"


def test_returns_the_result_of_run(server, config):
    server.reply(answer(*ANSWERED, stop_reason="tool_use"), stream_answer(*SAID))
    options = Options(tools=[TOOL])
    blocking = run("2 + 2?", config=config(), options=options)
    streamed = stream("2 + 2?", config=config(), options=options).result()
    assert remove_times(streamed) == remove_times(blocking)


def test_goes_on_after_a_streamed_tool_call_with_its_thoughts(server, config):
    server.reply(stream_answer(*SAID), answer(text("sunny")))
    asked = stream("weather?", config=config(), options=Options(tools=[TOOL])).result()
    told = [{"role": "tool", "tool_call_id": "toolu_1", "content": "clear"}]
    continue_tool(to_jsonable(asked), told, config=config(), options=Options(tools=[TOOL]))
    assert server.requests[1].json()["messages"][1] == {"role": "assistant", "content": ANSWERED}


def test_sends_input_that_was_cut_off_as_an_object(server, config):
    search = tool_block(0, "web_search", '{"query": "x', call_id="srv_1", kind="server_tool_use")
    server.reply(
        stream_answer(build_start_event(), *search, *text_block(1, "x"), *build_end_events("max_tokens")),
        answer(text("bye")),
    )
    asked = stream("hi", config=config(), options=Options(history=[])).result()
    run("go on", config=config(), options=Options(continue_from=to_jsonable(asked)))
    sent = tool_use("web_search", {}, "srv_1") | {"type": "server_tool_use"}
    assert server.requests[1].json()["messages"][1]["content"] == [sent, text("x")]


def test_reads_a_body_chunk_by_chunk(server, config):
    server.reply(Drip(body=chunks(*SAID), interval_s=0.001, chunk_bytes=40, headers=CHUNKED))
    assert stream("hi", config=config()).result()["answers"] == ["four"]


def test_reads_a_blocking_answer_to_a_stream(server, config):
    server.reply(answer(thinking("hm"), text("four")))
    told = list(stream("hi", config=config()))
    assert TextDelta("four") in told
    assert told[-1].result["reasoning"] == ["hm"]


def test_keeps_the_request_id(server, config):
    server.reply(stream_answer(*SAID))
    result = stream("hi", config=config()).result()
    assert result["diagnostics"]["attempts"][0][0]["request_id"] == "req_1"


def test_tries_again_when_the_first_event_is_an_error(server, config):
    server.reply(stream_answer(PING, OVERLOADED), stream_answer(*SAID))
    result = stream("hi", config=config()).result()
    assert result["answers"] == ["four"]
    assert [attempt["status_code"] for attempt in result["diagnostics"]["attempts"][0]] == [529, 200]


def test_raises_an_error_inside_a_stream(server, config):
    server.reply(stream_answer(*PART, OVERLOADED), stream_answer(*SAID))
    error = catch_error(stream("hi", config=config()))
    assert (error.kind, error.status_code, error.partial_text) == ("capacity", 529, "The sky")
    assert len(server.requests) == len(error.attempts) == 1


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (Answer(body=events(*PART), headers=SSE), "malformed"),
        (Answer(body=events(*PART), headers=SSE | {"Connection": "close"}), "malformed"),
        (Truncated(chunks(*SAID), len(chunks(*PART)) - 5, headers=CHUNKED), "connection"),
        (ResetInsideBody(chunks(*SAID), 0, headers=CHUNKED), "connection"),
    ],
    ids=["build_end_events", "closed", "cut off", "reset"],
)
def test_raises_when_the_answer_breaks_off(server, config, step, kind):
    server.reply(step)
    error = catch_error(stream("hi", config=config(retry=RetryPolicy(max_attempts=1))))
    assert (error.kind, error.provider, error.phase) == (kind, "anthropic", "generate")


JSON = {"Content-Type": "application/json"}
FAULTS = {
    "bad key": (Answer(status=401, json=OVERLOADED), "auth", 401, 1),
    "bad request": (Answer(status=400, json={"error": {"message": "no"}}), "invalid_request", 400, 1),
    "rate limit": (Answer(status=429, json={}, headers={"retry-after": "0"}), "rate_limit", 429, 2),
    "overloaded": (Answer(status=529, json=OVERLOADED), "capacity", 529, 2),
    "overloaded inside a 200": (Answer(json=OVERLOADED), "capacity", 529, 2),
    "bad gateway": (Answer(status=502, body=b"<html><title>502</title>"), "capacity", 502, 2),
    "broken json": (Answer(body=b'{"con', headers=JSON), "malformed", 200, 1),  # an answer that is paid for
    "json cut off": (Truncated(b'{"content": []}', 5, headers=JSON), "connection", None, 2),
    "an error cut off": (Truncated(b'{"content": []}', 5, headers=CHUNKED), "connection", None, 2),
    "an event that is no json": (Answer(body=b"data: {\n\n", headers=SSE), "malformed", None, 2),
    "nothing": (Answer(body=b"", headers=SSE), "malformed", None, 2),
    "closed": (CloseWithoutAnswer(), "connection", None, 2),
    "no answer": (Hang(), "timeout", None, 2),
    "no event": (UnendedAnswer((PING,)), "timeout", None, 2),
    "no whole event": (Drip(body=b"data:" + b" " * 4000, interval_s=0.01, headers=SSE), "timeout", None, 2),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_maps_a_fault_as_run_does(server, config, fault):
    step, kind, status, attempts = fault
    server.reply(*[step] * 3)
    error = catch_error(stream("hi", config=config(timeout_s=0.3 if kind == "timeout" else 20.0)))
    assert (error.kind, error.status_code, len(error.attempts)) == (kind, status, attempts)
    assert KEY not in f"{error!r} {error.attempts}"


def test_leaving_closes_the_connection(server, config):
    server.reply(UnendedAnswer((*PART,)))
    with stream("hi", config=config()) as told:
        assert isinstance(next(told), StreamStart)
        assert server.open_connections == 1
    server.wait_for_open_connections(0)


def test_fans_out(server, config):
    def reply(request):
        asked = request.json()["messages"][0]["content"][-1]["text"]
        return stream_answer(build_start_event(), *text_block(0, asked.upper()), *build_end_events())

    server.handler = reply
    prompts = [f"p{number}" for number in range(8)]
    result = stream_many(prompts, config=config()).result()
    assert result["answers"] == [prompt.upper() for prompt in prompts]


@pytest.fixture
def through(server):
    """Makes configurations around SDK clients of the caller's."""
    clients = []

    def make(**fields):
        clients.append(Anthropic(api_key=KEY, **({"base_url": server.url} | fields)))
        return Config(provider="anthropic", model="m", client=clients[-1], retry=RetryPolicy(max_attempts=1))

    yield make
    for client in clients:
        client.close()


ZIPPED = SSE | {"Content-Encoding": "gzip"}


def test_reads_a_stream_that_a_proxy_compressed(server, through):
    server.reply(Answer(body=gzip.compress(events(*SAID)), headers=ZIPPED))
    assert stream("hi", config=through()).result()["answers"] == ["four"]


def test_says_that_a_stream_cannot_be_decompressed(server, through):
    server.reply(Answer(body=b"no gzip", headers=ZIPPED))
    assert "decompressed" in str(catch_error(stream("hi", config=through())))


def test_streams_through_a_client_with_middleware(server, through):
    server.reply(stream_answer(*SAID))
    config = through(middleware=[lambda request, proceed: proceed(request)])
    assert stream("hi", config=config).result()["answers"] == ["four"]


def test_streams_through_a_transport_without_sockets(through):
    told = httpx2.MockTransport(lambda _: httpx2.Response(200, content=events(*SAID), headers=SSE))
    with httpx2.Client(transport=told) as client:
        config = through(http_client=client)
        streamed = AnthropicCarrier(config.client).stream(HttpRequest(path="/v1/messages", body={}), 5.0)
        streamed.wake()
        assert stream("hi", config=config).result()["answers"] == ["four"]


def test_closing_closes_the_connection_of_who_still_reads(server, through):
    server.reply(UnendedAnswer((*PART,)))
    streamed = AnthropicCarrier(through().client).stream(HttpRequest(path="/v1/messages", body={}), 5.0)
    reading = iter(streamed)
    assert next(reading).name == "message_start"
    streamed.close()
    server.wait_for_open_connections(0)
    streamed.wake()


def test_refuses_streams_with_a_bedrock_client(server):
    client = AnthropicBedrock(api_key=KEY, aws_region="us-east-1", base_url=server.url)
    with client, pytest.raises(ConfigurationError, match="Bedrock") as caught:
        list(stream("hi", config=Config(provider="anthropic", model="m", client=client)))
    assert "run()" in caught.value.hint
    assert not server.requests
