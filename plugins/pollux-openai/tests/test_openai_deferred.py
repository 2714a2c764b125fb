"""Deferred jobs: the whole way there and back, over both ways to the wire, and what goes wrong on it."""

import json
import re
import time

import attrs
import pytest
from openai import OpenAI

import pollux_openai
from openai_batches import OpenAIBatches, build_refusal, error, parse_form, row
from pollux_openai import jobs
from pollux_openai.batching import decode_row, decode_state
from pollux_openai.client import open_carrier
from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    DeferredNotReadyError,
    Options,
    RetryPolicy,
    Source,
    cancel_deferred,
    collect_deferred,
    defer_many,
    inspect_deferred,
    run_many,
    wait_deferred,
)
from pollux_sync.data.jobs import DeferredJob
from pollux_sync.data.rules import DeferredLimits
from pollux_sync.hooks.relay import read_provider_info
from pollux_sync.testing.server import (
    Answer,
    CloseWithoutAnswer,
    ResetBeforeBody,
    ResetInsideBody,
    ScriptedServer,
    Truncated,
)
from responses_api import KEY, message, response

PROMPTS = [f"p{n}" for n in range(5)]
ONCE = RetryPolicy(max_attempts=1)


@attrs.frozen
class City:
    name: str
    twins: dict[str, int]


@pytest.fixture
def batches(server):
    server.handler = OpenAIBatches()
    return server.handler


def defer_and_collect(prompts, reach, **fields):
    """The envelope of prompts that were deferred, waited for and collected."""
    handle = defer_many(prompts, config=reach, **fields)
    wait_deferred(handle, config=reach, poll=0.01)
    options = fields.get("options") or Options()
    return collect_deferred(handle, response_schema=options.response_schema, config=reach)


def statuses(result):
    return [item["status"] for item in result["diagnostics"]["deferred"]["items"]]


def list_requests(server, method, path):
    return [r for r in server.requests if r.method == method and r.path.partition("?")[0] == path]


def test_goes_through_every_stage_to_its_answers(batches, config):
    reach = config()
    handle = defer_many(PROMPTS, config=reach)
    with pytest.raises(DeferredNotReadyError, match="queued"):
        collect_deferred(handle, config=reach)
    seen = [inspect_deferred(handle, config=reach) for _ in range(3)]
    assert [(snapshot.status, snapshot.provider_status, snapshot.pending) for snapshot in seen] == [
        ("running", "in_progress", 5),
        ("running", "finalizing", 5),
        ("completed", "completed", 0),
    ]
    assert (seen[2].succeeded, seen[2].failed) == (5, 0)
    assert seen[2].completed_at == batches.batches[0]["completed_at"]
    assert seen[2].expires_at == batches.batches[0]["expires_at"]
    result = collect_deferred(handle, config=reach)
    assert result["answers"] == ["P0", "P1", "P2", "P3", "P4"]
    assert (result["status"], result["reasoning"][0], result["usage"]["reasoning_tokens"]) == ("ok", "easy", 15)
    assert result["diagnostics"]["deferred"]["items"][4] == {
        "custom_id": "pollux-000004",
        "status": "succeeded",
        "error": None,
        "kind": None,
        "status_code": None,
        "retryable": False,
        "provider_code": None,
        "provider_status": "200",
        "finish_reason": "stop",
    }


def test_waiting_reports_changes(batches, config):
    seen = []
    reach = config()
    handle = defer_many(PROMPTS, config=reach)
    last = wait_deferred(handle, config=reach, poll=0.01, on_change=seen.append)
    assert [snapshot.status for snapshot in seen] == ["queued", "running", "completed"]
    assert seen[-1] == last


def test_stores_the_requests_and_makes_one_job_of_them(server, batches, config):
    handle = defer_many(PROMPTS, config=config(), options=Options(system_instruction="short", temperature=0.5))
    stored, made = server.requests
    form = parse_form(stored)
    name, content = form["file"]
    assert name == f"{handle.mark}-000000.jsonl"
    assert form["purpose"][1] == b"batch"
    assert (form["expires_after[anchor]"][1], form["expires_after[seconds]"][1]) == (b"created_at", b"259200")
    lines = list(map(json.loads, content.splitlines()))
    assert [line["custom_id"] for line in lines] == [f"pollux-{n:06d}" for n in range(5)]
    assert lines[1] == {
        "custom_id": "pollux-000001",
        "method": "POST",
        "url": "/v1/responses",
        "body": {
            "model": "gpt-5-mini",
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "p1"}]}],
            "instructions": "short",
            "temperature": 0.5,
        },
    }
    assert made.json() == {
        "input_file_id": "file-1",
        "endpoint": "/v1/responses",
        "completion_window": "24h",
        "metadata": {"pollux_mark": f"{handle.mark}-000000", "pollux_request_count": "5"},
    }
    assert handle.jobs == (
        DeferredJob(job_id="batch_1", first=0, request_count=5, provider_state={"files": ["file-1"]}),
    )
    assert handle.job_id == "batch_1"


