"""Deferred jobs of real services: the results are those of live calls, and nothing is submitted twice."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading

import attrs
import pytest

import anthropic_batches
import gemini_batches
import openai_batches
from bulk_service import Renderer
from gemini_api import error as gemini_error
from gemini_api import response as gemini_response
from gemini_api import text as gemini_text
from installing import install
from messages_api import response as messages_response
from messages_api import text as messages_text
from pollux_batch import BatchItem, DriftError, run_batch
from pollux_sync import Config, Options, ProviderBugError, Source, hookimpl
from pollux_sync.testing.server import Hang
from responses_api import message
from responses_api import response as openai_response


@attrs.frozen
class Place:
    name: str
    size: int


ITEMS = [
    "Who built it?",
    BatchItem("Who built it?", id="french", options=Options(system_instruction="Answer in French.")),
    BatchItem("Who built it?", id="warm", options=Options(temperature=0.7)),
    BatchItem("Who built it?", id="typed", options=Options(response_schema=Place)),
    BatchItem("Who built it?", id="short", options=Options(max_tokens=20)),
    BatchItem("Who built it?", id="letter", sources=[Source.from_text("Dear Ada, ...")], context={"row": 5}),
    BatchItem("Who built it?", id="again"),
]
PROMPTS = [f"p{number}" for number in range(5)]


def say(body):
    """Return an answer that depends on all of a request but its model, so that each option tells."""
    content = json.dumps({name: value for name, value in body.items() if name != "model"}, sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()
    return json.dumps({"name": digest, "size": len(content)}) if "chema" in content else digest


@attrs.define
class Service:
    """A provider's service, with what differs between them."""

    provider: str
    handler: object
    creation: str
    address: str = ""

    def answer_with(self, say):
        """Have it answer with what a function says of a request."""
        build = {
            "openai": lambda body: openai_response(message(say(body))),
            "anthropic": lambda body: messages_response(messages_text(say(body))),
            "gemini": lambda body: {"response": gemini_response(gemini_text(say(body)))},
        }
        self.handler.reply = build[self.provider]

    def count_jobs(self):
        """Return how many jobs exist."""
        if isinstance(self.handler, gemini_batches.Batches):
            return len(self.handler.batches)
        return sum(len(account.batches) for account in self.handler.accounts.values())

    def end_jobs(self):
        """End what runs: the rows of a running job of Anthropic cannot be seen, nor whose it is."""
        if self.provider == "anthropic":
            for batch in self.handler.account.batches:
                self.handler.end(batch)

    def lose(self, position):
        """Have every job lose its row at a position."""
        name = {"openai": "arrange", "anthropic": "edit_rows", "gemini": "shape"}[self.provider]
        setattr(self.handler, name, lambda rows: [row for n, row in enumerate(rows) if n != position])


def openai():
    handler = openai_batches.OpenAIBatches()
    return Service("openai", handler, "POST /v1/batches", "/v1")


def anthropic():
    handler = anthropic_batches.Batches()
    handler.looks = 3
    return Service("anthropic", handler, "POST /v1/messages/batches")


def gemini():
    handler = gemini_batches.Batches(page_size=100)
    return Service("gemini", handler, "POST /v1beta/models/m:batchGenerateContent")


@pytest.fixture(params=[openai, anthropic, gemini], ids=lambda build: build.__name__)
def service(request, server):
    service = request.param()
    service.answer_with(say)
    server.handler = service.handler
    return service


@pytest.fixture
def ask(service, server, path):
    """Run a batch against the service."""

    def ask(items, *, plugins=(), uploads="auto", **settings):
        facts = {"base_url": server.url + service.address, "plugins": plugins, "uploads": uploads}
        config = Config(provider=service.provider, model="m", api_key="secret-key", **facts)
        return run_batch(items, **({"config": config, "journal": path} | settings))

    return ask


@pytest.fixture
def finish(ask):
    """Run a batch again and again by its jobs, as cron would, until they have ended."""

    def finish(items, **settings):
        for _ in range(10):
            result = ask(items, route="batch", wait=False, **settings)
            if result.termination.kind == "completed":
                return result
        raise AssertionError("the jobs do not end")

    return finish


def describe(result):
    return [
        (item.item_id, item.success, item.output, item.error, item.token_usage, item.metadata, item.context)
        for item in result.results
    ]


def test_gives_the_results_of_live_calls(ask, finish, tmp_path):
    assert describe(finish(ITEMS)) == describe(ask(ITEMS, journal=tmp_path / "live.journal"))
    # The jobs' answers serve live calls too: each option has told, and equal items have one answer.
    again = ask(ITEMS)
    assert (again.summary()["replayed"], len({*map(str, again.outputs())})) == (7, 6)


def test_sends_a_row_again_that_a_job_has_lost(ask, finish, service):
    service.lose(2)
    first = finish(PROMPTS)
    assert (len(first.results), first.succeeded, len(first.failures)) == (5, 4, 1)
    again = ask(PROMPTS)
    assert (again.succeeded, again.summary()["replayed"]) == (5, 4)


def test_submits_only_what_was_added_since(ask, finish, service):
    first = ask(PROMPTS, route="batch", wait=False)
    second = ask([*PROMPTS, "p5", "p6"], route="batch", wait=False)
    assert [result.termination.kind for result in (first, second)] == ["submitted"] * 2
    assert (first.unanswered, second.unanswered, service.count_jobs()) == (5, 7, 2)
    last = finish([*PROMPTS, "p5", "p6"])
    assert (last.succeeded, service.count_jobs()) == (7, 2)


