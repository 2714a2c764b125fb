"""Ctrl-C at any moment leaves no lock taken."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

N_INTERRUPTS = 200

#: What one thread does again and again until it is interrupted, and what another must be able to do after it.
CASES = {
    "Scheduler": """
from pollux_batch.scheduling import Scheduler
built = Scheduler(2, lambda: None, lambda work: None, lambda: False, lambda: None)
act, finish = built.wake, built.wake
""",
    "Outbox": """
from pollux_batch.delivering import Outbox
built = Outbox(is_ordered=False, changed=lambda: None)
act, finish = lambda: built.take(0.001), lambda: built.put([])
""",
    "Latch": """
from pollux_batch.waiting import Latch
built = Latch()
act, finish = lambda: built.wait(0.0001), built.set
""",
    "Inbox": """
from pollux_batch.receiving import Inbox
built = Inbox(0)
act, finish = built.note_begun, built.close
""",
    "Dispatcher": """
from pollux_batch.observing import BaseObserver, Dispatcher, ProcessingEvent
built = Dispatcher([BaseObserver()])
act, finish = lambda: built.emit(ProcessingEvent.BATCH_STARTED), lambda: built.close(0.1)
""",
}

INTERRUPTED = """
import _thread, os, sys, threading, time
from queue import SimpleQueue

asked = SimpleQueue()

def interrupt():
    for index in range(int(sys.argv[1])):
        asked.get()
        time.sleep(index % 50 * 0.00001)
        _thread.interrupt_main()

threading.Thread(target=interrupt, daemon=True).start()
for _ in range(int(sys.argv[1])):
    try:
        asked.put(None)
        while True:
            act()
    except KeyboardInterrupt:
        pass
other = threading.Thread(target=finish, daemon=True)
other.start()
other.join(10)
os._exit(1 if other.is_alive() else 0)
"""


@pytest.mark.parametrize("name", CASES)
def test_ctrl_c_leaves_no_lock_taken(name):
    # Not measured: coverage takes a lock of its own in Python, which Ctrl-C leaves taken.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}
    command = [sys.executable, "-c", CASES[name] + INTERRUPTED, str(N_INTERRUPTS)]
    subprocess.run(command, env=environment, check=True, timeout=60)
