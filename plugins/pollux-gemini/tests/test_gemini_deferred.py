"""Deferred requests over both ways to the wire, against a server that keeps batches and files."""

import json
import re
from datetime import UTC, datetime, timedelta

import attrs
import pytest
from google import genai

from gemini_api import KEY, error
from gemini_batches import Batches
from installing import install
from pollux_gemini import batching
from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    DeferredHandle,
    DeferredNotReadyError,
    Options,
    RetryPolicy,
    Source,
    cancel_deferred,
    collect_deferred,
    defer,
    defer_many,
    inspect_deferred,
    run_many,
    to_jsonable,
    wait_deferred,
)
from pollux_sync.data.provider import HttpResponse
from pollux_sync.testing.server import Answer, ResetBeforeBody, ScriptedServer
from pollux_sync.wire import bodies

MANY = [f"p{number}" for number in range(40)]  # more than go into one request
FEW = MANY[:3]


@attrs.frozen
class Thing:
    name: str
    size: int


@pytest.fixture
def batches(server):
    server.handler = Batches()
    return server.handler


def list_requests(server, method, part):
    return [request for request in server.requests if request.method == method and part in request.path]


def list_submissions(server):
    return [request.json()["batch"] for request in list_requests(server, "POST", ":batchGenerateContent")]


def answers(job, config):
    wait_deferred(job, config=config, poll=0.01)
    return collect_deferred(job, config=config)


def items(result):
    return [
        (item["status"], item["error"], item["provider_status"]) for item in result["diagnostics"]["deferred"]["items"]
    ]


@pytest.mark.parametrize("prompts", [FEW, MANY], ids=["inline", "file"])
def test_goes_from_submission_to_answers(config, batches, prompts):
    handle = DeferredHandle.from_dict(json.loads(json.dumps(defer_many(prompts, config=config()).to_dict())))
    seen = []
    wait_deferred(handle, config=config(), poll=0.01, on_change=seen.append)
    assert [(snapshot.status, snapshot.provider_status) for snapshot in seen] == [
        ("queued", "BATCH_STATE_PENDING"),
        ("running", "BATCH_STATE_RUNNING"),
        ("completed", "BATCH_STATE_SUCCEEDED"),
    ]
    last = seen[-1]
    assert (last.succeeded, last.failed, last.pending) == (len(prompts), 0, 0)
    assert last.completed_at is not None
    result = collect_deferred(handle, config=config())
    assert result["answers"] == [f"said {prompt}" for prompt in prompts]
    assert result["status"] == "ok"
    assert collect_deferred(handle, config=config())["answers"] == result["answers"]


def test_few_requests_go_inside_the_one_that_makes_the_batch(config, server, batches):
    handle = defer_many(FEW, config=config(), options=Options(system_instruction="be brief", max_tokens=9))
    (made,) = list_submissions(server)
    assert made["displayName"] == f"{handle.mark}-000000"
    assert made["inputConfig"]["requests"]["requests"][1] == {
        "metadata": {"key": "pollux-000001"},
        "request": {
            "contents": [{"role": "user", "parts": [{"text": "p1"}]}],
            "systemInstruction": {"parts": [{"text": "be brief"}]},
            "generationConfig": {"maxOutputTokens": 9},
        },
    }
    assert batches.files == {}
    assert handle.jobs[0].provider_state == {}


def test_many_requests_go_into_a_file_that_is_deleted_in_the_end(config, server, batches):
    handle = defer_many(MANY, config=config(), options=Options(system_instruction="be brief"))
    ((name, file),) = batches.files.items()
    assert list_submissions(server) == [{"displayName": f"{handle.mark}-000000", "inputConfig": {"fileName": name}}]
    assert file.facts["displayName"] == f"{handle.mark}-000000"
    assert file.facts["mimeType"] == "application/jsonl"
    assert batches.lines[7] == {
        "key": "pollux-000007",
        "request": {
            "contents": [{"role": "user", "parts": [{"text": "p7"}]}],
            "systemInstruction": {"parts": [{"text": "be brief"}]},
        },
    }
    assert handle.jobs[0].provider_state == {"files": [name]}
    answers(handle, config())
    assert batches.deleted == [f"{handle.mark}-000000"]
    collect_deferred(handle, config=config())


