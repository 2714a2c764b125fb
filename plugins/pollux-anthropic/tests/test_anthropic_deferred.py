"""Deferred calls as message batches, by both ways to the wire."""

import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import attrs
import pytest
from anthropic import Anthropic, AnthropicVertex

from anthropic_batches import Batch, Batches, error, read_prompt
from installing import install
from messages_api import response, text, thinking
from pollux_anthropic.batching import is_own_row, is_possible_match
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
    wait_deferred,
)
from pollux_sync.data.jobs import DeferredBatch
from pollux_sync.testing.server import Answer, Drip, Hang, ResetBeforeBody, ResetInsideBody, ScriptedServer, Truncated

ONCE = RetryPolicy(max_attempts=1)
PROMPTS = [f"p{number}" for number in range(30)]


@attrs.frozen
class City:
    name: str
    twins: dict[str, int]


@attrs.frozen
class Town:
    name: str


@pytest.fixture
def service(server):
    server.handler = Batches()
    return server.handler


@pytest.fixture
def sources(tmp_path):
    names = ("a.pdf", "b.pdf", "c.pdf")
    for name in names:
        (tmp_path / name).write_bytes(b"%PDF-1.7 " + name.encode())
    return [Source.from_file(tmp_path / name) for name in names]


@pytest.fixture
def narrow(tmp_path, monkeypatch):
    """The name of a provider that is this one, but takes 4 requests in a job."""
    (tmp_path / "narrow_batches.py").write_text(
        "import attrs\n"
        "from pollux_anthropic import INFO, AnthropicProvider\n"
        "from pollux_sync.data.rules import DeferredLimits\n"
        "from pollux_sync.hooks.specs import hookimpl\n"
        "class Narrow(AnthropicProvider):\n"
        "    @hookimpl\n"
        "    def pollux_provider_info(self):\n"
        "        limits = DeferredLimits(max_requests=4, max_bytes=10_000)\n"
        "        return attrs.evolve(INFO, name='narrow', deferred=limits)\n"
    )
    install(tmp_path, "narrow", narrow="narrow_batches:Narrow")
    monkeypatch.syspath_prepend(tmp_path)
    return "narrow"


def wait_and_collect(job, config, **kwargs):
    wait_deferred(job, config=config, poll=0.01)
    return collect_deferred(job, config=config, **kwargs)


def items(result):
    return result["diagnostics"]["deferred"]["items"]


def posts(server, path="/v1/messages/batches"):
    sent = [request for request in server.requests if request.method == "POST"]
    return [request for request in sent if request.path.partition("?")[0] == path]


def another(count, ident="msgbatch_other", created_at=None, tag="feedbeef", service=None):
    """A batch of someone else's in the same account."""
    rows = [
        {"custom_id": f"pollux-{n:06d}-{tag}", "params": {"model": "m", "messages": [{"content": [text(f"q{n}")]}]}}
        for n in range(count)
    ]
    batch = Batch(id=ident, requests=rows, created_at=created_at or time.time(), looks_left=0)
    if service:
        service.end(batch)
    return batch


# The life of a job


def test_answers_in_prompt_order_for_any_order_of_rows(service, config):
    service.edit_rows = lambda rows: rows[::-1]
    handle = defer_many(PROMPTS, config=config())
    result = wait_and_collect(handle, config())
    assert result["answers"] == [f"re: {prompt}" for prompt in PROMPTS]
    assert result["status"] == "ok"
    assert {item["provider_status"] for item in items(result)} == {"succeeded"}


def test_sends_the_bodies_of_run_many(server, service, config):
    options = Options(system_instruction="be brief", max_tokens=99, temperature=0.5, reasoning_budget_tokens=0)
    sources = [Source.from_text("shared \u2028 text")]
    run_many(PROMPTS, sources=sources, config=config(request_concurrency=1), options=options)
    bodies = [request.json() for request in server.requests]
    handle = defer_many(PROMPTS, sources=sources, config=config(), options=options)
    (posted,) = posts(server)
    tag = handle.mark[-8:]
    rows = [{"custom_id": f"pollux-{n:06d}-{tag}", "params": body} for n, body in enumerate(bodies)]
    assert posted.json() == {"requests": rows}
    assert posted.headers["content-type"] == "application/json"
    assert int(posted.headers["content-length"]) == posted.body_size


