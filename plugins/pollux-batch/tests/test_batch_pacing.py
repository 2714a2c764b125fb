"""How near a scope comes to what a provider takes, in simulated time: no call is made, and nobody waits."""

import heapq
import random
import time
from collections import Counter, deque

import pytest

from pollux_batch import Limits, Retries
from pollux_batch.limiting import Scope
from pollux_batch.pacing import Pacer

#: The calls a second that the simulated providers take.
RATE = 50
REFUSAL_S = 0.002


class BucketProvider:
    """Lets through at once what its bucket holds, which refills steadily."""

    def __init__(self, burst, rate=RATE):
        self.rate, self.burst, self.level, self.at = rate, burst, burst, 0.0

    def takes(self, now):
        self.level = min(self.burst, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level < 1:
            return False
        self.level -= 1
        return True


class FixedWindows:
    """Takes so many calls between two full seconds."""

    def __init__(self):
        self.taken = Counter()

    def takes(self, now):
        if self.taken[int(now)] >= RATE:
            return False
        self.taken[int(now)] += 1
        return True


class SlidingWindow:
    """Takes so many calls in any second."""

    def __init__(self):
        self.taken = deque()

    def takes(self, now):
        while self.taken and now - self.taken[0] >= 1.0:
            self.taken.popleft()
        if len(self.taken) >= RATE:
            return False
        self.taken.append(now)
        return True


class Simulation:
    """A scope with always more to send than it may, and a provider that answers after ``latency_s``."""

    def __init__(self, provider, *, latency_s=0.05, retry_after_s=1.0, outage=(0.0, 0.0), workers=64):
        self.provider, self.latency_s, self.retry_after_s, self.outage = provider, latency_s, retry_after_s, outage
        self.base = time.monotonic()
        self.scope = Scope("s", Limits(), Retries(), ceiling=workers)
        self.random = random.Random(7)  # noqa: S311 - the delays of threads
        self.events = []
        self.now = 0.0
        #: The answers of each second.
        self.answered = Counter()
        self.n_refused = 0

    def run(self, until):
        """Go on until a time, or until so many answers have come."""
        while not until(self):
            if self.scope.admit(0, self.base + self.now):
                self.push(self.random.uniform(0.0002, 0.001), self.arrive, self.scope.incident)
                continue
            next_at = self.scope.next_at - self.base + self.random.uniform(0.0, 0.001)
            if self.events and self.events[0][0] <= next_at:
                self.now, _, happen, incident = heapq.heappop(self.events)
                happen(incident)
            else:
                self.now = max(self.now + 0.0001, next_at)
        return self

    def push(self, after_s, happen, incident):
        heapq.heappush(self.events, (self.now + after_s, self.random.random(), happen, incident))

    def arrive(self, incident):
        if self.outage[0] < self.now < self.outage[1]:
            self.push(REFUSAL_S, self.fail, incident)
        elif self.provider.takes(self.now):
            self.push(self.latency_s, self.answer, incident)
        else:
            self.push(REFUSAL_S, self.refuse, incident)

    def answer(self, _):
        self.scope.end()
        self.scope.record_answer(self.base + self.now)
        self.answered[int(self.now)] += 1

    def refuse(self, incident):
        self.scope.end()
        self.scope.record_throttle(self.retry_after_s, incident, self.base + self.now)
        self.n_refused += 1

    def fail(self, _):
        self.scope.end()
        self.scope.record_overload(self.base + self.now)

    @property
    def n_answered(self):
        return self.answered.total()


def has_answered(count):
    return lambda simulation: simulation.n_answered >= count


@pytest.fixture
def pacer():
    """Return the pacer of a scope that was refused once, and whose pause is over after two seconds."""
    pacer = Pacer()
    for call in range(10):
        pacer.record_send(call * 0.1)
    pacer.record_refusal()
    assert pacer.wait_s(2.0) == 0
    return pacer


PROVIDERS = {
    "a bucket of 10": lambda: BucketProvider(10),
    "a bucket of 25": lambda: BucketProvider(25),
    "a bucket of 50": lambda: BucketProvider(50),
    "a bucket of 100": lambda: BucketProvider(100),
    "fixed windows": FixedWindows,
    "a sliding window": SlidingWindow,
}


@pytest.mark.parametrize("retry_after_s", [1.0, None])
@pytest.mark.parametrize("latency_s", [0.005, 0.05])
@pytest.mark.parametrize("name", PROVIDERS)
def test_reaches_nine_tenths_of_the_rate_with_few_refusals(name, latency_s, retry_after_s):
    simulation = Simulation(PROVIDERS[name](), latency_s=latency_s, retry_after_s=retry_after_s)

    simulation.run(has_answered(2_000))

    assert simulation.n_answered / simulation.now > 0.9 * RATE
    assert simulation.n_refused < 0.02 * 2_000


def test_is_refused_seldom_in_the_long_run():
    simulation = Simulation(BucketProvider(10)).run(has_answered(10_000))

    assert simulation.n_answered / simulation.now > 0.9 * RATE
    assert simulation.n_refused < 0.005 * 10_000


def test_is_back_two_seconds_after_an_outage():
    simulation = Simulation(BucketProvider(50), outage=(5.0, 15.0)).run(has_answered(2_000))

    assert not any(simulation.answered[second] for second in range(6, 15))
    # A provider that is down is asked every two seconds.
    assert simulation.answered[17] > 0.9 * RATE


def test_follows_a_rate_that_falls_and_comes_back():
    provider = BucketProvider(25)
    simulation = Simulation(provider).run(lambda simulation: simulation.now > 10)
    provider.rate = 10
    simulation.run(lambda simulation: simulation.now > 40)
    fallen = sum(simulation.answered[second] for second in range(20, 40)) / 20
    provider.rate = RATE
    simulation.run(lambda simulation: simulation.now > 150)
    restored = sum(simulation.answered[second] for second in range(120, 150)) / 30

    assert 0.9 * 10 < fallen <= 1.1 * 10
    assert restored > 0.9 * RATE
    assert simulation.n_refused < 0.02 * simulation.n_answered


def test_takes_a_late_refusal_for_one_of_the_pause_before():
    simulation = Simulation(BucketProvider(10)).run(has_answered(500))
    before = simulation.scope.incident
    simulation.scope.record_throttle(0.1, before, simulation.base + simulation.now)
    for count in range(550, 1_050, 50):
        simulation.run(has_answered(count))
        simulation.scope.record_throttle(None, before, simulation.base + simulation.now)
    began = simulation.now
    simulation.run(has_answered(1_200))

    assert 200 / (simulation.now - began) > 0.85 * RATE


def test_does_not_go_up_while_nobody_asks(pacer):
    pacer.record_send(2.0)
    assert pacer.wait_s(2.0) > 0
    assert pacer.wait_s(5_000.0) == 0
    pacer.record_send(5_000.0)
    assert pacer.wait_s(5_000.0) > 0.05


def test_does_not_go_up_while_nothing_is_held_back(pacer):
    for second in range(3, 1_000):
        assert pacer.wait_s(second) == 0
        pacer.record_send(second)
    # Nine calls were taken in 0.9 seconds and a pause of 1.1.
    assert pacer.wait_s(999.0) == pytest.approx(1 / 4.5, rel=0.1)