def test_a_failed_deletion_does_not_lose_the_answer(config, server, batches):
    handle = defer_many(MANY, config=config())
    server.handler = lambda request: error(500, "no") if request.method == "DELETE" else batches(request)
    assert answers(handle, config())["answers"] == [f"said {prompt}" for prompt in MANY]
    assert len(list_requests(server, "DELETE", handle.jobs[0].provider_state["files"][0])) == 1


def test_long_requests_go_into_a_file_too(config, batches):
    handle = defer_many(FEW, sources=[Source.from_text("ж" * 1_200_000)], config=config())  # 7.2 MB each, as ASCII
    assert handle.jobs[0].provider_state["files"] == list(batches.files)
    assert answers(handle, config())["answers"] == ["said p0", "said p1", "said p2"]


@pytest.mark.parametrize("prompts", [MANY[:30], MANY], ids=["inline", "file"])
def test_gives_the_envelope_of_run_many(config, batches, prompts):
    prompts = [*prompts[:-1], "fail please"]
    direct = to_jsonable(run_many(prompts, config=config(), options=Options(on_error="keep")))
    batches.shape = lambda rows: rows[::-1]
    deferred = to_jsonable(answers(defer_many(prompts, config=config()), config()))
    wrong_direct, wrong_deferred = direct.pop("errors")[-1], deferred.pop("errors")[-1]
    assert "cannot answer 'fail please'" in wrong_direct["message"]
    assert wrong_deferred["message"] == wrong_direct["message"]
    assert without_ways(deferred) == without_ways(direct)


def without_ways(envelope):
    """The envelope but for timing, attempts and what only deferred ones have."""
    for part, names in {
        "metrics": ("duration_s", "n_attempts", "deferred"),
        "diagnostics": ("attempts", "deferred"),
    }.items():
        envelope[part] = {name: value for name, value in envelope[part].items() if name not in names}
    return envelope


@pytest.mark.parametrize("prompts", [FEW, MANY], ids=["inline", "file"])
@pytest.mark.usefixtures("batches")
def test_typed_answers(config, prompts):
    handle = defer_many(prompts, config=config(), options=Options(response_schema=Thing))
    wait_deferred(handle, config=config(), poll=0.01)
    result = collect_deferred(handle, response_schema=Thing, config=config())
    assert result["structured"] == [Thing(prompt, len(prompt)) for prompt in prompts]


@pytest.mark.usefixtures("batches")
def test_another_schema_is_refused_before_any_request(config, server):
    handle = defer_many(FEW, config=config(), options=Options(response_schema=Thing))
    n_requests = len(server.requests)
    with pytest.raises(ConfigurationError, match="another response_schema"):
        collect_deferred(handle, response_schema={"type": "object", "properties": {}}, config=config())
    assert len(server.requests) == n_requests


@pytest.mark.usefixtures("batches")
def test_separates_thoughts_from_answers(config, server):
    handle = defer("why?", config=config(), options=Options(reasoning_budget_tokens=128))
    result = answers(handle, config())
    (row,) = list_submissions(server)[0]["inputConfig"]["requests"]["requests"]
    assert row["request"]["generationConfig"]["thinkingConfig"]["thinkingBudget"] == 128
    assert (result["answers"], result["reasoning"]) == (["said why?"], ["let me think"])


def test_20_prompts_over_3_files_make_3_uploads_deleted_with_the_answers(config, server, batches, tmp_path):
    contents = {"a.pdf": b"%PDF-1.7 a", "b.png": b"\x89PNG\r\n\x1a\nb", "c.mp3": b"ID3\x04 c"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    sources = [Source.from_file(tmp_path / name) for name in contents]
    handle = defer_many(MANY[:20], sources=sources, config=config(uploads="always"))
    assert sorted(file.facts["displayName"] for file in batches.files.values()) == [
        f"{handle.mark}-{name}" for name in contents
    ]
    rows = list_submissions(server)[0]["inputConfig"]["requests"]["requests"]
    assert {len(row["request"]["contents"][0]["parts"]) for row in rows} == {4}
    assert batches.deleted == []
    assert answers(handle, config())["answers"] == [f"said p{number}" for number in range(20)]
    assert sorted(batches.deleted) == [f"{handle.mark}-{name}" for name in contents]


@pytest.mark.parametrize("limit", ["FewRequests", "FewBytes"])
@pytest.mark.usefixtures("batches")
def test_too_many_requests_become_several_jobs(config, server, tmp_path, monkeypatch, limit):
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, limit.lower(), gemini=f"gemini_batches:{limit}")
    small = config(provider=f"{limit.lower()}:gemini")
    handle = defer_many(MANY[:5], config=small)
    assert [(job.first, job.request_count) for job in handle.jobs] == [(0, 2), (2, 2), (4, 1)]
    assert [made["displayName"] for made in list_submissions(server)] == [
        f"{handle.mark}-{first:06d}" for first in (0, 2, 4)
    ]
    assert answers(handle, small)["answers"] == [f"said {prompt}" for prompt in MANY[:5]]


