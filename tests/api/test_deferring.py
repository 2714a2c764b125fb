"""Deferred calls on the mock: submitted once, looked at, collected, whatever happens in between."""

import itertools
import json
import os
import subprocess
import sys
import time

import attrs
import pytest

from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    DeferredHandle,
    DeferredNotReadyError,
    Options,
    PlanningError,
    RetryPolicy,
    Source,
    as_completed,
    cancel_deferred,
    collect_deferred,
    create_cache,
    defer,
    defer_many,
    hookimpl,
    inspect_deferred,
    process,
    run_many,
    to_jsonable,
    wait_deferred,
)
from pollux_sync.builtin import mock
from pollux_sync.data.events import DeferredChanged, DeferredSubmitted, FileUploaded, UploadDeleted
from pollux_sync.data.provider import HttpResponse
from pollux_sync.data.rules import DeferredLimits
from pollux_sync.engine.deferring import hash_content
from pollux_sync.engine.planning import plan_calls
from pollux_sync.engine.requesting import build_request
from pollux_sync.hooks.relay import read_provider_info
from pollux_sync.testing import JobScript, Script, failing

PROMPTS = ["a", "b", "c"]


def config(*plugins, **fields):
    """A configuration unlike all others, with a client and jobs of its own."""
    quick = RetryPolicy(initial_delay_s=0, jitter=False)
    usual = {"provider": "openai", "model": "m", "use_mock": True, "plugins": [*plugins, Events()], "retry": quick}
    return Config(**(usual | fields))


def list_jobs(reach):
    with process.clients.lease(reach) as hooks:
        return hooks.client.jobs


def list_files(reach):
    with process.clients.lease(reach) as hooks:
        return hooks.client.files


class Events:
    def __init__(self):
        self.seen = []

    @hookimpl
    def pollux_event(self, event):
        self.seen.append(event)

    def count(self, kind):
        return sum(isinstance(event, kind) for event in self.seen)


@attrs.define
class Person:
    name: str
    tags: dict[str, int] = attrs.field(factory=dict)


def test_answers_as_run_many_would():
    reach = config(Script(otherwise=lambda body: f"so: {body['prompt']}"))
    prompts = [f"number {index}" for index in range(30)]
    options = Options(system_instruction="be brief", temperature=0.5, max_tokens=9)
    source = Source.from_text("the text")
    told = run_many(prompts, sources=[source], config=reach, options=options)
    handle = defer_many(prompts, sources=[source], config=reach, options=options)
    later = collect_deferred(handle, config=reach)
    assert later["answers"] == [f"so: number {index}" for index in range(30)]
    deferred = later["diagnostics"].pop("deferred")
    assert later["metrics"].pop("deferred") is True
    # A job accounts for every prompt, also where all were answered.
    assert later.pop("errors") == [None] * 30
    for envelope in (told, later):
        del envelope["diagnostics"]["attempts"], envelope["metrics"]["duration_s"], envelope["metrics"]["n_attempts"]
    assert later == told
    assert [item["custom_id"] for item in deferred["items"]] == [f"pollux-{index:06d}" for index in range(30)]
    assert {item["status"] for item in deferred["items"]} == {"succeeded"}


def test_a_handle_is_data():
    reach = config(api_key="secret-key")
    handle = defer("a", config=reach, options=Options(response_schema=Person))
    stored = json.dumps(handle.to_dict())
    assert DeferredHandle.from_dict(json.loads(stored)) == handle
    assert "secret-key" not in stored
    assert handle.job_id == handle.jobs[0].job_id
    assert (handle.provider, handle.model, handle.request_count) == ("openai", "m", 1)
    with pytest.raises(ConfigurationError, match="not a stored DeferredHandle"):
        DeferredHandle.from_dict({})


@pytest.mark.parametrize("odd", ["\u2028", "\x85", "\x0b", "\r\n", "\x1e"])
def test_prompts_may_hold_every_kind_of_line_break(odd):
    reach = config(Script(otherwise=lambda body: body["prompt"]))
    prompts = [f"a{odd}b", "c"]
    assert collect_deferred(defer_many(prompts, config=reach), config=reach)["answers"] == prompts


