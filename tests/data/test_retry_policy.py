import copy
import pickle

import attrs
import pytest

from pollux_sync import ConfigurationError, PolluxError, RetryPolicy


def test_policy_tries_twice_within_fifteen_seconds_by_default():
    assert attrs.astuple(RetryPolicy()) == (2, 0.5, 2.0, 5.0, True, 15.0, False)


WRONG = [
    ("max_attempts", 0),
    ("max_attempts", -1),
    ("max_attempts", True),
    ("max_attempts", 2.0),
    ("max_attempts", "2"),
    ("max_attempts", None),
    ("initial_delay_s", -0.1),
    ("initial_delay_s", True),
    ("initial_delay_s", "1"),
    ("initial_delay_s", float("nan")),
    ("backoff_multiplier", 0),
    ("backoff_multiplier", -2),
    ("backoff_multiplier", float("inf")),
    ("max_delay_s", -1),
    ("max_delay_s", float("inf")),
    ("max_delay_s", None),
    ("jitter", 1),
    ("jitter", None),
    ("max_elapsed_s", -0.1),
    ("max_elapsed_s", False),
    ("max_elapsed_s", "15"),
    ("max_elapsed_s", float("nan")),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong_value_is_refused_by_the_name_of_its_field(name, value):
    with pytest.raises(ConfigurationError, match=f"^{name} must be "):
        RetryPolicy(**{name: value})


@pytest.mark.parametrize("error_type", [PolluxError, ValueError])
def test_refusal_is_caught_by_old_and_new_handlers(error_type):
    with pytest.raises(error_type):
        RetryPolicy(max_attempts=0)


def test_hint_names_the_valid_values():
    with pytest.raises(ConfigurationError) as caught:
        RetryPolicy(max_attempts=0)
    assert caught.value.hint == "pass a whole number of at least 1"


def test_refusal_of_an_infinite_delay_says_that_it_must_be_finite():
    with pytest.raises(ConfigurationError, match="finite"):
        RetryPolicy(max_delay_s=float("inf"))


@pytest.mark.parametrize("name", ["initial_delay_s", "backoff_multiplier", "max_delay_s", "max_elapsed_s"])
def test_integer_too_large_for_a_float_is_refused(name):
    with pytest.raises(ConfigurationError, match=name):
        RetryPolicy(**{name: 10**400})


@pytest.mark.parametrize(
    "bound", [{"max_attempts": 1}, {"initial_delay_s": 0}, {"max_delay_s": 0}, {"max_elapsed_s": 0}]
)
def test_bound_itself_is_allowed(bound):
    assert RetryPolicy(**bound)


def test_no_time_limit_is_none():
    assert RetryPolicy(max_elapsed_s=None).max_elapsed_s is None


def test_wait_grows_by_the_multiplier_up_to_the_limit():
    policy = RetryPolicy(jitter=False)
    assert [policy.backoff_s(retry) for retry in range(1, 7)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_wait_may_shrink():
    policy = RetryPolicy(initial_delay_s=4, backoff_multiplier=0.5, jitter=False)
    assert [policy.backoff_s(retry) for retry in (1, 2, 3)] == [4, 2, 1]


def test_jitter_stays_between_nothing_and_the_full_wait():
    policy = RetryPolicy(initial_delay_s=1, max_delay_s=3)
    assert all(0 <= policy.backoff_s(retry) <= min(3, 2 ** (retry - 1)) for retry in range(1, 200))


def test_jitter_spreads_the_waits():
    policy = RetryPolicy()
    assert len({policy.backoff_s(3) for _ in range(20)}) > 1


@pytest.mark.parametrize("multiplier", [2, 2.0, 1.5])
def test_wait_before_an_absurd_retry_is_the_limit(multiplier):
    policy = RetryPolicy(backoff_multiplier=multiplier, jitter=False)
    assert policy.backoff_s(1_000_000) == 5.0


def test_wait_before_an_absurd_retry_may_vanish():
    assert RetryPolicy(backoff_multiplier=0.5, jitter=False).backoff_s(1_000_000) == 0


def test_no_wait_stays_none_however_often_it_is_retried():
    policy = RetryPolicy(initial_delay_s=0, backoff_multiplier=2.0, jitter=False)
    assert policy.backoff_s(1_000_000) == 0


def test_policy_is_frozen():
    with pytest.raises(AttributeError):
        RetryPolicy().max_attempts = 3


def test_changed_policy_is_checked_again():
    with pytest.raises(ConfigurationError):
        attrs.evolve(RetryPolicy(), max_attempts=0)


def test_equal_policies_hash_alike():
    assert len({RetryPolicy(), RetryPolicy(), RetryPolicy(max_attempts=3)}) == 2


def test_policy_survives_copying_and_pickling():
    policy = RetryPolicy(max_attempts=5, max_elapsed_s=None)
    assert copy.deepcopy(policy) == pickle.loads(pickle.dumps(policy)) == policy  # noqa: S301 - our own bytes
