"""Streamed answers for tests: how they are written, cut into pieces, and held against what is answered at once."""

import json
from itertools import pairwise

import attrs

from pollux_sync import Config, HttpResponse, hookimpl, run, stream
from pollux_sync.data.streaming import StreamDone
from pollux_sync.wire.sse import ByteStream

SSE = {"content-type": "text/event-stream"}
#: Every so many cuts are followed to the envelope, besides the one byte by byte.
_SAMPLED = 50


def sse(*events, done=False):
    """The bytes of server-sent events, each data or (name, data); ``done`` adds OpenAI's word for the end."""
    named = [event if isinstance(event, tuple) else (None, event) for event in events]
    blocks = [f"event: {name}\n" * bool(name) + f"data: {json.dumps(data)}\n\n" for name, data in named]
    return "".join([*blocks, "data: [DONE]\n\n" if done else ""]).encode()


class Pieces(ByteStream):
    """An answer that comes in these pieces."""

    def __init__(self, pieces, **limits):
        super().__init__(HttpResponse(status=200, headers=SSE), **limits)
        self._pieces = pieces

    def chunks(self):
        return iter(self._pieces)

    def renew(self):
        pass


@attrs.define
class Wire:
    """Middleware in place of the network: ``answer`` is what `run` gets, ``pieces`` what `stream` gets."""

    answer: dict
    pieces: list = attrs.field(factory=list)
    requests: list = attrs.field(factory=list)

    @hookimpl(tryfirst=True)
    def pollux_send(self, request):
        self.requests.append(request)
        return HttpResponse(status=200, headers={}, body=self.answer)

    @hookimpl(tryfirst=True)
    def pollux_stream(self, request):
        self.requests.append(request)
        return Pieces(self.pieces)


def comparable(envelope):
    """The envelope without times."""
    metrics = {name: value for name, value in envelope["metrics"].items() if name != "duration_s"}
    attempts = [[attempt["status_code"] for attempt in call] for call in envelope["diagnostics"]["attempts"]]
    diagnostics = envelope["diagnostics"] | {"attempts": attempts}
    return {**envelope, "metrics": metrics, "diagnostics": diagnostics}


def cuts_of(transcript):
    """The transcript in two pieces, cut at every byte; and byte by byte."""
    for position in range(1, len(transcript)):
        yield [transcript[:position], transcript[position:]]
    yield [transcript[start:end] for start, end in pairwise(range(len(transcript) + 1))]


def assert_streams_like(answer, transcript, *, provider, model, options=None):
    """However the transcript is cut, its envelope is that of the answer; gives the events of the whole."""
    wire = Wire(answer)
    config = Config(provider=provider, model=model, api_key="k", plugins=[wire], base_url="http://127.0.0.1:9/v1")
    blocking = comparable(run("hi", config=config, options=options))
    whole = list(Pieces([transcript]))
    for number, pieces in enumerate(cuts_of(transcript)):
        assert list(Pieces(pieces)) == whole  # which is all that the rest of the way sees of the pieces
        if number % _SAMPLED == 0 or len(pieces) > 2:
            wire.pieces = pieces
            assert comparable(stream("hi", config=config, options=options).result()) == blocking
    wire.pieces = [transcript]
    events = list(stream("hi", config=config, options=options))
    assert isinstance(events[-1], StreamDone)
    texts = "".join(event.text for event in events if event.type == "text_delta")
    assert texts == blocking["answers"][0]
    return events