def test_returns_typed_answers_as_objects():
    answers = [{"name": "Ada", "tags": {"x": 1}}, "no JSON"]
    handle = defer_many(["a", "b"], config=(reach := config(Script(*answers))), options=Options(response_schema=Person))
    result = collect_deferred(handle, response_schema=Person, config=reach)
    assert result["structured"] == [Person("Ada", {"x": 1}), None]
    assert result["diagnostics"]["schema_errors"][1]


def test_without_the_type_answers_are_json():
    reach = config(Script({"name": "Ada", "tags": {"x": 1}}))
    handle = defer("a", config=reach, options=Options(response_schema=Person))
    result = collect_deferred(handle, config=reach)
    assert result["structured"] == [{"name": "Ada", "tags": {"x": 1}}]
    assert to_jsonable(result) == result


@pytest.mark.parametrize(
    ("asked", "given", "message"),
    [(None, Person, "without a response_schema"), (Person, {"type": "object"}, "another response_schema")],
)
def test_refuses_another_schema_before_sending(asked, given, message):
    events = Events()
    reach = config(events, JobScript("running"))
    handle = defer("a", config=reach, options=Options(response_schema=asked))
    with pytest.raises(ConfigurationError, match=message):
        collect_deferred(handle, response_schema=given, config=reach)


def test_files_live_until_the_answers_are_there(tmp_path):
    events = Events()
    reach = config(events)
    for name in ("a.pdf", "b.png"):
        (tmp_path / name).write_bytes(name.encode())
    sources = [Source.from_file(tmp_path / name) for name in ("a.pdf", "b.png")]
    handle = defer_many(PROMPTS, sources=sources, config=reach)
    assert [asset.id for asset in handle.files] == [
        f"mock://uploaded/{handle.mark}-a.pdf",
        f"mock://uploaded/{handle.mark}-b.png",
    ]
    assert list_files(reach) == {asset.id for asset in handle.files}
    collect_deferred(handle, config=reach)
    assert list_files(reach) == frozenset()
    assert (events.count(FileUploaded), events.count(UploadDeleted)) == (2, 2)
    assert events.count(DeferredSubmitted) == 1


def test_every_prompt_is_accounted_for():
    script = JobScript("partial", failed={1: "too rude"}, expired=[2], cancelled=[3], missing=[4])
    reach = config(script)
    result = collect_deferred(defer_many([f"p{n}" for n in range(6)], config=reach), config=reach)
    assert result["status"] == "partial"
    assert result["answers"] == ["echo: p0", "", "", "", "", "echo: p5"]
    items = result["diagnostics"]["deferred"]["items"]
    assert [item["status"] for item in items] == [
        "succeeded",
        "failed",
        "expired",
        "cancelled",
        "missing",
        "succeeded",
    ]
    assert result["errors"][1]["message"] == "too rude"
    assert items[1]["error"] == "too rude"


def read_facts(told):
    return told["kind"], told["status_code"], told["retryable"], told["provider_code"]


@pytest.mark.parametrize(
    ("message", "facts"),
    [
        ("status 429: slow down", ("rate_limit", 429, True, None)),
        ("status 400: too rude", ("invalid_request", 400, False, None)),
        ("too rude", ("unknown", None, False, None)),
    ],
)
def test_a_failed_request_has_the_facts_of_a_direct_call(message, facts):
    reach = config(JobScript("partial", failed={1: message}))
    result = collect_deferred(defer_many(PROMPTS, config=reach), config=reach)
    assert result["errors"][1]["message"] == message
    for told in (result["errors"][1], result["diagnostics"]["deferred"]["items"][1]):
        assert read_facts(told) == facts


def test_a_failed_request_is_of_the_class_of_its_kind():
    reach = config(Script("x", failing(429, "slow down"), "y"))
    result = collect_deferred(defer_many(PROMPTS, config=reach), config=reach)
    assert (result["errors"][1]["type"], result["errors"][1]["hint"]) == ("RateLimitError", "defer this prompt again")


