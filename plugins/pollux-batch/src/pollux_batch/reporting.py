"""Journal -> a page of HTML: one file, to be opened offline or sent to somebody."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from pollux_batch.drafting import Draft
from pollux_batch.exporting import build_answer, open_decoder
from pollux_batch.inspecting import JournalView
from pollux_batch.measuring import measure_journal
from pollux_batch.rendering import render_page
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    import os

    from pollux_batch.data.reports import ExportedAnswer
    from pollux_sync import Config

_SUFFIXES = (".html", ".htm")
_MAX_FAILURES, _MAX_TEXTS = 100, 20


def write_report(
    journal: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    texts: bool = False,
    config: Config | None = None,
    overwrite: bool = False,
) -> None:
    """Write what a journal holds as one HTML file, in constant memory; a job may be writing to the journal.

    It has totals, runs, versions, charts, failures with their reasons, and what is in flight or pending. It has labels,
    but no answers: with ``texts`` a sample of 20 is added, which the plugin of the provider in ``config`` decodes.
    Raises ConfigurationError for a journal that cannot be read, and for a path in use or without the suffix .html.
    """
    place = Path(path)
    if place.suffix not in _SUFFIXES:
        raise ConfigurationError(f"{str(path)!r} is not the path of an HTML file", hint="end it with .html")
    if config is not None and not texts:
        raise ConfigurationError("config only decodes texts", hint="pass texts=True as well, or leave config out")
    with JournalView(Path(journal)) as view, Draft(place, overwrite=overwrite) as draft:
        report, figures = view.build_report(max_failures=_MAX_FAILURES), measure_journal(view)
        answers = _sample_answers(view, config) if texts else []
        draft.file.write(render_page(report, figures, answers, made_at=time.time()))
        draft.commit()


def _sample_answers(view: JournalView, config: Config | None) -> list[ExportedAnswer]:
    with open_decoder(config) as decode:
        return [build_answer(run, row, decode) for run, row in view.sample_answers(_MAX_TEXTS)]
