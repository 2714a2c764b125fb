"""Works -> the workers: each gets the next item whose scope allows a call. A paused scope holds no worker.

Threads are the only thing that is waited for here. A worker that has to wait in the middle of its item, before a retry,
steps aside: another thread takes its place until it goes on.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeAlias, TypeVar

from pollux_batch.waiting import Latch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: The longest wait at a stretch: a limit may have changed that nobody announced.
_STRETCH_S = 0.5
#: Below so many waiting works for each worker the next chunk is read.
_LOW_WATER = 2


class AdmissionScope(Protocol):
    """Admits calls: a `Scope`, or whatever behaves as one. It is called under the scheduler's lock.

    ``n_waiting`` are the works that wait in the middle, before another try; the scheduler counts them.
    """

    n_waiting: int

    @property
    def next_at(self) -> float:
        """The time at which a call may be admitted after a refusal, else 0."""
        ...

    @property
    def has_room(self) -> bool:
        """True if fewer calls are in flight than may be."""
        ...

    def admit(self, n_tokens: int, now: float) -> bool:
        """Return whether a call of so many tokens may go now; if so it is in flight."""
        ...

    def end(self) -> None:
        """Note that a call is in flight no more."""
        ...

    def record_answer(self, now: float) -> None:
        """Learn from an answer."""
        ...


class ScopedLane(Protocol):
    """The part of a lane that the scheduler knows."""

    @property
    def scope(self) -> AdmissionScope:
        """The scope that admits the calls of its works."""
        ...


class Schedulable(Protocol):
    """A work as the scheduler sees it."""

    @property
    def lane(self) -> ScopedLane:
        """The lane that it shares with other works."""
        ...

    @property
    def n_tokens(self) -> int:
        """The tokens that its call is expected to take."""
        ...


W = TypeVar("W", bound=Schedulable)
Answered: TypeAlias = 'float | Literal["away"] | None'


class Scheduler(Generic[W]):
    """Hands works to worker threads.

    ``feed`` reads the next chunk of items and returns its works, None at the end; one thread at a time calls it.
    ``answer`` carries a work out. It returns the time of the answer if the work still counts as in flight in its scope,
    and "away" if another process carries it out: `take_back` hands it to ``answer`` a second time. ``n_threads`` are
    enough where that is so; by default there is a thread for each work in flight. `finish` must be called when a work
    is done with, from any thread. ``announce_end`` is called when all are.
    """

    def __init__(
        self,
        n_workers: int,
        feed: Callable[[], Sequence[W] | None],
        answer: Callable[[W], Answered],
        may_feed: Callable[[], bool],
        announce_end: Callable[[], None],
        *,
        n_threads: int | None = None,
    ) -> None:
        self._n_workers = n_workers
        self._max_threads = n_threads or n_workers
        self._feed = feed
        self._answer = answer
        self._may_feed = may_feed
        self._announce_end = announce_end
        # Ctrl-C inside a condition's own functions leaves its lock taken: only the lock itself is entered.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._ready: dict[AdmissionScope, deque[W]] = {}
        self._n_ready = 0
        self._is_feeding = False
        self._is_exhausted = False
        self._is_draining = False
        self._n_unfinished = 0  # taken, and not yet finished
        self._n_threads = 0
        self._n_aside = 0  # threads whose works wait before another try
        self._n_standing_by = 0  # threads whose calls another process carries out
        self._n_away = 0
        self._returned: deque[W] = deque()
        self._n_idle = 0
        self._is_waking = False
        self._n_waiting = 0  # in the middle of their work, for a scope
        #: What ended a thread that should not have ended: a defect, or the input's own exception.
        self.failure: BaseException | None = None
        self.is_over = Latch()

    @property
    def lock(self) -> threading.Lock:
        """The lock under which scopes are called."""
        return self._lock

    def start(self) -> None:
        """Start the first worker; others follow while there is work for them."""
        with self._lock:
            self._start_thread()

    def drain(self) -> None:
        """Begin no further work. What is in flight goes on to its end."""
        with self._lock:
            self._is_draining = True
            self._end_if_done()
            self._changed.notify_all()

    def announce_change(self) -> None:
        """Wake one thread that may now be admitted to a scope. The lock is held."""
        # The thread whose call has ended takes the next work itself, as soon as it has dealt with the answer.
        if self._n_waiting:
            self._changed.notify_all()

    def wake(self) -> None:
        """Have limits looked at again."""
        with self._lock:
            self._changed.notify_all()

    def wait_for_change(self) -> None:
        """Wait a moment for a call to end."""
        with self._lock:
            self._changed.wait(_STRETCH_S)

    def finish(self, n_works: int) -> None:
        """Note that works are done with: their answers are on disk, or they failed."""
        if not n_works:
            return
        with self._lock:
            self._n_unfinished -= n_works
            self._end_if_done()
            # One that waits for a free place among the unfinished; it wakes the next, if there is more to do.
            self._wake_one()

    def add(self, works: Sequence[W]) -> None:
        """Take works that were held back when they were read. One in flight must not be finished before."""
        if not works:
            return
        with self._lock:
            for work in works:
                self._queue_of(work.lane.scope).append(work)
            self._n_ready += len(works)
            self._call_thread()

    def take_back(self, work: W) -> None:
        """Take a work back that was away: another process has carried out its call."""
        with self._lock:
            self._n_away -= 1
            self._returned.append(work)
            self._call_thread()

    def push_back(self, work: W) -> None:
        """Put a work that could not be begun back to the head of its queue."""
        with self._lock:
            self._queue_of(work.lane.scope).appendleft(work)
            self._n_ready += 1
            self._n_unfinished -= 1

    @contextmanager
    def stand_by(self) -> Iterator[None]:
        """Let another thread work while this one waits for another process."""
        with self._lock:
            self._n_standing_by += 1
            if self._has_something_to_do():
                self._call_thread()
        try:
            yield
        finally:
            with self._lock:
                self._n_standing_by -= 1

    @contextmanager
    def step_aside(self, scope: AdmissionScope) -> Iterator[None]:
        """Let another thread work while this one waits for a scope."""
        with self._lock:
            self._n_aside += 1
            scope.n_waiting += 1
            if self._has_something_to_do() and not self._n_idle:
                self._start_thread()
            self._changed.notify()
        try:
            yield
        finally:
            with self._lock:
                self._n_aside -= 1
                scope.n_waiting -= 1

    def wait_admitted(
        self, scope: AdmissionScope, n_tokens: int, not_before: float, stop: threading.Event | Latch
    ) -> bool:
        """Wait until a scope admits one more call of a work that has begun; return False once nothing more is begun."""
        with self._lock:
            self._n_waiting += 1
            try:
                while not (stop.is_set() or self._is_draining):
                    now = time.monotonic()
                    if now >= not_before and scope.admit(n_tokens, now):
                        return True
                    until = not_before if now < not_before else scope.next_at
                    self._changed.wait(max(0.001, min(until - now, _STRETCH_S)))
            finally:
                self._n_waiting -= 1
        return False

    # Worker threads

    def _start_thread(self) -> None:
        self._n_threads += 1
        thread = threading.Thread(target=self._run, name="pollux-batch worker", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._n_threads -= 1
            # Containers limit threads: with those there are it goes on.
            if not self._n_threads:
                raise

    def _run(self) -> None:
        try:
            work = self._take(None, None)
            while work is not None:
                work = self._take(work, self._carry_out(work))
        except BaseException as error:  # noqa: BLE001 - told to the thread that waits for the results
            self.failure = self.failure or error
            self.drain()
        finally:
            with self._lock:
                self._n_threads -= 1
                if self.failure is not None or not self._n_threads:
                    self._end_if_done()
                self._changed.notify_all()

    def _carry_out(self, work: W) -> Answered:
        try:
            return self._answer(work)
        except BaseException:
            # Nobody will finish it, and the others must not wait for that.
            with self._lock:
                self._n_unfinished -= 1
            raise

    def _take(self, ended: W | None, answered_at: Answered) -> W | None:
        """Return the next work whose scope admits a call, None at the end. ``ended`` is the one before."""
        while True:
            with self._lock:
                # Here, and not when its answer came: each time the lock is taken costs more than the rest of it.
                if answered_at == "away":
                    self._n_away += 1
                elif ended is not None and answered_at is not None:
                    ended.lane.scope.end()
                    ended.lane.scope.record_answer(answered_at)
                    self.announce_change()
                ended = answered_at = None
                if self._returned:
                    return self._returned.popleft()
                work = self._pick()
                if work is not None:
                    self._n_unfinished += 1
                    # One after the other, so that no more threads are awake than find something to do.
                    if self._has_free_worker() and self._has_room():
                        self._call_thread()
                    return work
                if self._is_over() and not self._n_away:
                    self._end_if_done()
                    return None
                # One thread too many, after another came back from its wait.
                if self._count_free_threads() > self._max_threads:
                    return None
                if not self._should_feed():
                    self._wait()
                    continue
                self._is_feeding = True
            self._feed_chunk()

    def _pick(self) -> W | None:
        if self._is_draining or not self._has_free_worker():
            return None
        now = time.monotonic()
        for scope, queue in self._ready.items():
            # Works that wait are bounded for each scope: every one of them is a thread.
            if queue and scope.n_waiting < self._n_workers and scope.admit(queue[0].n_tokens, now):
                self._n_ready -= 1
                return queue.popleft()
        return None

    def _has_free_worker(self) -> bool:
        return self._n_unfinished - self._n_aside < self._n_workers

    def _should_feed(self) -> bool:
        is_wanted = self._n_ready < _LOW_WATER * self._n_workers or self._has_idle_scope()
        return is_wanted and not (self._is_feeding or self._is_exhausted or self._is_draining) and self._may_feed()

    def _has_idle_scope(self) -> bool:
        """Return whether all that is ready waits for paused scopes: the input may hold work for another."""
        return bool(self._n_ready) and all(not queue or scope.next_at > 0 for scope, queue in self._ready.items())

    def _feed_chunk(self) -> None:
        works: Sequence[W] | None = None
        try:
            works = self._feed()
        finally:
            with self._lock:
                self._is_feeding = False
                if works is None:
                    self._is_exhausted = True
                for work in works or ():
                    self._queue_of(work.lane.scope).append(work)
                    self._n_ready += 1
                if works is None:
                    self._changed.notify_all()

    def _queue_of(self, scope: AdmissionScope) -> deque[W]:
        return self._ready.setdefault(scope, deque())

    def _wait(self) -> None:
        self._n_idle += 1
        now = time.monotonic()
        # One that would admit a call now waits for a free place among the unfinished, which is announced.
        pauses = [scope.next_at - now for scope, queue in self._ready.items() if queue and scope.next_at]
        try:
            self._changed.wait(max(0.001, min([_STRETCH_S, *pauses], default=_STRETCH_S)))
        finally:
            self._n_idle -= 1
            self._is_waking = False

    def _call_thread(self) -> None:
        """Have another thread look for something to do."""
        if self._n_idle:
            self._wake_one()
        elif self._count_free_threads() < self._max_threads:
            self._start_thread()

    def _count_free_threads(self) -> int:
        return self._n_threads - self._n_aside - self._n_standing_by

    def _wake_one(self) -> None:
        # One at a time: a thread that was woken may have to wait for the interpreter, and until then another that is
        # awake does the work. It wakes the next itself.
        if self._n_idle and not self._is_waking:
            self._is_waking = True
            self._changed.notify()

    def _has_room(self) -> bool:
        return any(queue and scope.has_room for scope, queue in self._ready.items())

    def _has_something_to_do(self) -> bool:
        return bool(self._n_ready) or not (self._is_exhausted or self._is_draining)

    def _is_over(self) -> bool:
        is_read = self._is_draining or (self._is_exhausted and not self._n_ready)
        return is_read and not self._is_feeding

    def _end_if_done(self) -> None:
        if self._is_over() and not self._n_unfinished and not self.is_over.is_set():
            self.is_over.set()
            self._changed.notify_all()
            self._announce_end()

    def count_ready(self) -> int:
        """Return how many works were read and not begun."""
        return self._n_ready
