import re
import sqlite3
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import attrs
import pytest

from pollux_batch import BatchItem, run_batch, stream_batch, write_report
from pollux_batch.cli import main
from pollux_batch.data.rows import AnswerRow
from pollux_batch.inspecting import JournalView
from pollux_batch.measuring import measure_journal
from pollux_sync import Config
from pollux_sync.errors import ConfigurationError

CONFIG = Config(provider="any", model="any", use_mock=True)
NASTY = "<script>alert('label')</script>\x00\u202e\"&"
#: What may lead out of the file, or run: attributes with an address, and elements that load or execute.
ADDRESSES = {"href", "src", "srcset", "action", "data", "poster", "background", "formaction", "ping"}
LOADING = {"script", "link", "img", "iframe", "object", "embed", "form", "base", "video", "audio", "image", "use"}


class Page(HTMLParser):
    """The elements and texts of a page."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.names, self.words = [], set(), []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.names |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)

    @property
    def titles(self):
        return re.findall("<h2>(.*?)</h2>", self.source)


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "job.db"


@pytest.fixture
def report(journal, tmp_path):
    def report(**arguments):
        write_report(journal, tmp_path / "out.html", overwrite=True, **arguments)
        return Page(tmp_path / "out.html")

    return report


def fill(journal, rows):
    """Write answers into a journal, as a run does."""
    run_batch([], config=CONFIG, journal=journal)
    names = [field.name for field in attrs.fields(AnswerRow)]
    marks = ",".join("?" * len(names))
    with sqlite3.connect(journal) as database:
        database.executemany(
            f"INSERT INTO answers ({','.join(names)}, run) VALUES ({marks}, 1)",  # noqa: S608 - names of ours
            [attrs.astuple(row) for row in rows],
        )
    database.close()


def build_row(number, **fields):
    key = str(number).encode()
    return AnswerRow(**{"key": key, "ask": key, "label": str(number), "format": "reply", "body": b"{}"} | fields)


def test_reports_totals_runs_and_versions(journal, report):
    run_batch(["Hello", "Bye", BatchItem(5)], config=CONFIG, journal=journal)
    page = report()
    assert page.titles == [
        *("Totals", "Answers per minute", "Distributions", "Runs"),
        *("Failed, and asked again by the next run", "Manifest"),
    ]
    assert "last run: completed" in page.text
    assert "Cost not known 2 answers without a price" in page.text
    assert "request key 1, pollux-" in page.text
    assert "item_2 configuration_error 0" in page.text
    assert "must be a string or None, got int" in page.text


def test_has_hashes_and_no_texts_unless_asked(journal, report, query_journal):
    run_batch(["a secret question"], config=CONFIG, journal=journal)
    page = report()
    assert "secret" not in page.source
    ((key,),) = query_journal("SELECT HEX(key) FROM samples")
    assert key.lower() in page.text
    assert "echo: a secret question" in report(texts=True, config=CONFIG).text


@pytest.fixture
def query_journal(journal):
    def query(statement):
        database = sqlite3.connect(journal)
        try:
            return database.execute(statement).fetchall()
        finally:
            database.close()

    return query


def test_shows_a_bounded_sample_of_answers_from_all_over_the_journal(journal, report):
    fill(journal, (build_row(number, body=f'"body {number}"'.encode()) for number in range(1_000)))
    page = report(texts=True)
    numbers = [int(number) for number in re.findall(r'"body (\d+)"', page.text)]
    assert (len(numbers), numbers[0], numbers[-1]) == (20, 0, 999)
    assert numbers == sorted(numbers)


def test_cuts_long_texts(journal, report):
    fill(journal, [build_row(1, body=b"x" * 100_000)])
    assert len(report(texts=True).source) < 20_000


def test_is_well_formed_loads_nothing_and_runs_nothing(journal, report):
    fill(journal, [build_row(1, label=NASTY, body=NASTY.encode(), at=1.0, duration_s=0.5, input_tokens=3)])
    run_batch([BatchItem(5, id=NASTY.replace("\x00", ""))], config=CONFIG, journal=journal)
    page = report(texts=True)
    ET.fromstring(page.source)  # noqa: S314 - a file of ours; XML is stricter than HTML
    assert not LOADING & {*page.tags}
    assert not ADDRESSES & page.names
    assert not [name for name in page.names if name.startswith("on")]
    assert not re.search(r"https?:|@import|url\(", page.source)
    assert "&lt;script&gt;alert" in page.source
    assert "<script" not in page.source
    assert "default-src 'none'" in page.source


def test_draws_for_light_and_dark(journal, report):
    run_batch(["a"], config=CONFIG, journal=journal)
    assert "prefers-color-scheme: dark" in report().source


def test_reports_an_empty_journal(journal, report):
    run_batch([], config=CONFIG, journal=journal)
    assert report(texts=True).titles == ["Totals", "Runs", "Manifest"]


def test_reports_cost_cached_share_and_charges(journal, report, query_journal):
    fill(journal, [build_row(1, input_tokens=100, output_tokens=5, cached_tokens=25, cost="0.5"), build_row(2)])
    with sqlite3.connect(journal) as database:
        database.execute("INSERT INTO charges VALUES ('x', 70, NULL, 0, 1)")
    database.close()
    text = report().text
    assert "Cost $0.5000 1 answers without a price" in text
    assert "Cached share 25.0% 25 input tokens from a cache" in text
    assert "Tries without an answer 1 at most 70 tokens" in text


def test_reports_what_was_lost_in_flight(journal, report):
    run_batch(["a"], config=CONFIG, journal=journal)
    beside = journal.with_name("job.db-flight")
    slots = bytearray(beside.read_bytes())
    slots[:36] = b"k" * 32 + b"gone"
    beside.write_bytes(slots)
    assert "In flight now, or lost if the run was killed: gone" in report().text
    run_batch(["a"], config=CONFIG, journal=journal)
    assert re.search(r"before run lost items 2 1 gone", report().text)


def test_reports_pending_submissions(journal, report):
    run_batch(["a"], config=CONFIG, journal=journal)
    with sqlite3.connect(journal) as database:
        database.execute("INSERT INTO submissions VALUES (7, '', 's', 'm', NULL, '[{}]', '[]', 0, 0)")
        database.executemany("INSERT INTO members VALUES (7, ?, ?, x'', 'x')", [(0, b"a"), (1, b"b")])
    database.close()
    page = report()
    assert "Pending submissions" in page.titles
    assert "7 1970-01-01T00:00:00+00:00 2 1" in page.text


def test_can_be_written_while_a_job_runs(journal, report):
    results = stream_batch(map(str, range(5)), config=CONFIG, journal=journal)
    next(results)
    assert "running in process" in report().text
    results.close()


def test_counts_answers_in_steps(journal):
    fill(journal, [build_row(number, at=at) for number, at in enumerate([1_000.2, 1_000.9, 1_003.0])])
    with JournalView(journal) as view:
        timeline = measure_journal(view).timeline
    assert (timeline.started_at, timeline.step_s, timeline.counts) == (1_000, 1, (2, 0, 0, 1))


@pytest.mark.parametrize(("span_s", "step_s"), [(80, 1), (3_600, 60), (86_400, 1_800), (86_400 * 365, 86_400 * 5)])
def test_draws_at_most_some_ninety_steps(journal, span_s, step_s):
    fill(journal, [build_row(1, at=0.0), build_row(2, at=float(span_s))])
    with JournalView(journal) as view:
        timeline = measure_journal(view).timeline
    assert timeline.step_s == step_s
    assert len(timeline.counts) <= 91


def test_measures_the_spread_of_a_number(journal):
    fill(journal, (build_row(number, input_tokens=number, duration_s=number / 100) for number in range(1, 101)))
    with JournalView(journal) as view:
        figures = measure_journal(view)
    tokens = figures.input_tokens
    assert (tokens.n, tokens.median, tokens.p90, tokens.p99, tokens.maximum) == (100, 50, 90, 99, 100)
    assert (tokens.width, sum(tokens.counts), len(tokens.counts)) == (5.0, 100, 21)
    assert (figures.latency.median, figures.latency.width) == (0.5, 0.05)
    assert figures.output_tokens is None


def test_refuses_a_path_that_is_no_page_or_in_use(journal, tmp_path):
    run_batch(["a"], config=CONFIG, journal=journal)
    with pytest.raises(ConfigurationError, match="is not the path of an HTML file"):
        write_report(journal, tmp_path / "out.db", overwrite=True)
    write_report(journal, tmp_path / "out.html")
    with pytest.raises(ConfigurationError, match="exists already"):
        write_report(journal, tmp_path / "out.html")
    with pytest.raises(ConfigurationError, match="there is no journal"):
        write_report(tmp_path / "none.db", tmp_path / "new.html")
    with pytest.raises(ConfigurationError, match="config only decodes texts"):
        write_report(journal, tmp_path / "new.html", config=CONFIG)
    assert not (tmp_path / "new.html").exists()


def test_the_command_writes_a_report(journal, tmp_path, capsys):
    run_batch(["Hello"], config=CONFIG, journal=journal)
    out = tmp_path / "out.html"
    assert main(["report", str(journal), str(out)]) == 0
    assert "echo: Hello" not in out.read_text()
    assert main(["report", str(journal), str(out), "--overwrite", "--texts", "--mock"]) == 0
    assert "echo: Hello" in out.read_text()
    assert f"wrote {out}" in capsys.readouterr().err
