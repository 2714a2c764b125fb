"""A worker: a process that carries runs out until a signal ends it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from pollux_durable import configuring
from pollux_durable.data.queues import SHARED_QUEUE
from pollux_durable.draining import drain, hand_over
from pollux_durable.importing import import_workflows
from pollux_durable.registry import registry
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from pollux_durable.hosting import Host

#: How long the steps in flight may take once the worker is told to end.
DRAIN_S = 15.0
#: How often it is looked whether the process that has started the worker is gone.
_LOOK_S = 0.5
#: Shells report a process that a signal has ended as this plus the number of the signal.
_SIGNAL_STATUS = 128


@attrs.frozen(kw_only=True)
class WorkerOrder:
    """The options of a worker. None leaves the choice to the module, or else to the default of `configure`.

    ``parent`` is a process with whose end the worker ends too.
    """

    module: str
    url: str | None = None
    version: str | None = None
    queues: tuple[str, ...] | None = None
    name: str | None = None
    parent: int | None = None


def work(order: WorkerOrder, tell: Callable[[str], None]) -> int:
    """Carry runs out until SIGINT or SIGTERM; return the exit status. ``tell`` is called with lines for people.

    After the first signal no run is begun, and the steps in flight may end; after the second the process ends at once.
    Raises ConfigurationError for a module, a queue or a database that cannot be used.
    """
    with _catch_signals() as stop:
        host = _set_up(order)
        settings = host.settings
        n_workflows = len(registry.list_all())
        queues = "" if settings.queues is None else f" of the queues {', '.join(settings.queues)}"
        tell(f"worker {host.engine.executor_id}: {n_workflows} workflows{queues}, version {settings.version}")
        tell(f"runs are in {settings.shown_url}; Ctrl-C ends the worker")
        while not stop.wait(_LOOK_S):
            if order.parent is not None and os.getppid() != order.parent:
                break
        tell(f"ending: steps in flight have {DRAIN_S:g} s; a second signal ends at once")
        if not drain(host, DRAIN_S):
            tell("some steps did not end; another worker calls them again")
            sys.stderr.flush()
            # Their threads would keep the interpreter from ending.
            os._exit(0)
        configuring.stop_beat()
        hand_over(host)
    configuring.reset()
    return 0


def _set_up(order: WorkerOrder) -> Host:
    import_workflows(order.module)
    if not registry.list_all():
        raise ConfigurationError(
            f"the module {order.module!r} declares no workflow", hint="pass the module whose functions have @workflow"
        )
    url = None if order.url is None else configuring.find_url(order.url)
    given = {"url": url, "version": order.version, "queues": _check_queues(order.queues), "name": order.name}
    changes = {name: value for name, value in given.items() if value is not None}
    # The same module may be imported by a process that only submits.
    configuring.amend_settings(**changes, execute=True)
    return configuring.find_host()


def _check_queues(queues: tuple[str, ...] | None) -> tuple[str, ...] | None:
    known = {SHARED_QUEUE} | {workflow.queue_name for workflow in registry.list_all() if workflow.queue_name}
    for name in queues or ():
        if name not in known:
            raise ConfigurationError(
                f"no workflow of the module has the queue {name!r}", hint=f"its queues: {', '.join(sorted(known))}"
            )
    return queues


@contextmanager
def _catch_signals() -> Iterator[threading.Event]:
    """Give an event that the first SIGINT or SIGTERM sets. The second one ends the process."""
    stop = threading.Event()

    def handle(number: int, _: FrameType | None) -> None:
        if stop.is_set():
            os._exit(_SIGNAL_STATUS + number)
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