@pytest.mark.parametrize("prompts", [FEW, MANY], ids=["inline", "file"])
def test_rows_are_matched_by_key_alone(config, batches, prompts):
    def reshape(rows):
        (key, _), *rest = rows
        return [*rest[::-1], rest[0], ("pollux-999999", rest[0][1]), (key + "x", rest[0][1])]

    batches.shape = reshape
    result = answers(defer_many(prompts, config=config()), config())
    assert result["answers"] == ["", *(f"said {prompt}" for prompt in prompts[1:])]
    told = result["diagnostics"]["deferred"]
    assert (told["unknown_rows"], told["duplicate_rows"]) == (2, 1)
    assert told["items"][0]["status"] == "missing"
    assert result["status"] == "partial"


def test_broken_lines_cost_no_other_answer(config, batches):
    handle = defer_many(MANY, config=config())
    wait_deferred(handle, config=config(), poll=0.01)
    (answered,) = [file for file in batches.files.values() if file.facts["source"] == "GENERATED"]
    whole = answered.content.splitlines()
    answered.content = b"\n".join([b'{"key": "pollux-000000", "resp', b"[1]", b"", *whole[1:]])
    with pytest.raises(APIError, match="1 of 40 answers are missing, 2 rows cannot be read") as caught:
        collect_deferred(handle, config=config())
    assert (caught.value.kind, caught.value.phase) == ("malformed", "batch_collect")
    result = caught.value.partial_result
    assert result["answers"] == ["", *(f"said {prompt}" for prompt in MANY[1:])]
    assert result["diagnostics"]["deferred"]["unreadable_rows"] == 2
    assert batches.deleted == []
    answered.content = b"\n".join(whole)
    assert collect_deferred(handle, config=config())["answers"] == [f"said {prompt}" for prompt in MANY]


def test_rows_are_read_one_by_one():
    read = []
    lines = (read.append(number) or b'{"key": "pollux-%06d", "response": {}}' % number for number in range(3))
    rows = batching.iter_rows(batching.parse_lines(lines))
    assert next(rows).custom_id == "pollux-000000"
    assert read == [0]


@pytest.mark.parametrize("number", [str, int])
@pytest.mark.parametrize("output_at", [["metadata"], ["response"]])
@pytest.mark.parametrize("prompts", [FEW, MANY], ids=["inline", "file"])
def test_a_failed_row_has_its_error(config, batches, prompts, number, output_at):
    batches.number, batches.output_at = number, output_at
    handle = defer_many([*prompts, "fail here"], config=config())
    snapshot = wait_deferred(handle, config=config(), poll=0.01)
    assert (snapshot.status, snapshot.succeeded, snapshot.failed) == ("partial", len(prompts), 1)
    result = collect_deferred(handle, config=config())
    assert result["answers"] == [*(f"said {prompt}" for prompt in prompts), ""]
    assert items(result)[-1] == ("failed", "status 400: cannot answer 'fail here'", "3")


@pytest.mark.parametrize(
    ("states", "told"),
    [
        (["JOB_STATE_QUEUED", "JOB_STATE_PAUSED", "JOB_STATE_UPDATING"], ["queued", "running", "running"]),
        (["JOB_STATE_CANCELLING", "BATCH_STATE_UNSPECIFIED"], ["cancelling", "queued"]),
        (["BATCH_STATE_SHUFFLING", "JOB_STATE_PARTIALLY_SUCCEEDED"], ["running", "partial"]),
    ],
)
def test_every_state_has_a_status(config, server, states, told):
    server.handler = Batches(states=states)
    server.handler.prefix = ""
    handle = defer_many(FEW, config=config())
    snapshots = [inspect_deferred(handle, config=config()) for _ in states]
    assert [(snapshot.status, snapshot.provider_status) for snapshot in snapshots] == list(
        zip(told, states, strict=True)
    )


