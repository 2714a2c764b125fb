"""Journal -> figures: SQLite adds up, so that a million answers take no more memory than ten."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from pollux_batch.data.figures import Distribution, JournalFigures, PendingSubmission, Timeline

if TYPE_CHECKING:
    from pollux_batch.inspecting import JournalView

#: The lengths of a step of the timeline, in seconds; beyond the last by whole days.
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200, 86_400)
_DAY_S = 86_400
_MAX_STEPS, _MAX_BINS = 90, 24
#: Submissions and hashes of requests that are listed.
_MAX_ROWS = 20


def measure_journal(view: JournalView) -> JournalFigures:
    """Return the figures of a journal. A job may be writing to it."""
    # Read once: the answers themselves lie between these columns, and may be books. SQLite keeps the table in a file.
    view.select("CREATE TEMP TABLE facts AS SELECT run, at, duration_s, input_tokens, output_tokens FROM answers")
    ((charges, charged_tokens),) = view.select("SELECT COUNT(*), COALESCE(SUM(tokens), 0) FROM charges")
    return JournalFigures(
        timeline=_measure_timeline(view),
        latency=_measure_distribution(view, "duration_s"),
        input_tokens=_measure_distribution(view, "input_tokens"),
        output_tokens=_measure_distribution(view, "output_tokens"),
        answers_by_run=dict(view.select("SELECT run, COUNT(*) FROM facts GROUP BY run")),
        charges=charges,
        charged_tokens=charged_tokens,
        submissions=_list_submissions(view),
        requests=_list_requests(view),
    )


def _measure_timeline(view: JournalView) -> Timeline | None:
    ((first, last),) = view.select("SELECT MIN(at), MAX(at) FROM facts")
    if first is None:
        return None
    step_s = _choose_step(last - first)
    start = int(first // step_s)
    counts = [0] * (int(last // step_s) - start + 1)
    for step, count in view.select(f"SELECT CAST(at / {step_s} AS INTEGER), COUNT(*) FROM facts GROUP BY 1"):  # noqa: S608
        counts[step - start] = count
    return Timeline(started_at=start * step_s, step_s=step_s, counts=tuple(counts))


def _choose_step(span_s: float) -> int:
    wanted = span_s / _MAX_STEPS
    return next((step for step in _STEPS_S if step >= wanted), math.ceil(wanted / _DAY_S) * _DAY_S)


def _measure_distribution(view: JournalView, column: str) -> Distribution | None:
    """Return the spread of a column, None if no answer has it. Answers of deferred jobs have no latency."""
    has_it = f"{column} > 0" if column == "duration_s" else f"{column} IS NOT NULL"
    ((n,),) = view.select(f"SELECT COUNT(*) FROM facts WHERE {has_it}")  # noqa: S608
    if not n:
        return None
    ranks = [math.ceil(n * share) for share in (0.5, 0.9, 0.99, 1)]
    ranked = f"SELECT {column} AS value, ROW_NUMBER() OVER (ORDER BY {column}) AS rank FROM facts WHERE {has_it}"  # noqa: S608
    found = dict(view.select(f"SELECT rank, value FROM ({ranked}) WHERE rank IN (?, ?, ?, ?)", ranks))  # noqa: S608
    median, p90, p99, maximum = (found[rank] for rank in ranks)
    width = _choose_width(p99, is_whole=column != "duration_s")
    counts = [0] * (math.floor(p99 / width) + 2)
    binned = f"SELECT MIN(CAST({column} / ? AS INTEGER), ?), COUNT(*) FROM facts WHERE {has_it} GROUP BY 1"  # noqa: S608
    for place, count in view.select(binned, [float(width), len(counts) - 1]):
        counts[place] = count
    return Distribution(n=n, median=median, p90=p90, p99=p99, maximum=maximum, width=width, counts=tuple(counts))


def _choose_width(top: float, *, is_whole: bool) -> float:
    """Return a round width of bins, of which some 24 reach up to ``top``."""
    wanted = max(top / _MAX_BINS, 1.0 if is_whole else 0.001)
    power = 10.0 ** math.floor(math.log10(wanted))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= wanted)


def _list_submissions(view: JournalView) -> tuple[PendingSubmission, ...]:
    rows = view.select(
        "SELECT id, at, (SELECT COUNT(*) FROM members WHERE submission = id), jobs "
        "FROM submissions WHERE NOT is_collected ORDER BY id LIMIT ?",
        [_MAX_ROWS],
    )
    return tuple(
        PendingSubmission(number=number, at=at, items=items, jobs=len(json.loads(jobs)))
        for number, at, items, jobs in rows
    )


def _list_requests(view: JournalView) -> tuple[tuple[str, str], ...]:
    return tuple(
        view.select("SELECT LOWER(HEX(key)), LOWER(HEX(ask)) FROM samples ORDER BY rowid LIMIT ?", [_MAX_ROWS])
    )
