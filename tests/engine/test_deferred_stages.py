"""The stages of deferred calls, put together as a package with a record of its own does."""

import attrs
import pytest

from pollux_sync import APIError, Config, ConfigurationError, Options, PlanningError, RetryPolicy, Source, hookimpl
from pollux_sync.builtin import mock
from pollux_sync.data.jobs import SubmissionAttempt
from pollux_sync.data.provider import HttpResponse
from pollux_sync.data.reply import Failure, Reply
from pollux_sync.data.rules import DeferredLimits
from pollux_sync.stages import (
    JobUploads,
    build_request,
    cancel_jobs,
    create_mark,
    delete_strays,
    inspect_jobs,
    iter_job_items,
    open_hooks,
    plan_calls,
    prepare_plan,
    release_jobs,
    submit_calls,
)
from pollux_sync.testing import JobScript, Script, failing

RETRY = RetryPolicy(max_attempts=3, initial_delay_s=0, jitter=False)
SMALL_JOBS = attrs.evolve(mock._INFO, deferred=DeferredLimits(max_requests=2, max_bytes=10_000))


@attrs.frozen
class Record:
    """All that a log keeps of a submission: what it writes to its storage."""

    mark: str = attrs.field(factory=lambda: create_mark("0123456789abcdef"))
    jobs: tuple = ()
    attempted: SubmissionAttempt | None = None
    uploads: dict = attrs.field(factory=dict)


class MemoryLog:
    """A log without a file. A new one of the same record is what a new process would read back."""

    def __init__(self, record=None):
        self.record = record or Record()
        self.is_open = self.record.attempted is not None
        self.steps = []

    mark = property(lambda self: self.record.mark)
    jobs = property(lambda self: self.record.jobs)
    attempted = property(lambda self: self.record.attempted)

    def find_asset(self, part):
        return self.record.uploads.get((part.identity, part.source.mime_type))

    def record_upload(self, part, asset):
        self._record("upload", uploads=self.record.uploads | {(part.identity, part.source.mime_type): asset})

    def record_attempt(self, attempt):
        self._record("attempt", attempted=attempt)

    def mark_open(self):
        self.is_open = True

    def record_job(self, job):
        self._record("job", jobs=(*self.record.jobs, job), attempted=None)
        self.is_open = False

    def _record(self, step, **changes):
        self.steps.append(step)
        self.record = attrs.evolve(self.record, **changes)


@pytest.fixture
def start():
    """Return a function that opens the mock's hooks with these plugins."""
    opened = []

    def open_with(*plugins, info=None, **fields):
        config = Config(provider="openai", model="m", use_mock=True, plugins=plugins, retry=RETRY, **fields)
        opened.append(open_hooks(config))
        if info is not None:
            opened[-1].info = info
        return opened[-1]

    yield open_with
    for hooks in opened:
        hooks.close()


def plan_call(hooks, prompt, *, source=None, **options):
    """Return the plan of one call, which has the index 0 like every other."""
    sources = [] if source is None else [source]
    request = build_request([prompt], sources, hooks.config, Options(**options))
    return plan_calls(request, hooks, is_deferred=True)


def build_calls(hooks, *prompts, **options):
    return [plan_call(hooks, prompt, **options).calls[0] for prompt in prompts]


def submit(hooks, *prompts):
    """Return the calls of these prompts, and the only job that they become."""
    calls = build_calls(hooks, *prompts)
    (job,) = submit_calls(calls, hooks, MemoryLog())
    return calls, job


def read_items(hooks, calls, job):
    (state,) = inspect_jobs([job], hooks)
    return iter_job_items(job, state, calls, hooks)


def read_texts(items):
    return {item.index: item.outcome.text for item in items}


# -- submitting


def test_calls_of_one_job_have_options_of_their_own(start):
    hooks = start()
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    calls = [
        *build_calls(hooks, "a", temperature=0.5),
        *build_calls(hooks, "b", response_schema=schema),
        *build_calls(hooks, "c", source=Source.from_text("about whales")),
    ]
    (job,) = submit_calls(calls, hooks, MemoryLog())
    bodies = hooks.client.jobs[job.job_id].bodies
    assert list(bodies) == ["pollux-000000", "pollux-000001", "pollux-000002"]
    first, second, third = bodies.values()
    assert (first["temperature"], first["schema"]) == (0.5, None)
    assert (second["temperature"], second["schema"]["required"]) == (None, ["n"])
    assert third["parts"] == [{"text": "about whales"}]


def test_refuses_headers_of_a_call_which_no_row_has(start):
    hooks, log = start(), MemoryLog()
    (call,) = build_calls(hooks, "a")
    options = Options(provider_headers={"openai": {"X-Team": "blue"}})
    with pytest.raises(ConfigurationError, match="provider_headers cannot be deferred: x-team"):
        submit_calls([attrs.evolve(call, options=options)], hooks, log)
    assert (log.steps, hooks.client.jobs) == ([], {})


