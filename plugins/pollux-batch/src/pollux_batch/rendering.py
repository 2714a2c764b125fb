"""The report and the figures of a journal -> a page of HTML that loads nothing from elsewhere."""

from __future__ import annotations

from importlib.resources import files
from itertools import islice, pairwise
from pathlib import PurePath
from typing import TYPE_CHECKING

from pollux_batch.charting import draw_bars
from pollux_batch.describing import describe_end, describe_failed, format_time, iter_changed_versions
from pollux_batch.markup import Html, build_element, build_section, build_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pollux_batch.data.figures import Distribution, JournalFigures, Timeline
    from pollux_batch.data.reports import ExportedAnswer, JournalReport, RunReport

#: The page shows the latest runs, and the first labels and characters.
_MAX_RUNS, _MAX_LABELS, _MAX_CHARACTERS = 50, 200, 2_000
#: A browser that obeys it loads and runs nothing, whatever the journal has.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render_page(
    report: JournalReport, figures: JournalFigures, answers: Sequence[ExportedAnswer], *, made_at: float
) -> str:
    """Return the page. ``answers`` are shown with their texts."""
    name = PurePath(report.path).name
    head = (
        Html('<meta charset="utf-8" /><meta name="viewport" content="width=device-width, initial-scale=1" />'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}" />'),
        build_element("title", f"{name}: batch report"),
        build_element("style", Html(files("pollux_batch").joinpath("page.css").read_text(encoding="utf-8"))),
    )
    sections = (
        _render_totals(report, figures),
        _render_pace(figures.timeline),
        _render_distributions(figures),
        _render_runs(report.runs, figures),
        _render_flights(report),
        _render_submissions(report, figures),
        _render_failures(report),
        _render_manifest(report.runs, figures),
        _render_answers(answers),
    )
    header = build_element("header", build_element("h1", name), build_element("p", _describe_state(report, made_at)))
    body = build_element("body", header, build_element("main", *sections))
    return "<!DOCTYPE html>\n" + build_element("html", build_element("head", *head), body, lang="en") + "\n"


def _describe_state(report: JournalReport, made_at: float) -> str:
    state = f"last run: {describe_end(report.runs[-1])}" if report.runs else "no run yet"
    return f"Batch report of {format_time(made_at)}; {state}"


def _render_totals(report: JournalReport, figures: JournalFigures) -> Html:
    facts = [_build_fact(name, value, note) for name, value, note in _list_totals(report, figures)]
    return build_section("Totals", build_element("dl", *facts))


def _build_fact(name: str, value: str, note: str) -> Html:
    small = [build_element("small", note)] if note else []
    return build_element("div", build_element("dt", name), build_element("dd", value, *small))


def _list_totals(report: JournalReport, figures: JournalFigures) -> Iterator[tuple[str, str, str]]:
    tokens, cached = report.usage.get("input_tokens", 0), report.usage.get("cached_input_tokens", 0)
    yield "Answers", f"{report.answers:,}", ""
    yield "Failed", f"{sum(report.failed.values()):,}", "items without an answer"
    cost = f"${report.cost:.4f}" if report.has_prices else "not known"
    yield "Cost", cost, f"{report.unpriced:,} answers without a price"
    yield "Input tokens", f"{tokens:,}", ""
    yield "Cached share", f"{cached / tokens:.1%}" if tokens else "none", f"{cached:,} input tokens from a cache"
    yield "Output tokens", f"{report.usage.get('output_tokens', 0):,}", ""
    yield "In flight", f"{len(report.in_flight):,}", "sent, and not answered"
    yield "Pending", f"{report.submitted:,}", "items in deferred jobs"
    if figures.charges:
        yield "Tries without an answer", f"{figures.charges:,}", f"at most {figures.charged_tokens:,} tokens"


def _render_pace(timeline: Timeline | None) -> Html:
    if timeline is None:
        return Html()
    starts = [timeline.started_at + index * timeline.step_s for index in range(len(timeline.counts))]
    rates = [count * 60 / timeline.step_s for count in timeline.counts]
    ends = format_time(starts[0]), format_time(starts[-1] + timeline.step_s)
    note = build_element("p", f"In steps of {timeline.step_s:,} s; times are in UTC.", class_="note")
    labels = [format_time(start) for start in starts]
    return build_section("Answers per minute", draw_bars("Answers per minute", rates, labels, ends, width=960), note)


