import json
import os
import sqlite3
import subprocess
import sys
from decimal import Decimal

import attrs
import pytest

from pollux_batch import (
    BatchItem,
    JournalError,
    export_answers,
    inspect_journal,
    iter_answers,
    plan_batch,
    run_batch,
    stream_batch,
)
from pollux_batch.data.rows import AnswerRow, Entry
from pollux_batch.journaling import Journal
from pollux_sync import Config, Options
from pollux_sync.errors import ConfigurationError
from pollux_sync.plugin import Problem, hookimpl
from pollux_sync.testing import Script

CONFIG = Config(provider="any", model="any", use_mock=True)


#: A run that ends without closing its journal, with one item in flight.
KILLED = """
import os, sys
from pathlib import Path
from pollux_batch.journaling import Journal
journal = Journal(Path(sys.argv[1]), lambda _: None, slots=2)
journal.note_flight(b"k" * 32, "lost")
journal.end_flight(journal.note_flight(b"l" * 32, "done"))
os._exit(0)
"""


class Prices:
    @hookimpl
    def pollux_price(self, provider, model, usage, tier):
        return Decimal(usage.input_tokens + usage.output_tokens) / 1000


PRICED = Config(provider="any", model="any", use_mock=True, plugins=[Prices()])


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "j.db"


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def fail_on(*prompts):
    return Config(provider="any", model="any", use_mock=True, plugins=[_Refusing(prompts)])


class _Refusing:
    """Middleware that refuses some prompts."""

    def __init__(self, prompts):
        self.prompts = prompts

    @hookimpl
    def pollux_validate(self, call):
        return Problem("refused", hint="ask otherwise") if call.prompt in self.prompts else None


def damage_bodies(journal):
    run_batch(["Who?"], config=CONFIG, journal=journal)
    with sqlite3.connect(journal) as database:
        database.execute("UPDATE answers SET body = ?", [b"no json"])
    database.close()


# Exporting


def test_iterates_over_the_answers_with_their_facts(journal):
    run_batch([("a", "Who?"), ("b", "When?")], config=PRICED, journal=journal)
    answers = [*iter_answers(journal, config=CONFIG)]
    assert sorted((answer.label, answer.text) for answer in answers) == [("a", "echo: Who?"), ("b", "echo: When?")]
    assert answers[0].usage == {"input_tokens": 10, "output_tokens": 10, "total_tokens": 20}
    assert (answers[0].cost, answers[0].run) == (Decimal("0.02"), 1)
    assert answers[0].at > 0


def test_iterates_over_raw_answers_without_a_config(journal):
    run_batch(["Who?"], config=CONFIG, journal=journal)
    (answer,) = iter_answers(journal)
    assert (answer.text, answer.error) == (None, None)
    assert "echo: Who?" in answer.body.decode()


def test_iterates_over_more_answers_than_one_query_reads(journal):
    run_batch(map(str, range(450)), config=CONFIG, journal=journal)
    assert len({answer.label for answer in iter_answers(journal)}) == 450


def test_an_answer_that_cannot_be_decoded_has_an_error(journal):
    damage_bodies(journal)
    (answer,) = iter_answers(journal, config=CONFIG)
    assert answer.text is None
    assert "JSON" in answer.error


def test_exports_a_table_of_answers(journal, tmp_path):
    run_batch([("a", "Who?")], config=CONFIG, journal=journal)
    assert export_answers(journal, tmp_path / "out.jsonl", config=CONFIG) == 1
    (row,) = read_lines(tmp_path / "out.jsonl")
    assert (row["id"], row["output"], row["error"]) == ("a", "echo: Who?", None)
    assert row["usage"]["total_tokens"] == 20
    assert "body" not in row


def test_exports_a_body_that_is_no_json_as_text(journal, tmp_path):
    damage_bodies(journal)
    export_answers(journal, tmp_path / "out.jsonl")
    assert read_lines(tmp_path / "out.jsonl")[0]["body"] == "no json"


def test_exports_bodies_without_a_config(journal, tmp_path):
    run_batch([("a", "Who?")], config=CONFIG, journal=journal)
    export_answers(journal, tmp_path / "out.jsonl")
    (row,) = read_lines(tmp_path / "out.jsonl")
    assert row["output"] is None
    assert "echo: Who?" in json.dumps(row["body"])


# Looking at a journal


