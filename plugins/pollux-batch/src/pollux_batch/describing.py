"""The facts of a journal in words, for the terminal and for pages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pollux_batch.data.reports import JournalReport, RunReport


def describe_failed(report: JournalReport) -> str:
    """Return the number of failed items, and of each category."""
    kinds = ", ".join(f"{count:,} {category}" for category, count in report.failed.items())
    return f"{sum(report.failed.values()):,}" + (f" ({kinds})" if kinds else "")


def describe_end(run: RunReport) -> str:
    """Return how a run ended, or that it goes on."""
    if run.state == "ended":
        return run.outcome or "ended"
    process = f"process {run.pid}"
    return {
        "running": f"running in {process}",
        "killed": f"killed ({process}), or running on another machine",
        "unknown": f"not ended ({process})",
    }[run.state]


def iter_changed_versions(runs: Sequence[RunReport]) -> Iterator[tuple[RunReport, list[str]]]:
    """Yield the runs, each with the versions that the run before it did not have."""
    before: dict[str, str] = {}
    for run in runs:
        yield run, [f"{name} {version}" for name, version in run.versions.items() if before.get(name) != version]
        before = run.versions


def format_time(at: float) -> str:
    """Return a time in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
