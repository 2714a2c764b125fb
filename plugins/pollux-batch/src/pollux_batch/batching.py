"""The two calls of a script: `run_batch` and `stream_batch`."""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pollux_batch.checking import check_settings
from pollux_batch.data.items import Asked
from pollux_batch.data.results import BatchResult, WorkItemResult
from pollux_batch.data.settings import check_flag
from pollux_batch.fleets import find_fleet
from pollux_batch.routing import open_run
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pollux_batch.data.responses import LLMResponse
    from pollux_batch.data.settings import Route
    from pollux_batch.fleets import Fleet
    from pollux_batch.routing import Run
    from pollux_sync import Config, Options, Source


def run_batch(
    items: Iterable[object],
    *,
    config: Config,
    options: Options | None = None,
    sources: Iterable[Source] = (),
    journal: str | os.PathLike[str] | None = None,
    progress: bool = False,
    **settings: Any,
) -> BatchResult:
    """Ask many prompts, and return their results in order; see `stream_batch` for the arguments.

    ``progress=True`` writes to stderr how far the run has come: a line that is rewritten in a terminal, else one now
    and then.

    Every item has a result, also one that failed. On Ctrl-C nothing more is begun, what is in flight is waited for and
    kept, and the result says ``termination.kind == "interrupted"``; a second Ctrl-C leaves at once. All results are in
    memory: for more than some 100,000 items read `stream_batch`.
    Raises ConfigurationError before anything is spent, and JournalError if answers can no longer be kept; what was
    answered until then is in the journal. A plugin that calls ``sys.exit`` in a call ends the job, and so does a
    parser: other calls in flight are waited for and kept, and SystemExit is raised here, also where another process
    made the call.
    """
    check_flag("progress", progress)
    started = time.monotonic()
    job = open_job(items, config=config, options=options, sources=sources, journal=journal, **settings)
    results = _read_results(job, progress=progress)
    results.sort(key=lambda result: result.submission_index)
    return BatchResult(
        results=results,
        termination=job.termination,
        unanswered=job.n_read - len(results) if job.has_read_all else None,
        duration_s=time.monotonic() - started,
    )


def _read_results(job: Run, *, progress: bool) -> list[WorkItemResult]:
    if not progress:
        return [*job.iter_results()]
    # Imported here: most runs show nothing.
    from pollux_batch.showing import Progress

    results: list[WorkItemResult] = []
    with Progress(sys.stderr, job) as counter:
        for result in job.iter_results():
            counter.count(result)
            results.append(result)
    sys.stderr.write(f"{counter.describe()}, {counter.describe_rate()}\n")
    return results


def stream_batch(
    items: Iterable[object],
    *,
    config: Config,
    options: Options | None = None,
    sources: Iterable[Source] = (),
    journal: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> Iterator[WorkItemResult]:
    """Ask many prompts, and yield their results as they are answered, in constant memory.

    * ``items``: texts, (id, prompt), (id, prompt, context) or `BatchItem`; any iterable, read only when needed.
    * ``config``, ``options``, ``sources``: of all items, where an item does not bring its own.
    * ``journal``: a file of answers. The same call with the same journal goes on where the last one ended, and pays for
      no answer twice. None keeps nothing.
    * ``workers``: the most calls in flight (32). ``processes``: with more than one, so many processes of their own
      carry the calls out, for more calls a second than one interpreter makes.
    * ``limits``: `Limits` of requests and tokens for each provider, address, model and key.
    * ``retries``: `Retries`. ``budget``: a `Budget` in dollars or tokens.
    * ``dedupe``: equal requests are asked once: "auto" if no temperature is set, "always", or "never".
    * ``parser``: a function from `LLMResponse` to the output; it plays no part in what is paid for, and may change.
    * ``on_drift``: what to do when a question that the journal has, answered or in a job, is rendered as another
      request now, by a new version or a changed default: "stop" before it is sent, "resend" it, or "reuse" the answer.
    * ``warm_prefix``: of items with the same system text and sources the first goes ahead, and the others wait for its
      answer, so that the provider reads what they share from its cache.
    * ``route``: "live" calls, or the provider's deferred jobs with "batch": up to a day later, and for half the price
      where the provider says so. With ``wait=False`` that takes what is there, submits what is missing, and returns;
      run it again later, by cron. "auto" takes deferred jobs where ``deadline_s`` leaves a day for them, and asks by
      live calls what they do not answer. Live calls are waited for in any case, so "live" refuses ``wait=False``.
    * ``fleet``: a `Fleet` whose machines make the calls, or the name of an installed one. It works with ``wait`` as the
      route "batch" does. Items with stored files, and what it does not answer, are asked by live calls from here.
    * ``max_pending``: the most items that are read and wait, for their call or for the reader of their results (2,000).
    * ``ordered``: yield in the order of the items.
    * ``fail_fast``: end at the first item that failed. ``deadline_s``: begin nothing after so many seconds.

    Raises as `run_batch` does. Closing the iterator ends the job, and waits for the calls in flight.
    """
    job = open_job(items, config=config, options=options, sources=sources, journal=journal, **settings)
    with closing(job.iter_results()) as results:
        yield from results


def open_job(
    items: Iterable[object],
    *,
    config: Config,
    options: Options | None,
    sources: Iterable[Source],
    journal: str | os.PathLike[str] | None,
    parser: Callable[[LLMResponse], Any] | None = None,
    ordered: bool = False,
    route: Route = "live",
    wait: bool = True,
    fleet: Fleet | str | None = None,
    **settings: Any,
) -> Run:
    """Check all arguments and open a job. Raises ConfigurationError."""
    check_flag("ordered", ordered)
    if parser is not None and not callable(parser):
        raise ConfigurationError(f"parser must be a function, got {parser!r}", hint="pass a function of one argument")
    asked = Asked(items=items, config=config, options=options, sources=tuple(sources))
    path = None if journal is None else _read_path(journal)
    found = None if fleet is None else find_fleet(fleet)
    job: dict[str, Any] = {
        "settings": check_settings(
            config, journal=path, options=options, route=route, wait=wait, fleet=found, **settings
        ),
        "journal": path,
        "parser": parser,
        "is_ordered": ordered,
    }
    return open_run(asked, route=route, wait=wait, fleet=found, **job)


def _read_path(journal: object) -> Path:
    if not isinstance(journal, str | os.PathLike) or not str(journal):
        raise ConfigurationError(f"journal must be the path of a file, got {journal!r}", hint="journal='job.db'")
    return Path(journal)
