"""Streamed answers for tests: their bytes, cut at every place, and compared with the blocking answer."""

import json

from pollux_sync import HttpResponse
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