@pytest.mark.usefixtures("batches")
def test_all_failed_is_failed(config):
    handle = defer_many(["fail a", "fail b"], config=config())
    assert wait_deferred(handle, config=config(), poll=0.01).status == "failed"
    assert [told["message"] for told in collect_deferred(handle, config=config())["errors"]] == [
        "status 400: cannot answer 'fail a'",
        "status 400: cannot answer 'fail b'",
    ]


@pytest.mark.parametrize("prompts", [FEW, MANY], ids=["inline", "file"])
@pytest.mark.parametrize(
    ("state", "status", "why"),
    [
        ("FAILED", "failed", "the input file has bad lines"),
        ("EXPIRED", "expired", "the batch has expired"),
        ("CANCELLED", "cancelled", "the operation was cancelled"),
    ],
)
def test_a_failed_job_reports_its_error_in_every_row(config, server, prompts, state, status, why):
    server.handler = Batches(states=("RUNNING", state))
    handle = defer_many(prompts, config=config())
    assert wait_deferred(handle, config=config(), poll=0.01).status == status
    result = collect_deferred(handle, config=config())
    assert items(result) == [(status, why, f"BATCH_STATE_{state}")] * len(prompts)
    assert result["status"] == "error"


@pytest.mark.parametrize("prompts", [FEW, MANY], ids=["inline", "file"])
def test_keeps_the_answers_of_an_expired_job(config, server, prompts):
    server.handler = Batches(states=("RUNNING", "EXPIRED"), answered=2)
    handle = defer_many(prompts, config=config())
    assert wait_deferred(handle, config=config(), poll=0.01).status == "partial"
    result = collect_deferred(handle, config=config())
    assert result["answers"] == ["said p0", "said p1", *[""] * (len(prompts) - 2)]
    assert items(result)[2] == ("expired", "the batch has expired", "BATCH_STATE_EXPIRED")


def test_cancels_midway(config, server):
    server.handler = Batches(states=("PENDING", *["RUNNING"] * 50, "SUCCEEDED"), answered=1)
    handle = defer_many(FEW, config=config())
    with pytest.raises(DeferredNotReadyError):
        collect_deferred(handle, config=config())
    cancel_deferred(handle, config=config())
    result = answers(handle, config())
    assert result["answers"] == ["said p0", "", ""]
    assert [status for status, _, _ in items(result)] == ["succeeded", "cancelled", "cancelled"]
    cancel_deferred(handle, config=config())


def test_raises_a_refused_cancellation_of_a_running_job(config, server, batches):
    handle = defer_many(FEW, config=config())
    server.handler = lambda request: error(400, "not now") if request.path.endswith(":cancel") else batches(request)
    with pytest.raises(APIError, match="not now") as caught:
        cancel_deferred(handle, config=config())
    assert caught.value.phase == "batch_cancel"


LOST = [error(500, "try later"), ResetBeforeBody()]


@pytest.mark.parametrize("lost", LOST, ids=["500", "reset"])
@pytest.mark.parametrize("prompts", [FEW, MANY], ids=["inline", "file"])
def test_finds_a_job_whose_creation_was_not_confirmed(config, server, batches, prompts, lost):
    add_others(batches)
    batches.after = [lost]
    handle = defer_many(prompts, config=config())
    assert len(list_submissions(server)) == 1
    assert handle.jobs[0].provider_state == ({"files": [find_job_file(batches)]} if prompts is MANY else {})
    assert answers(handle, config())["answers"] == [f"said {prompt}" for prompt in prompts]
    assert batches.deleted == [f"{handle.mark}-000000"] * (prompts is MANY)


def add_others(batches):
    """Add other batches and files to the account."""
    for number in range(5):
        batches.new_batch(KEY, f"other-{number}", [])
        batches.new_file(KEY, {"displayName": f"other-{number}", "mimeType": "text/plain", "source": "UPLOADED"})


def find_job_file(batches):
    (name,) = [name for name, file in batches.files.items() if file.facts["displayName"].endswith("-000000")]
    return name


