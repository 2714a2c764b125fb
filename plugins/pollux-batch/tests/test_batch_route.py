"""The way by the provider's deferred jobs."""

import pytest

from pollux_batch import BatchItem, Limits, run_batch
from pollux_sync import Config, Options, Source, hookimpl
from pollux_sync.builtin.mock import MockStore
from pollux_sync.errors import APIError, ConfigurationError
from pollux_sync.plugin import DeferredRow

ITEMS = [
    "Who built it?",
    BatchItem("When?", id="when", options=Options(max_tokens=5)),
    BatchItem("What is it about?", id="about", sources=[Source.from_text("A letter.")], context={"row": 3}),
    "Who built it?",
]


class Jobs:
    """A service that outlives the runs, and counts what is submitted; a middleware of the mock."""

    def __init__(self):
        self.store = MockStore()
        self.submitted = []
        self.fails = False
        self.dropped = set()

    @hookimpl(tryfirst=True)
    def pollux_open(self):
        return self.store

    @hookimpl(wrapper=True)
    def pollux_submit_deferred(self, batch):
        job = yield
        self.submitted.append(batch.request_count)
        if self.fails:
            raise APIError("the connection broke", kind="connection")
        return job

    @hookimpl(wrapper=True)
    def pollux_collect_deferred(self):
        rows = yield
        return [row for row in rows if row.custom_id not in self.dropped]


@pytest.fixture
def jobs():
    return Jobs()


@pytest.fixture
def config(jobs):
    return Config(provider="openai", model="m", use_mock=True, plugins=[jobs])


def test_gives_the_results_of_live_calls(config, tmp_path):
    deferred = run_batch(ITEMS, config=config, journal=tmp_path / "a.db", route="batch")
    live = run_batch(ITEMS, config=config, journal=tmp_path / "b.db")
    assert deferred.outputs(with_ids=True) == live.outputs(with_ids=True)
    assert [result.context for result in deferred.results] == [None, None, {"row": 3}, None]
    assert deferred.usage == live.usage


def test_asks_equal_items_once(config, jobs, tmp_path):
    run_batch(ITEMS, config=config, journal=tmp_path / "a.db", route="batch")
    assert sum(jobs.submitted) == 3


def test_takes_the_answers_of_the_other_way(config, jobs, tmp_path):
    run_batch(ITEMS, config=config, journal=tmp_path / "a.db")
    again = run_batch(ITEMS, config=config, journal=tmp_path / "a.db", route="batch")
    assert (again.summary()["replayed"], jobs.submitted) == (4, [])


class Slow:
    """Jobs that have not ended until they are let go."""

    def __init__(self):
        self.has_ended = False

    @hookimpl(wrapper=True)
    def pollux_inspect_deferred(self):
        import attrs

        state = yield
        return state if self.has_ended else attrs.evolve(state, status="running")


def test_without_waiting_submits_once_and_collects_later(jobs, tmp_path):
    slow = Slow()
    config = Config(provider="openai", model="m", use_mock=True, plugins=[jobs, slow])
    arguments = {"config": config, "journal": tmp_path / "a.db", "route": "batch", "wait": False}
    first = run_batch(ITEMS, **arguments)
    assert (first.termination.kind, first.results, first.unanswered) == ("submitted", [], 4)
    assert run_batch(ITEMS, **arguments).termination.kind == "submitted"
    slow.has_ended = True
    last = run_batch([*ITEMS, "One more?"], **arguments)
    assert (last.succeeded, last.termination.kind) == (5, "completed")
    assert jobs.submitted == [3, 1]


def test_finds_a_job_again_whose_submission_was_not_answered(config, jobs, tmp_path):
    jobs.fails = True
    with pytest.raises(APIError):
        run_batch(ITEMS, config=config, journal=tmp_path / "a.db", route="batch")
    n_submitted = len(jobs.submitted)
    jobs.fails = False
    result = run_batch(ITEMS, config=config, journal=tmp_path / "a.db", route="batch")
    assert (result.succeeded, len(jobs.submitted)) == (4, n_submitted)


def test_refuses_to_finish_a_submission_whose_items_are_gone(config, jobs, tmp_path):
    jobs.fails = True
    with pytest.raises(APIError):
        run_batch(ITEMS, config=config, journal=tmp_path / "a.db", route="batch")
    with pytest.raises(ConfigurationError, match="not in the input any more"):
        run_batch(ITEMS[:1], config=config, journal=tmp_path / "a.db", route="batch")