@pytest.mark.parametrize("prompts", [PROMPTS, ["only one"]], ids=["30 prompts", "1 prompt"])
@pytest.mark.parametrize(
    ("options", "content"),
    [
        (Options(), [text("fine")]),
        (Options(reasoning_effort="low"), [thinking("hm"), text("fine")]),
        (Options(response_schema=City), [text('{"name": "Bonn", "twins": [{"key": "Oxford", "value": 1947}]}')]),
    ],
    ids=["text", "thinking", "schema"],
)
def test_gives_the_envelope_of_run_many(service, config, prompts, options, content):
    service.reply = lambda params: response(*content, id=f"msg_{read_prompt(params)}")
    now = run_many(prompts, config=config(), options=options)
    handle = defer_many(prompts, config=config(), options=options)
    later = wait_and_collect(handle, config(), response_schema=options.response_schema)
    assert later["metrics"]["deferred"]
    assert later.pop("errors") == [None] * len(prompts)
    for result in (now, later):
        for name in ("duration_s", "n_attempts", "cache_mode", "deferred"):  # a single prompt is cached, but not here
            result["metrics"].pop(name, None)
        for name in ("attempts", "deferred"):
            result["diagnostics"].pop(name, None)
    assert later == now


def test_never_caches_deferred_requests(server, service, config):
    defer("one", config=config())
    (row,) = posts(server)[0].json()["requests"]
    assert "cache_control" not in row["params"]


def test_gives_typed_answers_and_thoughts(service, config):
    words = '{"name": "Bonn", "twins": [{"key": "Oxford", "value": 1947}]}'
    service.reply = lambda _: response(thinking("easy"), text(words))
    options = Options(response_schema=City, reasoning_effort="low")
    handle = defer("Bonn?", config=config(), options=options)
    result = wait_and_collect(handle, config(), response_schema=City)
    assert result["structured"] == [City("Bonn", {"Oxford": 1947})]
    assert result["reasoning"] == ["easy"]


def test_refuses_another_schema_before_any_request(server, service, config):
    handle = defer("Bonn?", config=config(), options=Options(response_schema=City))
    before = len(server.requests)
    with pytest.raises(ConfigurationError, match="another response_schema"):
        collect_deferred(handle, response_schema=Town, config=config())
    assert len(server.requests) == before


def test_refuses_invalid_requests_before_sending(server, service, config):
    with pytest.raises(ConfigurationError, match="at most 1"):
        defer_many(PROMPTS, config=config(), options=Options(temperature=1.5))
    assert server.requests == []


def test_shows_how_far_it_is(service, config):
    service.looks = 2
    handle = defer_many(PROMPTS, config=config())
    first = inspect_deferred(handle, config=config())
    with pytest.raises(DeferredNotReadyError):
        collect_deferred(handle, config=config())
    last = wait_deferred(handle, config=config(), poll=0.01)
    assert (first.status, first.provider_status, first.pending) == ("running", "in_progress", 30)
    assert first.expires_at == pytest.approx(service.account.batches[0].created_at + 86_400)
    assert (last.status, last.provider_status, last.succeeded) == ("completed", "ended", 30)
    assert last.completed_at == pytest.approx(service.account.batches[0].ended_at)


def test_can_be_collected_again_from_stored_data(service, config):
    handle = defer_many(PROMPTS, config=config())
    first = wait_and_collect(handle, config())
    restored = DeferredHandle.from_dict(json.loads(json.dumps(handle.to_dict())))
    assert collect_deferred(restored, config=config()) == first


# What goes wrong with single requests


def test_keeps_the_text_of_an_error(service, config):
    service.fates = {"p3": "errored", "p4": "expired", "p5": "canceled"}
    handle = defer_many(PROMPTS[:6], config=config())
    last = wait_deferred(handle, config=config(), poll=0.01)
    result = collect_deferred(handle, config=config())
    assert (last.status, last.succeeded, last.failed) == ("partial", 3, 3)
    assert result["status"] == "partial"
    assert result["answers"] == ["re: p0", "re: p1", "re: p2", "", "", ""]
    assert [item["status"] for item in items(result)][3:] == ["failed", "expired", "cancelled"]
    assert [item["provider_status"] for item in items(result)][3:] == ["errored", "expired", "canceled"]
    assert items(result)[3]["error"] == "status 400: cannot answer p3"


@pytest.mark.parametrize(
    ("code", "facts"),
    [
        ("invalid_request_error", ("invalid_request", 400, False)),
        ("authentication_error", ("auth", 401, False)),
        ("not_found_error", ("not_found", 404, False)),
        ("rate_limit_error", ("rate_limit", 429, True)),
        ("api_error", ("capacity", 500, True)),
        ("overloaded_error", ("capacity", 529, True)),
        ("an_error_of_tomorrow", ("invalid_request", 200, False)),
    ],
)
def test_a_failed_request_has_the_facts_of_a_direct_call(service, config, code, facts):
    def edit_rows(rows):
        return [
            {"custom_id": row["custom_id"], "result": {"type": "errored", "error": error("no", code)}} for row in rows
        ]

    service.edit_rows = edit_rows
    result = wait_and_collect(defer("a", config=config()), config())
    for told in (result["errors"][0], items(result)[0]):
        assert (told["kind"], told["status_code"], told["retryable"]) == facts
        assert told["provider_code"] == code


