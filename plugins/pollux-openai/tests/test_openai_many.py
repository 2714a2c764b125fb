"""More requests than one job holds: several jobs under one handle, streamed to disk and wire, collected in order."""

import json
import os
import resource
import subprocess
import sys

import pytest

from installing import install
from openai_batches import OpenAIBatches
from pollux_sync.testing.server import ScriptedServer

#: The provider, but it takes no more than 5,000 requests in a job: the real 50,000 only take longer.
NARROW = """
import attrs
from pollux_openai import INFO, OpenAIProvider
from pollux_sync.data.rules import DeferredLimits
from pollux_sync.hooks.specs import hookimpl

class Narrow(OpenAIProvider):
    @hookimpl
    def pollux_provider_info(self):
        return attrs.evolve(INFO, name="narrow", deferred=DeferredLimits(max_requests=5_000, max_bytes=200_000_000))
"""

MANY = """
import json, resource, sys
from pollux_sync import Config, collect_deferred, defer_many, wait_deferred
config = Config(provider="narrow", model="m", api_key="k", base_url=sys.argv[1])
prompts = [f"{number} " + "x" * 10_000 for number in range(6_000)]
defer_many(prompts[:10], config=config)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
handle = defer_many(prompts, config=config)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
wait_deferred(handle, config=config, poll=0)
result = collect_deferred(handle, config=config)
in_order = [answer.split(" ")[0] for answer in result["answers"]] == [str(number) for number in range(len(prompts))]
print(json.dumps({"grown": grown * 1024, "jobs": [job.request_count for job in handle.jobs], "in_order": in_order,
                  "size": sum(map(len, prompts))}))
"""


@pytest.mark.soak
@pytest.mark.skipif(not hasattr(resource, "getrusage"), reason="this system cannot tell")
def test_many_prompts_cost_no_memory_of_their_own(tmp_path):
    install(tmp_path, "narrow", narrow="narrow:Narrow")
    (tmp_path / "narrow.py").write_text(NARROW)
    with ScriptedServer() as server:
        service = server.handler = OpenAIBatches()
        service.stages = ("validating",)
        service.reply = short
        command = [sys.executable, "-c", MANY, f"{server.url}/v1"]
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
        told = json.loads(done.stdout)
        service_batches = service.batches
    assert told["jobs"] == [5_000, 1_000]
    assert len(service_batches) == 3
    assert told["in_order"]
    assert told["grown"] < told["size"] * 0.75


def short(body):
    """Return an answer with the first ten characters of the prompt."""
    asked = body["input"][-1]["content"][-1]["text"]
    part = {"type": "output_text", "text": asked[:10], "annotations": []}
    return {"id": "r", "status": "completed", "output": [{"type": "message", "role": "assistant", "content": [part]}]}
