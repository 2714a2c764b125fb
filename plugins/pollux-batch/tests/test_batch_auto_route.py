"""The route that takes deferred jobs where there is time, and asks live what these leave."""

import attrs
import pytest

from pollux_batch import BatchItem, run_batch, stream_batch
from pollux_sync import Config, Options, hookimpl
from pollux_sync.builtin.mock import MockStore
from pollux_sync.plugin import DeferredRow

TWO_DAYS_S = 2 * 86_400
ITEMS = ["a", BatchItem("b", id="mine", options=Options(max_tokens=5), context=7), "c", "a"]


class Jobs:
    """A service that outlives the runs. It has no time for the ``lost`` rows."""

    def __init__(self):
        self.store = MockStore()
        self.submitted = []
        self.sent = []
        self.lost = set()
        self.is_slow = False

    @hookimpl(tryfirst=True)
    def pollux_open(self):
        return self.store

    @hookimpl(wrapper=True)
    def pollux_send(self, request):
        self.sent.append(request)
        return (yield)

    @hookimpl(wrapper=True)
    def pollux_submit_deferred(self, batch):
        self.submitted.append(batch.request_count)
        return (yield)

    @hookimpl(wrapper=True)
    def pollux_inspect_deferred(self):
        state = yield
        return attrs.evolve(state, status="running") if self.is_slow else state

    @hookimpl(wrapper=True)
    def pollux_collect_deferred(self):
        rows = yield
        return [self._lose(row) for row in rows]

    def _lose(self, row):
        if int(row.custom_id.removeprefix("pollux-")) not in self.lost:
            return row
        return DeferredRow(custom_id=row.custom_id, status="expired", error="the job ran out of time")


@pytest.fixture
def jobs():
    return Jobs()


@pytest.fixture
def ask(jobs, tmp_path):
    config = Config(provider="openai", model="m", use_mock=True, plugins=[jobs])

    def ask(items=ITEMS, **settings):
        settings = {"journal": tmp_path / "a.db", "route": "auto"} | settings
        return run_batch(items, config=config, **settings)

    return ask


def test_takes_deferred_jobs_where_there_is_a_day(ask, jobs):
    result = ask(deadline_s=TWO_DAYS_S)
    assert result.outputs() == ["echo: a", "echo: b", "echo: c", "echo: a"]
    assert (jobs.submitted, jobs.sent) == ([3], [])


@pytest.mark.parametrize("settings", [{}, {"deadline_s": 3_600}, {"deadline_s": TWO_DAYS_S, "journal": None}])
def test_takes_live_calls_where_there_is_not(ask, jobs, settings):
    assert ask(**settings).succeeded == 4
    assert (jobs.submitted, len(jobs.sent)) == ([], 3)


def test_asks_live_what_no_job_takes(ask, jobs):
    items = [*ITEMS, BatchItem("d", options=Options(tools=[{"name": "x"}], tool_choice="none"))]
    assert ask(items, deadline_s=TWO_DAYS_S).succeeded == 5
    assert (jobs.submitted, len(jobs.sent)) == ([3], 1)


def test_asks_live_what_a_job_does_not_answer(ask, jobs):
    jobs.lost = {0, 1}
    result = ask(deadline_s=TWO_DAYS_S)
    assert result.outputs(with_ids=True) == [
        ("item_0", "echo: a"),
        ("mine", "echo: b"),
        ("item_2", "echo: c"),
        ("item_3", "echo: a"),
    ]
    assert (result.results[1].context, result.results[3].deduped_from) == (7, "item_0")
    assert (jobs.submitted, len(jobs.sent), result.termination.kind) == ([3], 2, "completed")
    again = ask(deadline_s=TWO_DAYS_S)
    assert (again.summary()["replayed"], len(jobs.sent)) == (4, 2)


def test_reports_what_a_job_does_not_answer_on_its_own_route(ask, jobs):
    jobs.lost = {0}
    result = ask(route="batch")
    assert [item.error_category for item in result.failures] == ["unknown"] * 2
    assert jobs.sent == []


def test_keeps_the_order_of_the_items(ask, jobs, tmp_path):
    jobs.lost = {0}
    config = Config(provider="openai", model="m", use_mock=True, plugins=[jobs])
    results = stream_batch(
        ITEMS, config=config, journal=tmp_path / "b.db", route="auto", deadline_s=TWO_DAYS_S, ordered=True
    )
    assert [item.submission_index for item in results] == [0, 1, 2, 3]


def test_collects_what_was_submitted_whatever_time_is_left(ask, jobs):
    jobs.is_slow = True
    pending = ask(deadline_s=TWO_DAYS_S, wait=False)
    assert (pending.termination.kind, pending.results) == ("submitted", [])
    jobs.is_slow = False
    result = ask(wait=False)
    assert (result.succeeded, jobs.submitted, jobs.sent) == (4, [3], [])


def test_waits_for_jobs_until_its_deadline(ask, jobs):
    jobs.is_slow = True
    result = ask(route="batch", deadline_s=0.05)
    assert (result.termination.kind, result.unanswered) == ("submitted", 4)
