"""Calls wait until they fit into the minute, or until a quota of the provider is whole again."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from pollux_limit.windows import Entry, Window
from pollux_sync.plugin import (
    APIError,
    PolluxError,
    RateLimitError,
    Reply,
    check_number,
    check_seconds,
    hookimpl,
    read_number,
    wait_for,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from pollux_sync.plugin import Attempt, Call, Delta, EventStream, Hooks, HttpResponse, RateLimits, Usage

#: A wait that is shorter is not worth a note.
_NOTED_S = 0.01


class Limit:
    """Lets at most so many requests and tokens through in any minute, for each model, in all threads of the process.

    * ``requests_per_minute``, ``tokens_per_minute``: the limits. Default: POLLUX_LIMIT_REQUESTS_PER_MINUTE and
      POLLUX_LIMIT_TOKENS_PER_MINUTE, else none. The tokens of a call are estimated before it is sent, and corrected by
      its answer. A retry waits as a call does.
    * ``max_wait_s``: how long a call, or a retry, may wait. Default: the ``timeout_s`` of its configuration.

    When an answer says that a quota of the provider is used up, calls wait until it is whole again.
    """

    def __init__(
        self,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        *,
        max_wait_s: float | None = None,
    ) -> None:
        self._requests_per_minute = _read_limit("requests_per_minute", requests_per_minute)
        self._tokens_per_minute = _read_limit("tokens_per_minute", tokens_per_minute)
        if max_wait_s is not None:
            check_seconds("max_wait_s", max_wait_s)
        self._max_wait_s = max_wait_s
        self._lock = threading.Lock()
        self._meters: dict[str, _Meter] = {}
        # The passage of the call that a thread sends.
        self._local = threading.local()

    @hookimpl
    def pollux_call(self, call: Call, proceed: Callable[[Call], Reply], hooks: Hooks, stop: threading.Event) -> Reply:
        passage = self._pass(call, hooks, stop)
        try:
            with self._admit(passage):
                reply = proceed(call)
        except PolluxError as error:
            self._settle_failure(passage, error)
            raise
        return self._settle(passage, reply, hooks)

    @hookimpl
    def pollux_call_stream(
        self, call: Call, proceed: Callable[[Call], Iterator[Delta | Reply]], hooks: Hooks, stop: threading.Event
    ) -> Iterator[Delta | Reply]:
        passage = self._pass(call, hooks, stop)
        items = iter(proceed(call))
        try:
            while True:
                # Not while the caller has the item: it may read another stream in this thread.
                with self._admit(passage):
                    item = next(items, None)
                if item is None:
                    return
                yield self._settle(passage, item, hooks) if isinstance(item, Reply) else item
        except PolluxError as error:
            self._settle_failure(passage, error)
            raise

    @hookimpl(wrapper=True)
    def pollux_send(self) -> Generator[None, HttpResponse, HttpResponse]:
        self._count_attempt()
        return (yield)

    @hookimpl(wrapper=True)
    def pollux_stream(self) -> Generator[None, EventStream, EventStream]:
        self._count_attempt()
        return (yield)

    @contextmanager
    def _admit(self, passage: _Passage) -> Iterator[None]:
        """Count what this thread sends in the block as attempts at one call."""
        outer = getattr(self._local, "passage", None)
        self._local.passage = passage
        try:
            yield
        finally:
            self._local.passage = outer

    def _count_attempt(self) -> None:
        """Count an attempt at the call of this thread. The first has its place; each other one waits as a call does."""
        passage: _Passage | None = getattr(self._local, "passage", None)
        if passage is None:
            return
        if passage.n_sent:
            self._wait_in(passage)
        passage.n_sent += 1

    def _pass(self, call: Call, hooks: Hooks, stop: threading.Event) -> _Passage:
        """Wait until the call may be sent. Raises RateLimitError if that takes too long, APIError after a stop."""
        limit_s = hooks.config.timeout_s if self._max_wait_s is None else self._max_wait_s
        passage = _Passage(self._find_meter(call.model), self._estimate(call, hooks), limit_s, stop)
        self._wait_in(passage)
        return passage

    def _wait_in(self, passage: _Passage) -> None:
        """Take a place for one attempt, and wait for it. Raises as `_pass`."""
        started = time.monotonic()
        passage.is_refused = True
        with self._lock:
            place = passage.take_place(started)
        try:
            _wait_for_start(place, passage, started)
        except BaseException:
            with self._lock:
                passage.leave_place(place)
            raise
        passage.is_refused = False
        passage.waited_s += time.monotonic() - started

    def _find_meter(self, model: str) -> _Meter:
        with self._lock:
            if model not in self._meters:
                self._meters[model] = _Meter(Window(self._requests_per_minute), Window(self._tokens_per_minute))
            return self._meters[model]

    def _estimate(self, call: Call, hooks: Hooks) -> int:
        if self._tokens_per_minute is None:
            return 0
        estimate = hooks.estimate_tokens(call)
        return estimate.input_tokens + estimate.output_tokens

    def _settle(self, passage: _Passage, reply: Reply, hooks: Hooks) -> Reply:
        """Correct what was counted by what the answer says, and return the reply with a note of the wait."""
        limits = None if reply.response is None else hooks.read_rate_limits(reply.response)
        now = time.monotonic()
        with self._lock:
            passage.correct(reply.attempts, _count_tokens(reply.usage))
            if limits is not None:
                passage.meter.pause(now + _find_reset(limits))
        return reply if passage.waited_s < _NOTED_S else reply.add_note("limit", {"waited_s": passage.waited_s})

    def _settle_failure(self, passage: _Passage, error: PolluxError) -> None:
        # What this object has refused itself says nothing of the provider.
        wait_s = error.retry_after_s if isinstance(error, RateLimitError) and not passage.is_refused else None
        with self._lock:
            # What a failed call took is not known.
            passage.correct(error.attempts, None)
            passage.meter.pause(time.monotonic() + (wait_s or 0.0))


@attrs.define
class _Meter:
    """The requests and tokens of one model, and until when its calls wait for the provider's own quotas."""

    requests: Window
    tokens: Window
    paused_until: float = 0.0

    def find_time(self, n_tokens: int, now: float) -> float:
        """Return when a call of so many tokens fits."""
        return self.tokens.find_time(n_tokens, self.requests.find_time(1, max(now, self.paused_until)))

    def pause(self, until: float) -> None:
        """Let no call through before ``until``."""
        self.paused_until = max(self.paused_until, until)


