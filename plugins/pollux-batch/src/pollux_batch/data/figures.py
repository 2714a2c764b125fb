"""The figures of a journal that a report draws."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Timeline:
    """The numbers of answers in steps of equal length. ``started_at`` is in seconds since 1970."""

    started_at: float
    step_s: int
    counts: tuple[int, ...]


@attrs.frozen(kw_only=True)
class Distribution:
    """The spread of one number over the answers that have it.

    ``counts`` are the answers in bins of ``width``, from zero; the last bin has all that is above the others.
    """

    n: int
    median: float
    p90: float
    p99: float
    maximum: float
    width: float
    counts: tuple[int, ...]


@attrs.frozen(kw_only=True)
class PendingSubmission:
    """Items that were submitted and not collected. ``jobs`` is the number of known deferred jobs with them."""

    number: int
    at: float
    items: int
    jobs: int


@attrs.frozen(kw_only=True)
class JournalFigures:
    """The figures of a journal.

    * ``answers_by_run``: by the number of the run.
    * ``charges``, ``charged_tokens``: tries without an answer that may have been charged for, and the most they took.
    * ``requests``: hashes of a few requests that were sent, and of the questions as they were asked.
    """

    timeline: Timeline | None
    latency: Distribution | None
    input_tokens: Distribution | None
    output_tokens: Distribution | None
    answers_by_run: dict[int, int]
    charges: int
    charged_tokens: int
    submissions: tuple[PendingSubmission, ...]
    requests: tuple[tuple[str, str], ...]