def test_sends_the_key_as_always(server, batches, config):
    defer_and_collect(["a"], config())
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}


def test_20_prompts_over_3_files_make_3_uploads_that_go_with_the_answers(server, batches, config, tmp_path):
    for name in ("a.pdf", "b.png", "c.mp3"):
        (tmp_path / name).write_bytes(name.encode())
    sources = [Source.from_file(tmp_path / name) for name in ("a.pdf", "b.png", "c.mp3")]
    reach = config(uploads="always")
    handle = defer_many([f"p{n}" for n in range(20)], sources=sources, config=reach)
    stored = [parse_form(request) for request in list_requests(server, "POST", "/v1/files")]
    assert sorted(form["purpose"][1] for form in stored) == [b"batch"] + [b"user_data"] * 3
    assert batches.names == [f"{handle.mark}-{name}" for name in ("000000.jsonl", "a.pdf", "b.png", "c.mp3")]
    wait_deferred(handle, config=reach, poll=0.01)
    assert len(batches.names) == 4
    assert collect_deferred(handle, config=reach)["answers"] == [f"P{n}" for n in range(20)]
    assert batches.names == []
    assert collect_deferred(handle, config=reach)["answers"][19] == "P19"


def test_refers_to_a_stored_file_and_never_deletes_it(server, batches, config):
    source = Source.from_file_id("file-mine", mime_type="application/pdf")
    defer_and_collect(["p"], config(), sources=[source])
    (stored,) = [parse_form(request) for request in list_requests(server, "POST", "/v1/files")]
    assert b'"file_id":"file-mine"' in stored["file"][1]
    assert [r.path for r in server.requests if r.method == "DELETE"] == ["/v1/files/file-1"]


