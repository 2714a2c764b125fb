"""Arguments -> settings: all that can be refused before anything is opened, read or spent."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from pollux_batch.data.settings import BatchSettings, Budget, Limits, Retries, Route, check_choice, check_flag
from pollux_batch.distributing import pack_config
from pollux_batch.fleets import find_entry_point
from pollux_batch.shipping import check_shippable
from pollux_batch.submitting import check_deferrable
from pollux_sync import Options, stages
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from pollux_batch.fleets import Fleet
    from pollux_sync import Config

#: Files beside those of the workers' connections: the journal, the input, what the caller has open.
_SPARE_FILES = 128
_SETTINGS = frozenset(
    {"workers", "processes", "dedupe", "on_drift", "warm_prefix", "fail_fast", "deadline_s", "max_pending"}
)
_ARGUMENTS = frozenset(
    {"options", "sources", "journal", "parser", "ordered", "limits", "retries", "budget", "route", "wait", "fleet"}
)


def check_settings(
    config: Config,
    *,
    journal: Path | None,
    options: Options | None = None,
    route: Route = "live",
    wait: bool = True,
    fleet: Fleet | str | None = None,
    limits: Limits | None = None,
    retries: Retries | None = None,
    budget: Budget | None = None,
    **settings: Any,
) -> BatchSettings:
    """Return the settings of a job. Raises ConfigurationError if no job can be carried out with these arguments."""
    _check_way(route, fleet, wait=wait)
    unknown = sorted(settings.keys() - _SETTINGS)
    if unknown:
        raise ConfigurationError(
            f"unknown argument {unknown[0]!r}", hint=f"known are: {', '.join(sorted(_SETTINGS | _ARGUMENTS))}"
        )
    checked = BatchSettings(
        limits=Limits() if limits is None else limits,
        retries=Retries() if retries is None else retries,
        budget=budget,
        **settings,
    )
    if fleet is not None:
        check_shippable(config)
        _check_deferred(checked, journal, "a fleet")
    if route == "batch":
        _check_deferred(checked, journal, "route='batch'")
        # What are no Options is refused with the first items.
        if options is None or isinstance(options, Options):
            with closing(stages.open_hooks(config)) as hooks:
                check_deferrable(options or Options(), hooks)
    else:
        # With "auto" too: live calls follow what the deferred jobs do not answer.
        _check_files(checked.workers)
        if checked.processes > 1:
            pack_config(config)
    return checked


def _check_way(route: Route, fleet: Fleet | str | None, *, wait: bool) -> None:
    """Raise ConfigurationError unless calls can go this way."""
    check_choice("route", route, Route)
    check_flag("wait", wait)
    if isinstance(fleet, str):
        find_entry_point(fleet)
    if fleet is not None and route != "live":
        raise ConfigurationError(f"a fleet makes live calls, not route={route!r}", hint="leave route or fleet out")
    if route == "live" and fleet is None and not wait:
        raise ConfigurationError(
            "wait=False belongs to the routes 'batch' and 'auto' and to fleets: live calls are waited for",
            hint="pass route='batch' (--route batch), or leave wait (--no-wait) out",
        )


def _check_deferred(settings: BatchSettings, journal: Path | None, way: str) -> None:
    """Raise ConfigurationError for settings with which nothing can be submitted."""
    if journal is None:
        raise ConfigurationError(
            f"{way} needs a journal: the answers may come when the script has ended", hint="pass journal='job.db'"
        )
    if settings.budget is not None:
        raise ConfigurationError(f"{way} keeps no budget", hint="leave budget out, or submit fewer items")
    if settings.processes > 1:
        raise ConfigurationError(f"{way} sends from one process", hint="leave processes out")


def _check_files(workers: int) -> None:
    """Raise ConfigurationError if the workers' connections need more files than this process may open."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and workers + _SPARE_FILES > most:
        raise ConfigurationError(
            f"workers={workers} need as many connections, but this process may open {most} files",
            hint=f"pass workers={max(1, most - _SPARE_FILES)}, or raise the limit with ulimit -n",
        )
