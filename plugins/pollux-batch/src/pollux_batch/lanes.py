"""The things that items of one configuration share: an open client, stored files, and a scope of limits."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

import attrs

from pollux_batch.distributing import SenderPool
from pollux_batch.limiting import Scope
from pollux_sync import stages

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from pollux_batch.data.settings import BatchSettings
    from pollux_batch.distributing import Receive
    from pollux_sync import Config
    from pollux_sync.plugin import HttpRequest


@attrs.frozen(eq=False)
class Lane:
    """One configuration of a job.

    ``begin`` has a physical attempt made by another process, and hands its answer over; None where there is none.
    """

    config: Config
    hooks: stages.Hooks
    uploads: stages.SharedUploads
    scope: Scope
    begin: Callable[[HttpRequest, float, Receive], None] | None = None


class Lanes:
    """The lanes of a job by configuration. Configurations of one provider, address, model and key share a scope."""

    def __init__(self, settings: BatchSettings) -> None:
        self._settings = settings
        self._lanes: dict[Config, Lane] = {}
        self._scopes: dict[tuple[str | None, ...], Scope] = {}
        self._lock = threading.Lock()
        # More senders than calls would have nothing to do.
        n_senders = min(settings.processes, settings.workers)
        self._senders = SenderPool(n_senders) if settings.processes > 1 else None

    def find(self, config: Config) -> Lane:
        """Return the lane of a configuration, opened at its first use."""
        with self._lock:
            lane = self._lanes.get(config)
            if lane is None:
                lane = self._lanes[config] = self._open(config)
            return lane

    def _open(self, config: Config) -> Lane:
        # The pool of connections has room for every worker.
        roomy = attrs.evolve(config, request_concurrency=max(config.request_concurrency, self._settings.workers))
        hooks = stages.open_hooks(roomy)
        name = (config.provider, config.base_url, config.model, config.account)
        scope = self._scopes.get(name)
        if scope is None:
            scope = self._scopes[name] = Scope(
                f"{config.provider}/{config.model}",
                self._settings.limits,
                self._settings.retries,
                ceiling=self._settings.workers,
                prefers_more=self._senders is not None,
            )
        begin = None if self._senders is None else self._senders.open_lane(roomy)
        return Lane(roomy, hooks, stages.SharedUploads(hooks), scope, begin)

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """All scopes so far."""
        return tuple(self._scopes.values())

    def abort(self) -> None:
        """Close all clients: calls in flight fail at once."""
        self._end_senders()
        for lane in [*self._lanes.values()]:
            lane.hooks.close()

    def end_overdue(self) -> None:
        """End senders that do not answer; their calls are made again elsewhere."""
        if self._senders is not None:
            self._senders.end_overdue()

    def _end_senders(self) -> None:
        if self._senders is not None:
            self._senders.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_senders()
        for lane in self._lanes.values():
            # Deletes the files that were stored for the job.
            lane.uploads.__exit__(kind, error, trace)
            lane.hooks.close()
