"""Streams of very many pieces, whose reading must take linear time."""

import time

from pollux_sync import HttpResponse, Reply
from pollux_sync.data.streaming import EventStream, ServerEvent

N_PIECES = 50_000
#: A piece of a text. Copying the text so far with each of them would copy over a terabyte.
PIECE = "thirty-two characters in a piece" * 32
#: A piece of a list. Copying the list so far with each of them would copy 200 GB.
ENTRIES = [{"n": n} for n in range(20)]
#: A bound that no machine exceeds with linear work, and each exceeds with quadratic work.
BOUND_S = 60.0


def read_in_time(decode, events):
    """Return the reply that ``decode`` makes of the events, each data or (name, data)."""
    named = (event if isinstance(event, tuple) else ("", event) for event in events)
    started = time.monotonic()
    for item in decode(EventStream(HttpResponse(status=200), (ServerEvent(*event) for event in named))):
        assert time.monotonic() - started < BOUND_S, "the work per piece grows with the answer"
        if isinstance(item, Reply):
            return item
    raise AssertionError("there is no reply")