@pytest.mark.parametrize("lost", LOST, ids=["500", "reset"])
@pytest.mark.parametrize("prompts", [FEW, MANY], ids=["inline", "file"])
def test_continues_an_interrupted_submission_from_its_job_file(config, server, batches, tmp_path, prompts, lost):
    path = tmp_path / "job.json"
    batches.after = [lost]
    with pytest.raises(APIError) as caught:
        defer_many(prompts, config=config(retry=RetryPolicy(max_attempts=1)), job_file=path)
    assert caught.value.phase == "batch_submit"
    add_others(batches)
    handle = defer_many(prompts, config=config(), job_file=path)
    assert len(list_submissions(server)) == 1
    assert defer_many(prompts, config=config(), job_file=path) == handle
    assert len(list_submissions(server)) == 1
    assert answers(path, config())["answers"] == [f"said {prompt}" for prompt in prompts]


def test_repeats_a_submission_without_a_job_and_deletes_stray_files(config, server, batches, tmp_path):
    path = tmp_path / "job.json"
    batches.instead = [error(500, "nothing was made")]
    with pytest.raises(APIError, match="nothing was made"):
        defer_many(MANY, config=config(retry=RetryPolicy(max_attempts=1)), job_file=path)
    add_others(batches)
    handle = defer_many(MANY, config=config(), job_file=path)
    assert len(list_submissions(server)) == 2
    assert batches.deleted == [f"{handle.mark}-000000"]
    assert [find_job_file(batches)] == handle.jobs[0].provider_state["files"]
    assert answers(path, config())["answers"] == [f"said {prompt}" for prompt in MANY]


def test_a_refused_submission_leaves_no_files_behind(config, batches, tmp_path):
    path = tmp_path / "job.json"
    batches.instead = [error(400, "no such model")]
    with pytest.raises(APIError, match="no such model"):
        defer_many(MANY, config=config(), job_file=path)
    assert batches.files == {}
    assert not path.exists()


def test_answers_are_no_strays(config, batches, tmp_path):
    """Gemini may give the file of answers the batch's name."""
    path = tmp_path / "job.json"
    batches.after = [error(500, "try later")]
    batches.states = ("SUCCEEDED",)
    with pytest.raises(APIError):
        defer_many(MANY, config=config(retry=RetryPolicy(max_attempts=1)), job_file=path)
    handle = defer_many(MANY, config=config(), job_file=path)
    assert answers(handle, config())["answers"] == [f"said {prompt}" for prompt in MANY]


def test_looks_no_further_back_than_the_submission(config, server, batches):
    batches.page_size = 10
    for day in range(25):
        batches.new_batch(KEY, f"old-{day}", [], made_at=datetime.now(UTC) - timedelta(days=10 + day))
    batches.instead = [error(500, "nothing was made")]
    defer_many(FEW, config=config())
    assert len(list_requests(server, "GET", "/batches?")) == 1


def test_of_two_batches_of_the_same_requests_the_one_that_runs_is_taken(config, server, batches):
    def create_twice(request):
        answer = batches(request)
        if ":batchGenerateContent" in request.path:
            batches(request)
            batches.batches["batches/2"].states = ["CANCELLED"]
            return ResetBeforeBody()
        return answer

    server.handler = create_twice
    assert defer_many(FEW, config=config()).job_id == "batches/1"


def test_two_batches_of_the_same_requests_that_run_are_refused(config, server, batches):
    def create_twice(request):
        answer = batches(request)
        return (batches(request), ResetBeforeBody())[1] if ":batchGenerateContent" in request.path else answer

    server.handler = create_twice
    with pytest.raises(ConfigurationError, match="batches/2, batches/1") as caught:
        defer_many(FEW, config=config())
    assert "cancel all but one" in caught.value.hint


def test_a_page_of_large_answers_is_asked_for_in_parts(config, server, batches, monkeypatch):
    monkeypatch.setattr(bodies, "MAX_BODY_BYTES", 30_000)
    for number in range(4):
        name = batches.new_batch(KEY, f"other-{number}", [("k", {"contents": [{"parts": [{"text": "x" * 10_000}]}]})])
        batches.batches[name].states = ["SUCCEEDED"]
        batches.settle(name)
    batches.after = [error(500, "try later")]
    batches.page_size = 10

    def page(request, kind, items):
        size = int(re.search(r"pageSize=(\d+)", request.path)[1])
        batches.page_size = size
        return show(request, kind, items)

    show, batches.page = batches.page, page
    assert defer_many(FEW, config=config()).job_id == "batches/5"
    assert [request.path.partition("?")[2] for request in list_requests(server, "GET", "/batches?")] == [
        "pageSize=10",
        "pageSize=1",
        *(f"pageSize=1&pageToken={number}" for number in range(1, 5)),
    ]
    assert len(list_submissions(server)) == 1