@attrs.define(eq=False)
class _Place:
    """One attempt, as it is counted."""

    meter: _Meter
    request: Entry
    tokens: Entry

    def find_start(self) -> float:
        """Return when the attempt may be sent, a reading of the monotonic clock."""
        return max(self.request.at, self.tokens.at, self.meter.paused_until)

    def change(self, n_requests: int, n_tokens: int | None) -> None:
        """Correct what is counted; None leaves the tokens as they are."""
        self.meter.requests.change(self.request, n_requests)
        if n_tokens is not None:
            self.meter.tokens.change(self.tokens, n_tokens)


@attrs.define
class _Passage:
    """One call that was let through, with a place for each of its attempts. The owner's lock guards it."""

    meter: _Meter
    n_tokens: int
    limit_s: float
    stop: threading.Event
    n_sent: int = 0
    is_refused: bool = False
    waited_s: float = 0.0
    places: list[_Place] = attrs.field(factory=list)

    def take_place(self, now: float) -> _Place:
        """Return the next place that is free. Raises RateLimitError if that would be too late."""
        meter = self.meter
        at = meter.find_time(self.n_tokens, now)
        _check_wait(at - now, self.limit_s)
        self.places.append(_Place(meter, meter.requests.add(1, at), meter.tokens.add(self.n_tokens, at)))
        return self.places[-1]

    def leave_place(self, place: _Place) -> None:
        """Give back a place that was not used."""
        place.change(0, 0)
        self.places.remove(place)

    def correct(self, attempts: tuple[Attempt, ...], n_tokens: int | None) -> None:
        """Count the call by its attempts, of which an answer from a cache has none, and by its tokens."""
        if not self.places:
            return
        first, *others = self.places
        # A repair is an attempt at the same call, and its tokens are in the usage of the answer.
        first.change((self.n_sent or len(attempts)) - len(others), n_tokens)
        for place in others:
            place.change(1, None if n_tokens is None else 0)


def _wait_for_start(place: _Place, passage: _Passage, started: float) -> None:
    # Looked at again after each wait: an answer may have come meanwhile that asks for a longer one.
    while (until := place.find_start()) > time.monotonic():
        _check_wait(until - started, passage.limit_s)
        if wait_for(passage.stop.wait, until - time.monotonic()):
            raise APIError("interrupted before it was sent", phase="generate")


def _read_limit(name: str, value: float | None) -> float | None:
    limit = read_number(f"POLLUX_LIMIT_{name.upper()}") if value is None else value
    if limit is not None:
        check_number(name, limit, minimum=0, above=True)
    return limit


def _count_tokens(usage: Usage) -> int | None:
    if usage.total_tokens is not None:
        return usage.total_tokens
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    return usage.input_tokens + usage.output_tokens


def _find_reset(limits: RateLimits) -> float:
    """Return the seconds until every quota has something left, 0 if each has."""
    quotas = (limits.requests, limits.tokens, limits.input_tokens, limits.output_tokens)
    return max((quota.reset_s or 0.0 for quota in quotas if quota is not None and quota.remaining == 0), default=0.0)


def _check_wait(wait_s: float, limit_s: float) -> None:
    if wait_s > limit_s:
        raise RateLimitError(
            f"not sent: the limit would have it wait {wait_s:.1f} s, more than the {limit_s:g} s that it may",
            hint="raise max_wait_s or the limits of pollux-limit, or send fewer calls",
            kind="rate_limit",
            retry_after_s=wait_s,
            phase="generate",
        )
