"""The rate of calls that a provider takes, found from when it refuses.

Providers limit in two ways. A bucket refills steadily, and lets through at once what it holds; a window lets through so
many calls in each second or minute. Neither tells its numbers, but both tell when they are empty: at each refusal.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import deque
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The last calls tell the rate; more of them would only take longer to look at.
_MAX_SENT = 20_000
#: The first refusal is preceded by a burst: the rate before it counts over so long a time at most.
_LAST_S = 10.0
#: After the first refusal the pace doubles in this part of the time that the burst and its pause took, within bounds.
_DOUBLING, _LEAST_DOUBLING_S, _MAX_DOUBLING_S = 0.7, 0.5, 10.0
#: After others it is this part of the rate that was found: threads send a little too early or too late, and a window
#: that is nearly full does not take that. It goes up after a time, for a provider that takes more than it did.
_AIM, _STAY_S, _RISE_S = 0.97, 40.0, 10.0
#: Whoever is held back asks again sooner than this; after a longer time nobody was.
_MAX_HELD_S = 1.0
#: How long the windows of providers are.
_WINDOWS_S = (1.0, 10.0, 60.0)
#: A count below this one tells nothing.
_LEAST_COUNT = 5
#: What is left of a rate that was refused where nothing else tells how much is taken.
_BACK_OFF = 0.8
#: What is missing from a bucket is known to half a call.
_TOLERANCE = 0.5
#: So often the range of possible rates is halved.
_HALVINGS = 12
#: The calls of so many seconds may go at once.
_BURST_S = 0.01


class Bucket:
    """A quota that refills steadily: ``rate`` a second, up to ``burst`` at once. It may go below zero, as debt."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = max(burst, 1.0)
        self._level = self.burst
        self._at = now

    def wait_s(self, amount: float, now: float) -> float:
        """Return the seconds until ``amount`` can be taken, 0 if it can be now."""
        self._refill(now)
        # More than the bucket holds goes when it is full, and is paid for afterwards.
        missing = min(amount, self.burst) - self._level
        return missing / self.rate if missing > 0 else 0.0

    def take(self, amount: float) -> None:
        """Take an amount; a negative one gives back."""
        self._level = min(self.burst, self._level - amount)

    def _refill(self, now: float) -> None:
        if now > self._at:
            self._level = min(self.burst, self._level + (now - self._at) * self.rate)
            self._at = now


@attrs.frozen
class _Curve:
    """How the pace goes on until the next refusal: it stays, and then it doubles and doubles again."""

    rate: float
    stay_s: float
    doubling_s: float

    def read(self, past_s: float) -> float:
        """Return the calls a second after so long a time in which calls were held back."""
        times = max(0.0, past_s - self.stay_s) / self.doubling_s
        return self.rate * math.pow(2.0, min(times, 30.0))


