import os
import sqlite3
import stat
import subprocess
import sys
import threading

import pytest

from bulk_service import answer, echo, read_prompt
from pollux_batch import BatchItem, JournalError, Retries, inspect_journal, run_batch, stream_batch
from pollux_batch.data.rows import Entry, FailureRow
from pollux_batch.journaling import Journal
from pollux_sync import Config, ConfigurationError, Options, RetryPolicy, Source, hookimpl
from pollux_sync.testing.server import Answer, Truncated

AT_ONCE = Retries(initial_wait_s=0)
NOT_JSON = Answer(body=b"<html>busy</html>", headers={"Content-Type": "application/json"})


# Rows that cannot be asked


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (5, "got int"),
        (None, "got NoneType"),
        ({"prompt": "a"}, "got dict"),
        (("", "a"), "id of an item must be a non-blank text"),
        ((" ", "a"), "id of an item must be a non-blank text"),
        ((7, "a"), "id of an item must be a non-blank text"),
        (("a", "b", "c", "d"), "got tuple"),
        (("bad\ud800", "a"), "lone surrogate"),
        ("a\ud800", "lone surrogate"),
        (("row", b"a"), "must be a string or None, got bytes"),
        (("row", None), "nothing to send"),
        (BatchItem(5), "must be a string or None, got int"),
        (BatchItem("a", sources=["notes.txt"]), "Source"),
    ],
)
def test_fails_a_bad_row_alone(ask, server, row, words):
    result = ask(["a", "b", row, "c"])
    (failure,) = result.failures
    assert failure.submission_index == 2
    assert words in failure.error
    assert failure.exception.hint
    assert result.outputs() == ["re: a", "re: b", None, "re: c"]
    assert len(server.requests) == 3


def test_answers_each_of_the_items_with_one_id(ask):
    result = ask([("mine", "a"), ("mine", "b"), ("mine", 5)])
    assert [(item.item_id, item.output) for item in result.results] == [
        *(("mine", "re: a"), ("mine", "re: b"), ("mine", None))
    ]


def test_numbers_a_row_without_an_id(ask):
    assert [item.item_id for item in ask(["a", 5, ("mine", "b"), ("", "c")]).results] == [
        *("item_0", "item_1", "mine", "item_3")
    ]


@pytest.mark.parametrize(
    "fields", [{"config": "openai"}, {"options": {"temperature": 1}}, {"salt": 5}, {"salt": "\ud800"}, {"sources": "a"}]
)
def test_refuses_an_item_that_it_could_not_ask(fields):
    with pytest.raises(ConfigurationError, match=next(iter(fields))):
        BatchItem("a", **fields)


def test_gives_the_context_of_an_item_back(ask):
    context = object()
    (item,) = ask([("mine", "a", context)]).results
    assert (item.item_id, item.context) == ("mine", context)


def test_reads_a_source_for_each_item(ask, server, tmp_path):
    missing = BatchItem("a", sources=[Source.from_text("one")])
    broken = BatchItem("b", sources=[Source.from_file(write(tmp_path / "two.zip"))])
    result = ask([missing, broken, "c"])
    assert [item.success for item in result.results] == [True, False, True]
    assert len(server.requests) == 2


def write(path):
    path.write_bytes(b"PK\x03\x04")
    return path


def test_sends_nothing_of_an_item_whose_middleware_raises(ask, config, server):
    class Redactor:
        @hookimpl
        def pollux_rewrite_call(self, call):
            if "secret" in call.prompt:
                raise ValueError("cannot redact this")

    result = ask(["a", "the secret", "c"], config=config(plugins=[Redactor()]))
    (failure,) = result.failures
    assert (failure.submission_index, sorted(server.prompts)) == (1, ["a", "c"])


# Settings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"workers": 0}, "workers"),
        ({"workers": True}, "workers"),
        ({"workers": 10**9}, "may open"),
        ({"max_pending": 0}, "max_pending"),
        ({"deadline_s": 0}, "deadline_s"),
        ({"dedupe": "sometimes"}, "dedupe"),
        ({"on_drift": "ignore"}, "on_drift"),
        ({"threads": 3}, "unknown argument 'threads'"),
        ({"config": "openai"}, "config must be a Config"),
    ],
)
def test_refuses_a_setting_that_cannot_be(ask, path, server, settings, words):
    with pytest.raises(ConfigurationError, match=words) as caught:
        ask(["a"], **settings)
    assert caught.value.hint
    assert server.requests == []
    assert not path.exists()


