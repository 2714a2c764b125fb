"""Reports as text, as JSON, and as the page in the documentation with its plot."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from math import log
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from peers import BATCH_PEERS, DURABLE_PEERS, HERE, PEERS, read_version

if TYPE_CHECKING:
    from pathlib import Path

    from suites import Ratio, Report

RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "explanation" / "performance.md"
PLOT = PAGE.with_suffix(".svg")

_INTRODUCTION = """# Performance

This page compares the cost of pollux-sync with the cost of the code that a user would write instead. The server runs on
the loopback interface and answers at once with about 1 kB. `make bench` repeats the measurement; `bench/run.py
--write-docs` wrote this page.

CPU time is user plus system time. Every round measures all of the programs, one after the other. A ratio is computed
within its round, and the tables show medians over the rounds. Ratios are comparable between machines; milliseconds are
not.
"""


_SECTION = "## "


def describe_machine(revision: str, capacity: dict[str, float]) -> dict:
    """Return the facts of the run: date, commit, machine, versions, and the capacity of the server."""
    return {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": revision,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": sorted({read_version(peer) for peer in (*PEERS, *BATCH_PEERS, *DURABLE_PEERS)}),
        "server": capacity,
    }


def describe_commit() -> str:
    """Return the commit, marked as changed if src or plugins have other changes."""
    return _run_git("rev-parse", "--short", "HEAD") + (
        ", changed" if _run_git("status", "-s", "src", "plugins") else ""
    )


def _run_git(*command: str) -> str:
    process = subprocess.run(["git", *command], cwd=HERE.parent, capture_output=True, text=True, check=False)
    return process.stdout.strip()


def format_report(report: Report) -> str:
    """Return the report as text for a terminal."""
    rows = [[report.title, *report.columns], *([name, *map(_format_figure, values)] for name, values in report.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:{'<' if i == 0 else '>'}{widths[i]}}" for i, cell in enumerate(row)) for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    lines += [f"{name}: not measured: {why}" for name, why in report.missing.items()]
    lines += [f"  {_format_ratio(ratio)}" for ratio in report.ratios]
    return "\n".join([*lines, *report.notes, ""])


def _format_figure(value: float | None) -> str:
    if value is None:
        return "-"
    digits = max(0, 2 - len(str(int(abs(value)))) + 1) if abs(value) >= 1 else 2
    return f"{value:,.{digits}f}"


def _format_ratio(ratio: Ratio) -> str:
    spread = f" ({min(ratio.values):.2f} to {max(ratio.values):.2f})" if len(ratio.values) > 1 else ""
    return f"{ratio.what}: {ratio.median:.2f}{spread}{_format_verdict(ratio)}"


def _format_verdict(ratio: Ratio) -> str:
    if ratio.target is None:
        return ""
    return f", target {_format_bound(ratio)}: {'met' if ratio.is_met else 'MISSED'}"


def _format_bound(ratio: Ratio) -> str:
    return "" if ratio.target is None else f"at {'least' if ratio.at_least else 'most'} {ratio.target:g}"


def write_json(reports: list[Report], about: dict) -> Path:
    """Write the run to a new file below bench/results and return its path."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    data = {"machine": about, "reports": [report.to_dict() for report in reports]}
    file.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return file


def write_page(reports: list[Report], about: dict) -> None:
    """Write the page of the documentation and its plot."""
    PLOT.write_text(_draw_plot(next(r for r in reports if r.name == "cpu_per_call")), encoding="utf-8")
    parts = [_INTRODUCTION, f"![CPU per call]({PLOT.name})\n", *map(_format_section, reports), _format_machine(about)]
    PAGE.write_text("\n".join(parts), encoding="utf-8")