class Coded:
    """A job that failed as a whole, and says so by a code."""

    @hookimpl(wrapper=True)
    def pollux_inspect_deferred(self):
        return attrs.evolve((yield), status="failed", error="out of quota", provider_code="quota")


def test_a_job_that_failed_as_a_whole_keeps_its_code():
    reach = config(JobScript(missing=[0, 1, 2]), Coded())
    result = collect_deferred(defer_many(PROMPTS, config=reach), config=reach)
    assert [(told["message"], told["provider_code"]) for told in result["errors"]] == [("out of quota", "quota")] * 3


class Unclassifiable:
    """A classifier with a defect."""

    @hookimpl(tryfirst=True)
    def pollux_classify_error(self, error):
        raise KeyError("surprise")


def test_an_error_that_cannot_be_classified_does_not_affect_the_others():
    reach = config(JobScript("partial", failed={1: "status 429: slow down"}), Unclassifiable())
    result = collect_deferred(defer_many(PROMPTS, config=reach), config=reach)
    assert result["answers"] == ["echo: a", "", "echo: c"]
    assert result["errors"][1]["type"] == "ProviderBugError"


def test_the_key_is_in_no_code_of_an_error():
    class Echo:
        @hookimpl(wrapper=True)
        def pollux_collect_deferred(self):
            body = {"error": {"code": "bad-key-of-the-script", "message": "bad-key-of-the-script"}}
            failure = HttpResponse(status=400, body=body)
            return [attrs.evolve(row, response=None, status="failed", error_response=failure) for row in (yield)]

    reach = config(Echo(), api_key="key-of-the-script")
    assert "key-of-the-script" not in str(collect_deferred(defer("a", config=reach), config=reach))


@pytest.mark.parametrize(("ends", "fate"), [("expired", "expired"), ("cancelled", "cancelled"), ("failed", "failed")])
def test_what_is_missing_shares_the_fate_of_its_job(ends, fate):
    reach = config(JobScript(ends, missing=[0, 1, 2]))
    result = collect_deferred(defer_many(PROMPTS, config=reach), config=reach)
    assert {item["status"] for item in result["diagnostics"]["deferred"]["items"]} == {fate}
    assert result["status"] == "error"


class Odd:
    """Rows that came twice, and rows of nobody's."""

    @hookimpl(wrapper=True)
    def pollux_collect_deferred(self):
        rows = list((yield))
        return [*rows, attrs.evolve(rows[0], response=None, status="failed"), attrs.evolve(rows[0], custom_id="x")]


def test_odd_rows_are_counted_and_change_nothing():
    reach = config(Odd())
    result = collect_deferred(defer_many(PROMPTS, config=reach), config=reach)
    assert result["answers"] == ["echo: a", "echo: b", "echo: c"]
    deferred = result["diagnostics"]["deferred"]
    assert (deferred["unknown_rows"], deferred["duplicate_rows"]) == (1, 1)


class Unreadable:
    """A decoder with a defect that one answer shows."""

    @hookimpl(tryfirst=True)
    def pollux_decode(self, call):
        if call.index == 1:
            raise KeyError("surprise")


def test_an_unreadable_answer_does_not_affect_the_others():
    reach = config(Unreadable())
    result = collect_deferred(defer_many(PROMPTS, config=reach), config=reach)
    assert result["answers"] == ["echo: a", "", "echo: c"]
    assert "surprise" in result["errors"][1]["message"]
    assert result["diagnostics"]["deferred"]["items"][1]["status"] == "failed"


def test_is_not_ready_before_the_end():
    reach = config(JobScript("queued", "running", "cancelling", "completed"))
    handle = defer_many(PROMPTS, config=reach)
    with pytest.raises(DeferredNotReadyError, match="queued: 3 of 3") as caught:
        collect_deferred(handle, config=reach)
    assert caught.value.snapshot.pending == 3
    assert [inspect_deferred(handle, config=reach).status for _ in range(3)] == ["running", "cancelling", "completed"]


