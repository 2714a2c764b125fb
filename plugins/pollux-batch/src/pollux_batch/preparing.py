"""Strategies get ready once, before their first item, and let go once, at the end."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from pollux_batch.admitting import Capacity, Gate, Quota
from pollux_batch.classifying import DefaultErrorClassifier
from pollux_batch.errors import QuotaScopeError, StrategyPrepareError

if TYPE_CHECKING:
    from pollux_batch.data.categories import ErrorClassifier
    from pollux_batch.data.configs import ProcessorConfig
    from pollux_batch.data.strategy import LLMCallStrategy

log = logging.getLogger("pollux_batch")


class StrategyLane:
    """The prepared strategy that items share, with its gate."""

    def __init__(self, strategy: LLMCallStrategy[Any], scope: Gate, classifier: ErrorClassifier) -> None:
        self.strategy = strategy
        self.scope = scope
        self.classifier = classifier
        # One for each strategy: two that take long to get ready do so side by side.
        self._lock = threading.Lock()
        self._is_prepared = False
        self._failure: StrategyPrepareError | None = None

    def prepare(self) -> None:
        """Get the strategy ready, once. Raises StrategyPrepareError, also for all later items, if that fails."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._is_prepared:
                return
            try:
                self.strategy.prepare()
            except Exception as error:
                name = type(self.strategy).__name__
                self._failure = StrategyPrepareError(f"prepare() of {name} failed: {type(error).__name__}: {error}")
                raise self._failure from error
            self._is_prepared = True

    def clean_up(self) -> Exception | None:
        """Have the strategy let go, if it is ready; return what it raised."""
        with self._lock:
            if not self._is_prepared:
                return None
            self._is_prepared = False
            try:
                self.strategy.cleanup()
            except Exception as error:
                log.exception("cleanup() of %s failed", type(self.strategy).__name__)
                return error
            return None


class StrategyLanes:
    """The lanes of a job by strategy. Strategies of one quota scope, or of one concurrency scope, share it."""

    def __init__(self, config: ProcessorConfig, classifier: ErrorClassifier | None) -> None:
        self._config = config
        self._classifier = classifier
        self._lock = threading.Lock()
        # By identity, whatever their equality says. The lanes and scopes keep the objects, so that no id is used twice.
        self._lanes: dict[int, StrategyLane] = {}
        self._gates: dict[tuple[int, int], Gate] = {}
        self._quotas: dict[int, Quota] = {}
        self._capacities: dict[int, Capacity] = {}
        self._kept: list[object] = []

    def find(self, strategy: LLMCallStrategy[Any]) -> StrategyLane:
        """Return the lane of a strategy. Raises QuotaScopeError if its scopes cannot be read."""
        with self._lock:
            lane = self._lanes.get(id(strategy))
            if lane is None:
                lane = self._lanes[id(strategy)] = self._open(strategy)
            return lane

    def _open(self, strategy: LLMCallStrategy[Any]) -> StrategyLane:
        try:
            quota_scope, pool = strategy.quota_scope, strategy.concurrency_scope
            most = strategy.max_concurrency
            strategy.request_concurrency(self._config.workers)
            classifier = self._classifier or strategy.recommended_error_classifier() or DefaultErrorClassifier()
        except Exception as error:
            raise QuotaScopeError(f"the scopes of {type(strategy).__name__} cannot be read: {error}") from error
        self._kept += [quota_scope, pool]
        limit = self._find_limit(strategy, most)
        quota = self._quotas.setdefault(id(quota_scope), Quota(type(quota_scope).__name__, self._config))
        capacity = self._capacities.setdefault(id(pool), Capacity(limit))
        capacity.limit = min(capacity.limit, limit)
        gate = self._gates.setdefault((id(quota_scope), id(pool)), Gate(quota, capacity))
        return StrategyLane(strategy, gate, classifier)

    def _find_limit(self, strategy: LLMCallStrategy[Any], most: int | None) -> int:
        limits = [self._config.workers, self._config.max_provider_concurrency, most]
        return min(limit for limit in (*limits, None if strategy.thread_safe else 1) if limit is not None)

    def clean_up(self) -> list[Exception]:
        """Have all strategies let go; return what they raised."""
        with self._lock:
            lanes = [*self._lanes.values()]
        return [error for lane in lanes if (error := lane.clean_up()) is not None]