def test_puts_a_small_file_into_the_requests(server, batches, config, tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    defer_and_collect(["p", "q"], config(), sources=[Source.from_file(tmp_path / "a.pdf")])
    (stored,) = [parse_form(request) for request in list_requests(server, "POST", "/v1/files")]
    assert stored["file"][1].count(b'"file_data":"data:application/pdf;base64,JVBERg=="') == 2


@pytest.fixture
def small_jobs(monkeypatch):
    small = attrs.evolve(pollux_openai.INFO, deferred=DeferredLimits(max_requests=4, max_bytes=10_000))
    monkeypatch.setattr(pollux_openai, "INFO", small)
    read_provider_info.cache_clear()
    yield
    read_provider_info.cache_clear()


@pytest.mark.usefixtures("small_jobs")
def test_too_many_for_one_job_become_several(batches, config):
    reach = config()
    handle = defer_many([f"p{n}" for n in range(10)], config=reach)
    assert [batch["metadata"]["pollux_request_count"] for batch in batches.batches] == ["4", "4", "2"]
    assert handle.job_id == "batch_1,batch_2,batch_3"
    assert wait_deferred(handle, config=reach, poll=0.01).succeeded == 10
    assert collect_deferred(handle, config=reach)["answers"] == [f"P{n}" for n in range(10)]
    assert batches.names == []


def test_declares_the_published_limits():
    assert pollux_openai.INFO.deferred == DeferredLimits(max_requests=50_000, max_bytes=200_000_000)


@pytest.mark.parametrize("options", [None, Options(response_schema=City, reasoning_effort="low", max_tokens=99)])
def test_deferred_and_direct_requests_give_the_same(server, batches, config, options):
    prompts = [f"p{n}" for n in range(30)]
    sources = [Source.from_text("shared", identifier="s")]
    direct = run_many(prompts, sources=sources, config=config(), options=options)
    later = defer_and_collect(prompts, config(), sources=sources, options=options)
    bodies = [request.json() for request in list_requests(server, "POST", "/v1/responses")]
    content = parse_form(list_requests(server, "POST", "/v1/files")[0])["file"][1]
    assert sorted(map(str, bodies)) == sorted(str(json.loads(line)["body"]) for line in content.splitlines())
    for result in (direct, later):
        del result["metrics"]["duration_s"], result["metrics"]["n_attempts"], result["diagnostics"]["attempts"]
    assert later["metrics"].pop("deferred") is True
    assert [item["status"] for item in later["diagnostics"].pop("deferred")["items"]] == ["succeeded"] * 30
    assert later.pop("errors") == [None] * 30
    assert direct["metrics"].pop("deferred", False) is False
    assert direct == later


def test_gives_typed_answers_by_the_type_or_without_it(batches, config):
    reach = config()
    handle = defer_many(["Bonn", "Rome"], config=reach, options=Options(response_schema=City))
    wait_deferred(handle, config=reach, poll=0.01)
    typed = collect_deferred(handle, response_schema=City, config=reach)
    plain = collect_deferred(handle, config=reach)
    assert typed["structured"] == [City("Bonn", {"Oxford": 1947}), City("Rome", {"Oxford": 1947})]
    assert plain["structured"][1] == {"name": "Rome", "twins": {"Oxford": 1947}}


def test_another_schema_is_refused_before_anything_is_sent(server, batches, config):
    reach = config()
    plain = defer_many(["a"], config=reach)
    typed = defer_many(["a"], config=reach, options=Options(response_schema=City))
    sent = len(server.requests)
    for handle, schema in ((plain, City), (typed, {"type": "object", "properties": {}})):
        with pytest.raises(ConfigurationError, match="response_schema"):
            collect_deferred(handle, response_schema=schema, config=reach)
    assert len(server.requests) == sent


# -- what happens to requests


def test_says_why_some_requests_failed(batches, config):
    batches.failing = {
        "pollux-000001": (400, error("the image is unreadable")),
        "pollux-000003": (500, error("it broke", "server_error")),
    }
    reach = config()
    handle = defer_many(PROMPTS, config=reach)
    snapshot = wait_deferred(handle, config=reach, poll=0.01)
    result = collect_deferred(handle, config=reach)
    assert (snapshot.status, snapshot.succeeded, snapshot.failed) == ("partial", 3, 2)
    assert result["status"] == "partial"
    assert result["answers"] == ["P0", "", "P2", "", "P4"]
    assert statuses(result) == ["succeeded", "failed", "succeeded", "failed", "succeeded"]
    items = result["diagnostics"]["deferred"]["items"]
    assert (items[1]["error"], items[1]["provider_status"]) == ("status 400: the image is unreadable", "400")
    assert (items[3]["error"], items[3]["provider_status"]) == ("status 500: it broke", "500")


@pytest.mark.parametrize(
    ("answer", "facts"),
    [
        ((429, error("slow down", "rate_limit_exceeded")), ("rate_limit", 429, True, "rate_limit_exceeded")),
        ((400, error("no image")), ("invalid_request", 400, False, "invalid_request_error")),
        ((404, error("no model", "model_not_found")), ("not_found", 404, False, "model_not_found")),
        ((400, error("x", "context_length_exceeded")), ("context_overflow", 400, False, "context_length_exceeded")),
        ((502, "<html><title>Bad gateway</title>"), ("capacity", 502, True, None)),
    ],
)
def test_a_failed_request_has_the_facts_of_a_direct_call(batches, config, answer, facts):
    batches.failing = {"pollux-000001": answer}
    result = defer_and_collect(PROMPTS, config())
    for told in (result["errors"][1], result["diagnostics"]["deferred"]["items"][1]):
        assert (told["kind"], told["status_code"], told["retryable"], told["provider_code"]) == facts


def test_a_request_that_expired_has_the_code_of_its_row(batches, config):
    batches.end, batches.answered = "expired", 1
    told = defer_and_collect(PROMPTS[:2], config())["errors"][1]
    assert (told["kind"], told["status_code"], told["provider_code"]) == ("unknown", None, "batch_expired")


def test_a_job_that_failed_as_a_whole_has_the_code_of_its_first_error(batches, config):
    result = defer_and_collect(PROMPTS[:2], config(model="no-such-model"))
    assert [told["provider_code"] for told in result["errors"]] == ["model_not_found"] * 2


def test_a_job_may_have_no_answers_at_all(batches, config):
    batches.failing = {f"pollux-{n:06d}": (429, error("slow down")) for n in range(5)}
    reach = config()
    handle = defer_many(PROMPTS, config=reach)
    assert wait_deferred(handle, config=reach, poll=0.01).status == "failed"
    result = collect_deferred(handle, config=reach)
    assert batches.batches[0]["output_file_id"] is None
    assert (result["status"], statuses(result)) == ("error", ["failed"] * 5)
    assert "slow down" in result["diagnostics"]["deferred"]["items"][0]["error"]


def test_an_error_inside_an_answer_fails_that_request(batches, config):
    batches.reply = lambda body: response(error={"code": "server_error", "message": "lost the thread"})
    result = defer_and_collect(["a"], config())
    assert statuses(result) == ["failed"]
    assert "lost the thread" in result["diagnostics"]["deferred"]["items"][0]["error"]


def test_accounts_for_rows_that_are_twice_there_missing_or_unknown(batches, config):
    batches.arrange = lambda rows: [rows[4], rows[0], rows[0] | {"response": None}, row("someone-elses"), *rows[2:4]]
    result = defer_and_collect(PROMPTS, config())
    assert result["answers"] == ["P0", "", "P2", "P3", "P4"]
    assert statuses(result)[1] == "missing"
    deferred = result["diagnostics"]["deferred"]
    assert (deferred["unknown_rows"], deferred["duplicate_rows"]) == (1, 1)


def test_one_bad_request_fails_the_job_and_every_request_has_the_error(batches, config):
    reach = config(model="no-such-model")
    handle = defer_many(PROMPTS[:2], config=reach)
    snapshot = wait_deferred(handle, config=reach, poll=0.01)
    assert (snapshot.status, snapshot.succeeded, snapshot.failed) == ("failed", 0, 2)
    assert snapshot.completed_at == batches.batches[0]["failed_at"]
    result = collect_deferred(handle, config=reach)
    problem = "The provided model 'no-such-model' is not supported by the Batch API."
    assert (result["status"], statuses(result)) == ("error", ["failed"] * 2)
    for item in result["diagnostics"]["deferred"]["items"]:
        assert item["error"] == f"pollux-000000: {problem}; pollux-000001: {problem}"
        assert item["provider_status"] == "failed"
    assert batches.names == []


def test_shortens_many_errors_of_a_job(batches, config):
    result = defer_and_collect([f"p{n}" for n in range(40)], config(model="no-such-model"))
    told = result["diagnostics"]["deferred"]["items"][39]["error"]
    assert "pollux-000002" in told
    assert told.endswith("; and 37 more")


@pytest.mark.usefixtures("small_jobs")
def test_of_several_jobs_one_may_fail(server, batches, config):
    reach = config()
    handle = defer_many(PROMPTS, config=reach)
    errors = [{"code": "quota", "message": "enqueued token limit reached", "line": None, "param": None}]
    batches.batches[1] |= {"status": "failed", "failed_at": 7, "errors": {"object": "list", "data": errors}}
    assert wait_deferred(handle, config=reach, poll=0.01).status == "partial"
    result = collect_deferred(handle, config=reach)
    assert result["answers"] == ["P0", "P1", "P2", "P3", ""]
    assert statuses(result)[4] == "failed"
    assert result["diagnostics"]["deferred"]["items"][4]["error"] == "enqueued token limit reached"


@pytest.mark.parametrize(("answered", "status"), [(2, "partial"), (0, "expired")])
def test_an_expired_job_keeps_its_answers(batches, config, answered, status):
    batches.end, batches.answered = "expired", answered
    reach = config()
    handle = defer_many(PROMPTS, config=reach)
    assert wait_deferred(handle, config=reach, poll=0.01).status == status
    result = collect_deferred(handle, config=reach)
    assert statuses(result) == ["succeeded"] * answered + ["expired"] * (5 - answered)
    assert result["diagnostics"]["deferred"]["items"][4]["provider_status"] == "batch_expired"


@pytest.mark.parametrize(("answered", "status"), [(3, "partial"), (0, "cancelled")])
def test_a_cancelled_job_keeps_its_answers(server, batches, config, answered, status):
    batches.answered = answered
    reach = config()
    handle = defer_many(PROMPTS, config=reach)
    cancel_deferred(handle, config=reach)
    assert inspect_deferred(handle, config=reach).status == "cancelling"
    assert wait_deferred(handle, config=reach, poll=0.01).status == status
    result = collect_deferred(handle, config=reach)
    assert statuses(result) == ["succeeded"] * answered + ["cancelled"] * (5 - answered)
    assert batches.names == []


def test_a_cancelled_job_without_files_cancels_every_request(batches, config):
    reach = config()
    handle = defer_many(["a", "b"], config=reach)
    batches.batches[0] |= {"status": "cancelled", "cancelled_at": 9}
    result = collect_deferred(handle, config=reach)
    assert statuses(result) == ["cancelled"] * 2
    assert result["diagnostics"]["deferred"]["items"][0]["error"] == "the request was not answered: cancelled"


def test_cancelling_an_ended_job_is_no_error(server, batches, config):
    reach = config()
    handle = defer_many(["a"], config=reach)
    wait_deferred(handle, config=reach, poll=0.01)
    cancel_deferred(handle, config=reach)
    assert len(list_requests(server, "POST", "/v1/batches/batch_1/cancel")) == 1
    assert inspect_deferred(handle, config=reach).status == "completed"


def test_raises_a_refused_cancellation(batches, config):
    reach = config()
    handle = defer_many(["a"], config=reach)
    batches.interrupt("POST", "/v1/batches/batch_1/cancel", build_refusal(400, "not now"))
    with pytest.raises(APIError, match="not now") as caught:
        cancel_deferred(handle, config=reach)
    assert (caught.value.phase, caught.value.status_code) == ("batch_cancel", 400)
    cancel_deferred(handle, config=reach)
    assert inspect_deferred(handle, config=reach).status == "cancelling"


def test_reports_a_missing_job(batches, config):
    reach = config()
    handle = defer_many(["a"], config=reach)
    batches.account.batches.clear()
    for call, phase in ((inspect_deferred, "batch_inspect"), (cancel_deferred, "batch_cancel")):
        with pytest.raises(APIError, match="No batch found") as caught:
            call(handle, config=reach)
        assert (caught.value.phase, caught.value.kind) == (phase, "not_found")


def test_collects_although_files_are_missing(server, batches, config, caplog):
    caplog.set_level("DEBUG", logger="pollux_sync")
    reach = config()
    handle = defer_many(["a"], config=reach)
    wait_deferred(handle, config=reach, poll=0.01)
    del batches.account.files["file-1"]
    assert collect_deferred(handle, config=reach)["answers"] == ["A"]
    assert len(list_requests(server, "DELETE", "/v1/files/file-1")) == 1
    assert "releasing" not in caplog.text


# -- what goes wrong on the way


BROKEN = [Answer(status=500, json=error("oops")), ResetBeforeBody(), CloseWithoutAnswer(), Truncated(b'{"id": "b"}', 5)]
BROKEN_IDS = ["500", "reset", "closed", "cut off"]


@pytest.mark.parametrize("step", BROKEN, ids=BROKEN_IDS)
@pytest.mark.parametrize("after", [True, False], ids=["made", "not made"])
def test_creates_a_job_once_for_any_answer_to_its_creation(server, batches, config, step, after):
    batches.interrupt("POST", "/v1/batches", step, after=after)
    reach = config()
    handle = defer_many(PROMPTS, config=reach)
    assert [batch["id"] for batch in batches.batches] == [handle.job_id]
    assert len(list_requests(server, "GET", "/v1/batches")) == 1
    assert handle.jobs[0].provider_state == {"files": ["file-1" if after else "file-2"]}
    wait_deferred(handle, config=reach, poll=0.01)
    assert collect_deferred(handle, config=reach)["answers"] == ["P0", "P1", "P2", "P3", "P4"]


@pytest.mark.parametrize("step", BROKEN, ids=BROKEN_IDS)
@pytest.mark.parametrize("after", [True, False], ids=["made", "not made"])
def test_goes_on_from_a_job_file_without_paying_twice(server, batches, config, tmp_path, step, after):
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    path, sources = tmp_path / "job.json", [Source.from_file(tmp_path / "a.pdf")]
    batches.interrupt("POST", "/v1/batches", step, after=after)
    with pytest.raises(APIError) as caught:
        defer_many(PROMPTS, sources=sources, config=config(retry=ONCE, uploads="always"), job_file=path)
    assert caught.value.phase == "batch_submit"
    assert str(path) in caught.value.hint
    mark = json.loads(path.read_text())["mark"]
    batches.keep(batches.account, f"{mark}-stray.pdf", b"", "user_data")
    batches.keep(batches.account, "of-somebody-else.pdf", b"", "user_data")
    batches.page_size = 2
    storing = config(uploads="always")
    handle = defer_many(PROMPTS, sources=sources, config=storing, job_file=path)
    assert [batch["id"] for batch in batches.batches] == [handle.job_id]
    assert batches.names == ["of-somebody-else.pdf", f"{mark}-000000.jsonl", f"{mark}-a.pdf"]
    sent = len(server.requests)
    assert defer_many(PROMPTS, sources=sources, config=storing, job_file=path) == handle
    assert len(server.requests) == sent
    wait_deferred(path, config=config(), poll=0.01)
    assert collect_deferred(path, config=config())["answers"][4] == "P4"
    assert batches.names == ["of-somebody-else.pdf"]


@pytest.mark.parametrize("path", ["/v1/files", "/v1/batches"], ids=["input file", "job"])
@pytest.mark.parametrize("after", [True, False], ids=["made", "not made"])
def test_a_lost_submission_says_what_to_look_for(batches, config, path, after):
    batches.interrupt("POST", path, ResetBeforeBody(), after=after)
    with pytest.raises(APIError, match=r"a job of 5 requests named pollux-\S+-000000 may exist") as caught:
        defer_many(PROMPTS, config=config(retry=ONCE))
    assert caught.value.phase == "batch_submit"
    mark = re.search(r"files whose names begin with (\S+) may exist", str(caught.value))[1]
    assert not batches.accounts or all(name.startswith(mark) for name in batches.names)


def test_finds_its_job_among_many_pages_of_others(server, batches, config):
    batches.page_size = 2
    batches.interrupt("POST", "/v1/batches", ResetBeforeBody(), after=True)
    create = batches._create

    def with_others(account, request):
        others = [{"metadata": None}, {"metadata": {"pollux_mark": "another"}}, {}]
        answer = create(account, request)
        for other in others * 2:
            batches.create_batch(account, other)
        return answer

    batches._create = with_others
    handle = defer_many(PROMPTS, config=config())
    assert handle.job_id == "batch_1"
    assert len(list_requests(server, "GET", "/v1/batches")) == 4


def test_does_not_look_through_jobs_from_long_before(server, batches, config):
    reach = config()
    defer_many(["warm up"], config=reach)
    for age_s in range(600_000, 100_000, -100_000):
        batches.create_batch(batches.account, {"created_at": int(time.time()) - age_s})
    batches.page_size = 2
    batches.interrupt("POST", "/v1/batches", ResetBeforeBody())
    assert defer_many(PROMPTS, config=reach).job_id == "batch_7"
    assert len(list_requests(server, "GET", "/v1/batches")) == 1


def test_one_odd_time_ends_no_search(server, batches, config):
    batches.page_size = 1
    batches.interrupt("POST", "/v1/batches", ResetBeforeBody(), after=True)
    create = batches._create

    def with_another(account, request):
        answer = create(account, request)
        batches.create_batch(account, {"created_at": 0})
        return answer

    batches._create = with_another
    assert defer_many(PROMPTS, config=config()).job_id == "batch_1"
    assert len(list_requests(server, "POST", "/v1/batches")) == 1


def test_the_input_file_of_a_job_stays_although_the_list_does_not_name_it(batches, config, tmp_path):
    batches.interrupt("POST", "/v1/batches", ResetBeforeBody(), after=True)
    page, reach = batches._page, config()

    def hide_files(items, request):
        return page([item | ({"input_file_id": None} if "endpoint" in item else {}) for item in items], request)

    batches._page = hide_files
    handle = defer_many(PROMPTS, config=reach)
    assert handle.jobs[0].provider_state == {"files": ["file-1"]}
    assert batches.names == [f"{handle.mark}-000000.jsonl"]
    wait_deferred(handle, config=reach, poll=0.01)
    assert collect_deferred(handle, config=reach)["answers"] == ["P0", "P1", "P2", "P3", "P4"]
    assert batches.names == []


def twice(batches):
    """Make another job of what is submitted, as a proxy does that repeats requests."""
    batches.interrupt("POST", "/v1/batches", ResetBeforeBody(), after=True)
    create = batches._create
    batches._create = lambda account, request: (create(account, request), create(account, request))[1]


@pytest.mark.parametrize("cancelled", [["batch_1"], ["batch_1", "batch_2"]])
def test_several_jobs_of_the_same_requests_are_refused(batches, config, tmp_path, cancelled):
    twice(batches)
    path = tmp_path / "job.json"
    with pytest.raises(ConfigurationError, match="batch_2, batch_1") as caught:
        defer_many(PROMPTS, config=config(), job_file=path)
    assert "cancel all but one" in caught.value.hint
    for name in cancelled:
        batches.account.batches[name]["status"] = "cancelled"
    assert defer_many(PROMPTS, config=config(), job_file=path).job_id == "batch_2"


def test_of_two_jobs_that_are_done_the_older_one_is_taken(batches, config, tmp_path):
    twice(batches)
    path = tmp_path / "job.json"
    with pytest.raises(ConfigurationError):
        defer_many(PROMPTS, config=config(), job_file=path)
    batches.batches[0]["status"] = "completed"
    with pytest.raises(ConfigurationError, match="batch_2, batch_1") as caught:
        defer_many(PROMPTS, config=config(), job_file=path)
    assert caught.value.hint == "cancel batch_2, then try again"
    batches.batches[1]["status"] = "completed"
    assert defer_many(PROMPTS, config=config(), job_file=path).job_id == "batch_1"


@pytest.mark.parametrize("status", [400, 401, 413, 429])
def test_a_refusal_leaves_no_files_behind(batches, config, tmp_path, status):
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    batches.interrupt("POST", "/v1/batches", build_refusal(status, f"no batches for {KEY}"))
    with pytest.raises(APIError, match="no batches for") as caught:
        defer_many(
            PROMPTS,
            sources=[Source.from_file(tmp_path / "a.pdf")],
            config=config(retry=ONCE, uploads="always"),
            job_file=tmp_path / "job.json",
        )
    assert (caught.value.phase, caught.value.status_code) == ("batch_submit", status)
    assert batches.names == []
    assert not (tmp_path / "job.json").exists()


def test_raises_a_refusal_although_clean_up_fails(batches, config):
    batches.interrupt("POST", "/v1/batches", build_refusal(400, "no batches for you"))
    batches.interrupt("DELETE", "/v1/files/file-1", Answer(status=500, json=error("oops")))
    with pytest.raises(APIError, match="no batches for you"):
        defer_many(PROMPTS, config=config())


@pytest.mark.parametrize("answer", [[], {"object": "batch"}, {"object": "batch", "id": 3}])
def test_an_answer_that_names_no_job_is_no_job(batches, config, answer):
    batches.interrupt("POST", "/v1/batches", Answer(json=answer))
    with pytest.raises(APIError, match=r"not an object|no id") as caught:
        defer_many(PROMPTS, config=config())
    assert caught.value.kind == "malformed"


def test_retries_belong_to_the_core(server, batches, config):
    reach = config()
    handle = defer_many(["a"], config=reach)
    sent = len(server.requests)
    for _ in range(3):
        batches.interrupt("GET", "/v1/batches/batch_1", Answer(status=503, json=error("busy")))
    with pytest.raises(APIError) as caught:
        inspect_deferred(handle, config=config(retry=RetryPolicy(max_attempts=2, initial_delay_s=0)))
    assert (caught.value.kind, len(caught.value.attempts), len(server.requests) - sent) == ("capacity", 2, 2)


@pytest.mark.parametrize("file", ["output", "error"])
@pytest.mark.parametrize("fault", [ResetInsideBody, Truncated])
def test_a_download_that_breaks_begins_again(batches, config, file, fault):
    batches.failing = {"pollux-000002": (400, error("bad"))}
    reach = config()
    handle = defer_many(PROMPTS, config=reach)
    wait_deferred(handle, config=reach, poll=0.01)
    file_id = batches.batches[0][f"{file}_file_id"]
    content = batches.account.files[file_id][1]
    batches.interrupt("GET", f"/v1/files/{file_id}/content", fault(content, len(content) - 9))
    result = collect_deferred(handle, config=reach)
    assert result["answers"] == ["P0", "P1", "", "P3", "P4"]
    assert result["diagnostics"]["deferred"]["duplicate_rows"] == 0


def test_a_download_that_stalls_is_a_timeout(batches, config):
    handle = defer_many(["a"], config=config())
    wait_deferred(handle, config=config(), poll=0.01)
    batches.interrupt("GET", f"/v1/files/{batches.batches[0]['output_file_id']}/content", StallsInside(b"{}\n", b""))
    with pytest.raises(APIError) as caught:
        collect_deferred(handle, config=config(timeout_s=0.3, retry=ONCE))
    assert (caught.value.kind, caught.value.phase) == ("timeout", "batch_collect")


def test_answers_may_hold_any_character(batches, config):
    odd = "line\u2028paragraph\u2029next\x85feed\x0c\x1c\r\nend\u00e9\U0001f600"
    batches.reply = lambda body: response(message(odd))
    assert defer_and_collect(["a", "b"], config())["answers"] == [odd, odd]


@attrs.frozen
class StallsInside:
    """A body of which the second half comes when the server is released."""

    begin: bytes
    rest: bytes

    def play(self, wire):
        length = str(len(self.begin) + len(self.rest) + 1)
        wire.send(wire.head(200, {"Content-Length": length}, {}) + self.begin)
        wire.wait_for_release()
        wire.send(self.rest + b"\n")


def test_reads_rows_as_they_arrive(server, batches):
    job = DeferredJob(job_id="batch_1", first=0, request_count=2)
    first, second = (json.dumps(row(f"pollux-00000{n}", body={})).encode() for n in range(2))
    with OpenAI(api_key=KEY, base_url=f"{server.url}/v1") as client:
        server.reply(
            Answer(json={"status": "completed", "output_file_id": "file-9"}), StallsInside(first + b"\n", second)
        )
        config = Config(provider="openai", model="m", client=client)
        rows = jobs.collect(job, open_carrier(config, pollux_openai.INFO), 5)
        assert next(rows).custom_id == "pollux-000000"
        server.release()
        assert [found.custom_id for found in rows] == ["pollux-000001"]


def test_two_accounts_at_two_addresses_do_not_mix(server, batches):
    with ScriptedServer() as other:
        other.handler = OpenAIBatches()
        other.handler.reply = lambda body: response(message("from elsewhere"))
        reaches = [
            Config(provider="openai", model="m", api_key=key, base_url=f"{place.url}/v1")
            for key, place in (("key-a", server), ("key-b", server), ("key-a", other))
        ]
        handles = [defer_many([f"q{n}"], config=reach) for n, reach in enumerate(reaches)]
        for handle, reach in zip(handles, reaches, strict=True):
            wait_deferred(handle, config=reach, poll=0.01)
        results = [collect_deferred(h, config=reach)["answers"] for h, reach in zip(handles, reaches, strict=True)]
        assert results == [["Q0"], ["Q1"], ["from elsewhere"]]
        for account in (*batches.accounts.values(), other.handler.account):
            assert [facts["purpose"] for facts, _ in account.files.values()] == ["batch_output"]
        assert len({handle.account for handle in handles}) == 2
        with pytest.raises(ConfigurationError, match="another account"):
            inspect_deferred(handles[0], config=reaches[1])


def test_a_handle_works_with_a_key_from_the_environment(server, batches, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    reach = Config(provider="openai", model="m", base_url=f"{server.url}/v1")
    handle = defer_many(["a"], config=reach)
    wait_deferred(handle, config=reach, poll=0.01)
    assert collect_deferred(handle, config=reach)["answers"] == ["A"]


# -- pure parts


FOUR = DeferredJob(job_id="batch_1", first=0, request_count=4)


def build_batch_state(status, completed=0, failed=0, total=4, **fields):
    return {"status": status, "request_counts": {"total": total, "completed": completed, "failed": failed}} | fields


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (build_batch_state("validating", total=0), ("queued", 0, 0)),
        (build_batch_state("in_progress", 2, 1), ("running", 2, 1)),
        (build_batch_state("finalizing", 3, 1), ("running", 3, 1)),
        (build_batch_state("cancelling", 1), ("cancelling", 1, 0)),
        (build_batch_state("completed", 4, output_file_id="f"), ("completed", 4, 0)),
        (build_batch_state("completed", 3, 1, output_file_id="f"), ("partial", 3, 1)),
        # Answers are counted whose file is not there yet: it is waited for.
        (build_batch_state("completed", 4), ("running", 4, 0)),
        (build_batch_state("completed"), ("running", 0, 0)),
        (build_batch_state("completed", total=0), ("running", 0, 0)),
        ({"status": "completed"}, ("running", 0, 0)),
        ({"status": "completed", "request_counts": None, "output_file_id": None}, ("running", 0, 0)),
        (build_batch_state("completed", 2, output_file_id="f"), ("partial", 2, 0)),
        (build_batch_state("completed", 0, 4), ("failed", 0, 4)),
        (build_batch_state("completed", 0, 4, output_file_id="f"), ("failed", 0, 4)),
        (build_batch_state("failed", total=0), ("failed", 0, 0)),
        (build_batch_state("cancelled"), ("cancelled", 0, 0)),
        (build_batch_state("cancelled", 0, 4), ("cancelled", 0, 4)),
        (build_batch_state("cancelled", 1), ("partial", 1, 0)),
        (build_batch_state("expired", 0, 4), ("expired", 0, 4)),
        (build_batch_state("expired", 3, 1), ("partial", 3, 1)),
        (build_batch_state("paused", 1), ("running", 1, 0)),
        ({"status": "completed", "output_file_id": "f"}, ("completed", 4, 0)),
        ({"status": "completed", "output_file_id": "f", "error_file_id": "e"}, ("partial", 0, 0)),
        ({"status": "completed", "error_file_id": "e", "request_counts": []}, ("failed", 0, 0)),
        ({"status": "expired", "output_file_id": "f"}, ("partial", 0, 0)),
        (build_batch_state("completed", 9, output_file_id="f"), ("completed", 4, 0)),
    ],
)
def test_names_the_state_of_a_job(batch, expected):
    state = decode_state(batch, FOUR)
    assert (state.status, state.succeeded, state.failed) == expected