@pytest.mark.parametrize(("fate", "status"), [("errored", "failed"), ("expired", "expired"), ("canceled", "cancelled")])
def test_names_the_one_fate_of_all(service, config, fate, status):
    service.fates = dict.fromkeys(PROMPTS, fate)
    handle = defer_many(PROMPTS, config=config())
    assert wait_deferred(handle, config=config(), poll=0.01).status == status
    result = collect_deferred(handle, config=config())
    assert result["status"] == "error"
    assert {item["status"] for item in items(result)} == {status}


def test_mixed_failures_are_partial(service, config):
    service.fates = {"a": "errored", "b": "expired"}
    handle = defer_many(["a", "b"], config=config())
    assert wait_deferred(handle, config=config(), poll=0.01).status == "partial"


def test_accounts_for_missing_double_and_foreign_rows(service, config):
    def edit_rows(rows):
        foreign = {"custom_id": "pollux-000001-feedbeef", "result": {"type": "succeeded", "message": response()}}
        return [rows[0], rows[0], foreign, *rows[2:]]

    service.edit_rows = edit_rows
    result = wait_and_collect(defer_many(PROMPTS[:3], config=config()), config())
    assert result["answers"] == ["re: p0", "", "re: p2"]
    assert items(result)[1]["status"] == "missing"
    deferred = result["diagnostics"]["deferred"]
    assert (deferred["unknown_rows"], deferred["duplicate_rows"]) == (1, 1)
    assert [row["custom_id"] for row in deferred["unmatched"]] == ["pollux-000001-feedbeef"]


def test_tolerates_rows_that_it_does_not_know(service, config):
    def edit_rows(rows):
        odd = [{"custom_id": rows[0]["custom_id"], "result": {"type": "postponed"}}]
        return [*odd, {"custom_id": rows[1]["custom_id"], "result": {"type": "succeeded"}}, {}, *rows[2:]]

    service.edit_rows = edit_rows
    result = wait_and_collect(defer_many(PROMPTS[:3], config=config()), config())
    assert result["answers"] == ["", "", "re: p2"]
    assert "postponed" in items(result)[0]["error"]
    assert [item["status"] for item in items(result)] == ["failed", "failed", "succeeded"]
    assert result["diagnostics"]["deferred"]["unknown_rows"] == 1


def test_reads_text_that_holds_other_line_breaks(service, config):
    result = wait_and_collect(defer("a\u2028b\u0085c\u000bd", config=config()), config())
    assert result["answers"] == ["re: a\u2028b\u0085c\u000bd"]


# Cancelling


def test_cancels_midway_and_keeps_finished_answers(service, config):
    service.looks = 3
    service.fates = {"p0": "succeeded"}
    handle = defer_many(PROMPTS[:3], config=config())
    cancel_deferred(handle, config=config())
    assert inspect_deferred(handle, config=config()).status == "cancelling"
    assert wait_deferred(handle, config=config(), poll=0.01).status == "partial"
    assert collect_deferred(handle, config=config())["answers"] == ["re: p0", "", ""]


def test_cancelling_an_ended_job_is_no_error(service, config):
    handle = defer("p", config=config())
    wait_deferred(handle, config=config(), poll=0.01)
    cancel_deferred(handle, config=config())
    assert collect_deferred(handle, config=config())["answers"] == ["re: p"]


def test_raises_a_refused_cancellation(server, service, config):
    handle = defer("p", config=config())
    server.reply(Answer(status=400, json={"error": {"message": "not today"}}))
    with pytest.raises(APIError, match="not today") as caught:
        cancel_deferred(handle, config=config())
    assert caught.value.phase == "batch_cancel"


def test_reports_a_missing_batch(service, config):
    handle = defer("p", config=config())
    service.account.batches.clear()
    with pytest.raises(APIError, match="no batch") as caught:
        wait_deferred(handle, config=config(), poll=0.01)
    assert (caught.value.kind, caught.value.phase) == ("not_found", "batch_inspect")


# Files


