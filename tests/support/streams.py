"""Streamed answers for tests: their bytes, cut at every place, and compared with the blocking answer."""

import json
from itertools import pairwise

import attrs

from pollux_sync import Config, HttpResponse, hookimpl, run, stream
from pollux_sync.data.streaming import StreamDone
from pollux_sync.wire.sse import ByteStream

SSE = {"content-type": "text/event-stream"}
#: Only every 50th cut is compared by its envelope, which is slow; of all cuts the events are compared.
_SAMPLED = 50


def sse(*events, done=False):
    """Return the bytes of server-sent events, each data or (name, data); ``done`` adds OpenAI's end mark."""
    named = [event if isinstance(event, tuple) else (None, event) for event in events]
    blocks = [f"event: {name}\n" * bool(name) + f"data: {json.dumps(data)}\n\n" for name, data in named]
    return "".join([*blocks, "data: [DONE]\n\n" if done else ""]).encode()


class Pieces(ByteStream):
    """A streamed answer that arrives in these pieces."""

    def __init__(self, pieces):
        super().__init__(HttpResponse(status=200, headers=SSE))
        self._pieces = pieces

    def iter_chunks(self):
        return iter(self._pieces)

    def renew(self):
        pass


@attrs.define
class Wire:
    """Middleware that replaces the network: `run` gets ``answer``, `stream` gets ``pieces``."""

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


def remove_times(envelope):
    """Return the envelope without its times."""
    metrics = {name: value for name, value in envelope["metrics"].items() if name != "duration_s"}
    attempts = [[attempt["status_code"] for attempt in call] for call in envelope["diagnostics"]["attempts"]]
    diagnostics = envelope["diagnostics"] | {"attempts": attempts}
    return {**envelope, "metrics": metrics, "diagnostics": diagnostics}


def iter_cuts(transcript):
    """Return an iterator over the transcript in two pieces, cut at every byte, and at last byte by byte."""
    for position in range(1, len(transcript)):
        yield [transcript[:position], transcript[position:]]
    yield [transcript[start:end] for start, end in pairwise(range(len(transcript) + 1))]


def assert_streams_like(answer, transcript, *, provider, model, options=None):
    """Check that every cut of the transcript leads to the envelope of the answer; return its events."""
    wire = Wire(answer)
    config = Config(provider=provider, model=model, api_key="k", plugins=[wire], base_url="http://127.0.0.1:9/v1")
    blocking = remove_times(run("hi", config=config, options=options))
    events = list(Pieces([transcript]))
    for number, pieces in enumerate(iter_cuts(transcript)):
        assert list(Pieces(pieces)) == events  # the decoders see only these events, not the pieces
        if number % _SAMPLED == 0 or len(pieces) > 2:
            wire.pieces = pieces
            assert remove_times(stream("hi", config=config, options=options).result()) == blocking
    wire.pieces = [transcript]
    events = list(stream("hi", config=config, options=options))
    assert isinstance(events[-1], StreamDone)
    texts = "".join(event.text for event in events if event.type == "text_delta")
    assert texts == blocking["answers"][0]
    return events