@pytest.mark.parametrize("name", ["completed_at", "cancelled_at", "expired_at", "failed_at"])
def test_knows_when_a_job_ended_but_not_before(name):
    ended = build_batch_state(name.removesuffix("_at"), output_file_id="f", **{name: 7})
    assert decode_state(ended, FOUR).completed_at == 7
    assert decode_state(build_batch_state("in_progress", **{name: 7}), FOUR).completed_at is None


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("batch_expired", "expired"),
        ("batch_cancelled", "cancelled"),
        ("batch_canceled", "cancelled"),
        ("odd", "failed"),
    ],
)
def test_names_the_fate_of_a_request(code, status):
    found = decode_row(json.dumps(row("a", code=code, text="why")).encode())
    assert (found.status, found.error, found.provider_status, found.response) == (status, "why", code, None)


@pytest.mark.parametrize("line", [b"{", b"[]", b"\xff", b'{"custom_id": 3}', b"[" * 100_000])
def test_a_row_that_cannot_be_read_is_of_no_request(line):
    found = decode_row(line)
    assert (found.custom_id, found.status, found.error) == ("", "failed", "the row cannot be read")


@pytest.mark.parametrize("status", [200, "200", 200.0, "200.0", None, 201, "202"])
def test_an_answer_counts_whatever_its_status_is_written_like(status):
    found = decode_row(json.dumps(row("a", status=status, body=response(message("hi")))).encode())
    assert (found.status, found.response.body["output"][0]["type"]) == ("succeeded", "message")


