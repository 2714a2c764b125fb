"""Results that are damaged on their way: a documented error or the right answers, and collecting again is possible."""

import json
import re

import pytest

from killing import SERVICES
from pollux_sync import (
    APIError,
    Config,
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
    """The way to a service; `damage` rewrites the rows of results, `lists` replaces the pages of the list of jobs."""

    def __init__(self, service):
        self.service, self.damage, self.lists, self.losses = service, None, None, 0
        self.submissions = 0

    def __call__(self, request):
        if RESULTS.search(request.path) and self.damage:
            return self.damage(self.service.handler(request).body.splitlines(keepends=True))
        if LIST.search(request.path) and self.lists:
            return Answer(json=next(self.lists))
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
