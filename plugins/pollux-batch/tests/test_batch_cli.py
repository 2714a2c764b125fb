import io
import json
import os
import threading
import time
from decimal import Decimal
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from pollux_batch import BatchItem, Termination, WorkItemResult, stream_batch
from pollux_batch.batching import open_job
from pollux_batch.cli import main
from pollux_batch.cli.asking import _choose_code
from pollux_batch.showing import Progress
from pollux_sync import Config
from pollux_sync.errors import ConfigurationError

CONFIG = Config(provider="any", model="any", use_mock=True)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory, with an input of two items, one of which is there twice."""
    monkeypatch.chdir(tmp_path)
    for name in ("POLLUX_SYNC_PROVIDER", "POLLUX_SYNC_MODEL", "POLLUX_SYNC_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "in.csv").write_text("key,text\n1,Hello\n2,Bye\n3,Hello\n")
    return tmp_path


RUN = ("in.csv", "-j", "j.db", "--mock", "--prompt", "text", "--id", "key")


def read_lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def mark_in_flight(label):
    """Write the file that a killed run leaves with one item in flight."""
    slots = bytearray(Path("j.db-flight").read_bytes())
    slots[: 32 + len(label)] = b"k" * 32 + label.encode()
    Path("j.db-flight").write_bytes(slots)


def test_run_answers_all_rows_into_a_file(folder, capsys):
    assert main(["run", *RUN, "--out", "out.jsonl"]) == 0
    rows = [(row["key"], row["output"]) for row in read_lines("out.jsonl")]
    assert rows == [("1", "echo: Hello"), ("2", "echo: Bye"), ("3", "echo: Hello")]
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("3 answered, 1 equal to others, 20 + 20 tokens")
    assert "wrote 3 rows to out.jsonl\n" in told.err


def test_run_takes_a_template_and_options(capsys):
    words = (
        "run in.csv -j j.db --mock --out o.csv --system brief --max-tokens 9 --temperature 0 --workers 2 --rpm 6000 "
        "--tpm 600000 --budget-tokens 100000 --attempts 2 --on-drift resend --deadline 600 --fail-fast --timeout 60"
    )
    assert main([*words.split(), "--template", "Say {text}"]) == 0
    assert "echo: Say Bye" in Path("o.csv").read_text()


def test_run_goes_on_from_its_journal(capsys):
    main(["run", *RUN])
    assert main(["run", *RUN, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["answered"], summary["replayed"], summary["input_tokens"]) == (3, 3, 0)
    assert summary["termination"] == "completed"


def test_run_fails_with_rows_that_fail(folder, capsys):
    (folder / "in.csv").write_text("key,text\n1,Hello\n2\n")
    assert main(["run", *RUN, "--out", "out.jsonl"]) == 1
    assert "first failure: row_2: RowError: line 3 has 1 cells" in capsys.readouterr().err
    assert [row["id"] for row in read_lines("out.failed.jsonl")] == ["row_2"]


def test_run_asks_for_typed_answers(folder):
    schema = {"type": "object", "properties": {"tone": {"type": "string"}}, "required": ["tone"]}
    (folder / "schema.json").write_text(json.dumps(schema))
    assert main(["run", *RUN, "--schema", "schema.json", "--out", "out.jsonl"]) == 0
    assert isinstance(read_lines("out.jsonl")[0]["output"]["tone"], str)


def test_run_takes_the_provider_of_the_environment(monkeypatch):
    monkeypatch.setenv("POLLUX_SYNC_PROVIDER", "mock")
    monkeypatch.setenv("POLLUX_SYNC_MODEL", "mock")
    assert main(["run", "in.csv", "-j", "j.db", "--prompt", "text"]) == 0


def test_run_stops_at_its_budget_and_writes_no_file(capsys):
    assert main(["run", *RUN, "--workers", "1", "--budget-tokens", "1", "--out", "out.jsonl"]) == 3
    told = capsys.readouterr().err
    assert "stopped (budget_exceeded)" in told
    assert "run the same command again to go on" in told
    assert not Path("out.jsonl").exists()
    assert main(["run", *RUN, "--out", "out.jsonl"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.csv"], "cannot be read"),
        (["in.txt"], "no known format"),
        (["in.csv", "--prompt", "txt"], "no column 'txt'"),
        (["in.csv", "--prompt", "text", "--out", "in.csv"], "is the input"),
        (["in.csv", "--prompt", "text", "--out", "clash.csv"], "exists already"),
        (["in.csv", "--prompt", "text", "--out", "./in.csv", "--overwrite"], "is the input"),
        (["in.csv", "--prompt", "text", "--out", "out.xlsx"], "no known format"),
        (["in.csv", "--prompt", "text", "--workers", "0"], "workers must be"),
        (["in.csv", "--prompt", "text", "--rpm", "0"], "requests_per_minute must be"),
        (["in.csv", "--prompt", "text", "--schema", "in.csv"], "cannot read the schema"),
        (["in.csv", "--prompt", "text", "--schema", "list.json"], "not a JSON Schema"),
        (["in.csv", "--prompt", "text", "--api-key", "sk-secret"], "cannot be an argument"),
        (["clash.csv", "--prompt", "output", "--out", "out.csv"], "column 'output' already"),
    ],
)
def test_run_refuses_bad_arguments_before_it_sends_anything(folder, arguments, message):
    (folder / "clash.csv").write_text("output\nHello\n")
    (folder / "list.json").write_text("[]")
    with pytest.raises(ConfigurationError, match=message) as caught:
        main(["run", *arguments, "-j", "j.db", "--mock"])
    assert "sk-secret" not in str(caught.value)
    assert not Path("j.db").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--processes 0", "processes must be"),
        ("--workers 10000000", "as many connections"),
        ("--deadline 0", "deadline_s must be"),
        ("--route batch --processes 2", "sends from one process"),
        ("--route batch --budget-tokens 9", "keeps no budget"),
        ("--no-wait", "wait=False belongs to"),
        ("--route live --no-wait", "wait=False belongs to"),
        ("--out out.xlsx", "no known format"),
        ("--out ./in.csv --overwrite", "is the input"),
        ("--out clash.jsonl --prefix k", "column 'kerror' already"),
    ],
)
def test_plan_refuses_the_arguments_that_run_refuses(folder, words, message):
    (folder / "in.csv").write_text("key,text,kerror\n1,Hello,none\n")
    refusals = []
    for command in ("plan", "run"):
        with pytest.raises(ConfigurationError, match=message) as caught:
            main([command, *RUN, *words.split()])
        refusals.append((caught.value.message, caught.value.hint))
    assert refusals[0] == refusals[1]
    assert not Path("j.db").exists()


def test_plan_counts_where_the_output_is_there_already(folder, capsys):
    main(["run", *RUN, "--out", "out.jsonl"])
    assert main(["plan", *RUN, "--out", "out.jsonl"]) == 0
    assert "answered  3 in the journal" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["provider", "model"])
def test_run_needs_a_provider_and_a_model(missing):
    given = {"provider": ["-m", "any"], "model": ["-p", "any"]}[missing]
    with pytest.raises(ConfigurationError, match=f"no {missing} is named"):
        main(["run", "in.csv", "-j", "j.db", "--prompt", "text", *given])


@pytest.mark.parametrize(
    "argv",
    [
        ["run", "in.csv"],
        ["run", *RUN, "--template", "{text}"],
        ["run", *RUN, "--budget-usd", "1", "--budget-tokens", "1"],
        ["run", *RUN, "--on-drift", "ignore"],
        ["sing"],
    ],
)
def test_bad_usage_exits_with_2(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2


def test_without_a_command_it_shows_its_help(capsys):
    assert main([]) == 2
    assert "export" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "resume", "plan", "status", "explain", "export", "report"])
def test_every_command_has_help_with_its_exit_codes(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert "exit codes:" in capsys.readouterr().out


def test_plan_refuses_what_run_refuses(monkeypatch):
    monkeypatch.setenv("OPENROUTER_API_KEY", "k")
    arguments = [argument for argument in RUN if argument != "--mock"]
    with pytest.raises(ConfigurationError, match="does not take deferred requests"):
        main(["plan", *arguments, "-p", "openrouter", "-m", "m", "--route", "batch"])


def test_plan_counts_and_sends_nothing(capsys):
    assert main(["plan", *RUN]) == 0
    told = capsys.readouterr().out
    assert "to send   2" in told
    assert "equal     1" in told
    assert not Path("j.db").exists()
    main(["run", *RUN])
    capsys.readouterr()
    main(["plan", *RUN, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["items"], found["answered"], found["to_send"]) == (3, 3, 0)


def test_run_and_plan_read_tables_with_tabs(folder, capsys):
    (folder / "in.tsv").write_text("key\ttext\n1\tHello, you\n")
    assert main(["run", "in.tsv", *RUN[1:], "--out", "out.jsonl"]) == 0
    assert read_lines("out.jsonl")[0]["output"] == "echo: Hello, you"


def test_plan_says_what_cannot_be_asked(folder, capsys):
    (folder / "in.csv").write_text("key,text\n1,Hello\n2\n")
    main(["plan", *RUN])
    assert "cannot be asked: row_2: line 3 has 1 cells" in capsys.readouterr().err


def test_explain_counts_the_failures_that_it_does_not_show(folder, capsys):
    (folder / "in.csv").write_text("key,text\n" + "2\n" * 23)
    main(["run", *RUN])
    main(["explain", "j.db"])
    assert "  and 3 more\n" in capsys.readouterr().out


def test_status_of_a_running_job_names_its_process(capsys):
    results = stream_batch(map(str, range(5)), config=CONFIG, journal="j.db")
    next(results)
    main(["status", "j.db"])
    assert f"the last running in process {os.getpid()}\n" in capsys.readouterr().out
    results.close()


def test_explain_shows_what_the_run_before_lost(capsys):
    main(["run", *RUN])
    mark_in_flight("lost")
    main(["run", *RUN])
    main(["explain", "j.db"])
    assert "     the run before it lost 1 in flight: lost\n" in capsys.readouterr().out


def test_status_shows_what_a_journal_holds(capsys):
    main(["run", *RUN])
    assert main(["status", "j.db"]) == 0
    told = capsys.readouterr().out
    assert "answers    2\n" in told
    assert "tokens     20 input, 20 output\n" in told
    assert "cost       not known" in told
    assert "runs       1, the last completed\n" in told
    main(["status", "j.db", "--json"])
    assert json.loads(capsys.readouterr().out)["answers"] == 2


def test_explain_shows_runs_and_failures(folder, capsys):
    (folder / "in.csv").write_text("key,text\n1,Hello\n2\n")
    main(["run", *RUN])
    capsys.readouterr()
    assert main(["explain", "j.db"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "failed, and asked again by the next run:" in lines
    assert "  row_2: RowError: line 3 has 1 cells, but there are 2 columns (0 attempts)" in lines
    assert any(line.startswith("     with request key") for line in lines)
    main(["explain", "j.db", "--json"])
    assert json.loads(capsys.readouterr().out)["failures"][0]["label"] == "row_2"


def test_explain_shows_what_may_be_lost(capsys):
    main(["run", *RUN])
    mark_in_flight("lost")
    capsys.readouterr()
    main(["explain", "j.db"])
    assert "in flight, and lost if the run was killed:\n  lost\n" in capsys.readouterr().out


def test_export_writes_texts_with_a_provider_and_bodies_without(capsys):
    main(["run", *RUN])
    assert main(["export", "j.db", "texts.jsonl", "--mock"]) == 0
    assert sorted(row["output"] for row in read_lines("texts.jsonl")) == ["echo: Bye", "echo: Hello"]
    assert main(["export", "j.db", "bodies.jsonl"]) == 0
    assert all(row["output"] is None and row["body"] for row in read_lines("bodies.jsonl"))
    assert "wrote 2 answers to bodies.jsonl" in capsys.readouterr().err
    with pytest.raises(ConfigurationError, match="exists already"):
        main(["export", "j.db", "bodies.jsonl"])


def test_control_characters_of_labels_do_not_reach_the_terminal(folder, capsys):
    (folder / "in.jsonl").write_text('{"prompt": " ", "key": "\\u001b[2J"}\n')
    main(["run", "in.jsonl", "-j", "j.db", "--mock", "--id", "key"])
    main(["explain", "j.db"])
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err


@pytest.mark.parametrize(
    ("kind", "code"), [("completed", 0), ("interrupted", 130), ("batch_timeout", 3), ("submitted", 3), ("fail_fast", 1)]
)
def test_exit_code_says_how_the_job_ended(kind, code):
    job = open_job([], config=CONFIG, options=None, sources=(), journal=None)
    assert _choose_code(Progress(None, job), Termination(kind=kind)) == code
    job.iter_results().close()


def test_entry_point_of_the_command_loads():
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert 'batch = "pollux_batch.cli:main"' in text
    entry = EntryPoint("batch", "pollux_batch.cli:main", "pollux_sync.commands")
    assert entry.load() is main


class Stream(io.StringIO):
    def __init__(self, *, is_terminal):
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self):
        return self._is_terminal


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Signalling(Stream):
    """A terminal that says when something was written."""

    def __init__(self):
        super().__init__(is_terminal=True)
        self.is_written = threading.Event()

    def flush(self):
        self.is_written.set()


def test_progress_goes_on_while_no_result_comes(job):
    stream = Signalling()
    with Progress(stream, job):
        assert stream.is_written.wait(30)


@pytest.fixture
def job():
    job = open_job([BatchItem("Who?")], config=CONFIG, options=None, sources=(), journal=None)
    yield job
    assert len([*job.iter_results()]) == 1


def test_progress_is_a_line_at_a_time_without_a_terminal(job):
    stream, clock = Stream(is_terminal=False), Clock()
    progress = Progress(stream, job, clock=clock)
    usage = {"input_tokens": 1_000, "output_tokens": 5}
    progress.count(WorkItemResult(item_id="a", success=True, token_usage=usage))
    progress.count(WorkItemResult(item_id="b", success=True, replayed=True))
    progress.count(WorkItemResult(item_id="c", success=False, error="x"))
    clock.now = 2.0
    progress.show()
    assert stream.getvalue() == "2 answered, 1 of them from the journal, 1 failed, 1,000 + 5 tokens, 1.0/s, 2 s\n"


def test_progress_shows_the_cost_as_far_as_it_is_known(job):
    progress = Progress(None, job)
    progress.show()
    progress.count(WorkItemResult(item_id="a", success=True, cost=Decimal("0.5")))
    assert progress.describe().endswith(", $0.5000")
    progress.count(WorkItemResult(item_id="b", success=True))
    assert progress.describe().endswith(", at least $0.5000")


def test_progress_is_rewritten_and_erased_on_a_terminal(job):
    stream = Stream(is_terminal=True)
    with Progress(stream, job, clock=Clock()) as progress:
        progress.show()
    line = "0 answered, 0 + 0 tokens, 0.0/s, 0 s"
    assert stream.getvalue() == f"\r{line}\r{' ' * len(line)}\r"


def test_progress_says_what_is_paused(job):
    stream = Stream(is_terminal=False)
    job._lanes.find(CONFIG).scope.next_at = time.monotonic() + 30
    Progress(stream, job, clock=Clock()).show()
    assert stream.getvalue().endswith("; any/any is paused for 30 s\n")
    job._lanes.find(CONFIG).scope.next_at = 0.0


def test_progress_says_that_it_stops():
    job = open_job([], config=CONFIG, options=None, sources=(), journal=None)
    job.stop("interrupted", "Ctrl-C")
    stream = Stream(is_terminal=False)
    Progress(stream, job, clock=Clock()).show()
    assert "stopping (interrupted): waiting for the calls in flight" in stream.getvalue()
    assert [*job.iter_results()] == []


def test_run_asks_by_deferred_jobs(capsys):
    assert main(["run", *RUN, "--route", "batch", "--out", "out.jsonl"]) == 0
    assert [row["output"] for row in read_lines("out.jsonl")] == ["echo: Hello", "echo: Bye", "echo: Hello"]
