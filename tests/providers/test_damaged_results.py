"""Results that are damaged on their way: a documented error or the right answers, and collecting again is possible."""

import json
import re

import attrs
import pytest

from killing import SERVICES
from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    RetryPolicy,
    Source,
    collect_deferred,
    defer_many,
    wait_deferred,
)
from pollux_sync.testing.server import Answer, Drip, ResetBeforeBody, ScriptedServer

#: More than Gemini answers inline: all results are files of rows.
PROMPTS = [f"p{number}" for number in range(40)]
ONCE = RetryPolicy(max_attempts=1, initial_delay_s=0)
RESULTS = re.compile(r"/content$|/results$|:download")
SUBMISSION = re.compile(r"/batches$|:batchGenerateContent$")
LIST = re.compile(r"/batches\?")
STATE = re.compile(r"/batches/[^/:]+$")

every_provider = pytest.mark.parametrize("build_service", SERVICES, ids=lambda build: build.__name__)


def rename(row):
    row = json.loads(row)
    name = "custom_id" if "custom_id" in row else "key"
    return json.dumps(row | {name: f"other-{row[name]}"}).encode() + b"\n"


def answer(rows):
    return Answer(body=b"".join(rows))


#: What arrives in place of the rows, and the error that it leads to.
DAMAGES = {
    "login page": (
        lambda _: Answer(body=b"<!doctype html>\n<title>Log in</title>\n", headers={"Content-Type": "text/html"}),
        r"40 of 40 answers are missing, 2 rows cannot be read",
    ),
    "empty file": (lambda _: Answer(body=b""), r"40 of 40 answers are missing, 0 rows cannot be read"),
    "cut inside a row": (
        lambda rows: Answer(body=b"".join(rows)[: -len(rows[-1]) // 2]),
        r"1 of 40 answers are missing, 1 rows cannot be read",
    ),
    "cut between rows": (lambda rows: answer(rows[:-5]), r"5 of 40 answers are missing, 0 rows cannot be read"),
    "rows of another job": (
        lambda rows: answer(map(rename, rows)),
        r"40 of 40 answers are missing, 0 rows cannot be read",
    ),
    "a line of 65 MiB": (lambda _: Answer(body=b"x" * (65 << 20)), "larger than 67108864 bytes"),
}


class Way:
    """The way to a service; `damage` rewrites the rows of results, `lists` replaces the pages of the list of jobs.

    `edit_list` and `edit_state` rewrite the entries of that list and the state of a job.
    """

    def __init__(self, service):
        self.service, self.damage, self.lists, self.losses = service, None, None, 0
        self.edit_list = self.edit_state = None
        self.submissions = 0

    def __call__(self, request):
        if RESULTS.search(request.path) and self.damage:
            return self.damage(self.service.handler(request).body.splitlines(keepends=True))
        if LIST.search(request.path) and self.lists:
            return Answer(json=next(self.lists))
        if LIST.search(request.path) and self.edit_list:
            page = self.service.handler(request).json
            name = "data" if "data" in page else "operations"
            return Answer(json=page | {name: self.edit_list(page[name])})
        if STATE.search(request.path) and request.method == "GET" and self.edit_state:
            return Answer(json=self.edit_state(self.service.handler(request).json))
        if request.method == "POST" and SUBMISSION.search(request.path):
            self.submissions += 1
            if self.losses:
                self.losses -= 1
                return ResetBeforeBody()
        return self.service.handler(request)


@pytest.fixture
def way(build_service):
    return Way(build_service())


@pytest.fixture
def reach(way):
    with ScriptedServer() as server:
        server.handler = way
        service = way.service
        base_url = f"{server.url}{service.path}"
        yield {"provider": service.provider, "model": "m", "api_key": "secret-key", "base_url": base_url}


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7 a")
    return [Source.from_file(tmp_path / "a.pdf")]


def end_job(reach, sources):
    handle = defer_many(PROMPTS, sources=sources, config=Config(uploads="always", **reach))
    wait_deferred(handle, config=Config(**reach), poll=0)
    return handle


def expect(way):
    return [way.service.expect_answer(prompt) for prompt in PROMPTS]


@pytest.mark.parametrize("damage", DAMAGES)
@every_provider
def test_damaged_results_release_nothing_and_are_collected_later(way, reach, sources, damage):
    handle = end_job(reach, sources)
    stored = sorted(way.service.list_files())
    way.damage, message = DAMAGES[damage]
    with pytest.raises(APIError, match=message) as caught:
        collect_deferred(handle, config=Config(retry=ONCE, **reach))
    assert (caught.value.kind, caught.value.phase) == ("malformed", "batch_collect")
    assert sorted(way.service.list_files()) == stored
    way.damage = None
    assert collect_deferred(handle, config=Config(**reach))["answers"] == expect(way)
    assert len(way.service.list_files()) < len(stored)


@every_provider
def test_answers_that_could_be_read_come_with_the_error(way, reach, sources):
    handle = end_job(reach, sources)
    way.damage = DAMAGES["cut inside a row"][0]
    with pytest.raises(APIError) as caught:
        collect_deferred(handle, config=Config(retry=ONCE, **reach))
    partial = caught.value.partial_result
    assert (len(partial["errors"]), partial["errors"].count(None)) == (40, 39)
    lost = next(index for index, error in enumerate(partial["errors"]) if error)
    assert partial["answers"] == [*expect(way)[:lost], "", *expect(way)[lost + 1 :]]


@every_provider
def test_rows_that_come_twice_count_once(way, reach, sources):
    handle = end_job(reach, sources)
    way.damage = lambda rows: answer(rows + rows)
    result = collect_deferred(handle, config=Config(retry=ONCE, **reach))
    assert result["answers"] == expect(way)
    assert result["diagnostics"]["deferred"]["duplicate_rows"] == 40


@every_provider
def test_some_rows_of_another_job_cost_no_answer(way, reach, sources):
    handle = end_job(reach, sources)
    way.damage = lambda rows: answer([*map(rename, rows), *rows])
    result = collect_deferred(handle, config=Config(retry=ONCE, **reach))
    assert result["answers"] == expect(way)
    unmatched = result["diagnostics"]["deferred"]["unmatched"]
    assert {row["custom_id"][:6] for row in unmatched} == {"other-"}
    assert sorted(row["text"] for row in unmatched) == sorted(expect(way))


@every_provider
def test_damage_that_passes_is_healed_by_a_retry(way, reach, sources):
    handle = end_job(reach, sources)
    damages = iter([lambda rows: answer(rows[:7])])

    def damage_once(rows):
        return next(damages, answer)(rows)

    way.damage = damage_once
    assert collect_deferred(handle, config=Config(retry=RetryPolicy(initial_delay_s=0), **reach))["answers"] == expect(
        way
    )


@every_provider
def test_results_that_drip_longer_than_the_timeout_release_nothing(way, reach, sources):
    handle = end_job(reach, sources)
    stored = sorted(way.service.list_files())
    way.damage = lambda rows: Drip(body=b"".join(rows), interval_s=0.05, chunk_bytes=10)
    with pytest.raises(APIError) as caught:
        collect_deferred(handle, config=Config(timeout_s=0.5, retry=ONCE, **reach))
    assert (caught.value.kind, caught.value.phase) == ("timeout", "batch_collect")
    assert sorted(way.service.list_files()) == stored
    way.damage = None
    assert collect_deferred(handle, config=Config(**reach))["answers"] == expect(way)


def list_page(provider, cursor):
    """An empty page of a provider's list of jobs which goes on after this cursor."""
    if provider == "gemini":
        return {"operations": [], "nextPageToken": cursor}
    if provider == "anthropic":
        counts = {"processing": 1, "succeeded": 0}
        entry = {"id": cursor, "processing_status": "in_progress", "request_counts": counts}
        return {"data": [entry], "has_more": True, "first_id": cursor, "last_id": cursor}
    return {"object": "list", "data": [{"id": cursor, "metadata": None}], "has_more": True, "last_id": cursor}


@pytest.mark.parametrize("cursors", ["same", "alternating"])
@every_provider
def test_lists_that_never_end_submit_nothing_twice(way, reach, sources, tmp_path, cursors):
    config, path = Config(uploads="always", retry=ONCE, **reach), tmp_path / "job.json"
    way.losses = 1
    with pytest.raises(APIError):
        defer_many(PROMPTS, sources=sources, config=config, job_file=path)
    names = {"same": "x", "alternating": "xy"}[cursors] * 10
    way.lists = iter([list_page(way.service.provider, name) for name in names])
    with pytest.raises(APIError, match="leads back to a page") as caught:
        defer_many(PROMPTS, sources=sources, config=config, job_file=path)
    assert (caught.value.kind, caught.value.phase, way.submissions) == ("malformed", "batch_submit", 1)
    way.lists = None
    handle = defer_many(PROMPTS, sources=sources, config=config, job_file=path)
    assert way.service.list_job_ids() == [handle.job_id]
    wait_deferred(handle, config=config, poll=0)
    assert collect_deferred(path, config=config)["answers"] == expect(way)


def without(*names):
    return lambda entry: {name: value for name, value in entry.items() if name not in names}


#: What becomes of each entry of the list of jobs: none of them can be told from the job that is looked for.
UNREADABLE = {
    "text": lambda _: "x",
    "null": lambda _: None,
    "without a name": without("id", "name"),
    "odd facts": lambda entry: entry | {"metadata": "x", "request_counts": None},
}


@pytest.mark.parametrize("edit", UNREADABLE.values(), ids=UNREADABLE)
@every_provider
def test_a_list_that_cannot_be_read_submits_nothing_twice(way, reach, tmp_path, edit):
    config, path = Config(retry=ONCE, **reach), tmp_path / "job.json"
    service = way.service.handler
    lose = [True]

    def create_and_lose(request):
        answered = service(request)
        if SUBMISSION.search(request.path) and request.method == "POST" and lose:
            lose.pop()
            return ResetBeforeBody()
        return answered

    way.service = attrs.evolve(way.service, handler=create_and_lose)
    with pytest.raises(APIError):
        defer_many(PROMPTS, config=config, job_file=path)
    way.edit_list = lambda entries: [edit(entry) for entry in entries]
    with pytest.raises((APIError, ConfigurationError), match=r"cannot be read|has no id|may have created any of"):
        defer_many(PROMPTS, config=config, job_file=path)
    assert way.submissions == 1
    way.edit_list = None
    way.service.end_jobs()
    assert way.service.list_job_ids() == [defer_many(PROMPTS, config=config, job_file=path).job_id]


@every_provider
def test_an_empty_page_that_goes_on_is_no_end(way, reach, tmp_path):
    config, path = Config(retry=ONCE, **reach), tmp_path / "job.json"
    way.losses = 1
    with pytest.raises(APIError):
        defer_many(PROMPTS, config=config, job_file=path)
    pages = {
        "openai": {"object": "list", "data": [], "has_more": True},
        "anthropic": {"data": [], "has_more": True, "last_id": "x"},
        "gemini": {"operations": [], "nextPageToken": 5},
    }
    way.lists = iter([pages[way.service.provider]])
    with pytest.raises(APIError, match="the list goes on") as caught:
        defer_many(PROMPTS, config=config, job_file=path)
    assert (caught.value.kind, caught.value.phase, way.submissions) == ("malformed", "batch_submit", 1)


def end_early(answer):
    """The state of a job that expired after 30 of its 40 requests, as each provider writes it."""
    counts = {"total": 40, "completed": 30, "failed": 0, "succeeded": 30, "expired": 10}
    if "processing_status" in answer:
        return answer | {"request_counts": counts}
    if "metadata" in answer and answer.get("name"):
        stats = {"requestCount": "40", "successfulRequestCount": "30", "pendingRequestCount": "10"}
        metadata = answer["metadata"] | {"state": "BATCH_STATE_EXPIRED", "batchStats": stats}
        return answer | {"metadata": metadata}
    return answer | {"status": "expired", "request_counts": counts}


@pytest.mark.parametrize("count", [0, 5, 29])
@every_provider
def test_answers_of_a_job_that_ended_early_are_all_there_or_damaged(way, reach, sources, count):
    handle = end_job(reach, sources)
    stored = sorted(way.service.list_files())
    way.edit_state = end_early
    way.damage = lambda rows: answer(rows[:count])
    n_rows = 40 if way.service.provider == "anthropic" else 30
    with pytest.raises(APIError, match=f"{n_rows - count} of 40 answers are missing") as caught:
        collect_deferred(handle, config=Config(retry=ONCE, **reach))
    assert caught.value.partial_result["errors"].count(None) == count
    assert sorted(way.service.list_files()) == stored


@every_provider
def test_an_answer_counts_more_than_a_failure_of_the_same_request(way, reach, sources):
    handle = end_job(reach, sources)

    def fail_first(rows):
        failed = {"response": None, "result": {"type": "errored"}, "error": {"code": 13, "message": "busy"}}
        return answer(line for row in rows for line in (json.dumps(json.loads(row) | failed).encode() + b"\n", row))

    way.damage = fail_first
    result = collect_deferred(handle, config=Config(retry=ONCE, **reach))
    assert result["answers"] == expect(way)
    assert result["diagnostics"]["deferred"]["duplicate_rows"] == 40