def test_repairs_an_answer_of_a_job_when_it_is_asked_live(ask, finish, service):
    answers = iter(['{"name": 1}', '{"name": "Pharos", "size": 9}'])
    service.answer_with(lambda body: next(answers))
    options = Options(response_schema=Place, schema_repairs=1)
    assert finish(["Who?"], options=options).failures[0].error_category == "validation_error"
    assert ask(["Who?"], options=options).outputs() == [Place("Pharos", 9)]


def test_stops_before_it_submits_what_waits_in_another_form(ask, service):
    ask(PROMPTS, route="batch", wait=False)
    with pytest.raises(DriftError, match=r"safetySettings was null, and is 7 now .*5 items so far"):
        ask(["new", *PROMPTS], route="batch", wait=False, plugins=[Renderer("safetySettings")])
    assert service.count_jobs() == 1


def test_collects_what_was_submitted_in_another_form_when_told_to(ask, finish, service):
    ask(PROMPTS, route="batch", wait=False)
    reused = finish(PROMPTS, plugins=[Renderer("safetySettings")], on_drift="reuse")
    assert (reused.succeeded, service.count_jobs()) == (5, 1)
    assert ask(PROMPTS).summary()["replayed"] == 5


def test_submits_what_waits_in_another_form_again_when_told_to(ask, finish, service):
    ask(PROMPTS, route="batch", wait=False)
    assert finish(PROMPTS, plugins=[Renderer("safetySettings")], on_drift="resend").succeeded == 5
    assert service.count_jobs() == 2


class NoBadFiles(gemini_batches.Batches):
    """A service of Gemini that refuses to store some files."""

    def start(self, request):
        is_bad = "bad.pdf" in request.json()["file"]["displayName"]
        return gemini_error(400, "unreadable") if is_bad else super().start(request)


@pytest.mark.parametrize("service", [gemini], indirect=True)
def test_fails_the_items_of_a_file_that_cannot_be_stored_alone(finish, server, service, tmp_path):
    server.handler = service.handler = NoBadFiles()
    for name in ("bad.pdf", "good.pdf"):
        (tmp_path / name).write_bytes(f"%PDF-1.7 {name}".encode())
    bad, good = (BatchItem("Who?", sources=[Source.from_file(tmp_path / name)]) for name in ("bad.pdf", "good.pdf"))
    result = finish(["plain", bad, good, bad], uploads="always")
    assert [item.success for item in result.results] == [True, False, True, False]
    assert "bad.pdf" in result.failures[0].error
    assert service.count_jobs() == 1


@pytest.mark.parametrize("service", [gemini], indirect=True)
def test_fails_an_item_alone_that_no_job_has_room_for(finish, service, tmp_path, monkeypatch):
    # Jobs of 250 bytes, which is room for two of these prompts.
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "few", gemini="gemini_batches:FewBytes")
    service.provider = "few:gemini"
    result = finish(["p0", "long " * 100, "p2", "p3", "p4", "very long " * 100, "p6"])
    assert [failure.submission_index for failure in result.failures] == [1, 5]
    assert "a job holds at most 250" in result.failures[0].error
    assert (result.succeeded, service.count_jobs()) == (5, 4)


def test_finishes_a_submission_without_an_item_that_is_gone_if_nothing_was_sent(ask, finish, service):
    class Broken:
        @hookimpl(tryfirst=True)
        def pollux_encode_deferred(self):
            raise ValueError("cannot write this")

    with pytest.raises(ProviderBugError):
        ask(PROMPTS, route="batch", wait=False, plugins=[Broken()])
    assert (finish(PROMPTS[1:]).succeeded, service.count_jobs()) == (4, 1)


RUN = """
import sys
from pollux_batch import run_batch
from pollux_sync import Config

provider, url, path = sys.argv[1:]
config = Config(provider=provider, model="m", api_key="secret-key", base_url=url)
run_batch([f"p{n}" for n in range(5)], config=config, journal=path, route="batch")
"""


@contextlib.contextmanager
def hang_at(server, service, is_wanted):
    """Carry a wanted request out, and leave its sender without an answer; yield an event for it."""
    reached = threading.Event()

    def carry_out(request):
        answer = service.handler(request)
        if not is_wanted(request):
            return answer
        reached.set()
        return Hang(answer)

    server.handler = carry_out
    yield reached
    server.handler = service.handler


def is_creation(request, service):
    return f"{request.method} {request.path.partition('?')[0]}" == service.creation


def is_look(request, service):
    return request.method == "GET" and "batch" in request.path.rpartition("/")[0] and service.count_jobs() > 0


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
@pytest.mark.parametrize("is_moment", [is_creation, is_look], ids=["before its answer", "before its first look"])
def test_finds_the_job_of_a_killed_process_again(finish, service, server, path, is_moment):
    command = [sys.executable, "-c", RUN, service.provider, server.url + service.address, str(path)]
    with (
        hang_at(server, service, lambda request: is_moment(request, service)) as reached,
        subprocess.Popen(command, env=os.environ) as process,
    ):
        assert reached.wait(30)
        process.kill()
    service.end_jobs()
    assert finish(PROMPTS).succeeded == 5
    assert service.count_jobs() == 1
