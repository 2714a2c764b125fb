import threading

import pytest

from pollux_sync.engine.threads import STRETCH_S, wait_for


def test_waits_in_stretches_until_it_is_over():
    stretches = []

    def wait(wait_s):
        stretches.append(wait_s)
        return len(stretches) == 3

    assert wait_for(wait)
    assert stretches == [STRETCH_S] * 3


@pytest.mark.parametrize("timeout_s", [-1.0, 0.0, 0.01])
def test_gives_up_after_the_time(timeout_s):
    stretches = []
    assert not wait_for(stretches.append, timeout_s)
    assert stretches == [pytest.approx(max(timeout_s, 0.0), abs=0.01)]


def test_waits_for_an_event():
    event = threading.Event()
    assert not wait_for(event.wait, 0.01)
    event.set()
    assert wait_for(event.wait)