class Pacer:
    """Keeps the calls of a scope at the rate that its provider takes. There is no pace before the first refusal."""

    def __init__(self) -> None:
        #: When the calls were sent that were not refused.
        self._sent: deque[float] = deque(maxlen=_MAX_SENT)
        self._n_refused = 0
        #: When the first call of each of the last two incidents was refused.
        self._refused_at: deque[float] = deque(maxlen=2)
        #: When the last pause was over.
        self._resumed_at = 0.0
        self._curve: _Curve | None = None
        self._bucket: Bucket | None = None
        #: How long calls have been held back, and since when they are.
        self._held_s = 0.0
        self._held_since: float | None = None

    def record_send(self, now: float) -> None:
        """Note that a call is sent."""
        self._sent.append(now)
        if self._bucket is not None:
            self._bucket.take(1.0)

    def record_refusal(self) -> None:
        """Note that a call was refused for the rate. The pace is found anew when the pause is over."""
        self._n_refused += 1
        self._held_since = None

    def wait_s(self, now: float) -> float:
        """Return the seconds until a call may go. A pause that was asked for is over."""
        if self._n_refused:
            self._find_rate(now)
        if self._bucket is None or self._curve is None:
            return 0.0
        if self._held_since is not None:
            self._held_s += min(now - self._held_since, _MAX_HELD_S)
        self._bucket.rate = self._curve.read(self._held_s)
        wait_s = self._bucket.wait_s(1.0, now)
        # A pace that holds nothing back has not been tried, and must not go up.
        self._held_since = now if wait_s > 0 else None
        return wait_s

    def _find_rate(self, now: float) -> None:
        # Those that were sent last are those that were refused; by now each of them has been.
        at = now
        for _ in range(min(self._n_refused, len(self._sent))):
            at = self._sent.pop()
        self._n_refused = 0
        sent = [*self._sent]
        resumed_at, self._resumed_at = self._resumed_at, now
        if self._curve is not None and not _count_sent(sent, resumed_at, at):
            # The pause was too short, which says nothing of the rate.
            return
        self._refused_at.append(at)
        if self._curve is None:
            self._set_first(sent, at, now)
            return
        pace = self._curve.read(self._held_s)
        rates = (
            _count_rate(sent, self._refused_at[0], at),
            _read_windows(sent, *self._refused_at),
            _fit_rate(sent, *self._refused_at, most=pace) or _count_rate(sent, resumed_at, at) * _BACK_OFF,
            # One that was going up had been taken until now, whatever was taken before.
            pace * _BACK_OFF if 0 < self._curve.stay_s < self._held_s else 0.0,
        )
        self._set(_Curve(min(pace, max(rates)) * _AIM, _STAY_S, _RISE_S), now)

    def _set_first(self, sent: Sequence[float], refused_at: float, now: float) -> None:
        """Begin with the rate of the burst and its pause together: no bucket and no window is slower than that."""
        start = max(refused_at - _LAST_S, sent[0] if sent else refused_at)
        past_s = max(now - start, 0.001)
        doubling_s = max(_LEAST_DOUBLING_S, min(past_s * _DOUBLING, _MAX_DOUBLING_S))
        rate = max(1, _count_sent(sent, start, refused_at)) / past_s
        self._set(_Curve(rate, 0.0, doubling_s), now)

    def _set(self, curve: _Curve, now: float) -> None:
        self._curve = curve
        self._held_s, self._held_since = 0.0, None
        self._bucket = Bucket(curve.read(0.0), 1.0 + curve.rate * _BURST_S, now)
        self._bucket.take(self._bucket.burst - 1.0)


def _read_windows(sent: Sequence[float], before: float, at: float) -> float:
    """Return the most calls a second that were taken in one whole window before both refusals, 0 if too few were."""
    counts = [
        (min(_count_sent(sent, end - window_s, end) for end in (before, at)), window_s)
        for window_s in _WINDOWS_S
        if at - before >= window_s
    ]
    return max((count / window_s for count, window_s in counts if count >= _LEAST_COUNT), default=0.0)


def _fit_rate(sent: Sequence[float], before: float, at: float, *, most: float) -> float | None:
    """Return the rate of a bucket that was empty at both refusals, None if that may be any up to ``most``.

    What was missing from the bucket must be the same at both: all of it. Where several will do, it is the highest.
    """
    low, high = 0.0, most
    for _ in range(_HALVINGS):
        rate = (low + high) / 2
        if _read_shortage(sent, at, rate) > _read_shortage(sent, before, rate) - _TOLERANCE:
            low = rate
        else:
            high = rate
    return high if high < most else None


def _read_shortage(sent: Sequence[float], until: float, rate: float) -> float:
    """Return how much was missing from a bucket, full at the beginning, that refills at a rate."""
    shortage, last = 0.0, sent[0] if sent else until
    for at in sent:
        if at > until:
            break
        shortage = max(0.0, shortage - (at - last) * rate) + 1.0
        last = at
    return max(0.0, shortage - (until - last) * rate)


def _count_rate(sent: Sequence[float], start: float, end: float) -> float:
    """Return the calls a second between two times: between two refusals no provider lets more through than its rate."""
    return _count_sent(sent, start, end) / max(end - start, 0.01)


def _count_sent(sent: Sequence[float], start: float, end: float) -> int:
    """Return how many calls were sent from ``start`` to ``end``."""
    return max(0, bisect_right(sent, end) - bisect_left(sent, start))