def write_sections(reports: list[Report], about: dict) -> None:
    """Replace these sections of the page, which were measured apart from the others; add those that it lacks."""
    head, *sections = PAGE.read_text(encoding="utf-8").split(_SECTION)
    for report in reports:
        note = f"this section was measured alone, {about['measured']} at commit {about['commit']}"
        text = _format_section(replace(report, notes=[*report.notes, note])).removeprefix(_SECTION)
        # The title ends with the amounts, which may differ.
        stem = report.title.partition(" (")[0]
        # The last section is that of the machine.
        end = len(sections) - 1
        place = next((number for number, section in enumerate(sections) if section.startswith(stem)), end)
        sections[place : place + (place != end)] = [f"{text}\n"]
    PAGE.write_text(_SECTION.join([head, *sections]), encoding="utf-8")


def _format_section(report: Report) -> str:
    lines = [f"## {report.title}", "", *_format_table(["", *report.columns], _format_cells(report))]
    if report.ratios:
        rows = [[r.what, f"{r.median:.2f}", _format_spread(r), _format_target(r)] for r in report.ratios]
        lines += ["", *_format_table(["ratio", "median", "spread", "target"], rows)]
    lines += [f"\n* Not measured: {name}: {why}" for name, why in report.missing.items()]
    lines += ["", *(f"* {note}" for note in report.notes)] if report.notes else []
    return "\n".join([*lines, ""])


def _format_cells(report: Report) -> list[list[str]]:
    return [[name, *map(_format_figure, values)] for name, values in report.rows]


def _format_spread(ratio: Ratio) -> str:
    return f"{min(ratio.values):.2f} to {max(ratio.values):.2f}" if len(ratio.values) > 1 else "-"


def _format_target(ratio: Ratio) -> str:
    return f"{_format_bound(ratio)}: {'met' if ratio.is_met else 'missed'}" if ratio.target is not None else "-"


def _format_table(head: list[str], rows: list[list[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(row)} |" for row in (head, rule, *rows)]


def _format_machine(about: dict) -> str:
    server = about["server"]
    served = f"{server['calls_per_s']:,.0f} calls per second to a client of bare sockets"
    lines = [
        "## The machine",
        "",
        f"Measured {about['measured']} at commit {about['commit']}:",
        f"{about['cores']} cores, {about['system']}, Python {about['python']};",
        f"{', '.join(about['versions'])}.",
        "",
        f"The server answered {served}, at {server['server_us_per_call']:.0f} µs of its CPU each:",
        "it was not the bottleneck.",
        "",
    ]
    return "\n".join(lines)


_BAR, _GAP, _LEFT, _WIDTH = 16, 8, 210, 760
_OURS = frozenset(peer.name for peer in PEERS if not peer.env)


def _draw_plot(report: Report) -> str:
    """Return an SVG with bars of the second column, on a logarithmic scale: peers differ by a factor of fifty."""
    bars = sorted((values[1], name) for name, values in report.rows if values[1])
    height = (len(bars) + 1) * (_BAR + _GAP) + 16
    shapes = [_draw_bar(number, name, value, bars) for number, (value, name) in enumerate(bars)]
    title = f'<text x="8" y="16" font-weight="bold">{escape(report.title)}, many; logarithmic</text>'
    size = f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12" fill="#444"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        title,
        *shapes,
        "</svg>\n",
    ]
    return "\n".join(lines)


def _draw_bar(number: int, name: str, value: float, bars: list[tuple[float, str]]) -> str:
    least, most = bars[0][0] / 2, bars[-1][0]
    length = (_WIDTH - _LEFT - 70) * log(value / least) / log(most / least)
    top = (number + 1) * (_BAR + _GAP)
    colour = "#2a7f62" if name in _OURS else "#9aa5b1"
    return (
        f'<text x="{_LEFT - 8}" y="{top + 12}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="{_LEFT}" y="{top}" width="{length:.1f}" height="{_BAR}" fill="{colour}"/>'
        f'<text x="{_LEFT + length + 6:.1f}" y="{top + 12}">{_format_figure(value)}</text>'
    )
