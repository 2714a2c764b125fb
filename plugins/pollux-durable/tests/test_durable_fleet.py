"""Chunks of a job of pollux-batch are runs of workers."""

import pytest

from bulk_service import Service
from pollux_batch import Limits, run_batch
from pollux_durable import configure
from pollux_durable.configuring import find_host
from pollux_durable.data.queues import Queue
from pollux_durable.registry import registry
from pollux_durable.tables.shares import ShareTable
from pollux_sync import Config, ConfigurationError
from pollux_sync.testing.server import Answer

PROMPTS = [f"p{number}" for number in range(8)]


@pytest.fixture
def fleet(own_registry, tmp_path, monkeypatch):
    """The fleet, its workflow declared, with its journals in a folder of the test."""
    from pollux_durable import fleet

    monkeypatch.setattr("pollux_batch.shipping.FleetSubmitter.look_s", (0.05, 0.2))
    monkeypatch.setenv(fleet.FOLDER_VARIABLE, str(tmp_path / "fleet"))
    registry.add(fleet.carry_out)
    return fleet.DurableFleet()


@pytest.fixture
def service():
    with Service() as service:
        yield service


def ask(service, fleet, tmp_path, **settings):
    config = Config(provider="local", model="m", base_url=f"{service.url}/v1")
    return run_batch(PROMPTS, config=config, journal=tmp_path / "job.db", fleet=fleet, **settings)


def test_carries_chunks_out_in_the_script_itself(service, fleet, tmp_path):
    configure("memory:")
    result = ask(service, fleet, tmp_path)
    assert result.outputs() == [f"re: {prompt}" for prompt in PROMPTS]
    assert sorted(service.prompts) == sorted(PROMPTS)
    # The answers are in the journal of the job, and nothing is left of the chunks.
    assert find_host().list_runs() == []
    assert list((tmp_path / "fleet").iterdir()) == []


def test_takes_a_chunk_once(service, fleet, tmp_path):
    configure(f"sqlite:///{tmp_path / 'durable.db'}")
    first = ask(service, fleet, tmp_path, wait=False)
    assert first.termination.kind == "submitted"
    result = ask(service, fleet, tmp_path)
    assert result.succeeded == len(PROMPTS)
    assert sorted(service.prompts) == sorted(PROMPTS)


def test_knows_no_chunk_that_was_not_submitted(fleet):
    configure("memory:")
    assert fleet.inspect(["unknown"]) == {}
    fleet.release("unknown")


def test_gives_no_answers_of_a_chunk_whose_run_failed(service, fleet, tmp_path):
    configure("memory:")
    service.handler = lambda request: Answer(status=401)
    result = ask(service, fleet, tmp_path)
    assert result.succeeded == 0


def test_shares_of_limits_never_sum_up_to_more_than_one(fleet):
    configure("memory:")
    shares = ShareTable(find_host().engine.database)
    assert [shares.take("m", name, 0.4) for name in ("a", "b")] == [0.4, 0.4]
    assert shares.take("m", "c", 0.4) == pytest.approx(0.2)
    assert shares.take("m", "d", 0.4) <= 0.01
    assert shares.take("other", "d", 0.4) == 0.4
    shares.give_back("a")
    assert shares.take("m", "c", 0.4) == pytest.approx(0.4)
    assert shares.list_holders("m") == ["b", "c"]


def test_keeps_the_limits_of_the_job(service, fleet, tmp_path):
    configure("memory:")
    ask(service, fleet, tmp_path, limits=Limits(max_concurrency=1, adaptive=False))
    assert ShareTable(find_host().engine.database).list_holders("local/m") == []


def test_refuses_a_limit_for_each_worker_that_nothing_could_pass():
    with pytest.raises(ConfigurationError, match="per_worker"):
        Queue("q", per_worker=0)


@pytest.mark.parametrize(
    ("then", "is_kept"), [("completed", False), ("failed", False), (None, False), ("queued", True)]
)
def test_a_journal_is_deleted_once_the_run_holds_the_answers(fleet, tmp_path, monkeypatch, then, is_kept):
    from pollux_durable.fleet import _delete_when_recorded

    configure("memory:")
    host, journal, looks = find_host(), tmp_path / "chunk.db", []
    journal.touch()

    def read_statuses(execution_ids):
        looks.append(journal.exists())
        status = "running" if len(looks) == 1 else then
        return {} if status is None else dict.fromkeys(execution_ids, status)

    monkeypatch.setattr("pollux_durable.fleet._WAIT_S", 0)
    monkeypatch.setattr(host.engine, "read_statuses", read_statuses)
    _delete_when_recorded(host, "run", journal)
    # It was still there when the run was looked at, the first time as one that runs.
    assert looks == [True, True]
    assert journal.exists() == is_kept