def test_waits_until_the_end():
    events, told = Events(), []
    reach = config(events, JobScript("queued", "running", "running", "completed"))
    snapshot = wait_deferred(defer("a", config=reach), config=reach, poll=0, on_change=told.append)
    assert snapshot.status == "completed"
    assert [snapshot.status for snapshot in told] == ["queued", "running", "completed"]
    assert events.count(DeferredChanged) == 3


@pytest.fixture
def _quick_time(monkeypatch):
    """Let waiting take no time: the clock goes on only while somebody sleeps."""
    readings = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: readings[-1])
    monkeypatch.setattr(time, "sleep", lambda wait_s: readings.append(readings[-1] + wait_s))


@pytest.mark.usefixtures("_quick_time")
def test_respects_the_timeout():
    reach = config(JobScript("running"))
    looks = []

    def poll(look):
        looks.append(look)
        return 0.01

    with pytest.raises(DeferredNotReadyError, match=r"after 0.1 s") as caught:
        wait_deferred(defer("a", config=reach), config=reach, timeout_s=0.1, poll=poll)
    assert caught.value.snapshot.status == "running"
    assert looks == list(range(len(looks)))


class Times:
    """The time limits that looks are given."""

    def __init__(self):
        self.limits_s = []

    @hookimpl(wrapper=True)
    def pollux_inspect_deferred(self, timeout_s):
        self.limits_s.append(timeout_s)
        yield
        raise ConnectionResetError


@pytest.mark.usefixtures("_quick_time")
def test_a_look_and_its_retries_end_with_the_timeout():
    times = Times()
    # Without chance: a retry soon enough would wait for an event, by a clock that stands still.
    retry = RetryPolicy(max_attempts=9, initial_delay_s=60, jitter=False)
    reach = config(times, JobScript("running"), retry=retry, timeout_s=600)
    handle = defer("a", config=reach)
    with pytest.raises(DeferredNotReadyError):
        wait_deferred(handle, config=reach, timeout_s=1, poll=0.3)
    assert max(times.limits_s) <= 1
    assert len(times.limits_s) > 1  # looks, and no retry that would have waited for a minute


class Blips:
    """Looks that fail: so many by the network, then for good."""

    def __init__(self, *errors):
        self.errors = list(errors)

    @hookimpl(wrapper=True)
    def pollux_inspect_deferred(self):
        if self.errors:
            raise self.errors.pop(0)
        return (yield)


def test_a_blip_of_the_network_is_waited_out():
    blips = Blips(*[ConnectionResetError()] * 5, TimeoutError())
    reach = config(blips, JobScript("running", "completed"))
    assert wait_deferred(defer("a", config=reach), config=reach, poll=0).status == "completed"
    assert blips.errors == []


NO_RETRY = RetryPolicy(max_attempts=1)


@pytest.mark.usefixtures("_quick_time")
def test_a_timeout_tells_that_every_look_failed():
    reach = config(Blips(*[ConnectionResetError("gone")] * 3), JobScript("running"), retry=NO_RETRY)
    handle = defer("a", config=reach)
    with pytest.raises(DeferredNotReadyError, match=rf"all 3 looks at {handle.job_id} failed: .*gone") as caught:
        wait_deferred(handle, config=reach, timeout_s=0.2, poll=poll_until_late(3))
    assert caught.value.snapshot is None
    assert isinstance(caught.value.__cause__, APIError)
    assert caught.value.__cause__.kind == "connection"


def poll_until_late(n_looks):
    """Return intervals for so many looks; the last look is when the timeout is over."""
    return lambda look: 0 if look < n_looks - 2 else 60


class Sight:
    """Looks that succeed or fail, as listed."""

    def __init__(self, *successes):
        self.successes = list(successes)

    @hookimpl(wrapper=True)
    def pollux_inspect_deferred(self):
        if not self.successes.pop(0):
            raise ConnectionResetError("gone")
        return (yield)


