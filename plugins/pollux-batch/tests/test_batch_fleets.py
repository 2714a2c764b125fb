"""Machines of a fleet make the calls of a job. The fleet of these tests is a folder, and its machines are processes."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from attrs import evolve

import folder_fleet
from bulk_service import answer, echo, read_prompt
from folder_fleet import FolderFleet
from pollux_batch import (
    BatchItem,
    Fleet,
    FleetAnswer,
    FleetChunk,
    Limits,
    Retries,
    carry_out_chunk,
    fleets,
    inspect_journal,
    shipping,
)
from pollux_sync import APIError, ConfigurationError, Options, PolluxError, Source
from pollux_sync.testing.server import Answer, CloseWithoutAnswer

PROMPTS = [f"p{number}" for number in range(50)]
EXPECTED = [f"re: {prompt}" for prompt in PROMPTS]


@pytest.fixture
def fleet(tmp_path):
    return FolderFleet(tmp_path / "fleet")


@pytest.fixture
def ask_fleet(ask, fleet):
    """Run a batch as far as the fleet is."""
    return lambda items, **settings: ask(items, **({"fleet": fleet, "wait": False} | settings))


@pytest.fixture
def chunk(config):
    """A chunk of two calls."""
    calls = [
        {
            "key": f"{number:02}" * 32,
            "label": f"item_{number}",
            "path": "/chat/completions",
            "body": {"model": "m", "messages": [{"role": "user", "content": f"p{number}"}]},
        }
        for number in range(2)
    ]
    return FleetChunk.from_dict(
        {
            "schema_version": 1,
            "mark": "m",
            "scope": "local/m",
            "settings": {"provider": "local", "model": "m", "base_url": config().base_url},
            "limits": {"adaptive": False},
            "retries": {"initial_wait_s": 0.0},
            "calls": calls,
        }
    )


def start_worker(fleet):
    return subprocess.Popen([sys.executable, folder_fleet.__file__, fleet.folder])


def test_makes_the_calls_at_the_fleet(ask_fleet, fleet, server):
    first = ask_fleet(PROMPTS)
    assert first.termination.kind == "submitted"
    assert not server.requests
    fleet.work()
    second = ask_fleet(PROMPTS)
    assert second.outputs() == EXPECTED
    assert second.termination.kind == "completed"
    assert Counter(server.prompts) == Counter(PROMPTS)
    assert [*fleet.folder.glob("*.answers")] == []


def test_cuts_the_items_into_chunks(ask_fleet, fleet, server, monkeypatch):
    monkeypatch.setattr(shipping.FleetSubmitter, "max_items", 20)
    ask_fleet(PROMPTS)
    assert len([*fleet.folder.glob("*.json")]) == 3
    fleet.work()
    assert ask_fleet(PROMPTS).outputs() == EXPECTED
    assert len(server.requests) == 50


def test_cuts_chunks_by_their_bytes_too(ask_fleet, fleet, monkeypatch):
    monkeypatch.setattr(shipping.FleetSubmitter, "max_bytes", 10_000)
    long = [f"{number} {'x' * 4_000}" for number in range(7)]
    ask_fleet([*PROMPTS, *long])
    # The short ones are half a chunk.
    assert len([*fleet.folder.glob("*.json")]) in {3, 4}
    fleet.work()
    assert len(ask_fleet([*PROMPTS, *long]).outputs()) == 57


def test_waits_for_the_fleet(ask_fleet, fleet, monkeypatch):
    monkeypatch.setattr(shipping.FleetSubmitter, "look_s", (0.01, 300.0))
    ask_fleet(PROMPTS)
    worker = start_worker(fleet)
    try:
        assert ask_fleet(PROMPTS, wait=True).outputs() == EXPECTED
    finally:
        assert worker.wait(30) == 0


def test_keeps_usage_and_price_of_an_answer(ask_fleet, fleet, query):
    ask_fleet(["p"])
    fleet.work()
    (result,) = ask_fleet(["p"]).results
    assert result.token_usage["total_tokens"] == 5
    assert query("SELECT label, total_tokens, attempts FROM answers") == [("item_0", 5, 1)]


def test_pays_for_no_answer_twice_through_kills_of_workers_and_job(ask_fleet, fleet, server):
    is_killed, last = threading.Event(), 0

    def handler(request):
        # So that no worker can end before it is killed.
        if len(server.requests) > last:
            is_killed.wait(10)
        time.sleep(0.02)
        return echo(request)

    server.handler = handler
    ask_fleet(PROMPTS)
    n_kills = 0
    while [*fleet.folder.glob("*.json"), *fleet.folder.glob("*.taken")]:
        is_killed, last = threading.Event(), len(server.requests) + 14
        worker = start_worker(fleet)
        while worker.poll() is None and len(server.requests) <= last:
            time.sleep(0.005)
        n_kills += worker.poll() is None
        worker.kill()
        worker.wait()
        is_killed.set()
    assert n_kills >= 1
    assert ask_fleet(PROMPTS).outputs() == EXPECTED
    assert len(server.requests) <= 50 + 8 * n_kills


def test_submits_a_chunk_again_that_never_arrived(ask_fleet, fleet, server):
    def fail(chunk):
        raise PolluxError("out of reach")

    fleet.submit, submit = fail, fleet.submit
    with pytest.raises(PolluxError, match="out of reach"):
        ask_fleet(PROMPTS)
    fleet.submit = submit
    ask_fleet(PROMPTS[:30])
    fleet.work()
    assert ask_fleet(PROMPTS[:30]).outputs() == EXPECTED[:30]
    assert len(server.requests) == 30


def test_submits_no_chunk_twice_that_arrived(ask_fleet, fleet, server):
    def submit(chunk):
        FolderFleet.submit(fleet, chunk)
        raise PolluxError("the answer was lost")

    fleet.submit = submit
    with pytest.raises(PolluxError, match="was lost"):
        ask_fleet(PROMPTS)
    del fleet.submit
    ask_fleet(PROMPTS)
    fleet.work()
    assert ask_fleet(PROMPTS).outputs() == EXPECTED
    assert len(server.requests) == 50


def test_asks_itself_what_the_fleet_did_not_answer(ask_fleet, fleet, server):
    server.handler = lambda request: (
        Answer(status=400, json={"error": {"message": "no"}}) if read_prompt(request) == "p7" else echo(request)
    )
    ask_fleet(PROMPTS)
    fleet.work()
    server.handler = echo
    assert ask_fleet(PROMPTS).outputs() == EXPECTED
    assert Counter(server.prompts)["p7"] == 2


def test_says_why_an_item_failed(ask_fleet, fleet, server):
    server.handler = lambda _: Answer(status=400, json={"error": {"message": "no such thing"}})
    ask_fleet(["p"])
    fleet.work()
    (result,) = ask_fleet(["p"]).results
    assert "no such thing" in result.error


def test_reads_typed_answers_and_has_them_repaired(ask_fleet, fleet, server):
    replies = iter(['{"n": "x"}', '{"n": 3}'])
    server.handler = lambda _: answer(next(replies))
    options = Options(response_schema=dict[str, int], schema_repairs=1)
    ask_fleet(["p"], options=options)
    fleet.work()
    assert ask_fleet(["p"], options=options).outputs() == [{"n": 3}]
    assert ask_fleet(["p"], options=options).outputs() == [{"n": 3}]
    assert len(server.requests) == 2


def test_ships_texts_and_small_files_within_the_request(ask_fleet, fleet, server, tmp_path):
    item = BatchItem("what is it?", sources=(Source.from_text("a text of its own"),))
    ask_fleet([item])
    fleet.work()
    assert ask_fleet([item]).results[0].success
    assert "a text of its own" in server.requests[0].body.decode()


def test_asks_itself_with_a_configuration_that_no_machine_has(ask_fleet, config, fleet, server):
    items = [BatchItem("p0"), BatchItem("p1", config=config(headers={"X-Team": "a"}))]
    ask_fleet(items)
    assert server.prompts == ["p1"]
    fleet.work()
    assert ask_fleet(items).outputs() == ["re: p0", "re: p1"]
    assert len(server.requests) == 2


def test_keeps_the_answer_of_an_item_that_left_the_input(ask_fleet, fleet, server, query):
    ask_fleet(PROMPTS)
    fleet.work()
    assert ask_fleet(PROMPTS[:2]).outputs() == EXPECTED[:2]
    assert query("SELECT COUNT(*) FROM answers") == [(50,)]
    assert ask_fleet(PROMPTS).outputs() == EXPECTED
    assert len(server.requests) == 50


def test_gives_each_of_equal_items_an_answer_of_its_own(ask_fleet, fleet, server):
    texts = iter(["one", "two", "three"])
    calls = iter([True, False, True])
    server.handler = lambda _: (
        answer(next(texts)) if next(calls, True) else Answer(status=400, json={"error": {"message": "no"}})
    )
    items, options = ["p", "p", "p"], Options(temperature=1.0)
    ask_fleet(items, options=options)
    fleet.work()
    assert sorted(ask_fleet(items, options=options).outputs()) == ["one", "three", "two"]
    assert sorted(ask_fleet(items, options=options).outputs()) == ["one", "three", "two"]
    assert len(server.requests) == 4


def test_says_how_many_tokens_a_call_may_take(ask_fleet, fleet):
    limits = Limits(tokens_per_minute=1_000)
    result = ask_fleet(["short", "long " * 5_000], limits=limits, options=Options(max_tokens=10))
    (path,) = fleet.folder.glob("*.json")
    (call,) = FleetChunk.from_dict(json.loads(path.read_text())).calls
    assert 10 < call.n_tokens < 1_000
    assert "tokens_per_minute" in result.results[0].error


def test_ships_headers_of_a_call_and_asks_itself_with_secret_ones(ask_fleet, fleet, server):
    def build(item_id, name):
        return BatchItem(item_id, id=item_id, options=Options(provider_headers={"local": {name: "blue"}}))

    result = ask_fleet([build("p1", "X-Team"), build("p2", "X-Token")])
    assert [request.headers["x-token"] for request in server.requests] == ["blue"]
    (chunk,) = fleet.folder.glob("*.json")
    (call,) = json.loads(chunk.read_text())["calls"]
    assert (call["headers"], result.termination.kind) == ({"X-Team": "blue"}, "submitted")


def test_asks_itself_with_a_key_that_no_machine_has(ask_fleet, config, server):
    items = [BatchItem("p0"), BatchItem("p1", config=config(api_key="sk-" + "o" * 30))]
    ask_fleet(items)
    assert server.prompts == ["p1"]


@pytest.mark.parametrize("settings", [{"fleet": None}, {"fleet": None, "route": "auto"}, {"fleet": FolderFleet}])
def test_pays_nobody_else_for_what_waits_at_a_fleet(ask_fleet, server, tmp_path, settings):
    ask_fleet(PROMPTS)
    if settings["fleet"] is not None:
        other = FolderFleet(tmp_path / "other")
        other.name = "other"
        settings = {"fleet": other}
    with pytest.raises(ConfigurationError, match="50 items of the journal wait at the fleet 'folder'"):
        ask_fleet(PROMPTS, **({"wait": True} | settings))
    assert not server.requests


def test_deletes_nothing_at_a_fleet_that_answers_another_question(ask_fleet, fleet):
    ask_fleet(["p"])
    fleet.work()
    (path,) = fleet.folder.glob("*.answers")
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([row | {"key": "00" * 32} for row in rows]))
    with pytest.raises(PolluxError, match="does not ask"):
        ask_fleet(["p"])
    path.write_text(json.dumps(rows))
    assert ask_fleet(["p"]).outputs() == ["re: p"]


def test_forgets_a_chunk_whose_answers_it_has(ask_fleet, fleet, path):
    def fail(mark):
        raise PolluxError("out of reach")

    ask_fleet(PROMPTS)
    fleet.work()
    fleet.release = fail
    with pytest.raises(PolluxError, match="out of reach"):
        ask_fleet(PROMPTS)
    del fleet.release
    assert ask_fleet(PROMPTS).outputs() == EXPECTED
    assert [*fleet.folder.glob("*.answers")] == []
    assert inspect_journal(path).submitted == 0


def test_submits_a_chunk_again_that_the_fleet_has_lost(ask_fleet, fleet, monkeypatch):
    monkeypatch.setattr(shipping.FleetSubmitter, "look_s", (0.01, 300.0))
    looks = []

    def inspect(marks):
        looks.append(marks)
        if len(looks) == 2:
            for path in fleet.folder.glob("*.json"):
                path.unlink()
        if len(looks) == 4:
            fleet.work()
        return FolderFleet.inspect(fleet, marks)

    fleet.inspect = inspect
    assert ask_fleet(PROMPTS, wait=True).outputs() == EXPECTED


def test_gives_no_key_to_the_fleet(ask_fleet, config, fleet):
    ask_fleet(PROMPTS, config=config(api_key="sk-" + "s" * 30))
    (path,) = fleet.folder.glob("*.json")
    assert "sss" not in path.read_text()


@pytest.mark.parametrize(
    ("fields", "settings", "words"),
    [
        ({"headers": {"X-Team": "a"}}, {}, "headers"),
        ({"proxy": "http://proxy.test"}, {}, "proxy"),
        ({}, {"route": "batch"}, "route='batch'"),
        ({}, {"journal": None}, "journal"),
        ({}, {"fleet": "nobody"}, "no plugin provides the fleet 'nobody'"),
        ({}, {"fleet": 7}, "must be a Fleet"),
    ],
)
def test_refuses_what_a_fleet_cannot_do(ask_fleet, config, fleet, server, fields, settings, words):
    with pytest.raises(ConfigurationError, match=words):
        ask_fleet(PROMPTS, config=config(**fields), **settings)
    assert [*fleet.folder.iterdir()] == []
    assert not server.requests


def test_finds_a_fleet_by_its_name(fleet, monkeypatch):
    class Point:
        name = "folder"

        def load(self):
            return lambda: fleet

    monkeypatch.setattr(fleets, "entry_points", lambda group: [Point()] if group == "pollux_batch.fleets" else [])
    found = fleets.find_fleet("folder")
    assert found is fleet
    assert isinstance(found, Fleet)


# A worker


def test_a_worker_answers_the_calls_of_a_chunk(chunk, path, server):
    answers = carry_out_chunk(chunk, journal=path)
    assert sorted(answer.key for answer in answers) == [call.key for call in chunk.calls]
    assert {answer.total_tokens for answer in answers} == {5}
    assert sorted(server.prompts) == ["p0", "p1"]


def test_a_worker_asks_nothing_twice(chunk, path, server):
    first = carry_out_chunk(chunk, journal=path)
    assert carry_out_chunk(chunk, journal=path) == first
    assert len(server.requests) == 2


def test_a_worker_tries_again(chunk, path, server):
    replies = iter([Answer(status=500, json={}), CloseWithoutAnswer()])
    server.handler = lambda request: next(replies, None) or echo(request)
    chunk = evolve(chunk, retries=Retries(initial_wait_s=0), calls=chunk.calls[:1])
    (found,) = carry_out_chunk(chunk, journal=path)
    assert found.attempts > 1


def test_a_worker_says_that_its_key_is_refused(chunk, path, server):
    server.handler = lambda _: Answer(status=401, json={"error": {"message": "who are you?"}})
    with pytest.raises(APIError, match="who are you"):
        carry_out_chunk(chunk, journal=path)


def test_a_worker_keeps_to_its_share_of_the_limits(chunk, path, server):
    calls = tuple(evolve(chunk.calls[0], key=f"{number:064x}") for number in range(6))
    began = time.monotonic()
    carry_out_chunk(evolve(chunk, calls=calls), journal=path, limits=Limits(requests_per_minute=600, burst_s=0.1))
    assert len(server.requests) == 6
    assert time.monotonic() - began > 0.4


def test_a_worker_that_is_told_to_stop_begins_no_further_call(chunk, path, server):
    calls = tuple(evolve(chunk.calls[0], key=f"{number:064x}") for number in range(40))
    chunk, stop = evolve(chunk, calls=calls), threading.Event()

    def stop_and_answer(request):
        if len(server.requests) >= 5:
            stop.set()
        return echo(request)

    server.handler = stop_and_answer
    with pytest.raises(PolluxError, match="told to stop"):
        carry_out_chunk(chunk, journal=path, workers=2, stop=stop)
    assert len(server.requests) < 40
    assert len(carry_out_chunk(chunk, journal=path)) == 40
    assert len(server.requests) == 40


def test_a_chunk_and_its_answers_survive_storage(chunk, path, server):
    assert FleetChunk.from_dict(json.loads(json.dumps(chunk.to_dict()))) == chunk
    for found in carry_out_chunk(chunk, journal=path):
        assert FleetAnswer.from_dict(json.loads(json.dumps(found.to_dict()))) == found