def test_keeps_the_answers_of_items_that_are_gone(config, jobs, tmp_path):
    slow = Slow()
    slow_config = Config(provider="openai", model="m", use_mock=True, plugins=[jobs, slow])
    run_batch(ITEMS, config=slow_config, journal=tmp_path / "a.db", route="batch", wait=False)
    assert run_batch(ITEMS[:1], config=config, journal=tmp_path / "a.db", route="batch").succeeded == 1
    assert run_batch(ITEMS, config=config, journal=tmp_path / "a.db").summary()["replayed"] == 4


def test_reports_a_row_that_is_missing(config, jobs, tmp_path):
    jobs.dropped = {"pollux-000001"}
    result = run_batch(ITEMS, config=config, journal=tmp_path / "a.db", route="batch")
    assert [(failed.item_id, failed.error_category) for failed in result.failures] == [("when", "malformed")]
    jobs.dropped = set()
    assert run_batch(ITEMS, config=config, journal=tmp_path / "a.db", route="batch").succeeded == 4
    assert jobs.submitted == [3]


class OneFails:
    @hookimpl(wrapper=True)
    def pollux_collect_deferred(self):
        rows = yield
        failed = DeferredRow(custom_id="pollux-000001", status="expired", error="too late")
        return [failed if row.custom_id == failed.custom_id else row for row in rows]


def test_has_a_result_for_an_item_that_failed(tmp_path):
    config = Config(provider="openai", model="m", use_mock=True, plugins=[OneFails()])
    try:
        result = run_batch(ITEMS, config=config, journal=tmp_path / "a.db", route="batch")
    except APIError as error:
        pytest.fail(f"{error}")
    (failed,) = result.failures
    assert (failed.item_id, result.succeeded) == ("when", 3)
    assert "too late" in failed.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"journal": None}, "needs a journal"),
        ({"route": "post"}, "route must be one of 'live', 'batch'"),
        ({"route": "live", "wait": False}, "wait=False belongs to the routes 'batch' and 'auto'"),
    ],
)
def test_refuses_what_it_cannot_do(config, tmp_path, arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        run_batch(ITEMS, **{"config": config, "journal": tmp_path / "a.db", "route": "batch"} | arguments)


def test_refuses_headers_of_a_call_which_no_row_has(config, tmp_path):
    options = Options(provider_headers={config.provider: {"X-Team": "blue"}})
    with pytest.raises(ConfigurationError, match="provider_headers cannot be deferred: X-Team") as caught:
        run_batch(ITEMS, config=config, options=options, journal=tmp_path / "a.db", route="batch")
    assert caught.value.hint == "leave it out, or take route='live' or 'auto'"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(service_tier="default"), "service_tier cannot be deferred"),
        (Options(implicit_caching=True), "implicit_caching cannot be deferred"),
        (Options(history=[]), "history cannot be deferred"),
        (Options(tools=[{"name": "x"}]), "functions cannot be deferred"),
    ],
)
def test_refuses_options_that_no_job_has_before_an_item_is_read(config, tmp_path, options, message):
    items = iter(ITEMS)
    with pytest.raises(ConfigurationError, match=message) as caught:
        run_batch(items, config=config, options=options, journal=tmp_path / "a.db", route="batch")
    assert "route='live'" in caught.value.hint
    assert [*items] == ITEMS
    assert not (tmp_path / "a.db").exists()


def test_refuses_an_item_with_options_that_no_job_has(config, jobs, tmp_path):
    item = BatchItem("Who?", options=Options(service_tier="default"))
    with pytest.raises(ConfigurationError, match="service_tier cannot be deferred"):
        run_batch([*ITEMS, item], config=config, journal=tmp_path / "a.db", route="batch")
    assert jobs.submitted == []


def test_refuses_a_provider_without_deferred_jobs(tmp_path):
    config = Config(provider="openrouter", model="m", api_key="k")
    with pytest.raises(ConfigurationError, match="does not take deferred requests"):
        run_batch(ITEMS, config=config, journal=tmp_path / "a.db", route="batch", limits=Limits())