@pytest.mark.parametrize(
    ("successes", "told"),
    [
        ([False, True, False], "; the last look at {} failed: "),
        ([True, True, False, False], "; the last 2 looks at {} failed: "),
        ([False, False, True], ""),
    ],
)
@pytest.mark.usefixtures("_quick_time")
def test_a_timeout_tells_how_many_looks_failed_in_a_row(successes, told):
    reach = config(Sight(*successes), JobScript("running"), retry=NO_RETRY)
    handle = defer("a", config=reach)
    with pytest.raises(DeferredNotReadyError) as caught:
        wait_deferred(handle, config=reach, timeout_s=0.2, poll=poll_until_late(len(successes)))
    assert caught.value.snapshot.status == "running"
    assert caught.value.message.startswith(f"1 of the jobs had not ended after 0.2 s{told.format(handle.job_id)}")


def test_a_clock_that_is_set_does_not_end_the_waiting(monkeypatch):
    reach = config(JobScript("running", "running", "completed"))
    handle = defer("a", config=reach)
    readings = itertools.count(time.time(), 1000.0)
    monkeypatch.setattr(time, "time", lambda: next(readings))
    assert wait_deferred(handle, config=reach, timeout_s=60, poll=0).status == "completed"


def test_a_lasting_failure_ends_the_waiting():
    reach = config(Blips(APIError("no such job", kind="not_found")))
    with pytest.raises(APIError, match="no such job") as caught:
        wait_deferred(defer("a", config=reach), config=reach, poll=0)
    assert caught.value.phase == "batch_inspect"


def test_yields_several_jobs_as_they_end():
    slow, fast = config(JobScript("running", "running", "completed")), config(JobScript("completed"))
    handles = [defer("a", config=slow), defer("b", config=slow)]
    assert [handle.job_id for handle, _ in as_completed(handles, config=slow, poll=0)]
    (only,) = as_completed([defer("c", config=fast)], config=fast)
    assert only[1].status == "completed"


def test_cancels():
    reach = config()
    handle = defer_many(PROMPTS, config=reach)
    cancel_deferred(handle, config=reach)
    assert wait_deferred(handle, config=reach).status == "cancelled"
    result = collect_deferred(handle, config=reach)
    assert {item["status"] for item in result["diagnostics"]["deferred"]["items"]} == {"cancelled"}


@pytest.fixture
def small_jobs(monkeypatch):
    small = attrs.evolve(mock._INFO, deferred=DeferredLimits(max_requests=4, max_bytes=10_000))
    monkeypatch.setattr(mock, "_INFO", small)
    read_provider_info.cache_clear()
    yield
    read_provider_info.cache_clear()


@pytest.mark.usefixtures("small_jobs")
def test_too_many_for_one_job_become_several():
    reach = config()
    prompts = [f"p{n}" for n in range(10)]
    handle = defer_many(prompts, config=reach)
    assert [(job.first, job.request_count) for job in handle.jobs] == [(0, 4), (4, 4), (8, 2)]
    assert handle.job_id.count(",") == 2
    result = collect_deferred(handle, config=reach)
    assert result["answers"] == [f"echo: p{n}" for n in range(10)]


class Finishing:
    """Each job completes at the time that is given for it, in the order of the jobs."""

    def __init__(self, *times):
        self.times = list(times)

    @hookimpl(wrapper=True)
    def pollux_inspect_deferred(self):
        return attrs.evolve((yield), completed_at=self.times.pop(0))


@pytest.mark.usefixtures("small_jobs")
@pytest.mark.parametrize("times", [(100.0, 300.0, 200.0), (300.0, 100.0, 200.0), (100.0, 200.0, 300.0)])
def test_several_jobs_are_complete_when_the_last_one_is(times):
    reach = config(Finishing(*times))
    handle = defer_many([f"p{n}" for n in range(10)], config=reach)
    assert inspect_deferred(handle, config=reach).completed_at == 300.0


@pytest.mark.usefixtures("small_jobs")
def test_too_large_for_one_job_becomes_several_and_then_is_refused(tmp_path):
    reach = config()
    handle = defer_many(["x" * 4000] * 3, config=reach)
    assert [job.request_count for job in handle.jobs] == [2, 1]
    with pytest.raises(PlanningError, match="holds at most 10000") as caught:
        defer_many(["x" * 20_000], config=reach, job_file=tmp_path / "job.json")
    assert "from_file" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


