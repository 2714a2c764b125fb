"""Measure the cost of a call beside what a user would write instead. `python bench/run.py --help` lists the options."""

from __future__ import annotations

import argparse

import reporting
from batches import batch
from capacity import measure_capacity
from durables import durable
from files import files
from loopback import Loopback, run_server
from suites import FULL, QUICK, Report, Size
from suites import SUITES as CALL_SUITES

from middleware import middleware

SUITES = {**CALL_SUITES, **{suite.__name__: suite for suite in (files, batch, durable, middleware)}}
_CAPACITY_CALLS = 20_000


def main() -> None:
    arguments = _parse_arguments()
    size = QUICK if arguments.quick else FULL
    commit = reporting.describe_commit()  # before the run: files may be edited while it goes on
    with run_server() as server:
        reports, limits = _measure(server, size, arguments.only or list(SUITES))
    about = reporting.describe_machine(commit, limits)
    print(f"written to {reporting.write_json(reports, about).relative_to(reporting.HERE.parent)}")
    if arguments.write_docs:
        (reporting.write_sections if arguments.only else reporting.write_page)(reports, about)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure pollux-sync beside its peers on a loopback server.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and calls: ten minutes, wider spreads")
    parser.add_argument("--only", action="append", choices=list(SUITES), metavar="NAME", help=", ".join(SUITES))
    parser.add_argument(
        "--write-docs", action="store_true", help="write docs/explanation/performance.md; with --only, its sections"
    )
    return parser.parse_args()


def _measure(server: Loopback, size: Size, names: list[str]) -> tuple[list[Report], dict[str, float]]:
    limits = measure_capacity(server, calls=_CAPACITY_CALLS)
    print(
        f"loopback server: {limits['calls_per_s']:,.0f} calls/s to bare sockets, "
        f"{limits['server_us_per_call']:.0f} µs CPU a call, {limits['server_cpu_share']:.0%} of one core\n"
    )
    reports = []
    for name in names:
        reports.append(SUITES[name](server, size))
        print(reporting.format_report(reports[-1]), flush=True)
    return reports, limits


if __name__ == "__main__":
    main()