def test_20_prompts_over_3_files_make_3_uploads_deleted_after_collect(server, service, config, sources):
    handle = defer_many(PROMPTS[:20], sources=sources, config=config(uploads="always"))
    stored = dict(service.account.files)
    assert len(stored) == len(posts(server, "/v1/files")) == 3
    assert {file["filename"] for file in stored.values()} == {f"{handle.mark}-{name}.pdf" for name in "abc"}
    wait_deferred(handle, config=config(), poll=0.01)
    assert service.account.deleted == []
    assert collect_deferred(handle, config=config())["answers"] == [f"re: {prompt}" for prompt in PROMPTS[:20]]
    assert sorted(service.account.deleted) == sorted(stored)


def test_keeps_the_betas_of_the_callers_client(server, service):
    with Anthropic(api_key="k", base_url=server.url, default_headers={"anthropic-beta": "mine"}) as client:
        defer("p", config=Config(provider="anthropic", model="m", client=client))
    assert service.betas == ["mine,files-api-2025-04-14,mcp-client-2025-11-20"]


# Several jobs


def test_splits_requests_that_exceed_one_job(service, config, narrow):
    handle = defer_many(PROMPTS[:10], config=config(provider=narrow))
    assert [len(batch.requests) for batch in service.account.batches] == [4, 4, 2]
    result = wait_and_collect(handle, config(provider=narrow))
    assert result["answers"] == [f"re: {prompt}" for prompt in PROMPTS[:10]]


def test_does_not_mistake_its_earlier_job_for_a_lost_one(service, config, narrow, tmp_path):
    service.after_create = [None, ResetBeforeBody()]
    reach = config(provider=narrow, retry=ONCE)
    with pytest.raises(APIError):
        defer_many(PROMPTS[:8], config=reach, job_file=tmp_path / "job")
    for batch in service.account.batches:
        service.end(batch)
    handle = defer_many(PROMPTS[:8], config=reach, job_file=tmp_path / "job")
    assert [job.job_id for job in handle.jobs] == [batch.id for batch in service.account.batches]
    assert len(service.account.batches) == 2
    assert wait_and_collect(handle, reach)["answers"] == [f"re: {prompt}" for prompt in PROMPTS[:8]]


# Interrupted submissions


LOST = pytest.mark.parametrize(
    "step", [Answer(status=500, json={"error": {"message": "oops"}}), ResetBeforeBody()], ids=["500", "reset"]
)


@LOST
def test_finds_a_batch_whose_creation_was_not_confirmed(server, service, config, step):
    service.after_create, service.is_instant = [step], True
    handle = defer_many(PROMPTS, config=config())
    assert handle.job_id == service.account.batches[0].id
    assert len(posts(server)) == 1
    assert wait_and_collect(handle, config())["answers"] == [f"re: {prompt}" for prompt in PROMPTS]


@LOST
def test_adopts_no_running_batch_without_proof(server, service, config, tmp_path, step):
    service.after_create = [step]
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="any of these batches: msgbatch_1;") as caught:
            defer_many(PROMPTS, config=config(), job_file=tmp_path / "job")
        assert "call again with the same job_file when they have ended" in caught.value.hint
    assert len(posts(server)) == 1


@LOST
def test_a_later_call_with_the_job_file_finds_it(server, service, config, tmp_path, step):
    service.after_create = [step]
    with pytest.raises(APIError) as caught:
        defer_many(PROMPTS, config=config(retry=ONCE), job_file=tmp_path / "job")
    service.end(service.account.batches[0])
    handle = defer_many(PROMPTS, config=config(), job_file=tmp_path / "job")
    assert caught.value.phase == "batch_submit"
    assert handle.job_id == service.account.batches[0].id
    assert len(posts(server)) == 1


def test_submits_a_batch_again_that_was_not_created(server, service, config):
    service.before_create = [Answer(status=500, json={"error": {"message": "oops"}})]
    handle = defer_many(PROMPTS, config=config())
    assert len(posts(server)) == 2
    assert [batch.id for batch in service.account.batches] == [handle.job_id]


def test_a_finished_job_file_makes_no_second_job(server, service, config, tmp_path):
    first = defer_many(PROMPTS, config=config(), job_file=tmp_path / "job")
    before = len(server.requests)
    assert defer_many(PROMPTS, config=config(), job_file=tmp_path / "job") == first
    assert len(server.requests) == before


def interrupt_submission(service, config, tmp_path, *, older=(), newer=(), page_size=1000):
    """Interrupt a submission after its batch was created, between batches of others; return the batch."""
    account = service.accounts[config.key]
    account.batches += older
    service.after_create = [ResetBeforeBody()]
    with pytest.raises(APIError):
        defer_many(PROMPTS, config=config(retry=ONCE), job_file=tmp_path / "job")
    lost = account.batches[-1]
    account.batches += newer
    service.page_size = page_size
    return lost


