"""Sets durable workflows up: once in a process, by `configure` or with the first run."""

from __future__ import annotations

import atexit
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from pollux_durable.data.settings import DurableSettings
from pollux_durable.opening import build_host
from pollux_durable.registry import registry
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_durable.beating import Beat
    from pollux_durable.hosting import Host
    from pollux_durable.registry import Declared

URL_VARIABLE = "POLLUX_DURABLE_URL"
DEFAULT_FILE = Path(".pollux") / "durable.db"


class _Process:
    """The settings and the host of this process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.settings: DurableSettings | None = None
        self.plugins: tuple[object, ...] = ()
        self.host: Host | None = None
        self.beat: Beat | None = None


_process = _Process()


def configure(
    url: str | None = None,
    *,
    version: str = "1",
    lease_s: float = 15.0,
    wait_threshold_s: float = 10.0,
    durability: Literal["normal", "full"] = "normal",
    plugins: Sequence[object] = (),
    execute: bool = True,
) -> None:
    """Say where runs are kept. Without it they are in ``.pollux/durable.db`` in the current directory.

    ``url`` is ``sqlite:///path``, ``postgresql://user@host/name`` or ``memory:``, or the value of POLLUX_DURABLE_URL.
    The other settings are those of `DurableSettings`. ``plugins`` are objects with hooks of this package, besides those
    that are installed. With ``execute=False`` this process only submits runs and looks at them: workers carry them
    out. Nothing is connected to before the first run. Raises ConfigurationError if it is called again with other
    settings.
    """
    settings = DurableSettings(
        url=find_url(url),
        version=version,
        lease_s=lease_s,
        wait_threshold_s=wait_threshold_s,
        durability=durability,
        execute=execute,
    )
    with _process.lock:
        known = _process.settings
        if known is not None and (known, _process.plugins) != (settings, tuple(plugins)):
            raise ConfigurationError(
                f"durable workflows are set up with {known.shown_url!r} already, and other settings",
                hint="call configure once; or reset() before, in tests",
            )
        _process.settings, _process.plugins = settings, tuple(plugins)


def find_url(url: str | None = None) -> str:
    """Return the URL of a database: the given one, else that of the environment, else the default file."""
    url = url or os.environ.get(URL_VARIABLE) or f"sqlite:///{DEFAULT_FILE}"
    prefix = "sqlite:///"
    if url == f"{prefix}:memory:":  # no file: refused by the engine
        return url
    # The current directory may be another one when the file is opened.
    return prefix + str(Path(url.removeprefix(prefix)).resolve()) if url.startswith(prefix) else url


def find_host() -> Host:
    """Return the host of this process; set it up and launch it first if necessary."""
    with _process.lock:
        if _process.host is None:
            configure_default()
            _launch()
        host = _process.host
    if host is None:
        raise ConfigurationError("durable workflows are not set up")
    host.check_process()
    return host


def read_settings() -> DurableSettings | None:
    """Return what this process was set up with, None if it was not."""
    return _process.settings


def amend_settings(**changes: Any) -> None:
    """Change some settings before the launch. Raises ConfigurationError after it."""
    with _process.lock:
        if _process.host is not None:
            raise ConfigurationError(
                "a run was started before the worker was set up",
                hint='start runs below `if __name__ == "__main__":`, so that the module can be imported',
            )
        configure_default()
        if _process.settings is not None:
            _process.settings = attrs.evolve(_process.settings, **changes)


def configure_default() -> None:
    """Set up with the defaults, unless that was done otherwise."""
    if _process.settings is None:
        configure()


def _launch() -> None:
    settings = _process.settings
    if settings is None:
        return
    # These stand on what this module gives.
    from pollux_durable.beating import Beat
    from pollux_durable.running import Runner
    from pollux_durable.starting import record_starts

    host = build_host(settings, _process.plugins)
    engine = host.engine
    try:
        body = Runner(host).carry_out

        def add(workflow: Declared) -> None:
            if workflow.queue is not None:
                engine.register_queue(workflow.queue)
            engine.register(workflow.id, body)
            record_starts(host, workflow)

        for workflow in registry.list_all():
            add(workflow)
        registry.announce = add
        # Known before the first queue is declared, which else would open it for a moment.
        host.pauses.keep()
        engine.launch()
    except BaseException:
        engine.close()
        raise
    # A process that only looks must not count as one that carries runs out.
    beat = Beat(host) if settings.execute else None
    if beat is not None:
        beat.start()
    _process.host, _process.beat = host, beat
    atexit.register(_close)


def stop_beat() -> None:
    """End what keeps this process counted among the workers."""
    with _process.lock:
        beat, _process.beat = _process.beat, None
    if beat is not None:
        beat.stop()


def reset(*, forget: bool = False) -> None:
    """End what this process carries out, so that `configure` can be called again; ``forget`` all workflows too."""
    with _process.lock:
        _close()
        _process.settings, _process.plugins = None, ()
        if forget:
            registry.clear()


def _close() -> None:
    beat, host = _process.beat, _process.host
    _process.beat = _process.host = None
    registry.announce = None
    if host is None or host.is_foreign:
        return
    if beat is not None:
        beat.stop()
    host.close()
    atexit.unregister(_close)
