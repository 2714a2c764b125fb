"""The amounts of a minute."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollux_limit.windows import Window


def place(window, amounts, at=0.0):
    """Add amounts as soon as each fits; return when that was."""
    times = []
    for amount in amounts:
        at = window.find_time(amount, at)
        window.add(amount, at)
        times.append(at)
    return times


def test_amounts_wait_for_the_oldest_to_leave():
    assert place(Window(2), [1, 1, 1, 1, 1]) == [0, 0, 60, 60, 120]


def test_amount_above_the_limit_goes_alone():
    assert place(Window(10), [1, 50, 1]) == [0, 60, 120]


def test_window_without_a_limit_holds_nothing_back():
    assert place(Window(None), [1e9] * 3) == [0, 0, 0]


def test_correction_makes_room():
    window = Window(10)
    entry = window.add(10, 0)
    assert window.find_time(5, 1) == 60
    window.change(entry, 5)
    assert window.find_time(5, 1) == 1


def test_correction_of_what_no_longer_counts_changes_nothing():
    window = Window(10)
    old = window.add(10, 0)
    window.add(10, 60)
    window.change(old, 0)
    assert window.find_time(1, 61) == 120


@given(
    limit=st.integers(1, 20),
    steps=st.lists(st.tuples(st.integers(1, 20), st.floats(0, 50)), max_size=40),
)
def test_no_minute_holds_more_than_the_limit(limit, steps):
    window, now, sent = Window(limit), 0.0, []
    for amount, pause in steps:
        now += pause
        at = window.find_time(amount, now)
        assert at >= now
        window.add(amount, at)
        sent.append((at, amount))
    for start, _ in sent:
        inside = [amount for at, amount in sent if start <= at < start + 60]
        assert sum(inside) <= limit or len(inside) == 1


@pytest.mark.parametrize("limit", [1, 3])
def test_times_are_in_order(limit):
    times = place(Window(limit), [1] * 10)
    assert times == sorted(times)
