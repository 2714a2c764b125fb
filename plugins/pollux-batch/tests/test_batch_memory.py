"""A long input takes no more memory than a short one."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

#: A job that makes its items and answers up, and prints the most memory that it took, in kB.
RUN = """
import sys
from pathlib import Path
from pollux_batch import stream_batch
from pollux_sync import Config, hookimpl
from pollux_sync.plugin import HttpResponse

class Sender:
    @hookimpl(tryfirst=True)
    def pollux_send(self, request):
        body = {"choices": [{"message": {"content": request.body["messages"][-1]["content"]}}], "usage": {}}
        return HttpResponse(status=200, headers={}, body=body)

path, count = sys.argv[1], int(sys.argv[2])
config = Config(provider="local", model="m", base_url="http://127.0.0.1:9/v1", plugins=[Sender()])
items = ((f"row {n}", f"question {n}") for n in range(count))
assert sum(item.success for item in stream_batch(items, config=config, journal=path)) == count
facts = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in facts if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
def test_takes_less_than_100_mb_for_many_items(path, count):
    command = [sys.executable, "-c", RUN, str(path), str(count)]
    peak_kb = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ).stdout
    assert int(peak_kb) < 100_000