@pytest.mark.parametrize("items", ["a prompt", b"a prompt", 5, None])
def test_refuses_what_is_no_list_of_items(ask, items):
    with pytest.raises(ConfigurationError, match="items must be an iterable of prompts"):
        ask(items)


# Journals that are none


def test_leaves_another_sqlite_file_as_it_is(ask, path):
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE mine (x)")
    database.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="is a SQLite file, but no journal"):
        ask(["a"])
    assert path.read_bytes() == before


def test_leaves_a_file_of_another_kind_as_it_is(ask, path):
    path.write_text("id,prompt\n" * 1_000)
    with pytest.raises(ConfigurationError, match="cannot be used as a journal"):
        ask(["a"])
    assert path.read_text() == "id,prompt\n" * 1_000


def test_refuses_a_journal_of_another_version(ask, path):
    ask(["a"])
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(ConfigurationError, match="has version 99, this release reads version 1"):
        ask(["a"])


def test_refuses_a_folder_as_a_journal(ask, path):
    path.mkdir()
    with pytest.raises(ConfigurationError, match="cannot be used as a journal"):
        ask(["a"])


def test_refuses_a_journal_in_a_folder_that_does_not_exist(ask, tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        ask(["a"], journal=tmp_path / "nowhere" / "job")


@pytest.mark.skipif(os.name == "nt" or not os.geteuid(), reason="root may write everywhere")
def test_refuses_a_journal_in_a_folder_that_it_may_not_write(ask, tmp_path):
    folder = tmp_path / "read only"
    folder.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        ask(["a"], journal=folder / "job")


def test_frees_a_journal_whose_neighbour_cannot_be_written(ask, path):
    beside = path.with_name(f"{path.name}-flight")
    beside.mkdir()
    with pytest.raises(JournalError, match=r"beside the journal .* cannot be written"):
        ask(["a"])
    beside.rmdir()
    assert ask(["a"]).succeeded == 1


def test_frees_a_journal_when_its_input_cannot_be_read(ask):
    class Broken:
        def __iter__(self):
            raise OSError("no such table")

    with pytest.raises(OSError, match="no such table"):
        ask(Broken())
    assert ask(["a"]).succeeded == 1


# Answers that cannot be read


@pytest.mark.parametrize(
    "unreadable", [Answer(json={"choices": "x"}), Answer(json=[]), NOT_JSON], ids=["no choices", "a list", "no json"]
)
def test_keeps_an_answer_that_cannot_be_decoded(ask, server, query, unreadable):
    server.handler = lambda request: unreadable if read_prompt(request) == "b" else echo(request)
    first, again = ask(["a", "b"], retries=AT_ONCE), ask(["a", "b"])
    assert query("SELECT body FROM answers WHERE label = 'item_1'") == [(unreadable._body,)]
    assert [first.results[1].error_category, first.results[1].replayed] == ["malformed", False]
    assert [again.results[1].success, again.results[1].replayed] == [False, True]
    assert len(server.requests) == 2


def test_prefers_the_answer_that_can_be_decoded(ask, config, server, query):
    server.reply(NOT_JSON, answer("at last"))
    reading_again = config(retry=RetryPolicy(retry_unreadable=True))
    assert ask(["a"], config=reading_again, retries=AT_ONCE).outputs() == ["at last"]
    assert ask(["a"]).outputs() == ["at last"]
    assert (len(server.requests), query("SELECT COUNT(*), format FROM answers")) == (2, [(1, "response")])


def test_asks_again_for_an_answer_that_could_not_be_read_when_told_to(ask, config, server):
    server.reply(Answer(json={"choices": "x"}), answer("at last"))
    assert ask(["a"]).failed == 1
    assert ask(["a"], config=config(retry=RetryPolicy(retry_unreadable=True))).outputs() == ["at last"]
    assert ask(["a"]).outputs() == ["at last"]
    assert len(server.requests) == 2


def test_asks_again_after_an_answer_that_was_cut(ask, server):
    server.reply(Truncated(b'{"choices": []}' * 20, 30), answer("at last"))
    assert ask(["a"], retries=AT_ONCE).outputs() == ["at last"]


def test_keeps_an_empty_answer(ask, server):
    server.reply(answer(""))
    assert ask(["a"]).results[0].error_category == "empty"
    assert ask(["a"]).results[0].error_category == "empty"
    assert len(server.requests) == 1


def test_reads_a_stored_answer_with_another_schema_only_if_it_was_asked_for(ask, server):
    server.handler = lambda request: answer("7")
    assert ask(["a"], options=Options(response_schema=int)).outputs() == [7]
    assert ask(["a"], options=Options(response_schema=int)).outputs() == [7]
    assert ask(["a"]).outputs() == ["7"]
    assert len(server.requests) == 2


# A full disk

FULL = """
import resource, sys
from pollux_batch import JournalError, stream_batch
from pollux_sync import Config

url, path, *sizes = sys.argv[1:]
config = Config(provider="local", model="m", base_url=url)
before = resource.getrlimit(resource.RLIMIT_FSIZE)
for size in sizes:
    results = []
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), before[1]))
    try:
        results.extend(stream_batch((f"p{n}" for n in range(400)), config=config, journal=path, workers=4))
    except JournalError as error:
        failure = error
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    print(size, len(results), str(failure).replace(chr(10), " "))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of resources")
def test_goes_on_after_a_full_disk(ask, path, server):
    server.handler = lambda request: answer(f"re: {read_prompt(request)} {'x' * 1_000}")
    # Full for the lock, for the schema, in the middle of answers, when it is opened again; each file has this size.
    sizes = ["0", "20000", "200000", "300000", "100", "400000"]
    command = [sys.executable, "-c", FULL, f"{server.url}/v1", str(path), *sizes]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ).stdout.splitlines()
    seen = [int(line.split()[1]) for line in lines]
    assert [line.split()[0] for line in lines] == sizes
    assert all("the journal" in line and "free space on its disk" in line for line in lines)
    assert [seen[0], seen[1], seen[4]] == [0, 0, 0]
    assert 0 < seen[2] < seen[3] < seen[5] < 400
    # What was seen is there, and is not paid for again.
    assert inspect_journal(path).answers >= seen[5]
    n_sent = len(server.requests)
    result = ask([f"p{number}" for number in range(400)])
    n_kept = result.summary()["replayed"]
    assert (result.succeeded, len(server.requests)) == (400, n_sent + 400 - n_kept)
    assert n_kept >= seen[5]


def test_ends_where_the_first_result_was_wanted_only(config):
    results = stream_batch(["a", "b", "c"], config=config())
    next(results)
    results.close()


def test_does_not_count_items_that_were_not_read(config, server):
    server.handler = lambda request: Answer(status=400, json={})
    result = run_batch((f"p{number}" for number in range(1_000)), config=config(), workers=1, fail_fast=True)
    assert result.unanswered is None


def test_gives_no_error_text_that_cannot_be_written(ask, server):
    server.handler = lambda request: Answer(status=400, json={"error": {"message": "odd \ud800 words"}})
    assert ask(["a"]).failed == 1


def test_works_with_a_config_of_its_own_for_an_item(ask, config, server_b):
    assert isinstance(config(), Config)
    result = ask(["a", BatchItem("b", config=config(base_url=f"{server_b.url}/v1"))])
    assert (result.outputs(), server_b.prompts) == (["re: a", "re: b"], ["b"])


def test_waits_until_what_was_handed_in_is_kept(path):
    kept, may_keep = [], threading.Event()

    class SlowJournal(Journal):
        def keep(self, group):
            may_keep.wait(10)
            return super().keep(group)

    journal = SlowJournal(path, kept.extend)
    journal.write(Entry((FailureRow(label="a", key=b"k", error="e", category="c"),)))
    waiter = threading.Thread(target=journal.flush)
    waiter.start()
    waiter.join(0.1)
    assert waiter.is_alive()
    may_keep.set()
    waiter.join(10)
    assert len(kept) == 1
    journal.close("completed")