# -- the job file


def test_accepts_a_job_file_as_handle(tmp_path):
    reach, path = config(), tmp_path / "job.json"
    handle = defer_many(PROMPTS, config=reach, job_file=path)
    assert inspect_deferred(path, config=reach).status == "completed"
    assert wait_deferred(str(path), config=reach).job_id == handle.job_id
    assert collect_deferred(path, config=reach)["answers"][2] == "echo: c"
    assert list(tmp_path.iterdir()) == [path]
    assert json.loads(path.read_text())["handle"]["jobs"][0]["job_id"] == handle.job_id


def test_the_same_file_submits_once(tmp_path):
    reach, path = config(), tmp_path / "job.json"
    assert defer_many(PROMPTS, config=reach, job_file=path) == defer_many(PROMPTS, config=reach, job_file=path)
    assert len(list_jobs(reach)) == 1
    assert defer_many(PROMPTS, config=reach, job_file=tmp_path / "other.json").job_id
    assert len(list_jobs(reach)) == 2


@pytest.mark.parametrize("numbers", [{"first": 1}, {"request_count": 0}, {"request_count": 4}])
def test_a_file_whose_jobs_do_not_fit_submits_nothing(tmp_path, numbers):
    reach, path = config(), tmp_path / "job.json"
    defer_many(PROMPTS, config=reach, job_file=path)
    stored = json.loads(path.read_text())
    stored["jobs"][0] |= numbers
    path.write_text(json.dumps(stored | {"handle": None}))
    with pytest.raises(ConfigurationError, match="do not fit"):
        defer_many(PROMPTS, config=reach, job_file=path)
    assert len(list_jobs(reach)) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"prompts": ["a", "b"]},
        {"prompts": ["ab", "c"]},
        {"options": Options(temperature=1)},
        {"sources": [Source.from_text("x")]},
        {"config": config(model="n")},
        {"config": config(api_key="another")},
    ],
)
def test_a_file_of_other_requests_is_refused(tmp_path, other):
    path = tmp_path / "job.json"
    defer_many(PROMPTS, config=config(), job_file=path)
    with pytest.raises(ConfigurationError, match="for other requests") as caught:
        defer_many(**({"prompts": PROMPTS, "config": config(), "job_file": path} | other))
    assert "another job_file" in caught.value.hint


@pytest.mark.parametrize("content", ["", "[]", '{"content": 3}', '{"schema_version": 99}'])
def test_refuses_a_file_that_is_no_job_file(tmp_path, content):
    path = tmp_path / "job.json"
    path.write_text(content)
    for call in (lambda: defer("a", config=config(), job_file=path), lambda: collect_deferred(path)):
        with pytest.raises(ConfigurationError, match=r"job file|JobFile"):
            call()
    assert path.read_text() == content


@pytest.mark.parametrize(
    ("content", "problem"), [("", "it is empty"), ("Hello", r"it holds no JSON \(Expecting value")]
)
def test_says_what_is_wrong_with_a_file_that_is_no_job_file(tmp_path, content, problem):
    path = tmp_path / "job.json"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=rf"is not a job file: {problem}") as caught:
        defer("a", config=config(), job_file=path)
    assert caught.value.hint.endswith("for a new job, name a path at which there is no file yet")


def test_says_that_a_job_file_does_not_exist(tmp_path):
    with pytest.raises(ConfigurationError, match="there is no job file") as caught:
        inspect_deferred(tmp_path / "none.json")
    assert caught.value.hint == "name the file that the submission wrote"


@pytest.mark.parametrize("job", [None, 3, {}])
def test_refuses_an_argument_that_is_no_handle(job):
    with pytest.raises(ConfigurationError, match="must be a DeferredHandle"):
        inspect_deferred(job)


