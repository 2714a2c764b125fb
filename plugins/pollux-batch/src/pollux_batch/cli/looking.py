"""``pollux-sync batch status``, ``explain``, ``export`` and ``report``: from a journal alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_batch.cli.arguments import build_decoding_config
from pollux_batch.describing import describe_end, describe_failed, format_time, iter_changed_versions
from pollux_batch.exporting import export_answers
from pollux_batch.inspecting import inspect_journal
from pollux_sync.commands import DONE, write_json, write_line, write_remark, write_table

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from pollux_batch.data.reports import JournalReport


def show_status(arguments: Namespace) -> int:
    """Print counts, spend and the state of the last run."""
    report = inspect_journal(arguments.journal)
    if arguments.json:
        write_json(report.to_dict())
    else:
        write_table(_list_facts(report))
    return DONE


def explain(arguments: Namespace) -> int:
    """Print the runs of a journal, what failed, and what was in flight."""
    report = inspect_journal(arguments.journal)
    if arguments.json:
        write_json(report.to_dict())
        return DONE
    write_table(_list_facts(report))
    for line in (*_list_runs(report), *_list_failures(report), *_list_flights(report)):
        write_line(line)
    return DONE


def export(arguments: Namespace) -> int:
    """Write the answers of a journal to a file."""
    config = build_decoding_config(arguments)
    count = export_answers(arguments.journal, arguments.out, config=config, overwrite=arguments.overwrite)
    write_remark(f"wrote {count:,} answers to {arguments.out}")
    return DONE


def report_journal(arguments: Namespace) -> int:
    """Write what a journal holds as a page of HTML."""
    from pollux_batch.reporting import write_report

    config = build_decoding_config(arguments)
    write_report(arguments.journal, arguments.out, texts=arguments.texts, config=config, overwrite=arguments.overwrite)
    write_remark(f"wrote {arguments.out}")
    return DONE


def _list_facts(report: JournalReport) -> Iterator[tuple[str, str]]:
    yield "answers", f"{report.answers:,}"
    yield "failed", describe_failed(report)
    if report.submitted:
        yield "submitted", f"{report.submitted:,} in deferred jobs"
    counts = report.usage
    yield "tokens", f"{counts.get('input_tokens', 0):,} input, {counts.get('output_tokens', 0):,} output"
    yield "cost", _describe_cost(report)
    yield "runs", f"{len(report.runs):,}" + (f", the last {describe_end(report.runs[-1])}" if report.runs else "")
    yield "in flight", f"{len(report.in_flight):,}"


def _describe_cost(report: JournalReport) -> str:
    if not report.has_prices:
        return "not known: no plugin knows the prices"
    return f"${report.cost:.4f}" + (f", {report.unpriced:,} answers without a price" if report.unpriced else "")


def _list_runs(report: JournalReport) -> Iterator[str]:
    yield from ("", "runs:")
    for run, changed in iter_changed_versions(report.runs):
        yield f"  {run.number}  {format_time(run.started_at)}  {describe_end(run)}"
        if changed:
            yield f"     with {', '.join(changed)}"
        if run.lost:
            yield f"     the run before it lost {len(run.lost)} in flight: {', '.join(run.lost)}"


def _list_failures(report: JournalReport) -> Iterator[str]:
    if report.failures:
        yield from ("", "failed, and asked again by the next run:")
    for item in report.failures:
        yield f"  {item.label}: {item.error} ({item.attempts} attempts)"
    more = sum(report.failed.values()) - len(report.failures)
    if more > 0:
        yield f"  and {more:,} more"


def _list_flights(report: JournalReport) -> Iterator[str]:
    if report.in_flight:
        yield from ("", "in flight, and lost if the run was killed:")
        yield f"  {', '.join(report.in_flight)}"