@pytest.mark.parametrize("status", ["400", 400.0, None])
def test_an_error_counts_whatever_its_status_is_written_like(status):
    found = decode_row(json.dumps(row("a", status=status, body=error("no"))).encode())
    assert (found.status, found.response) == ("failed", None)


def test_an_answer_that_cannot_be_decoded_is_none_of_the_failures_without_a_row(batches, config):
    echo = batches.reply
    broken = response(error={"code": "server_error", "message": "lost the thread"})
    batches.reply = lambda body: broken if "p0" in str(body) else echo(body)
    batches.failing = {"pollux-000001": (400, error("bad"))}
    reach = config(retry=ONCE)
    handle = defer_many(PROMPTS[:3], config=reach)
    wait_deferred(handle, config=reach, poll=0.01)
    batches.batches[0]["error_file_id"] = None
    assert statuses(collect_deferred(handle, config=reach)) == ["failed", "missing", "succeeded"]


def test_too_few_answers_without_a_reason_are_damage(batches, config):
    reach = config(retry=ONCE)
    handle = defer_many(["a", "b"], config=reach)
    batches.arrange = lambda rows: rows[:1]
    wait_deferred(handle, config=reach, poll=0.01)
    for failed in (0, 1):
        batches.batches[0]["request_counts"] = {"total": 2, "completed": 1, "failed": failed}
        if not failed:
            with pytest.raises(APIError, match="1 of 2 answers are missing"):
                collect_deferred(handle, config=reach)
    assert statuses(collect_deferred(handle, config=reach)) == ["succeeded", "missing"]


@pytest.mark.parametrize("answered", [None, 3, [], {}, {"status_code": "200"}])
def test_a_row_without_an_answer_has_failed(answered):
    found = decode_row(json.dumps({"custom_id": "a", "response": answered, "error": answered}).encode())
    assert (found.custom_id, found.status, found.response) == ("a", "failed", None)