def test_a_file_is_stored_once_although_the_service_writes_its_type_differently(config, server, batches, tmp_path):
    (tmp_path / "a.mp3").write_bytes(b"ID3 a")
    sources, path = [Source.from_file(tmp_path / "a.mp3")], tmp_path / "job.json"

    def rename_type(request):
        answer = batches(request)
        if request.path.startswith("/stored/"):
            return attrs.evolve(answer, json={"file": answer.json["file"] | {"mimeType": "audio/mp3"}})
        return answer

    server.handler = rename_type
    batches.after = [error(500, "try later")]
    with pytest.raises(APIError):
        defer_many(
            FEW, sources=sources, config=config(uploads="always", retry=RetryPolicy(max_attempts=1)), job_file=path
        )
    defer_many(FEW, sources=sources, config=config(uploads="always"), job_file=path)
    assert len(list_requests(server, "POST", "/stored/")) == 1


def test_two_accounts_and_an_own_address_in_one_process():
    with ScriptedServer() as here, ScriptedServer() as there:
        here.handler, there.handler = Batches(), Batches()
        configs = [
            Config(provider="gemini", model="gemini-2.5-flash", api_key=key, base_url=f"{server.url}{version}")
            for key, server, version in (("AIza-one", here, ""), ("AIza-two", here, "/v1beta"), ("AIza-one", there, ""))
        ]
        handles = [defer(f"p{number}", config=config) for number, config in enumerate(configs)]
        results = [answers(handle, config) for handle, config in zip(handles, configs, strict=True)]
        assert [result["answers"] for result in results] == [["said p0"], ["said p1"], ["said p2"]]
        with pytest.raises(ConfigurationError, match="another account"):
            inspect_deferred(handles[0], config=configs[1])
        assert [len(server.handler.batches) for server in (here, there)] == [2, 1]


def test_a_handle_works_with_a_key_from_the_environment(server, batches, monkeypatch):
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    reach = Config(provider="gemini", model="gemini-2.5-flash", base_url=server.url)
    handle = defer("p", config=reach)
    wait_deferred(handle, config=reach, poll=0.01)
    assert collect_deferred(handle, config=reach)["answers"] == ["said p"]
    assert len(batches.batches) == 1


def vertex(server):
    options = {"base_url": server.url, "api_version": "v1beta1"}
    return genai.Client(vertexai=True, api_key=KEY, http_options=options)


def test_vertex_is_refused_before_anything_is_sent(server, tmp_path):
    config = Config(provider="gemini", model="gemini-2.5-flash", client=vertex(server))
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7")
    path = tmp_path / "job.json"
    with pytest.raises(ConfigurationError, match="Vertex AI") as caught:
        defer("p", source=Source.from_file(tmp_path / "a.pdf"), config=config, job_file=path)
    assert "run_many" in caught.value.hint
    assert server.requests == []
    assert not path.exists()


@pytest.mark.parametrize("ask", [inspect_deferred, collect_deferred, cancel_deferred])
def test_vertex_refuses_jobs_of_the_gemini_api(server, batches, ask):
    handle = defer("p", config=Config(provider="gemini", model="m", api_key=KEY, base_url=server.url))
    n_requests = len(server.requests)
    config = Config(provider="gemini", model="m", client=vertex(server))
    with pytest.raises(ConfigurationError, match="Vertex AI"):
        ask(handle, config=config)
    assert len(server.requests) == n_requests
    assert len(batches.batches) == 1


@pytest.mark.parametrize("told", [{}, [], {"metadata": {"state": "BATCH_STATE_PENDING"}}])
def test_an_answer_without_a_batch_is_malformed(config, server, told):
    server.reply(Answer(json=told))
    with pytest.raises(APIError, match="describes no batch") as caught:
        defer("p", config=config(retry=RetryPolicy(max_attempts=1)))
    assert caught.value.kind == "malformed"


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        ({"done": True}, "completed"),
        ({"done": True, "error": {"code": 1, "message": "cancelled"}}, "cancelled"),
        ({"done": True, "error": {"code": 13, "message": "internal"}}, "failed"),
        ({"done": False}, "queued"),
        (
            {"done": True, "metadata": {"state": "BATCH_STATE_RUNNING", "batchStats": {"requestCount": "x"}}},
            "completed",
        ),
    ],
)
def test_an_operation_that_is_done_has_ended(operation, status):
    batch = batching.decode_batch(HttpResponse(status=200, body={"name": "batches/1"} | operation))
    assert batching.build_state(batch).status == status