def test_finds_its_ended_batch_by_the_results(server, service, config, tmp_path):
    older, newer = ([another(30, f"msgbatch_{age}{n}", service=service) for n in range(3)] for age in ("old", "new"))
    lost = interrupt_submission(service, config, tmp_path, older=older, newer=newer, page_size=2)
    service.end(lost)
    handle = defer_many(PROMPTS, config=config(), job_file=tmp_path / "job")
    assert (handle.job_id, len(posts(server))) == (lost.id, 1)


def test_a_running_batch_beside_ended_ones_of_others_is_named_alone(server, service, config, tmp_path):
    others = [another(30, f"msgbatch_o{n}", service=service) for n in range(3)]
    lost = interrupt_submission(service, config, tmp_path, newer=others, page_size=2)
    with pytest.raises(ConfigurationError) as caught:
        defer_many(PROMPTS, config=config(), job_file=tmp_path / "job")
    assert re.findall(r"msgbatch_\w+", caught.value.message) == [lost.id]
    assert len(posts(server)) == 1


@pytest.mark.parametrize(
    ("custom_id", "is_it"),
    [
        ("pollux-000004-abcdef01", True),
        ("pollux-000007-abcdef01", True),
        ("pollux-000003-abcdef01", False),
        ("pollux-000008-abcdef01", False),
        ("pollux-000004-abcdef02", False),
        ("abcdef01", False),
        ("", False),
    ],
)
def test_knows_its_rows_by_tag_and_number(custom_id, is_it):
    mark = "pollux-0123456789ab-abcdef01-000004"
    batch = DeferredBatch(path=Path("none"), model="m", first=4, request_count=4, n_bytes=9, mark=mark, created_at=0.0)
    assert is_own_row({"custom_id": custom_id}, batch) == is_it


@pytest.mark.parametrize("clock_s", [-86_400, 0, 86_400])
def test_takes_no_batch_of_another_size_or_time_for_its_own(server, service, config, tmp_path, clock_s):
    # The older ones run on. The list's order shows that they are older, whatever clock wrote the times.
    older = [another(30, f"msgbatch_o{n}", created_at=time.time() + clock_s) for n in range(30)]
    newer = [another(29, f"msgbatch_n{n}", created_at=time.time() + clock_s) for n in range(5)]
    lost = interrupt_submission(service, config, tmp_path, older=older, newer=newer, page_size=2)
    service.end(lost)
    before = len(server.requests)
    handle = defer_many(PROMPTS, config=config(), job_file=tmp_path / "job")
    assert (handle.job_id, len(posts(server))) == (lost.id, 1)
    assert sum(request.path.startswith("/v1/messages/batches?") for request in server.requests[before:]) == 3


def test_reads_the_list_down_to_the_newest_batch_before_the_first_attempt(server, service, config, tmp_path):
    older = [another(30, f"msgbatch_o{n}") for n in range(30)]
    newer = [another(29, f"msgbatch_n{n}") for n in range(5)]
    lost = interrupt_submission(service, config, tmp_path, older=older, newer=newer, page_size=2)
    assert json.loads((tmp_path / "job").read_text())["attempted"]["bookmark"] == "msgbatch_o29"
    service.account.batches.remove(lost)
    before = len(server.requests)
    handle = defer_many(PROMPTS, config=config(), job_file=tmp_path / "job")
    assert handle.job_id == service.account.batches[-1].id
    assert len(posts(server)) == 2
    assert sum(request.path.startswith("/v1/messages/batches?") for request in server.requests[before:]) == 3


def test_goes_through_all_pages_to_find_none_in_an_account_that_was_empty(server, service, config, tmp_path):
    newer = [another(29, f"msgbatch_n{n}") for n in range(5)]
    lost = interrupt_submission(service, config, tmp_path, newer=newer, page_size=2)
    service.account.batches.remove(lost)
    handle = defer_many(PROMPTS, config=config(), job_file=tmp_path / "job")
    assert handle.job_id == service.account.batches[-1].id
    assert len(posts(server)) == 2


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"", b'{"error": "no"}', b"[]", b'{"custom_id": "pol', b"7"])
def test_results_that_cannot_be_read_show_no_other_owner(server, service, config, tmp_path, body):
    lost = interrupt_submission(service, config, tmp_path)
    service.end(lost)
    service.before_results = [Answer(body=body)]
    with pytest.raises(ConfigurationError, match=f"any of these batches: {lost.id};"):
        defer_many(PROMPTS, config=config(), job_file=tmp_path / "job")
    assert defer_many(PROMPTS, config=config(), job_file=tmp_path / "job").job_id == lost.id
    assert len(posts(server)) == 1