def _render_distributions(figures: JournalFigures) -> Html:
    charts = [
        _render_distribution(title, distribution, unit)
        for title, distribution, unit in (
            ("Latency", figures.latency, " s"),
            ("Input tokens", figures.input_tokens, ""),
            ("Output tokens", figures.output_tokens, ""),
        )
        if distribution is not None
    ]
    return build_section("Distributions", build_element("div", *charts, class_="charts") if charts else Html())


def _render_distribution(title: str, distribution: Distribution, unit: str) -> Html:
    edges = [_format_number(index * distribution.width) for index in range(len(distribution.counts))]
    labels = [f"{low} to {high}{unit}" for low, high in pairwise(edges)] + [f"{edges[-1]}{unit} or more"]
    chart = draw_bars(title, distribution.counts, labels, ("0", f"{edges[-1]}{unit} or more"), width=320)
    facts = ", ".join(
        f"{name} {_format_number(value)}{unit}"
        for name, value in (
            ("median", distribution.median),
            ("90%", distribution.p90),
            ("99%", distribution.p99),
            ("maximum", distribution.maximum),
        )
    )
    note = build_element("p", f"{distribution.n:,} answers: {facts}", class_="note")
    return build_element("div", build_element("h3", title), chart, note)


def _format_number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3g}"


def _render_failures(report: JournalReport) -> Html:
    if not report.failures:
        return Html()
    rows = [(item.label, item.category, item.attempts, _shorten(item.error)) for item in report.failures]
    more = sum(report.failed.values()) - len(rows)
    note = f"{describe_failed(report)}." + (f" The first {len(rows):,} of them:" if more > 0 else "")
    table = build_table(("item", "category", "attempts", "reason"), rows)
    return build_section("Failed, and asked again by the next run", build_element("p", note), table)


def _render_flights(report: JournalReport) -> Html:
    lost = [(run.number, len(run.lost), _list_labels(run.lost)) for run in report.runs[-_MAX_RUNS:] if run.lost]
    note = f"In flight now, or lost if the run was killed: {_list_labels(report.in_flight)}"
    now = build_element("p", note) if report.in_flight else Html()
    return build_section("In flight and lost", now, build_table(("before run", "lost", "items"), lost))


def _list_labels(labels: Sequence[str]) -> str:
    more = len(labels) - _MAX_LABELS
    return ", ".join(labels[:_MAX_LABELS]) + (f" and {more:,} more" if more > 0 else "")


def _render_submissions(report: JournalReport, figures: JournalFigures) -> Html:
    rows = [(entry.number, format_time(entry.at), entry.items, entry.jobs) for entry in figures.submissions]
    if not rows:
        return Html()
    note = f"{report.submitted:,} items are in deferred jobs whose answers are not collected. The first submissions:"
    table = build_table(("submission", "submitted at", "items", "jobs"), rows)
    return build_section("Pending submissions", build_element("p", note), table)


def _render_runs(runs: Sequence[RunReport], figures: JournalFigures) -> Html:
    rows = [
        (
            run.number,
            format_time(run.started_at),
            "" if run.ended_at is None else f"{run.ended_at - run.started_at:,.1f} s",
            describe_end(run),
            figures.answers_by_run.get(run.number, 0),
        )
        for run in runs[-_MAX_RUNS:]
    ]
    earlier = len(runs) - len(rows)
    note = build_element("p", f"{earlier:,} earlier runs are not shown.", class_="note") if earlier else Html()
    return build_section("Runs", build_table(("run", "started at", "took", "state", "answers"), rows), note)


def _render_manifest(runs: Sequence[RunReport], figures: JournalFigures) -> Html:
    changes = ((run.number, ", ".join(changed)) for run, changed in iter_changed_versions(runs) if changed)
    versions = build_table(("from run", "versions"), [*islice(changes, _MAX_RUNS)])
    hashes = [(build_element("code", key), build_element("code", ask)) for key, ask in figures.requests]
    requests = build_table(("request", "question"), hashes)
    about = build_element("h3", "The first requests, as hashes of what was sent and of what was asked")
    return build_section("Manifest", versions, *([about, requests] if hashes else []))


def _render_answers(answers: Sequence[ExportedAnswer]) -> Html:
    rows = [
        (answer.label, format_time(answer.at), build_element("pre", _shorten(_read_text(answer)))) for answer in answers
    ]
    return build_section("A sample of answers", build_table(("item", "at", "answer"), rows))


def _read_text(answer: ExportedAnswer) -> str:
    return answer.body.decode("utf-8", "replace") if answer.text is None else answer.text


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}..."
