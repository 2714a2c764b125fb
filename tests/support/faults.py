"""Failures on the way to a provider, and the error that each must lead to."""

import logging
import traceback

import pytest

from pollux_sync import APIError, run
from pollux_sync.testing.server import (
    Answer,
    CloseWithoutAnswer,
    Drip,
    GzipBomb,
    Hang,
    ResetBeforeBody,
    ResetInsideBody,
    Truncated,
)
from pollux_sync.wire.bodies import MAX_BODY_BYTES

JSON = {"Content-Type": "application/json"}

#: Bodies without an end, in the form of `build_broken_answers`.
ENDLESS_ANSWERS = {
    "dripping": (Drip(body=b" " * 999, interval_s=0.02, headers=JSON), "timeout", None, 2),
    "a gzip bomb": (GzipBomb(MAX_BODY_BYTES + 1), "malformed", None, 1),
}


def build_broken_answers(body):
    """Return by name: a step of the server with parts of ``body``, and the kind, status and attempts of its error."""
    return {
        "bad gateway": (Answer(status=502, body=b"<html><title>502</title>"), "capacity", 502, 2),
        "reset": (ResetBeforeBody(), "connection", None, 2),
        "closed": (CloseWithoutAnswer(), "connection", None, 2),
        "reset inside": (ResetInsideBody(body, 5, headers=JSON), "connection", None, 2),
        "cut off": (Truncated(body, 5, headers=JSON), "connection", None, 2),
        "no time": (Hang(), "timeout", None, 2),
        "broken json": (Answer(body=body[:6], headers=JSON), "malformed", 200, 2),
        "a login page": (Answer(body=b"<html>", headers={"Content-Type": "text/html"}), "malformed", 200, 1),
    }


def check_fault(server, make_config, caplog, key, fault):
    """Call the provider of ``make_config`` once; check the error, and that no text contains the key."""
    step, kind, status, attempts = fault
    caplog.set_level(logging.DEBUG)
    server.reply(*[step] * 3)
    config = make_config(timeout_s=0.3 if isinstance(step, Hang | Drip) else 20.0)
    with pytest.raises(APIError) as caught:
        run("hi", config=config)
    raised = caught.value
    facts = (raised.kind, raised.status_code, raised.provider, raised.phase)
    assert facts == (kind, status, config.provider, "generate")
    assert len(server.requests) == len(raised.attempts) == attempts
    shown = "".join(traceback.format_exception(raised)) + f"{raised!r} {raised.partial_result} {raised.attempts}"
    assert key not in shown + caplog.text