@pytest.mark.parametrize(
    ("answer", "row"),
    [
        ({"error": {"code": 1, "message": "gone"}}, ("cancelled", "gone", "1")),
        ({"error": {"code": 0, "message": ""}}, ("failed", "the row has neither a response nor an error", None)),
        ({"error": {"code": 429, "message": "slow down"}, "response": {}}, ("failed", "slow down", "429")),
        ({"error": "broken"}, ("failed", "broken", None)),
        ({}, ("failed", "the row has neither a response nor an error", None)),
    ],
)
def test_a_row_without_an_answer_has_the_known_facts(answer, row):
    (read,) = batching.iter_rows([{"key": "pollux-000000"} | answer])
    assert (read.custom_id, read.status, read.error, read.provider_status) == ("pollux-000000", *row)


@pytest.mark.parametrize("ok", [{"code": 0}, {"code": 0, "message": ""}, {"code": "0"}, {"code": "OK"}, {}, []])
def test_an_error_that_says_ok_is_none(ok):
    (read,) = batching.iter_rows([{"key": "pollux-000000", "error": ok, "response": {"candidates": []}}])
    assert (read.status, read.response.body) == ("succeeded", {"candidates": []})


def test_inline_answers_that_cannot_be_read_are_damage(config, server, batches):
    handle = defer_many(FEW, config=config())
    wait_deferred(handle, config=config(), poll=0.01)

    def damage(request):
        answer = batches(request)
        if request.path.endswith(handle.job_id):
            answer.json["metadata"]["output"]["inlinedResponses"]["inlinedResponses"][1] = None
        return answer

    server.handler = damage
    with pytest.raises(APIError, match="1 of 3 answers are missing, 1 rows cannot be read"):
        collect_deferred(handle, config=config(retry=RetryPolicy(max_attempts=1)))


@pytest.mark.parametrize(
    ("failure", "facts"),
    [
        ({"code": 3, "message": "x"}, ("invalid_request", 400, False, "INVALID_ARGUMENT")),
        ({"code": 4, "message": "x"}, ("capacity", 504, True, "DEADLINE_EXCEEDED")),
        ({"code": 8, "message": "x"}, ("rate_limit", 429, True, "RESOURCE_EXHAUSTED")),
        ({"code": 13, "message": "x"}, ("capacity", 500, True, "INTERNAL")),
        ({"code": 14, "message": "x", "details": []}, ("capacity", 503, True, "UNAVAILABLE")),
        ({"code": 16, "message": "x"}, ("auth", 401, False, "UNAUTHENTICATED")),
        ({"code": 503, "status": "UNAVAILABLE", "message": "x"}, ("capacity", 503, True, "UNAVAILABLE")),
        ({"status": "NOT_FOUND", "message": "x"}, ("not_found", 404, False, "NOT_FOUND")),
        ({"code": 99, "message": "x"}, ("unknown", None, False, None)),
        ({"code": True, "message": "x"}, ("unknown", None, False, None)),
        ({"code": 1, "message": "x"}, ("unknown", None, False, "CANCELLED")),
    ],
)
def test_a_failed_request_has_the_facts_of_a_direct_call(config, batches, failure, facts):
    batches.shape = lambda rows: [(key, {"error": failure}) for key, _ in rows]
    handle = defer("p", config=config())
    result = answers(handle, config())
    for told in (result["errors"][0], result["diagnostics"]["deferred"]["items"][0]):
        assert (told["kind"], told["status_code"], told["retryable"], told["provider_code"]) == facts


def test_a_job_that_failed_as_a_whole_has_the_name_of_its_code(config, server):
    server.handler = Batches(states=("RUNNING", "FAILED"))
    result = answers(defer("p", config=config()), config())
    assert result["errors"][0]["provider_code"] == "INVALID_ARGUMENT"


def test_reports_a_lost_result_file(config, batches):
    handle = defer_many(MANY, config=config())
    wait_deferred(handle, config=config(), poll=0.01)
    batches.files.clear()
    with pytest.raises(APIError, match="may not exist") as caught:
        collect_deferred(handle, config=config())
    assert (caught.value.phase, caught.value.status_code) == ("batch_collect", 403)