class Faults:
    """Fails when a job is submitted: before it is made, or after."""

    def __init__(self, *errors, after=False):
        self.errors = list(errors)
        self.after = after
        self.asked = []
        self.lost = []
        self.before = lambda batch: None

    @hookimpl(wrapper=True)
    def pollux_submit_deferred(self, batch):
        self.asked.append("submit")
        self.before(batch)
        if self.errors and not self.after:
            raise self.errors.pop(0)
        job = yield
        if self.errors:
            raise self.errors.pop(0)
        return job

    @hookimpl(wrapper=True)
    def pollux_find_deferred(self):
        self.asked.append("find")
        if self.lost:
            raise self.lost.pop()
        return (yield)


@pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError()])
@pytest.mark.parametrize("after", [True, False])
def test_a_broken_submission_is_looked_up_before_it_is_repeated(error, after):
    faults = Faults(error, after=after)
    reach = config(faults)
    handle = defer_many(PROMPTS, config=reach)
    assert faults.asked == (["submit", "find"] if after else ["submit", "find", "submit"])
    assert list(list_jobs(reach)) == [handle.job_id]


def test_continues_after_an_uncertain_failure(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    faults = Faults(*[ConnectionResetError()] * 2, after=True)
    reach, path = config(faults, retry=RetryPolicy(max_attempts=1)), tmp_path / "job.json"
    sources = [Source.from_file(tmp_path / "a.pdf")]
    with pytest.raises(APIError) as caught:
        defer_many(PROMPTS, sources=sources, config=reach, job_file=path)
    assert (caught.value.phase, caught.value.kind) == ("batch_submit", "connection")
    assert f"call again with job_file={str(path)!r}" in caught.value.hint
    with pytest.raises(ConfigurationError, match="was interrupted") as hinted:
        inspect_deferred(path, config=reach)
    assert "continues" in hinted.value.hint
    assert len(list_files(reach)) == 1
    with process.clients.lease(reach) as hooks:
        mark = json.loads(path.read_text())["mark"]
        hooks.client.store_file(f"{mark}-stored-without-a-note.pdf")
        hooks.client.store_file("of-somebody-else.pdf")
    handle = defer_many(PROMPTS, sources=sources, config=reach, job_file=path)
    assert list(list_jobs(reach)) == [handle.job_id]
    assert faults.asked == ["submit", "find"]
    assert list_files(reach) == {handle.files[0].id, "mock://uploaded/of-somebody-else.pdf"}


def test_a_refusal_leaves_no_files_behind(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    faults = Faults(APIError("no batches for you", kind="invalid_request", status_code=400))
    reach, path = config(faults), tmp_path / "job.json"
    with pytest.raises(APIError, match="no batches"):
        defer_many(PROMPTS, sources=[Source.from_file(tmp_path / "a.pdf")], config=reach, job_file=path)
    assert list_files(reach) == frozenset()
    assert not path.exists()
    assert faults.asked == ["submit"]


def test_what_may_exist_is_not_forgotten_over_a_later_refusal(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    refusal = APIError("slow down", kind="rate_limit", status_code=429)
    faults = Faults(ConnectionResetError(), after=True)
    faults.lost = [refusal] * 2
    reach, path = config(faults), tmp_path / "job.json"
    sources = [Source.from_file(tmp_path / "a.pdf")]
    for _ in range(2):
        with pytest.raises(APIError, match="slow down"):
            defer_many(PROMPTS, sources=sources, config=reach, job_file=path)
        assert path.exists()
        assert len(list_files(reach)) == 1
    handle = defer_many(PROMPTS, sources=sources, config=reach, job_file=path)
    assert list(list_jobs(reach)) == [handle.job_id]
    assert faults.asked == ["submit", "find", "find", "find"]


def test_strays_of_a_broken_attempt_are_deleted_in_the_same_call():
    faults = Faults(ConnectionResetError())
    reach = config(faults)

    def leave_a_stray(batch):
        with process.clients.lease(reach) as hooks:
            hooks.client.store_file(f"{batch.mark}.jsonl")

    faults.before = leave_a_stray
    defer_many(PROMPTS, config=reach)
    assert list_files(reach) == frozenset()


class NoLists:
    """A service that does not tell what it stores."""

    @hookimpl(wrapper=True)
    def pollux_find_uploads(self):
        yield
        raise APIError("no lists today", kind="invalid_request", status_code=400)


def test_keeps_the_handle_when_files_cannot_be_listed(tmp_path):
    reach, path = config(NoLists(), Faults(ConnectionResetError(), after=True)), tmp_path / "job.json"
    handle = defer_many(PROMPTS, config=reach, job_file=path)
    assert list(list_jobs(reach)) == [handle.job_id]
    assert collect_deferred(path, config=reach)["status"] == "ok"


def test_two_processes_do_not_share_a_file(tmp_path):
    path = tmp_path / "job.json"
    holding = (
        "import sys; from pathlib import Path; from pollux_sync.engine.journaling import lock_job_file\n"
        "with lock_job_file(Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", holding, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigurationError, match="another process"):
            defer_many(PROMPTS, config=config(), job_file=path)
        other.stdin.close()
    assert defer_many(PROMPTS, config=config(), job_file=path).request_count == 3


def test_writes_a_job_file_atomically(tmp_path, monkeypatch):
    path = tmp_path / "job.json"
    handle = defer_many(PROMPTS, config=config(), job_file=path)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    reach = config()
    with pytest.raises(ConfigurationError, match="no space"):
        defer_many(PROMPTS, config=reach, job_file=tmp_path / "second.json")
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [path]
    assert list_jobs(reach) == {}
    assert defer_many(PROMPTS, config=config(), job_file=path) == handle


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompts": []}, "at least one prompt"),
        ({"options": Options(tools=[{"name": "x"}])}, "functions cannot be deferred"),
        ({"options": Options(history=[])}, "history cannot be deferred"),
        ({"options": Options(implicit_caching=False)}, "implicit_caching cannot be deferred"),
        ({"options": Options(schema_repairs=1)}, "schema_repairs cannot be deferred"),
        ({"config": Config(provider="local", model="m", base_url="http://127.0.0.1:9/v1")}, "does not take deferred"),
    ],
)
def test_refuses_options_that_cannot_be_deferred(fields, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        defer_many(**({"prompts": PROMPTS, "config": config()} | fields))
    assert caught.value.hint


def test_refuses_a_cache_and_a_delivery_mode():
    reach = config()
    handle = create_cache([Source.from_text("x")], config=reach)
    with pytest.raises(ConfigurationError, match="cache cannot be deferred"):
        defer("a", config=reach, options=Options(cache=handle))
    with pytest.warns(DeprecationWarning, match="delivery_mode"):
        options = Options(delivery_mode="deferred")
    with pytest.raises(ConfigurationError, match="needs no delivery_mode"):
        defer("a", config=reach, options=options)


def test_a_handle_of_another_account_is_refused():
    handle = defer("a", config=config(api_key="one"))
    with pytest.raises(ConfigurationError, match="another account"):
        inspect_deferred(handle, config=config(api_key="two"))


def test_a_plugin_that_is_missing_is_named():
    handle = attrs.evolve(defer("a", config=config()), provider="whale", account=None)
    with pytest.raises(ConfigurationError, match="whale") as caught:
        collect_deferred(handle)
    assert "pip install" in caught.value.hint


def test_reports_times():
    before = time.time()
    reach = config()
    handle = defer("a", config=reach)
    snapshot = inspect_deferred(handle, config=reach)
    assert before <= handle.submitted_at <= snapshot.completed_at <= time.time()
    assert collect_deferred(handle, config=reach)["diagnostics"]["deferred"]["elapsed_s"] >= 0


def test_a_job_file_is_known_by_the_same_hash_in_every_release():
    options = Options(temperature=0.5, max_tokens=9, response_schema={"type": "object"})
    request = build_request(
        PROMPTS, [Source.from_text("x")], Config(provider="openai", model="m", api_key="k"), options
    )
    with process.clients.lease(request.config) as hooks:
        content = hash_content(plan_calls(request, hooks, is_deferred=True), hooks)
    assert content == "2eafaeda2fdf68c1169351890918d605e82291a8192318c2a364aa9ed7a4e763"
