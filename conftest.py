"""Settings for all tests, those of the plugins included."""

import os
import random
import signal
import tempfile
from pathlib import Path

import attrs
import certifi
import pytest

pytest.register_assert_rewrite("pollux_sync.testing.contract")

# What a shell starts in the background ignores Ctrl-C, and hands that on to the processes that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

_END = "-----END CERTIFICATE-----\n"


#: Tests that meet every fault at every request of a job, or every form of an error inside a stream. Clients that are
#: handed over carry the same requests as the core's own, and meet every fault in other tests.
_FAULT_MATRICES = (
    "test_a_fault_at_any_request_of_a_submission",
    "test_a_fault_while_a_job_is_read",
    "test_tells_an_error_inside_a_stream",
)


#: Tests that run others once more: with the oldest SDK that a plugin admits, with the oldest packages of the core.
_RERUNS = ("test_oldest_sdk", "test_oldest_dependencies_give_the_same", "test_oldest_are_those")
#: Tests of workflows over processes that are killed, frozen or told to end. What each shows, a shorter one shows in one
#: process, or on the other database.
_PROCESSES = (
    "test_a_frozen_worker_is_fenced_when_it_wakes",
    "test_a_run_is_taken_over_from_a_killed_worker[postgresql]",
    "test_a_run_goes_on_after_a_kill_when_a_worker_is_started[postgresql]",
    "test_a_topic_is_followed_through_another_process[postgresql]",
    "test_many_suspended_runs_hold_no_thread_and_are_answered[postgresql]",
    "test_asks_a_changed_question_anew_if_told_so",
    "test_shows_what_was_changed_between_kill_and_resume",
    "test_two_processes_on_one_file",
    "test_pause_holds_in_another_process",
    "test_a_worker_that_is_told_to_end_waits_for_the_step_in_flight",
    "test_a_second_signal_ends_a_worker_at_once",
    "test_a_workflow_of_another_version_is_not_carried_out",
    "test_gives_runs_back_that_belong_to_another_program",
)


# Before pytest deselects by marks.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Leave the longest tests with clients that are handed over to the soak."""
    for item in items:
        is_matrix = item.name.startswith(_FAULT_MATRICES) and item.callspec.params["client_kind"] != "direct"
        if is_matrix or item.name.startswith((*_RERUNS, *_PROCESSES)):
            item.add_marker("soak")


def pytest_configure(config):
    """Let clients trust one authority only: no test uses TLS, and loading all takes each client 75 ms."""
    first = Path(certifi.where()).read_text(encoding="utf-8").partition(_END)
    with tempfile.NamedTemporaryFile("w", suffix=".pem", delete=False) as file:
        file.write(first[0] + first[1])
    config.add_cleanup(lambda: Path(file.name).unlink(missing_ok=True))
    os.environ["SSL_CERT_FILE"] = file.name


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