@pytest.mark.parametrize("is_archived", [False, True], ids=["running", "without results"])
def test_does_not_guess_between_batches(server, service, config, tmp_path, is_archived):
    other = another(30)
    lost = interrupt_submission(service, config, tmp_path, newer=[other])
    if is_archived:
        service.public_url = None
        service.end(other)
        service.end(lost)
    with pytest.raises(ConfigurationError, match="any of these batches") as caught:
        defer_many(PROMPTS, config=config(), job_file=tmp_path / "job")
    assert {lost.id, other.id} == set(re.findall(r"msgbatch_\w+", caught.value.message))
    assert "when they have ended" in caught.value.hint
    assert len(posts(server)) == 1


def test_an_archived_batch_of_others_does_not_block(server, service, config, tmp_path, monkeypatch):
    archived = another(30, "msgbatch_old", service=service)
    lost = interrupt_submission(service, config, tmp_path, newer=[archived])
    service.account.batches.remove(lost)
    service.public_url = None
    with pytest.raises(ConfigurationError, match="msgbatch_old") as caught:
        defer_many(PROMPTS, config=config(), job_file=tmp_path / "job")
    assert "delete the job file" in caught.value.hint
    facts = Batch.facts
    monkeypatch.setattr(Batch, "facts", lambda *a: facts(*a) | {"archived_at": "2026-11-25T00:00:00Z"})
    assert defer_many(PROMPTS, config=config(), job_file=tmp_path / "job").job_id != "msgbatch_old"


@pytest.mark.parametrize("body", [{"data": ["x"]}, {"data": [None]}, {"data": [{"type": "message_batch"}]}])
def test_a_newest_batch_that_cannot_be_read_is_no_bookmark(server, config, body):
    server.handler = lambda _: Answer(json=body)
    with pytest.raises(APIError, match="no batch id"):
        defer("p", config=config())
    assert posts(server) == []


@pytest.mark.parametrize("counts", [None, {}, "x", {"processing": "30"}, {"processing": 0, "succeeded": 0}])
def test_a_batch_whose_counts_cannot_be_read_may_be_it(counts):
    batch = DeferredBatch(path=Path("none"), model="m", first=0, request_count=4, n_bytes=9, mark="m", created_at=0.0)
    assert is_possible_match({"id": "a", "request_counts": counts}, batch)
    assert not is_possible_match({"id": "a", "request_counts": {"processing": 5}}, batch)


@pytest.mark.parametrize("counts", [None, {}, {"succeeded": "30"}])
def test_an_ended_batch_without_counts_needs_all_its_rows(server, service, config, counts):
    handle = defer_many(PROMPTS, config=config())

    def drop_counts(request):
        answer = service(request)
        is_state = request.path.endswith(handle.job_id) and "processing_status" in answer.json
        return attrs.evolve(answer, json=answer.json | {"request_counts": counts}) if is_state else answer

    server.handler = drop_counts
    service.edit_rows = lambda rows: rows[:10]
    wait_deferred(handle, config=config(), poll=0.01)
    with pytest.raises(APIError, match="20 of 30 answers are missing"):
        collect_deferred(handle, config=config(retry=ONCE))
    service.edit_rows = list
    assert collect_deferred(handle, config=config())["status"] == "ok"


@pytest.mark.parametrize("count", [0, 2])
def test_rows_of_requests_that_all_failed_are_all_there_or_damaged(service, config, count):
    service.fates = dict.fromkeys(PROMPTS, "errored")
    service.edit_rows = lambda rows: rows[:count]
    handle = defer_many(PROMPTS, config=config())
    wait_deferred(handle, config=config(), poll=0.01)
    with pytest.raises(APIError, match=f"{30 - count} of 30 answers are missing"):
        collect_deferred(handle, config=config(retry=ONCE))


@pytest.mark.parametrize("kind", [None, "SUCCEEDED", 7])
def test_a_message_is_an_answer_whatever_its_row_is_called(service, config, kind):
    service.edit_rows = lambda rows: [row | {"result": row["result"] | {"type": kind}} for row in rows]
    assert wait_and_collect(defer("a", config=config()), config())["answers"] == ["re: a"]


