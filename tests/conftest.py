"""Settings for all tests."""

import os
import random
import signal

import attrs
import pytest

# What a shell starts in the background ignores Ctrl-C, and hands that on to the processes that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@attrs.frozen
class Soak:
    """The rounds and the random source of a soak. The same seed and rounds repeat the same run."""

    rounds: int
    draw: random.Random


@pytest.fixture
def soak():
    """Return the soak that `make soak` asks for."""
    rounds, seed = int(os.environ.get("SOAK_ROUNDS", "10")), int(os.environ.get("SOAK_SEED", "20261121"))
    return Soak(rounds=rounds, draw=random.Random(seed))  # noqa: S311 - what a test draws is no secret