def test_each_answer_is_decoded_for_its_own_call(start):
    decoded = []

    class Watch:
        @hookimpl(wrapper=True)
        def pollux_decode(self, call):
            decoded.append((call.index, call.options.temperature))
            return (yield)

    hooks = start(Watch())
    calls = [*build_calls(hooks, "a", temperature=0.5), *build_calls(hooks, "b", temperature=1.0)]
    (job,) = submit_calls(calls, hooks, MemoryLog())
    list(read_items(hooks, calls, job))
    assert decoded == [(0, 0.5), (1, 1.0)]


def test_each_step_is_recorded_before_or_after_it(start):
    log, seen = MemoryLog(), []

    class Watch:
        @hookimpl(tryfirst=True)
        def pollux_submit_deferred(self):
            seen.append(list(log.steps))

    hooks = start(Watch(), info=SMALL_JOBS)
    submit_calls(build_calls(hooks, "a", "b", "c"), hooks, log)
    assert seen == [["attempt"], ["attempt", "job", "attempt"]]
    assert log.steps == ["attempt", "job"] * 2
    assert log.attempted is None


def test_too_many_calls_for_one_job_become_several(start):
    hooks = start(info=SMALL_JOBS)
    calls = build_calls(hooks, *"abcde")
    jobs = submit_calls(calls, hooks, MemoryLog())
    assert [(job.first, job.request_count) for job in jobs] == [(0, 2), (2, 2), (4, 1)]
    texts = [read_texts(read_items(hooks, calls, job)) for job in jobs]
    assert texts == [{0: "echo: a", 1: "echo: b"}, {2: "echo: c", 3: "echo: d"}, {4: "echo: e"}]


def test_the_sequence_may_build_each_call_when_it_is_asked_for(start):
    hooks = start(info=SMALL_JOBS)

    class Calls:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return build_calls(hooks, f"p{index}")[0]

    calls = Calls()
    jobs = submit_calls(calls, hooks, MemoryLog())
    assert [read_texts(read_items(hooks, calls, job)) for job in jobs] == [
        {0: "echo: p0", 1: "echo: p1"},
        {2: "echo: p2"},
    ]


def test_recorded_jobs_are_not_submitted_again(start):
    hooks, log = start(), MemoryLog()
    calls = build_calls(hooks, "a", "b")
    assert submit_calls(calls, hooks, log) == submit_calls(calls, hooks, MemoryLog(log.record))
    assert len(hooks.client.jobs) == 1


def test_a_log_of_more_calls_is_refused(start):
    hooks, log = start(), MemoryLog()
    calls = build_calls(hooks, "a", "b")
    submit_calls(calls, hooks, log)
    with pytest.raises(ConfigurationError, match="do not fit"):
        submit_calls(calls[:1], hooks, log)


def test_a_request_that_is_too_large_is_named_by_its_position(start):
    hooks = start(info=SMALL_JOBS)
    with pytest.raises(PlanningError, match="at most 10000") as caught:
        submit_calls(build_calls(hooks, "a", "b", "c", "x" * 20_000), hooks, MemoryLog())
    assert caught.value.call_idx == 3


class Killed(BaseException):
    """What a process that is killed does not live to see."""


class Killer:
    """Kills the first submission, before the job exists or after; counts what is asked."""

    def __init__(self, *, after):
        self.after, self.asked = after, []

    @hookimpl(wrapper=True)
    def pollux_submit_deferred(self):
        self.asked.append("submit")
        is_first = self.asked.count("submit") == 1
        if is_first and not self.after:
            raise Killed
        job = yield
        if is_first:
            raise Killed
        return job

    @hookimpl(wrapper=True)
    def pollux_find_deferred(self, batch):
        self.asked.append("find")
        self.looked_up = batch
        return (yield)


@pytest.mark.parametrize(("after", "asked"), [(True, ["submit", "find"]), (False, ["submit", "find", "submit"])])
def test_a_killed_submission_is_looked_up_before_it_is_repeated(start, after, asked):
    killer, log = Killer(after=after), MemoryLog()
    hooks = start(killer)
    calls = build_calls(hooks, "a", "b")
    with pytest.raises(Killed):
        submit_calls(calls, hooks, log)
    # What the process knew is lost, and the record is read back.
    again = MemoryLog(log.record)
    (job,) = submit_calls(calls, hooks, again)
    assert killer.asked == asked
    assert list(hooks.client.jobs) == [job.job_id]
    assert killer.looked_up.created_at == log.attempted.created_at
    assert read_texts(read_items(hooks, calls, job)) == {0: "echo: a", 1: "echo: b"}