@pytest.mark.parametrize("has_old_pages", [False, True], ids=["cursor", "last id"])
def test_deletes_files_of_an_interrupted_submission(service, config, sources, tmp_path, has_old_pages):
    service.after_create = [ResetBeforeBody()]
    with pytest.raises(APIError):
        defer_many(PROMPTS, sources=sources, config=config(retry=ONCE, uploads="always"), job_file=tmp_path / "job")
    mark = json.loads((tmp_path / "job").read_text())["mark"]
    own = set(service.account.files)
    for number, name in enumerate([f"{mark}-a.pdf", f"{mark}-d.pdf", "my.pdf", "pollux-other.pdf"]):
        service.account.files[f"s{number}"] = {"id": f"s{number}", "type": "file", "filename": name}
    service.page_size, service.has_old_pages = 2, has_old_pages
    service.end(service.account.batches[0])
    defer_many(PROMPTS, sources=sources, config=config(uploads="always"), job_file=tmp_path / "job")
    assert sorted(service.account.deleted) == ["s0", "s1"]
    assert set(service.account.files) == {*own, "s2", "s3"}


def test_a_refused_submission_leaves_no_files_behind(server, service, config, sources, tmp_path):
    service.after_create = [Answer(status=413, json={"error": {"message": "too big"}})]
    with pytest.raises(APIError, match="too big") as caught:
        defer_many(PROMPTS, sources=sources, config=config(uploads="always"), job_file=tmp_path / "job")
    assert (caught.value.phase, caught.value.status_code) == ("batch_submit", 413)
    assert service.account.files == {}
    assert not (tmp_path / "job").exists()


# Accounts and the wire


def test_two_accounts_at_one_address_stay_apart(server, service):
    with Anthropic(api_key="second", base_url=server.url) as client:
        first = Config(provider="anthropic", model="m", api_key="first", base_url=server.url)
        second = Config(provider="anthropic", model="m", client=client)
        handles = [defer_many(prompts, config=config) for prompts, config in ((["a"], first), (["b"], second))]
        answers = [wait_and_collect(*pair)["answers"] for pair in zip(handles, (first, second), strict=True)]
    assert answers == [["re: a"], ["re: b"]]
    assert [len(service.accounts[key].batches) for key in ("first", "second")] == [1, 1]


def test_a_handle_works_with_a_key_from_the_environment(server, service, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "first")
    config = Config(provider="anthropic", model="m", base_url=server.url)
    assert wait_and_collect(defer("a", config=config), config)["answers"] == ["re: a"]


@pytest.mark.parametrize(
    "step",
    [
        ResetInsideBody(b'{"custom_id": "x"}\n{"custom_id": "y"}\n', 24),
        Truncated(b'{"custom_id": "x"}\n{"cus', 19),
        Answer(body=b'{"custom_id": "x"}\n{"cus'),
        Answer(body=b"not gzip", headers={"Content-Encoding": "gzip"}),
        Answer(status=529, json={"error": {"message": "busy"}}),
    ],
    ids=["reset", "truncated", "half a row", "broken gzip", "overloaded"],
)
def test_reads_results_again_when_they_break_off(service, config, step):
    service.before_results = [step]
    result = wait_and_collect(defer_many(PROMPTS, config=config()), config())
    assert result["answers"] == [f"re: {prompt}" for prompt in PROMPTS]
    assert result["diagnostics"]["deferred"]["unknown_rows"] == 0


def test_a_refused_key_fails_as_it_does_in_run(server, config):
    server.handler = lambda _: Answer(status=401, json={"error": {"message": "invalid x-api-key"}})
    with pytest.raises(APIError, match="invalid x-api-key") as caught:
        defer("p", config=config())
    assert (caught.value.kind, caught.value.phase) == ("auth", "batch_submit")
    assert "ANTHROPIC_API_KEY" in caught.value.hint
    assert config.key not in str(caught.value)


@pytest.mark.parametrize("body", [{}, [], {"id": 7}])
def test_reports_an_answer_without_a_batch_id(server, config, body):
    server.handler = lambda request: Answer(json={"data": []} if request.method == "GET" else body)
    with pytest.raises(APIError, match="no batch id") as caught:
        defer("p", config=config())
    assert (caught.value.kind, caught.value.phase) == ("malformed", "batch_submit")


def test_says_that_the_callers_client_has_no_batches(server):
    with AnthropicVertex(region="r", project_id="p", access_token="t", base_url=server.url) as client:
        config = Config(provider="anthropic", model="m", client=client)
        with pytest.raises(ConfigurationError, match="not supported in the Vertex client"):
            defer("p", config=config)
    assert server.requests == []


