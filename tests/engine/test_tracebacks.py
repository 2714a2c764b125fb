"""What Python prints of an error: the caller's frames, and what went wrong."""

import subprocess
import sys

import pytest

from pollux_sync import Config, ProviderBugError, hookimpl, run
from pollux_sync.testing import Script

SCRIPT = """
from pollux_sync import Config, RetryPolicy, run
retry = RetryPolicy(max_attempts=1)
run("hi", config=Config(provider="local", model="m", base_url="http://127.0.0.1:9/v1", retry=retry))
"""


@pytest.mark.parametrize(("strict", "is_long"), [("", False), ("1", True)])
def test_refused_connection_is_told_in_few_lines(monkeypatch, strict, is_long):
    monkeypatch.setenv("POLLUX_SYNC_STRICT_PLUGINS", strict)
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, timeout=60)
    lines = run.stderr.splitlines()
    assert "ConnectionRefusedError: [Errno 111] Connection refused" in lines
    assert lines[-1].startswith("  hint: check that the server runs")
    assert (len(lines) > 40) == is_long


def test_defect_of_a_plugin_keeps_its_frames():
    class Broken(Script):
        @hookimpl(tryfirst=True)
        def pollux_decode(self):
            raise KeyError("answer")

    with pytest.raises(ProviderBugError) as caught:
        run("hi", config=Config(provider="openai", model="m", use_mock=True, plugins=[Broken("x")]))
    names = []
    frame = caught.value.__cause__.__traceback__
    while frame is not None:
        names.append(frame.tb_frame.f_code.co_name)
        frame = frame.tb_next
    assert "pollux_decode" in names