def test_a_job_that_may_exist_is_cut_as_before(start):
    killer, log = Killer(after=True), MemoryLog()
    hooks = start(killer, info=SMALL_JOBS)
    calls = build_calls(hooks, "a", "b", "c")
    with pytest.raises(Killed):
        submit_calls(calls, hooks, log)
    hooks.info = mock._INFO
    jobs = submit_calls(calls, hooks, MemoryLog(log.record))
    assert [(job.first, job.request_count) for job in jobs] == [(0, 2), (2, 1)]
    assert len(hooks.client.jobs) == 2


def test_a_log_is_open_after_a_failure_that_proves_nothing(start):
    class Refused:
        errors = [ConnectionResetError()] * RETRY.max_attempts

        @hookimpl(tryfirst=True)
        def pollux_submit_deferred(self):
            raise self.errors.pop() if self.errors else APIError("no", kind="invalid_request", status_code=400)

    hooks, broken, refused = start(Refused()), MemoryLog(), MemoryLog()
    for log in (broken, refused):
        with pytest.raises(APIError) as caught:
            submit_calls(build_calls(hooks, "a"), hooks, log)
        assert caught.value.phase == "batch_submit"
    assert (broken.is_open, refused.is_open) == (True, False)


# -- files


def test_files_are_named_by_the_mark_and_recorded(start, tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    hooks, log = start(), MemoryLog()
    uploads = JobUploads(log, hooks)
    # Two plans of one submission: the second one finds the file in the log.
    plans = [plan_call(hooks, prompt, source=Source.from_file(tmp_path / "a.pdf")) for prompt in "ab"]
    calls = [prepare_plan(plan, hooks, uploads).calls[0] for plan in plans]
    (job,) = submit_calls(calls, hooks, log)
    (asset,) = log.record.uploads.values()
    assert asset.id == f"mock://uploaded/{log.mark}-a.pdf"
    assert log.steps == ["upload", "attempt", "job"]
    assert [body["parts"] for body in hooks.client.jobs[job.job_id].bodies.values()] == [[{"asset": asset.id}]] * 2
    assert hooks.client.files == {asset.id}
    release_jobs([job], hooks, files=[asset])
    assert hooks.client.files == frozenset()


def test_an_upload_that_ends_late_is_not_recorded_but_deleted(start, tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    log = MemoryLog()

    class Late:
        @hookimpl(wrapper=True)
        def pollux_upload(self):
            asset = yield
            # What a caller does after Ctrl-C, while the upload still runs.
            uploads.end()
            return asset

    hooks = start(Late())
    uploads = JobUploads(log, hooks)
    prepare_plan(plan_call(hooks, "a", source=Source.from_file(tmp_path / "a.pdf")), hooks, uploads)
    assert log.steps == []
    assert hooks.client.files == frozenset()


def test_what_is_recorded_nowhere_can_be_deleted(start):
    hooks, log = start(), MemoryLog()
    jobs = submit_calls(build_calls(hooks, "a"), hooks, log)
    for name in (f"{log.mark}-stored-without-a-note.pdf", "of-somebody-else.pdf"):
        hooks.client.store_file(name)
    delete_strays(log.mark, jobs, [], hooks)
    assert hooks.client.files == {"mock://uploaded/of-somebody-else.pdf"}


# -- states


def test_each_job_has_its_state_and_can_be_cancelled(start):
    hooks = start(info=SMALL_JOBS)
    jobs = submit_calls(build_calls(hooks, *"abc"), hooks, MemoryLog())
    cancel_jobs(jobs[1:], hooks)
    assert [state.status for state in inspect_jobs(jobs, hooks)] == ["completed", "cancelled"]


# -- collecting


class Rows:
    """Changes the rows of results, one function a reading; the last one is repeated. Counts rows that were taken."""

    def __init__(self, *changes):
        self.changes, self.readings, self.taken = list(changes), 0, 0
        self.is_closed = False

    @hookimpl(wrapper=True)
    def pollux_collect_deferred(self):
        rows = yield
        change = self.changes[min(self.readings, len(self.changes) - 1)] if self.changes else iter
        self.readings += 1
        return self._count(change(rows))

    def _count(self, rows):
        try:
            for row in rows:
                self.taken += 1
                yield row
        finally:
            self.is_closed = True


def test_items_come_as_their_rows_arrive(start):
    rows = Rows()
    hooks = start(rows)
    items = read_items(hooks, *submit(hooks, "a", "b", "c"))
    assert rows.taken == 0
    for count in (1, 2, 3):
        next(items)
        assert rows.taken == count


def test_an_item_holds_the_answer_as_it_came(start):
    hooks = start()
    (item,) = read_items(hooks, *submit(hooks, "a"))
    assert (item.index, item.custom_id, item.status) == (0, "pollux-000000", "succeeded")
    assert isinstance(item.outcome, Reply)
    assert item.response == HttpResponse(status=200, body={"text": "echo: a", "usage": mock._USAGE})


def test_an_answer_that_cannot_be_decoded_is_kept(start):
    class Undecodable:
        @hookimpl(tryfirst=True)
        def pollux_decode(self):
            raise KeyError("surprise")

    hooks = start(Undecodable())
    (item,) = read_items(hooks, *submit(hooks, "a"))
    assert (item.status, item.outcome.error.call_idx) == ("failed", 0)
    assert item.response.body["text"] == "echo: a"


def test_a_failed_row_has_its_error_and_its_position(start):
    hooks = start(Script("x", failing(429, "slow down")))
    _, item = read_items(hooks, *submit(hooks, "a", "b"))
    assert (item.index, item.status, item.response) == (1, "failed", None)
    assert (item.outcome.error.kind, item.outcome.error.call_idx) == ("rate_limit", 1)


def test_requests_without_a_row_come_last_with_the_fate_of_their_job(start):
    hooks = start(JobScript("expired", missing=[0, 2]))
    items = list(read_items(hooks, *submit(hooks, "a", "b", "c")))
    assert [(item.index, item.status, item.response is None) for item in items] == [
        (1, "succeeded", False),
        (0, "expired", True),
        (2, "expired", True),
    ]
    assert items[1].outcome.error.phase == "batch_collect"


def cut(rows):
    return list(rows)[:2]


def reset(rows):
    yield from list(rows)[:2]
    raise ConnectionResetError


def test_damaged_results_are_an_error_after_all_that_could_be_read(start):
    rows = Rows(cut)
    hooks = start(rows)
    items = read_items(hooks, *submit(hooks, "a", "b", "c"))
    assert [next(items).index for _ in range(2)] == [0, 1]
    with pytest.raises(APIError, match="1 of 3 answers are missing") as caught:
        next(items)
    assert (caught.value.kind, caught.value.phase) == ("malformed", "batch_collect")
    assert caught.value.hint == "collect again, since nothing was deleted"
    assert rows.readings == RETRY.max_attempts


@pytest.mark.parametrize("damage", [cut, reset])
def test_a_reading_that_breaks_off_goes_on_with_what_is_new(start, damage):
    rows = Rows(damage, iter)
    hooks = start(rows)
    items = list(read_items(hooks, *submit(hooks, *"abcd")))
    assert [item.index for item in items] == [0, 1, 2, 3]
    assert rows.readings == 2


def test_a_reading_that_gets_on_has_all_its_attempts_again(start):
    def stop_after(count):
        def change(rows):
            yield from list(rows)[:count]
            raise ConnectionResetError

        return change

    rows = Rows(*map(stop_after, range(6)), iter)
    hooks = start(rows)
    items = read_items(hooks, *submit(hooks, *"abcdef"))
    assert list(read_texts(items)) == [0, 1, 2, 3, 4, 5]
    assert rows.readings > RETRY.max_attempts


def test_a_reading_that_does_not_get_on_fails_by_the_policy(start):
    rows = Rows(reset)
    hooks = start(rows)
    items = read_items(hooks, *submit(hooks, *"abcd"))
    assert [next(items).index for _ in range(2)] == [0, 1]
    with pytest.raises(APIError) as caught:
        next(items)
    assert (caught.value.kind, caught.value.phase) == ("connection", "batch_collect")
    assert len(caught.value.attempts) == rows.readings == RETRY.max_attempts


def fail_first(rows):
    rows = list(rows)
    return [attrs.evolve(rows[0], status="failed", response=None), *rows, rows[1]]


def test_an_answer_follows_a_failure_of_the_same_request_and_nothing_else_comes_twice(start):
    hooks = start(Rows(fail_first))
    items = list(read_items(hooks, *submit(hooks, "a", "b")))
    assert [(item.index, item.status) for item in items] == [(0, "failed"), (0, "succeeded"), (1, "succeeded")]
    assert isinstance(items[0].outcome, Failure)


def test_rows_of_other_jobs_are_passed_over(start):
    def add_others(rows):
        rows = list(rows)
        odd = ("x", "pollux-000002", "pollux-0000001", "pollux-", "pollux-" + "9" * 5000)
        return [*(attrs.evolve(rows[0], custom_id=custom_id) for custom_id in odd), *rows]

    hooks = start(Rows(add_others))
    assert read_texts(read_items(hooks, *submit(hooks, "a", "b"))) == {0: "echo: a", 1: "echo: b"}


def test_results_that_are_given_up_are_closed(start):
    rows = Rows()
    hooks = start(rows)
    items = read_items(hooks, *submit(hooks, "a", "b"))
    next(items)
    items.close()
    assert rows.is_closed
