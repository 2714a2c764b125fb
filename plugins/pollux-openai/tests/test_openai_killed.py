"""`kill -9` at every step of a submission, and at random: the next call goes on, one job exists, nothing is left over.

A process that has imported everything forks one child a submission, so that killing a hundred takes seconds.
"""

import json
import random
import subprocess
import sys
import time

import pytest

from openai_batches import OpenAIBatches
from pollux_sync import Config, collect_deferred, wait_deferred
from pollux_sync.testing.server import ScriptedServer

KILLER = '''
import json, os, signal, sys, time
from pathlib import Path
import httpx2, openai
from pollux_sync import Config, RetryPolicy, Source, defer_many

def armed(step, index, when, function):
    """The function, whose call number `index` is the last thing that this process does, or nearly."""
    calls = iter(range(10_000))
    def call(*arguments, **fields):
        is_last = next(calls) == index
        if is_last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **fields)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

def submit(job):
    if job["step"]:
        owner, name = {"write": (Path, "replace"), "request": (httpx2.Client, "send")}[job["step"]]
        setattr(owner, name, armed(job["step"], job["index"], job["when"], getattr(owner, name)))
    config = Config(provider="openai", model="m", api_key="secret-key", base_url=job["url"],
                    request_concurrency=1, retry=RetryPolicy(initial_delay_s=0.01))
    sources = [Source.from_file(name) for name in job["files"]]
    defer_many(job["prompts"], sources=sources, config=config, job_file=job["path"])

for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        try:
            submit(job)
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    if job["delay_s"] is not None:
        time.sleep(job["delay_s"])
        os.kill(child, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
'''
KILLED, DONE = -9, 0


@pytest.fixture(scope="module")
def killer():
    with subprocess.Popen(
        [sys.executable, "-c", KILLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def submission(killer, tmp_path):
    """Submits the same job again and again, in a process of its own each time; gives how that ended."""
    names = []
    for number in range(2):
        (tmp_path / f"{number}.pdf").write_bytes(b"%PDF-1.7 " + bytes([number]))
        names.append(str(tmp_path / f"{number}.pdf"))
    with ScriptedServer() as server:
        server.handler = OpenAIBatches()

        def submit(name="job", step=None, index=0, when="before", delay_s=None):
            job = {"path": str(tmp_path / f"{name}.json"), "url": f"{server.url}/v1", "files": names}
            job |= {"prompts": [f"{name} a", f"{name} b"], "step": step, "index": index, "when": when}
            killer.stdin.write(json.dumps(job | {"delay_s": delay_s}) + "\n")
            killer.stdin.flush()
            return int(killer.stdout.readline())

        submit.server = server
        submit.path = lambda name="job": tmp_path / f"{name}.json"
        yield submit


def check_one_job_and_nothing_else(submission, *names):
    service = submission.server.handler
    assert len(service.batches) == len(names)
    assert len(service.names) == 3 * len(names)
    reach = Config(provider="openai", model="m", api_key="secret-key", base_url=f"{submission.server.url}/v1")
    for name in names:
        wait_deferred(submission.path(name), config=reach, poll=0)
        result = collect_deferred(submission.path(name), config=reach)
        assert result["answers"] == [f"{name} a".upper(), f"{name} b".upper()]
    assert service.names == []


#: Writes of the job file: intent, two uploads, an attempt, its job, the handle. Requests: two uploads, lines, job.
STEPS = [("write", index) for index in range(6)] + [("request", index) for index in range(4)]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("step", "index"), STEPS)
def test_goes_on_after_a_kill_at_every_step(submission, step, index, when):
    assert submission(step=step, index=index, when=when) == KILLED
    assert submission() == DONE
    check_one_job_and_nothing_else(submission, "job")


def test_there_are_no_other_steps(submission):
    assert submission(step="write", index=6) == DONE
    check_one_job_and_nothing_else(submission, "job")
    assert submission("other", step="request", index=4) == DONE


def test_a_second_kill_while_going_on_changes_nothing(submission):
    for step, index in STEPS:
        name = f"{step}-{index}"
        assert submission(name, step="request", index=3, when="after") == KILLED
        submission(name, step=step, index=index, when="after")
        assert submission(name) == DONE
    check_one_job_and_nothing_else(submission, *(f"{step}-{index}" for step, index in STEPS))


def test_a_hundred_kills_at_random(submission):
    draw = random.Random(20261121)  # noqa: S311 - when to kill is no secret
    began = time.monotonic()
    assert submission("first") == DONE
    usual_s = time.monotonic() - began
    kills, names = 0, ["first"]
    while kills < 100:
        names.append(f"job{len(names)}")
        ends = [submission(names[-1], delay_s=draw.uniform(0.0, usual_s)) for _ in range(4)]
        kills += ends.count(KILLED)
        assert submission(names[-1]) == DONE
    check_one_job_and_nothing_else(submission, *names)
