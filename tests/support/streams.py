"""Streamed answers for tests: their bytes, cut at every place, and compared with the blocking answer."""

import json

import attrs
import pytest

from pollux_sync import APIError, HttpResponse
from pollux_sync.wire.sse import ByteStream

SSE = {"content-type": "text/event-stream"}


def sse(*events, done=False):
    """Return the bytes of server-sent events, each data or (name, data); ``done`` adds OpenAI's end mark."""
    named = [event if isinstance(event, tuple) else (None, event) for event in events]
    blocks = [f"event: {name}\n" * bool(name) + f"data: {json.dumps(data)}\n\n" for name, data in named]
    return "".join([*blocks, "data: [DONE]\n\n" if done else ""]).encode()


class Pieces(ByteStream):
    """A streamed answer that arrives in these pieces."""

    def __init__(self, pieces, **limits):
        super().__init__(HttpResponse(status=200, headers=SSE), **limits)
        self._pieces = pieces

    def iter_chunks(self):
        return iter(self._pieces)

    def renew(self):
        pass


def remove_times(envelope):
    """Return the envelope without its times."""
    metrics = {name: value for name, value in envelope["metrics"].items() if name != "duration_s"}
    attempts = [[attempt["status_code"] for attempt in call] for call in envelope["diagnostics"]["attempts"]]
    diagnostics = envelope["diagnostics"] | {"attempts": attempts}
    return {**envelope, "metrics": metrics, "diagnostics": diagnostics}


@attrs.frozen
class Break:
    """The error of a stream that ended at its time limit, the limit, and how often the server was asked."""

    error: APIError
    limit_s: float
    n_requests: int


def break_off(server, step, ask):
    """Ask for a stream that begins and does not end, and return how its time limit ended it.

    `ask` takes the limit. The first text must come within it: where a slow machine makes it late, a longer one follows.
    """
    for limit_s in (0.3, 5.0):
        n_before = len(server.requests)
        server.reply(step)
        with pytest.raises(APIError) as caught:
            ask(limit_s)
        if caught.value.partial_text:
            break
    return Break(caught.value, limit_s, len(server.requests) - n_before)


def allow_slow_ends(monkeypatch):
    """Give the end of a body a while to arrive after the last event, for tests in which it must arrive."""
    for module in ("streams", "sdkstreams"):
        monkeypatch.setattr(f"pollux_sync.wire.{module}.TAIL_S", 10.0)
