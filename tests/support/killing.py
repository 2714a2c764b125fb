"""Submissions in processes that are killed, whose clocks are wrong, and whose requests and answers are lost.

A process that has imported everything forks one child a submission, so that killing hundreds takes seconds.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import attrs

import anthropic_batches
import gemini_batches
import openai_batches
from pollux_sync import Config, collect_deferred, defer_many, wait_deferred
from pollux_sync.testing.server import Answer, ResetBeforeBody, ScriptedServer

KILLER = '''
import itertools, json, os, signal, sys, time, traceback
from pathlib import Path
from pollux_sync import Config, ConfigurationError, RetryPolicy, Source, defer_many, explain
from pollux_sync.wire.http import HttpClient

PLACES = {"write": [(Path, "replace")], "request": [(HttpClient, "send")]}

def arm(step, index, when):
    """Whatever is the step with this number kills the process, before it is done or after."""
    calls = itertools.count()
    def armed(function):
        def call(*arguments, **fields):
            is_last = next(calls) == index
            if is_last and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return function(*arguments, **fields)
            finally:
                if is_last:
                    os.kill(os.getpid(), signal.SIGKILL)
        return call
    for owner, name in PLACES[step]:
        setattr(owner, name, armed(getattr(owner, name)))

def set_clock(shift_s):
    true_time = time.time
    time.time = lambda: true_time() + shift_s

def submit(job):
    set_clock(job["shift_s"])
    if job["step"]:
        arm(job["step"], job["index"], job["when"])
    retry = RetryPolicy(initial_delay_s=0.01 if job["wait_s"] else 0.0, max_delay_s=job["wait_s"])
    config = Config(request_concurrency=1, uploads="always", retry=retry, **job["reach"])
    sources = [Source.from_file(name) for name in job["files"]]
    defer_many(job["prompts"], sources=sources, config=config, job_file=job["path"])

def run(job):
    try:
        submit(job)
    except ConfigurationError as error:
        Path(job["report"]).write_text(error.message)
        return 2
    except BaseException:
        Path(job["report"]).write_text(traceback.format_exc())
        return 1
    return 0

# What every child would do again takes longer than the submission itself.
for provider in ("openai", "anthropic", "gemini"):
    explain("a", config=Config(provider=provider, model="m", api_key="k", base_url="http://127.0.0.1:9"))

for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        os._exit(run(job))
    if job["delay_s"] is not None:
        time.sleep(job["delay_s"])
        os.kill(child, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
'''
KILLED, DONE, FAILED, REFUSED = -9, 0, 1, 2
PROMPTS = ("a", "b")


@attrs.frozen
class Service:
    """A provider's service for one test: how it is reached, and what it holds.

    A submission makes `requests` requests, of which the last creates the job, and stores `files` files; one without
    sources stores `bare_files`. Only where jobs have `marks` does a running one show whose it is.
    """

    handler: object
    provider: str
    path: str
    requests: int
    list_files: object
    files: int
    bare_files: int
    list_job_ids: object
    expect_answer: object
    end_jobs: object = lambda: None
    has_marks: bool = True


def openai():
    service = openai_batches.OpenAIBatches()

    def list_job_ids():
        return [batch["id"] for account in service.accounts.values() for batch in account.batches.values()]

    # Two uploads, the lines of the requests, the job.
    return Service(service, "openai", "/v1", 4, lambda: service.names, 3, 1, list_job_ids, str.upper)


def anthropic():
    service = anthropic_batches.Batches()
    account = service.accounts["secret-key"]

    def end_jobs():
        for batch in account.batches:
            service.end(batch)

    def list_job_ids():
        return [batch.id for batch in account.batches]

    # Two uploads, the bookmark, the job.
    return Service(
        *(service, "anthropic", "", 4, lambda: account.files, 2, 0, list_job_ids, "re: {}".format),
        end_jobs=end_jobs,
        has_marks=False,
    )


def gemini():
    # Lists of one page: with more of them, every further submission of a test would make more requests.
    service = gemini_batches.Batches(page_size=100)
    # Two requests for each of two uploads, the job.
    return Service(
        *(service, "gemini", "", 5, lambda: service.files, 2, 0, lambda: list(service.batches), "said {}".format)
    )


SERVICES = (openai, anthropic, gemini)


class Network:
    """The way to a service. It loses requests or answers, and lets others act, at requests with certain numbers."""

    def __init__(self, handler):
        self._handler, self._lock, self._timers = handler, threading.Lock(), []
        self.plan()

    def plan(self, *, losses=(), acts=(), late=(), refused=None):
        """Forget what was planned. ``losses`` say by number whether the service gets a request; ``acts`` come before.

        Numbers count from the next request on. The one of number ``refused`` is refused. The answer of a ``late`` one
        is lost at once; the service does what it asks for that many seconds later.
        """
        self.count, self.losses, self.acts, self.refused = 0, dict(losses), dict(acts), refused
        self.late = dict(late)

    def __call__(self, request):
        with self._lock:
            index, self.count = self.count, self.count + 1
        self.acts.pop(index, lambda: None)()
        if index == self.refused:
            return Answer(status=400, json={"error": {"message": "no"}})
        if index in self.late:
            self._timers.append(threading.Timer(self.late[index], self._handler, [request]))
            self._timers[-1].start()
            return ResetBeforeBody()
        is_done = self.losses.pop(index, None)
        if is_done is None:
            return self._handler(request)
        if is_done:
            self._handler(request)
        return ResetBeforeBody()

    def wait_for_late_requests(self):
        for timer in self._timers:
            timer.join()


class Killer:
    """The process that forks the submissions. Its temporary folder is its own."""

    def __init__(self, process, temporary):
        self._process, self.temporary = process, Path(temporary)

    def run(self, job):
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def start_killer():
    with (
        tempfile.TemporaryDirectory() as temporary,
        subprocess.Popen(
            [sys.executable, "-c", KILLER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": temporary},
        ) as process,
    ):
        yield Killer(process, temporary)
        process.stdin.close()


@attrs.define
class Tally:
    """What happened in all submissions of a test."""

    submissions: int = 0
    kills: int = 0
    failures: int = 0
    refusals: int = 0
    lost: int = 0
    strangers: int = 0
    adopted_strangers: int = 0
    jobs: int = 0
    files_left: int = 0
    temporary_left: int = 0


class Submissions:
    """Jobs of one service, each submitted again and again in a process of its own, beside the jobs of strangers."""

    def __init__(self, service, server, strangers_url, killer, folder):
        self.service, self._server, self.killer, self.folder = service, server, killer, folder
        self.network = server.handler
        ours, self._theirs = (
            {"provider": service.provider, "model": "m", "api_key": "secret-key", "base_url": f"{url}{service.path}"}
            for url in (server.url, strangers_url)
        )
        self.reach = ours
        self.config = Config(uploads="always", **ours)
        self.names, self.strangers, self.tally = [], {}, Tally()
        for number in range(2):
            (folder / f"{number}.pdf").write_bytes(b"%PDF-1.7 " + bytes([number]))

    def submit(self, name="job", step=None, index=0, when="before", *, delay_s=None, shift_s=0.0, wait_s=0.0):
        """Submit the job in a new process and return its exit code.

        The process waits ``wait_s`` before it looks again for a job that it did not find.
        """
        if name not in self.names:
            self.names.append(name)
        job = {"path": str(self._path(name)), "reach": self.reach, "prompts": [f"{name} {text}" for text in PROMPTS]}
        job |= {"files": [str(self.folder / f"{number}.pdf") for number in range(2)], "delay_s": delay_s}
        job["wait_s"] = wait_s
        job |= {"step": step, "index": index, "when": when, "shift_s": shift_s, "report": str(self.folder / "report")}
        code = self.killer.run(job)
        # What a dead process had sent may still be on its way. No look-up finds a job that is made only afterwards.
        self._server.wait_for_open_connections(0)
        self.tally.submissions += 1
        self.tally.kills += code == KILLED
        self.tally.failures += code == FAILED
        if code == REFUSED:
            self.tally.refusals += 1
            self._check_refusal(name)
        return code

    def finish(self, name="job", **fields):
        """Submit until the job is done; it takes one call, or a second one after the jobs have ended."""
        self.network.plan()
        code = self.submit(name, **fields)
        if code == REFUSED:
            self.service.end_jobs()
            code = self.submit(name, **fields)
        assert code == DONE, self._report
        left = [path.name for path in self.killer.temporary.glob("pollux-sync-*")]
        left += [path.name for path in self.folder.iterdir() if path.name.startswith(f".{name}.json.")]
        self.tally.temporary_left += len(left)
        assert not left
        return code

    def submit_as_stranger(self):
        """Let another script of the account submit a job of the same size."""
        name = f"stranger{len(self.strangers)}"
        handle = defer_many([f"{name} {text}" for text in PROMPTS], config=Config(**self._theirs))
        self.strangers[name] = handle
        self.tally.strangers += 1
        return handle

    def read_stored(self, name="job"):
        """Return the content of a job file, None without one."""
        return json.loads(self._path(name).read_text()) if self._path(name).exists() else None

    def check(self):
        """Every submission has one job with its answers, the strangers have theirs, and in the end no file is left."""
        service = self.service
        self.network.wait_for_late_requests()
        ours = [job["job_id"] for name in self.names for job in self.read_stored(name)["handle"]["jobs"]]
        theirs = [job.job_id for handle in self.strangers.values() for job in handle.jobs]
        self.tally.adopted_strangers += len(set(ours) & set(theirs))
        self.tally.jobs += len(ours)
        assert sorted(service.list_job_ids()) == sorted(ours + theirs), set(service.list_job_ids()) ^ {*ours, *theirs}
        assert len(ours) == len(self.names)
        stored = service.files * len(ours) + service.bare_files * len(theirs)
        assert len(service.list_files()) == stored
        for name in self.names:
            self._check_answers(name, self._path(name))
        for name, handle in self.strangers.items():
            self._check_answers(name, handle)
        self.tally.files_left += len(service.list_files())
        assert not service.list_files()

    def _check_answers(self, name, job):
        wait_deferred(job, config=self.config, poll=0)
        answers = collect_deferred(job, config=self.config)["answers"]
        assert answers == [self.service.expect_answer(f"{name} {text}") for text in PROMPTS]

    def _check_refusal(self, name):
        """Only a service without marks may make us refuse, and then by the names of jobs that exist and run."""
        assert not self.service.has_marks, self._report
        named = set(re.findall(r"msgbatch_\w+", self._report))
        running = {batch.id for batch in self.service.handler.account.batches if not batch.ended_at}
        assert named, self._report
        assert named <= running
        # Facts that are not there are not written.
        assert self.read_stored(name)["attempted"].get("bookmark") not in named

    @property
    def _report(self):
        return (self.folder / "report").read_text()

    def _path(self, name):
        return self.folder / f"{name}.json"


@contextmanager
def serve(service, killer, folder):
    """Serve to submissions over a network that can be disturbed, and to strangers over one that is not."""
    with ScriptedServer() as ours, ScriptedServer() as theirs:
        ours.handler, theirs.handler = Network(service.handler), service.handler
        yield Submissions(service, ours, theirs.url, killer, folder)
