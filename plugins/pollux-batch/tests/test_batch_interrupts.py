"""Ctrl-C at any moment leaves no lock taken."""

from __future__ import annotations

import _thread
import threading
import time
from queue import SimpleQueue

import pytest

from pollux_batch.delivering import Outbox
from pollux_batch.observing import BaseObserver, Dispatcher, ProcessingEvent
from pollux_batch.receiving import Inbox
from pollux_batch.scheduling import Scheduler
from pollux_batch.waiting import Latch

N_INTERRUPTS = 200


def scheduler():
    built = Scheduler(2, lambda: None, lambda work: None, lambda: False, lambda: None)
    return built.wake, built.wake


def outbox():
    built = Outbox(is_ordered=False, changed=lambda: None)
    return lambda: built.take(0.001), lambda: built.put([])


def latch():
    built = Latch()
    return lambda: built.wait(0.0001), built.set


def inbox():
    built = Inbox(0)
    return built.note_begun, built.close


def dispatcher():
    built = Dispatcher([BaseObserver()])
    return lambda: built.emit(ProcessingEvent.BATCH_STARTED), lambda: built.close(0.1)


def act_until_interrupted(act, asked):
    # In here, so that none comes outside.
    asked.put(None)
    while True:
        act()


@pytest.mark.parametrize("build", [scheduler, outbox, latch, inbox, dispatcher])
def test_ctrl_c_leaves_no_lock_taken(build):
    act, finish = build()
    asked = SimpleQueue()

    def interrupt():
        for index in range(N_INTERRUPTS):
            asked.get()
            time.sleep((index % 50) * 0.00001)
            _thread.interrupt_main()

    threading.Thread(target=interrupt, daemon=True).start()
    for _ in range(N_INTERRUPTS):
        with pytest.raises(KeyboardInterrupt):
            act_until_interrupted(act, asked)
    other = threading.Thread(target=finish, daemon=True)
    other.start()
    other.join(5)
    assert not other.is_alive()
