"""Items of strategies -> results, by many threads: `ParallelBatchProcessor` and the functions over it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

from pollux_batch.coordinating import FLUSH_S, StrategyJob
from pollux_batch.data.configs import ProcessorConfig
from pollux_batch.data.items import BatchItem, read_item
from pollux_batch.data.results import BatchResult, Termination, WorkItemResult
from pollux_batch.data.workitems import LLMWorkItem
from pollux_batch.delivering import Outbox, drain
from pollux_batch.errors import BatchAdmissionClosedError, ProcessorStateError
from pollux_batch.observing import ProcessingEvent
from pollux_batch.receiving import Inbox, LazyIntake
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from types import TracebackType

    from pollux_batch.data.categories import ErrorClassifier
    from pollux_batch.data.strategy import LLMCallStrategy
    from pollux_batch.observing import Middleware, ProcessorObserver
    from pollux_batch.receiving import Intake

log = logging.getLogger("pollux_batch")

#: The longest wait at a stretch: Python acts on Ctrl-C between two waits.
_STRETCH_S = 0.2


class ParallelBatchProcessor:
    """Works off items of strategies with many threads; used once, for a batch or for a stream.

    * A batch: `add_work` any number of times, then `process_all`.
    * A stream: `start`, then `add_work` from any thread, `finish` after the last, and iterate over `results`.

    In a ``with`` block, or after `shutdown`, strategies have released the resources of `prepare`.

    * ``post_processor`` is called with each result, also of items that failed. ``progress_callback`` is called with the
      number of results, of items, and the id of the last one. What they raise is logged, and changes nothing.
    * ``error_classifier`` takes the place of those that the strategies recommend.
    * ``middlewares`` and ``observers``: see `Middleware` and `ProcessorObserver`.
    * ``intake``: where the items come from in place of `add_work`.
    """

    def __init__(
        self,
        config: ProcessorConfig | None = None,
        *,
        post_processor: Callable[[WorkItemResult], object] | None = None,
        error_classifier: ErrorClassifier | None = None,
        middlewares: Sequence[Middleware] = (),
        observers: Sequence[ProcessorObserver] = (),
        progress_callback: Callable[[int, int, str], object] | None = None,
        intake: Intake | None = None,
    ) -> None:
        self._config = config or ProcessorConfig()
        self._post_processor = post_processor
        self._progress_callback = progress_callback
        self._progress_lock = threading.Lock()
        self._inbox = Inbox(self._config.max_queue_size)
        self._outbox = Outbox(is_ordered=False, changed=self._announce_room)
        self._intake = intake or self._inbox
        self._job = StrategyJob(
            self._config,
            self._intake,
            self._publish,
            may_take=self._has_room,
            ended=self._outbox.end,
            error_classifier=error_classifier,
            middlewares=middlewares,
            observers=observers,
        )
        self._inbox.announce = self._job.scheduler.wake
        self._added: WeakSet[LLMWorkItem] = WeakSet()
        if intake is not None:
            # Nobody would read what is added.
            self._inbox.close()
        self._state = "new"
        self._is_closed = False
        self._interrupts = 0

    def add_work(self, item: LLMWorkItem) -> None:
        """Add an item. In a stream this waits while the queue is full.

        Raises BatchAdmissionClosedError after `process_all`, `finish` or `shutdown`, and ConfigurationError for the
        same object twice and for a queue that is full before anything works on it.
        """
        if self._state not in {"new", "streaming"}:
            raise BatchAdmissionClosedError("the processor takes no more items", hint="use another processor")
        given: object = item
        if not isinstance(given, LLMWorkItem):
            raise ConfigurationError(
                f"an item must be an LLMWorkItem, got {type(item).__name__}", hint="LLMWorkItem('id', strategy, prompt)"
            )
        if item in self._added:
            raise ConfigurationError(f"item {item.item_id!r} was added before", hint="build another LLMWorkItem")
        if self._state == "new" and self._inbox.is_full:
            raise ConfigurationError(
                f"the queue holds max_queue_size={self._config.max_queue_size} items, and nothing works on them yet",
                hint="call start() first, and read results()",
            )
        self._added.add(item)
        self._inbox.put(item)

    def process_all(self) -> BatchResult:
        """Work all items off; return their results in the order in which they were added.

        On Ctrl-C nothing more is begun, and what is in flight is waited for; a second Ctrl-C raises.
        """
        self._begin("working")
        self._inbox.close()
        started = time.monotonic()
        results = sorted(self._iter_results(), key=lambda result: result.submission_index)
        total = self._intake.total
        return BatchResult(
            results=results,
            termination=self._job.termination,
            unanswered=None if total is None else total - len(results),
            duration_s=time.monotonic() - started,
        )

    def start(self) -> None:
        """Begin a stream."""
        self._begin("streaming")

    def finish(self) -> None:
        """Say that no more items are added to the stream.

        Threads that wait in `add_work` get BatchAdmissionClosedError.
        """
        if self._state != "streaming":
            raise ProcessorStateError("there is no stream to finish", hint="call start() first, and finish() once")
        self._state = "finished"
        self._inbox.close()

    def results(self) -> Iterator[WorkItemResult]:
        """Return an iterator over the results of the stream as they come. Closing it ends the stream."""
        if self._state not in {"streaming", "finished"}:
            raise ProcessorStateError("there is no stream to read", hint="call start() first, and results() once")
        return self._iter_results()

    def get_stats(self) -> dict[str, Any]:
        """Return what was counted so far."""
        return self._job.statistics.to_dict(self._count_items())

    def _count_items(self) -> int:
        return self._job.n_read if self._intake.total is None else self._intake.total

    @property
    def termination(self) -> Termination:
        """The reason for the end of the work."""
        return self._job.termination

    def shutdown(self) -> None:
        """End the work, wait for the calls in flight, and have strategies clean up. Calling it again does nothing.

        Raises the first error of a strategy's ``cleanup``, after all of them were called.
        """
        for error in self._shut_down():
            raise error

    def _shut_down(self) -> list[Exception]:
        if self._is_closed:
            return []
        self._is_closed = True
        was_begun, self._state = self._state != "new", "closed"
        if was_begun:
            self._job.stop("interrupted", "shutdown() was called")
            self._job.wait()
        return self._job.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failures = self._shut_down()
        # The error of the block matters more than one of the clean-up, which is logged.
        if failures and error is None:
            raise failures[0]

    # In the thread that reads

    def _begin(self, state: str) -> None:
        if self._state != "new":
            raise ProcessorStateError("a processor is used once, for a batch or for a stream", hint="use another one")
        self._state = state
        self._job.start()

    def _iter_results(self) -> Generator[WorkItemResult, None, None]:
        results: deque[WorkItemResult] = deque()
        try:
            while True:
                try:
                    yield from drain(results)
                    self._outbox.take(results, 0.0 if self._job.scheduler.is_over.is_set() else _STRETCH_S)
                except KeyboardInterrupt:
                    self._interrupt()
                    continue
                if not results and self._has_ended():
                    return
        except GeneratorExit:
            self._job.stop("interrupted", "the reader of the results left")
            self._job.wait()
            raise

    def _interrupt(self) -> None:
        self._interrupts += 1
        if self._interrupts > 1:
            self._job.abort()
            raise KeyboardInterrupt
        self._job.stop("interrupted", "Ctrl-C")

    def _has_ended(self) -> bool:
        self._job.check_deadline()
        if not self._job.scheduler.is_over.is_set() or len(self._outbox):
            return False
        self._job.dispatcher.emit(ProcessingEvent.BATCH_COMPLETED, **self.get_stats())
        self._job.dispatcher.flush(FLUSH_S)
        self._state = "ended"
        if self._job.scheduler.failure is not None:
            raise self._job.scheduler.failure
        return True

    # In the worker threads

    def _has_room(self) -> bool:
        most = self._config.max_result_queue_size
        return not most or len(self._outbox) < most

    def _announce_room(self) -> None:
        if self._config.max_result_queue_size:
            self._job.scheduler.wake()

    def _publish(self, item: LLMWorkItem, result: WorkItemResult) -> None:
        completed = self._job.statistics.count_result(result)
        if self._progress_callback is not None and completed % self._config.progress_interval == 0:
            self._report_progress(completed, result.item_id)
        self._outbox.put([result])
        if self._post_processor is not None:
            post_processor = self._post_processor
            self._call_safely("post_processor", lambda: post_processor(result), self._config.post_processor_timeout)

    def _report_progress(self, completed: int, item_id: str) -> None:
        callback, total = self._progress_callback, self._count_items()
        # One at a time, so that the numbers grow.
        with self._progress_lock:
            self._call_safely(
                "progress_callback",
                lambda: callback and callback(completed, total, item_id),
                self._config.progress_callback_timeout,
            )

    def _call_safely(self, name: str, function: Callable[[], object], timeout_s: float | None) -> None:
        call = self._job.runners.begin(function)
        if not call.wait(timeout_s):
            log.warning("%s took longer than %s s", name, timeout_s)
            return
        try:
            call.result()
        except Exception:
            log.exception("%s failed", name)


def process_prompts(
    strategy: LLMCallStrategy[Any],
    prompts: Iterable[object],
    *,
    config: ProcessorConfig | None = None,
    concurrency: int | None = None,
    **settings: Any,
) -> BatchResult:
    """Ask many prompts of one strategy; return the results in the order of the prompts.

    ``prompts`` are texts, (id, prompt), (id, prompt, context) or `LLMWorkItem`; ids default to ``item_N``.
    ``concurrency`` is the number of threads. ``settings`` are those of `ParallelBatchProcessor`.
    """
    with _open_processor(strategy, prompts, config, concurrency, settings) as processor:
        return processor.process_all()


def process_stream(
    strategy: LLMCallStrategy[Any],
    prompts: Iterable[object],
    *,
    config: ProcessorConfig | None = None,
    concurrency: int | None = None,
    **settings: Any,
) -> Iterator[WorkItemResult]:
    """Ask many prompts of one strategy; yield the results as they come. Prompts are read only when needed.

    The arguments are those of `process_prompts`. Closing the iterator ends the work, and waits for the calls in flight.
    """
    with _open_processor(strategy, prompts, config, concurrency, settings) as processor:
        processor.start()
        yield from processor.results()


@contextmanager
def _open_processor(
    strategy: LLMCallStrategy[Any],
    prompts: Iterable[object],
    config: ProcessorConfig | None,
    concurrency: int | None,
    settings: dict[str, Any],
) -> Iterator[ParallelBatchProcessor]:
    if isinstance(prompts, str | bytes) or not hasattr(prompts, "__iter__"):
        raise ConfigurationError(
            f"prompts must be an iterable of prompts, got {type(prompts).__name__}", hint="pass a list: [prompt]"
        )
    if config is not None and concurrency is not None:
        raise ConfigurationError("config and concurrency exclude each other", hint="ProcessorConfig(concurrency=...)")
    LLMWorkItem("check", strategy)
    items = (_read_prompt(index, given, strategy) for index, given in enumerate(prompts))
    config = config or ProcessorConfig(concurrency=concurrency)
    processor = ParallelBatchProcessor(config, intake=LazyIntake(items), **settings)
    try:
        yield processor
    finally:
        # The results are worth more than a strategy's failure to let go, which is logged.
        with suppress(Exception):
            processor.shutdown()


def _read_prompt(index: int, given: object, strategy: LLMCallStrategy[Any]) -> LLMWorkItem:
    if isinstance(given, LLMWorkItem):
        return given
    if isinstance(given, BatchItem):
        raise ConfigurationError("a BatchItem belongs to run_batch()", hint="pass LLMWorkItem('id', strategy, prompt)")
    item = read_item(given)
    prompt: Any = item.prompt
    return LLMWorkItem(item.id or f"item_{index}", strategy, prompt, item.context)