def test_refuses_what_is_no_journal(tmp_path):
    (tmp_path / "text").write_text("x" * 5000)
    (tmp_path / "empty").touch()
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (x)").connection.close()
    for name, message in (
        ("missing", "there is no journal"),
        ("text", "cannot be used as a journal"),
        ("empty", "but no journal"),
        ("other.db", "but no journal"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            inspect_journal(tmp_path / name)
    assert (tmp_path / "empty").stat().st_size == 0


def test_reports_a_journal_that_lost_a_table(journal):
    run_batch(["Who?"], config=CONFIG, journal=journal)
    with sqlite3.connect(journal) as database:
        database.execute("DROP TABLE failures")
    database.close()
    with pytest.raises(JournalError, match="cannot be read: no such table"):
        inspect_journal(journal)


def test_refuses_a_journal_of_another_version(journal):
    run_batch(["Who?"], config=CONFIG, journal=journal)
    database = sqlite3.connect(journal)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(ConfigurationError, match="has version 99"):
        inspect_journal(journal)


def test_reports_answers_spend_and_runs(journal):
    run_batch(["Who?", "When?"], config=PRICED, journal=journal)
    run_batch(["Who?", "Why?"], config=CONFIG, journal=journal)
    report = inspect_journal(journal)
    assert (report.answers, report.cost, report.unpriced) == (3, Decimal("0.04"), 1)
    assert report.usage == {"input_tokens": 30, "output_tokens": 30, "total_tokens": 60}
    assert [(run.state, run.outcome, run.lost) for run in report.runs] == [("ended", "completed", ())] * 2
    assert "request key" in report.runs[0].versions
    assert json.dumps(report.to_dict())


def test_reports_failures_until_they_are_made_good(journal):
    items = [("a", "Who?"), ("b", "When?")]
    run_batch(items, config=fail_on("When?"), journal=journal)
    report = inspect_journal(journal)
    assert sum(report.failed.values()) == 1
    assert [failure.label for failure in report.failures] == ["b"]
    run_batch(items, config=CONFIG, journal=journal)
    assert inspect_journal(journal).failed == {}


def test_looks_at_a_journal_while_a_job_runs(journal):
    results = stream_batch(map(str, range(5)), config=CONFIG, journal=journal)
    next(results)
    report = inspect_journal(journal)
    assert report.answers >= 1
    assert [(run.state, run.pid) for run in report.runs] == [("running", os.getpid())]
    results.close()


def test_reports_what_a_killed_run_left_in_flight(journal):
    subprocess.run([sys.executable, "-c", KILLED, journal], check=True)
    report = inspect_journal(journal)
    assert (report.in_flight, report.runs[0].state) == (("lost",), "killed")
    run_batch(["Who?"], config=CONFIG, journal=journal)
    report = inspect_journal(journal)
    assert (report.in_flight, report.runs[1].lost) == ((), ("lost",))


# Planning


def test_plans_without_sending_anything(tmp_path):
    script = Script("never sent")
    config = Config(provider="any", model="any", use_mock=True, plugins=[script])
    plan = plan_batch(["a", "b", "a", BatchItem("a")], config=config, journal=tmp_path / "none.db")
    assert (plan.items, plan.equal, plan.to_send, plan.answered) == (4, 2, 2, 0)
    assert plan.input_tokens > 0
    assert plan.cost is None
    assert [*tmp_path.iterdir()] == []
    assert not script.requests


def test_plans_what_the_journal_does_not_answer(journal):
    run_batch(["a", "b"], config=CONFIG, journal=journal)
    plan = plan_batch(["a", "b", "c"], config=CONFIG, journal=journal)
    assert (plan.answered, plan.to_send, plan.drifted) == (2, 1, 0)


def test_plans_the_price(journal):
    plan = plan_batch(["a", "b"], config=PRICED, options=Options(max_tokens=100), journal=journal)
    assert plan.cost == Decimal(plan.input_tokens + plan.output_tokens) / 1000
    assert json.dumps(plan.to_dict())


def test_plans_drift(journal):
    run_batch(["a"], config=CONFIG, journal=journal)

    class Rewriting:
        @hookimpl
        def pollux_rewrite_call(self, call):
            return attrs.evolve(call, options=attrs.evolve(call.options, top_p=0.5))

    config = Config(provider="any", model="any", use_mock=True, plugins=[Rewriting()])
    plan = plan_batch(["a"], config=config, journal=journal)
    assert (plan.to_send, plan.drifted) == (1, 1)


def test_plans_items_that_cannot_be_asked():
    plan = plan_batch(["a", ("", "b"), 3], config=CONFIG)
    assert (plan.broken, plan.to_send) == (2, 1)
    assert plan.errors[0].startswith("item_1: the id of an item")


def test_repeated_questions_are_not_equal_with_a_temperature():
    plan = plan_batch(["a", "a"], config=CONFIG, options=Options(temperature=1.0))
    assert (plan.equal, plan.to_send) == (0, 2)


@pytest.mark.parametrize(
    ("items", "config", "message"), [("one text", CONFIG, "must be an iterable"), (["a"], "openai", "must be a Config")]
)
def test_refuses_to_plan_with_arguments_that_run_refuses(items, config, message):
    for ask in (plan_batch, run_batch):
        with pytest.raises(ConfigurationError, match=message):
            ask(items, config=config)


def test_answers_that_nobody_priced_are_counted(journal):
    store = Journal(journal, lambda _: None)
    store.write(Entry((AnswerRow(key=b"k", ask=b"a", label="x", format="reply", body=b"{}", cost=None, at=1.0),)))
    store.close("completed")
    assert inspect_journal(journal).unpriced == 1
