"""Ctrl-C at any moment leaves no lock taken, and loses no result."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from dis import opname
from itertools import count

import pytest

from pollux_batch import WorkItemResult, delivering
from pollux_batch.delivering import Outbox, drain

N_INTERRUPTS = 200

#: What one thread does again and again until it is interrupted, and what another must be able to do after it.
CASES = {
    "Scheduler": """
from pollux_batch.scheduling import Scheduler
built = Scheduler(2, lambda: None, lambda work: None, lambda: False, lambda: None)
act, finish = built.wake, built.wake
""",
    "Outbox": """
from collections import deque
from pollux_batch.delivering import Outbox
built = Outbox(is_ordered=False, changed=lambda: None)
act, finish = lambda: built.take(deque(), 0.001), lambda: built.put([])
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


def interrupt(act, number):
    """Raise KeyboardInterrupt at one of the places in ``act`` where Python acts on Ctrl-C; return whether it has it."""
    places, before = count(), {}

    def trace(frame, event, argument):
        # Finalizers of others may be called meanwhile, in which an exception is lost.
        if frame.f_code is not act.__code__ and frame.f_code.co_filename != delivering.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            last, before[frame] = before.get(frame, ""), opname[frame.f_code.co_code[frame.f_lasti]]
            if last.startswith(("CALL", "JUMP_BACKWARD", "RESUME")) and next(places) == number:
                raise KeyboardInterrupt
        return trace

    tracer = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(tracer)
    return False


@pytest.mark.parametrize("is_ordered", [False, True])
def test_ctrl_c_loses_no_result_and_gives_none_twice(is_ordered):
    # In order they are held back until their release, since the first never comes.
    results = [WorkItemResult(item_id=str(n), success=True, submission_index=n) for n in (1, 2, 3)]
    for number in count():
        outbox, taken, read = Outbox(is_ordered=is_ordered, changed=lambda: None), deque(), []
        outbox.put(results)

        def act(outbox=outbox, taken=taken, read=read):
            outbox.release()
            outbox.take(taken, 0.0)
            read.extend(drain(taken))

        was_interrupted = interrupt(act, number)
        act()
        assert [result.item_id for result in read] == ["1", "2", "3"]
        if not was_interrupted:
            break
    assert number > 10


@pytest.mark.parametrize("name", CASES)
def test_ctrl_c_leaves_no_lock_taken(name):
    # Not measured: coverage takes a lock of its own in Python, which Ctrl-C leaves taken.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}
    command = [sys.executable, "-c", CASES[name] + INTERRUPTED, str(N_INTERRUPTS)]
    subprocess.run(command, env=environment, check=True, timeout=60)
