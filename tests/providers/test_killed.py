"""`kill -9` at every step of a submission, and in a soak at random: the next call goes on, one job exists.

A process that has imported everything forks one child a submission, so that killing hundreds takes seconds.
"""

import json
import subprocess
import sys
import time

import attrs
import pytest

import anthropic_batches
import gemini_batches
import openai_batches
from pollux_sync import Config, collect_deferred, wait_deferred
from pollux_sync.testing.server import ScriptedServer

KILLER = '''
import itertools, json, os, signal, sys, time
from pathlib import Path
import anthropic, google.genai, httpx2, openai
from pollux_sync import Config, RetryPolicy, Source, defer_many
from pollux_sync.wire.http import HttpClient

PLACES = {"write": [(Path, "replace")], "request": [(httpx2.Client, "send"), (HttpClient, "send")]}

def arm(step, index, when):
    """Whatever is the step with this number kills the process, before it is done or after."""
    calls = itertools.count()
    def armed(function):
        def call(*arguments, **fields):
            is_last = next(calls) == index
            if is_last and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*arguments, **fields)
            if is_last:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        return call
    for owner, name in PLACES[step]:
        setattr(owner, name, armed(getattr(owner, name)))

def submit(job):
    if job["step"]:
        arm(job["step"], job["index"], job["when"])
    retry = RetryPolicy(initial_delay_s=0.01)
    config = Config(request_concurrency=1, uploads="always", retry=retry, **job["reach"])
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
KILLED, DONE, FAILED = -9, 0, 1


@attrs.frozen
class Service:
    """A provider's service for one test: how it is reached, and what it holds."""

    handler: object
    provider: str
    path: str
    files_of: object
    stored: int  # for each job
    jobs_of: object
    answer_to: object
    end_jobs: object = lambda: None


def openai():
    service = openai_batches.OpenAIBatches()
    return Service(service, "openai", "/v1", lambda: service.names, 3, lambda: service.batches, str.upper)


def anthropic():
    service = anthropic_batches.Batches()
    account = service.accounts["secret-key"]

    def end_jobs():
        for batch in account.batches:
            service.end(batch)

    return Service(
        service, "anthropic", "", lambda: account.files, 2, lambda: account.batches, "re: {}".format, end_jobs
    )


def gemini():
    service = gemini_batches.Batches()
    return Service(service, "gemini", "", lambda: service.files, 2, lambda: service.batches, "said {}".format)


@pytest.fixture(scope="module")
def killer():
    with subprocess.Popen(
        [sys.executable, "-c", KILLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.stdin.close()


class Submissions:
    """Jobs of one service, each submitted again and again in a process of its own."""

    def __init__(self, service, url, killer, folder):
        self.service, self.killer, self.folder = service, killer, folder
        self.reach = {"provider": service.provider, "model": "m", "api_key": "secret-key", "base_url": url}
        for number in range(2):
            (folder / f"{number}.pdf").write_bytes(b"%PDF-1.7 " + bytes([number]))

    def path(self, name):
        return self.folder / f"{name}.json"

    def submit(self, name="job", step=None, index=0, when="before", delay_s=None):
        """Submit the job in a new process and return its exit code."""
        job = {"path": str(self.path(name)), "reach": self.reach, "prompts": [f"{name} a", f"{name} b"]}
        job |= {"files": [str(self.folder / f"{number}.pdf") for number in range(2)], "delay_s": delay_s}
        self.killer.stdin.write(json.dumps(job | {"step": step, "index": index, "when": when}) + "\n")
        self.killer.stdin.flush()
        return int(self.killer.stdout.readline())

    def check(self, *names):
        """One job for each of the names, with its answers, and no file but theirs; in the end none."""
        assert len(self.service.jobs_of()) == len(names)
        assert len(self.service.files_of()) == self.service.stored * len(names)
        config = Config(uploads="always", **self.reach)
        for name in names:
            wait_deferred(self.path(name), config=config, poll=0)
            answers = collect_deferred(self.path(name), config=config)["answers"]
            assert answers == [self.service.answer_to(f"{name} {prompt}") for prompt in "ab"]
        assert not self.service.files_of()


@pytest.fixture
def submissions(request, killer, tmp_path):
    service = request.param()
    with ScriptedServer() as server:
        server.handler = service.handler
        yield Submissions(service, f"{server.url}{service.path}", killer, tmp_path)


#: Writes of the job file: intent, two uploads, an attempt, its job, the handle.
WRITES = 6
#: Requests: those of two uploads, of the lines where they are a file, and of the job.
REQUESTS = {openai: 4, anthropic: 3, gemini: 5}
STEPS = [
    (service, step, index)
    for service, requests in REQUESTS.items()
    for step, count in (("write", WRITES), ("request", requests))
    for index in range(count)
]


def build_id(value):
    return value.__name__ if callable(value) else str(value)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("submissions", "step", "index"), STEPS, indirect=["submissions"], ids=build_id)
def test_goes_on_after_a_kill_at_every_step(submissions, step, index, when):
    assert submissions.submit(step=step, index=index, when=when) == KILLED
    assert submissions.submit() == DONE
    submissions.check("job")


@pytest.mark.parametrize(("submissions", "requests"), REQUESTS.items(), indirect=["submissions"], ids=build_id)
def test_there_are_no_other_steps(submissions, requests):
    assert submissions.submit(step="write", index=WRITES) == DONE
    assert submissions.submit("other", step="request", index=requests) == DONE
    submissions.check("job", "other")


@pytest.mark.parametrize("submissions", [openai], indirect=True)
def test_a_second_kill_while_going_on_changes_nothing(submissions):
    names = []
    for _, step, index in STEPS[: WRITES + REQUESTS[openai]]:
        names.append(f"{step}-{index}")
        assert submissions.submit(names[-1], step="request", index=3, when="after") == KILLED
        submissions.submit(names[-1], step=step, index=index, when="after")
        assert submissions.submit(names[-1]) == DONE
    submissions.check(*names)


@pytest.mark.parametrize("submissions", [anthropic], indirect=True)
def test_two_running_batches_of_one_size_are_ambiguous(submissions):
    assert submissions.submit("first") == DONE
    assert submissions.submit("second", step="request", index=2, when="after") == KILLED
    assert submissions.submit("second") == FAILED
    assert len(submissions.service.jobs_of()) == 2
    submissions.service.end_jobs()
    assert submissions.submit("second") == DONE
    submissions.check("first", "second")


@pytest.mark.soak
@pytest.mark.parametrize("submissions", REQUESTS, indirect=True, ids=build_id)
def test_kills_at_random(submissions, soak):
    assert submissions.submit("first") == DONE  # which waits until the process has imported everything
    began = time.monotonic()
    assert submissions.submit("second") == DONE
    usual_s = time.monotonic() - began
    kills, names = 0, ["first", "second"]
    while kills < soak.rounds:
        # Batches of the Messages API have no name. Only one that has ended shows whose it is, so a lost batch is found
        # again only if no other one of its size is running: see test_two_running_batches_of_one_size_are_ambiguous.
        submissions.service.end_jobs()
        names.append(f"job{len(names)}")
        ends = [submissions.submit(names[-1], delay_s=soak.draw.uniform(0.0, usual_s)) for _ in range(4)]
        kills += ends.count(KILLED)
        assert submissions.submit(names[-1]) == DONE
    submissions.check(*names)
