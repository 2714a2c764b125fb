"""The bell of queues: rung for, looked at, ended."""

import threading
import time

import pytest

from pollux_durable import ringing
from pollux_durable.ringing import QueueBell

FOREVER_S = 3600.0


class Queues:
    """Threads that wait as those of DBOS do, for a bell that is told which queues have runs."""

    def __init__(self):
        self.with_runs = set()
        self.looks = 0
        self.stop = threading.Event()
        self.bell = QueueBell(self._has_runs)
        self.bell.hang(self.stop)

    def _has_runs(self, queue):
        self.looks += 1
        return queue in self.with_runs

    def wait(self, name, timeout=ringing.POLL_S):
        """Wait in a thread of that name; return the thread, which has its result in ``ended``."""
        thread = threading.Thread(target=lambda: setattr(thread, "ended", self.stop.wait(timeout=timeout)), name=name)
        thread.ended = None
        thread.start()
        return thread


@pytest.fixture
def bell():
    queues = Queues()
    yield queues
    queues.stop.set()


@pytest.fixture
def patient(monkeypatch):
    """Nothing is looked at unless the bell is rung."""
    monkeypatch.setattr(ringing, "POLL_S", FOREVER_S)
    monkeypatch.setattr(ringing, "_LONGEST_S", FOREVER_S)


def test_queue_that_is_rung_for_is_looked_at(bell, patient):
    thread = bell.wait("queue-worker-mail")
    bell.with_runs.add("mail")
    bell.bell.ring(["mail"])
    thread.join(10)
    assert thread.ended is False


def test_ring_that_came_before_the_wait_counts(bell, patient):
    bell.with_runs.add("mail")
    bell.bell.ring(["mail"])
    thread = bell.wait("queue-worker-mail")
    thread.join(10)
    assert thread.ended is False


def test_queue_that_others_put_runs_into_is_looked_at(bell):
    thread = bell.wait("queue-worker-mail")
    bell.with_runs.add("mail")
    thread.join(10)
    assert thread.ended is False


def test_rings_that_come_together_are_one_look(bell, patient):
    thread = bell.wait("queue-worker-mail")
    for _ in range(100):
        bell.bell.ring(["mail"])
    bell.with_runs.add("mail")
    bell.bell.ring(["mail"])
    thread.join(10)
    assert thread.ended is False
    assert bell.looks < 10


def test_queue_without_runs_is_handed_on_at_times_so_that_its_limits_are_read(bell, monkeypatch):
    monkeypatch.setattr(ringing, "_LONGEST_S", 0.3)
    thread = bell.wait("queue-worker-mail")
    thread.join(10)
    assert thread.ended is False


@pytest.mark.parametrize("name", ["queue-worker-mail", "queue-worker-_dbos_internal_queue", "manager"])
def test_end_ends_every_wait(bell, patient, name):
    thread = bell.wait(name, timeout=ringing.POLL_S if name == "queue-worker-mail" else FOREVER_S)
    bell.stop.set()
    thread.join(10)
    assert thread.ended is True


def test_new_queues_are_found_when_it_is_rung_for_none(bell, patient):
    thread = bell.wait("manager", timeout=FOREVER_S)
    bell.bell.ring()
    thread.join(10)
    assert thread.ended is False


def test_longer_wait_of_a_queue_that_another_process_has_taken_is_kept(bell, patient):
    bell.with_runs.add("mail")
    bell.bell.ring(["mail"])
    thread = bell.wait("queue-worker-mail", timeout=2.5 * FOREVER_S)
    thread.join(0.3)
    assert thread.is_alive()


def answer(bell, count):
    for _ in range(count):
        bell.bell.note_answer()
    bell.with_runs.add("mail")
    bell.bell.ring(["mail"])


def test_runs_start_after_answers_that_come_together(bell, patient, monkeypatch):
    monkeypatch.setattr(ringing, "_TOGETHER_S", 0.5)
    thread = bell.wait("queue-worker-mail")
    answer(bell, 2)
    thread.join(0.2)
    assert thread.is_alive()
    thread.join(10)
    assert thread.ended is False


@pytest.mark.parametrize(("count", "longest_s"), [(1, FOREVER_S), (5, 0.0)])
def test_one_answer_holds_no_run_and_many_do_for_a_limited_time(bell, patient, monkeypatch, count, longest_s):
    monkeypatch.setattr(ringing, "_LONGEST_HOLD_S", longest_s)
    answer(bell, count)
    assert bell.bell._held_until <= time.monotonic()
    thread = bell.wait("queue-worker-mail")
    thread.join(10)
    assert thread.ended is False


def test_the_end_ends_a_hold(bell, patient, monkeypatch):
    monkeypatch.setattr(ringing, "_LONGEST_HOLD_S", FOREVER_S)
    monkeypatch.setattr(ringing, "_TOGETHER_S", 60.0)
    thread = bell.wait("queue-worker-mail")
    answer(bell, 2)
    bell.stop.set()
    thread.join(10)
    assert thread.ended is True