@pytest.mark.parametrize("body", [{}, [], "x", {"data": None}, {"data": {}}])
def test_a_look_up_whose_answer_is_no_list_submits_nothing(server, service, config, tmp_path, body):
    interrupt_submission(service, config, tmp_path)
    server.handler = lambda request: Answer(json=body) if request.method == "GET" else service(request)
    with pytest.raises(APIError, match="not a list") as caught:
        defer_many(PROMPTS, config=config(), job_file=tmp_path / "job")
    assert (caught.value.kind, caught.value.phase) == ("malformed", "batch_submit")
    assert len(posts(server)) == 1


@pytest.mark.parametrize("body", [{}, [], "x", {"data": None}, {"data": {}}])
def test_an_answer_for_the_bookmark_that_is_no_list_submits_nothing(server, config, tmp_path, body):
    server.handler = lambda _: Answer(json=body)
    with pytest.raises(APIError, match="not a list") as caught:
        defer("p", config=config(), job_file=tmp_path / "job")
    assert (caught.value.kind, caught.value.phase) == ("malformed", "batch_submit")
    assert posts(server) == []


def test_a_list_that_goes_on_but_names_no_last_id_submits_nothing(server, service, config, tmp_path):
    interrupt_submission(service, config, tmp_path)
    page = Answer(json={"data": [], "has_more": True, "last_id": None})
    server.handler = lambda request: page if request.method == "GET" else service(request)
    with pytest.raises(APIError, match="names no last id") as caught:
        defer_many(PROMPTS, config=config(), job_file=tmp_path / "job")
    assert (caught.value.kind, caught.value.phase) == ("malformed", "batch_submit")
    assert len(posts(server)) == 1


def test_gives_up_on_missing_results(service, config):
    handle = defer("p", config=config())
    wait_deferred(handle, config=config(), poll=0.01)
    service.before_results = [Hang()]
    with pytest.raises(APIError) as caught:
        collect_deferred(handle, config=config(timeout_s=0.3, retry=ONCE))
    assert (caught.value.kind, caught.value.phase) == ("timeout", "batch_collect")


def test_gives_up_on_results_that_stall(service, config):
    handle = defer("p", config=config())
    wait_deferred(handle, config=config(), poll=0.01)
    service.before_results = [Drip(body=b"{}\n{}", interval_s=30.0, chunk_bytes=1)]
    with pytest.raises(APIError) as caught:
        collect_deferred(handle, config=config(timeout_s=0.3, retry=ONCE))
    assert (caught.value.kind, caught.value.phase) == ("timeout", "batch_collect")


@pytest.mark.parametrize("body", [{}, []])
def test_reports_a_malformed_state(server, service, config, body):
    handle = defer("p", config=config())
    server.handler = lambda _: Answer(json=body)
    with pytest.raises(APIError, match="not a batch"):
        inspect_deferred(handle, config=config())


SUBMITTING = """
import resource, sys
from pathlib import Path
from pollux_anthropic import jobs
from pollux_sync.data.jobs import DeferredBatch
if sys.argv[1] == "sdk":
    from anthropic import Anthropic
    from pollux_anthropic.carrier import AnthropicCarrier
    client = AnthropicCarrier(Anthropic(api_key="k", base_url=sys.argv[2]))
else:
    from pollux_sync.wire.http import HttpClient
    client = HttpClient(sys.argv[2], headers={})
def submit(path, count):
    size = Path(path).stat().st_size
    batch = DeferredBatch(
        path=Path(path), model="m", first=0, request_count=count, n_bytes=size, mark="mark", created_at=0.0
    )
    return jobs.submit(batch, client, 60.0)
def rows(job):
    return sum(1 for _ in jobs.collect(job, client, 60.0))
rows(submit(sys.argv[3], 1))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(rows(submit(sys.argv[4], 1000)))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.soak
@pytest.mark.parametrize("way", ["direct", "sdk"])
@pytest.mark.skipif(not hasattr(resource, "getrusage"), reason="this system cannot tell")
def test_moves_requests_and_results_in_constant_memory(tmp_path, way):
    line = json.dumps({"custom_id": "x", "params": {"words": "x" * 100_000}}).encode() + b"\n"
    (tmp_path / "small").write_bytes(line)
    (tmp_path / "big").write_bytes(line * 1000)

    def handler(request):
        if request.method == "POST":
            return Answer(json={"id": f"{request.body_size}"})
        return Answer(body=line * (1000 if int(request.path.split("/")[4]) > 1_000_000 else 1))

    with ScriptedServer(keep_bodies=False) as server:
        server.handler = handler
        command = [sys.executable, "-c", SUBMITTING, way, server.url, str(tmp_path / "small"), str(tmp_path / "big")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert max(request.body_size for request in server.requests) > 100_000_000
    count, grown = map(int, done.stdout.split())
    assert count == 1000
    assert grown < 32 * 1024 * 1024
