"""Look-ups of lost jobs in lists: a job is found, is not there, or nothing can be said."""

import time
from email.utils import formatdate

import pytest

from pollux_sync import ConfigurationError
from pollux_sync.data.jobs import DeferredBatch, JobState
from pollux_sync.data.provider import HttpResponse
from pollux_sync.wire.faults import ReplyError
from pollux_sync.wire.lookups import ListedJob, choose_job, find_marked_jobs, is_older

NOW = time.time()
BATCH = DeferredBatch(path=None, model="m", first=0, request_count=3, n_bytes=9, mark="mine", created_at=NOW)
DAY_S = 86_400
MINE = ListedJob(remote="r", mark="mine", created_at=NOW)
DAMAGED = ListedJob(remote=None, is_readable=False)


def search(*pages):
    """Return the jobs that are found, and how many pages were read for it."""
    read = []

    def iter_pages():
        for page in pages:
            read.append(page)
            yield HttpResponse(status=200, headers={"date": formatdate(NOW, usegmt=True)}), page

    return find_marked_jobs(iter_pages(), BATCH), len(read)


def list_job(days, **fields):
    return ListedJob(remote="r", created_at=None if days is None else NOW - days * DAY_S, **fields)


def test_finds_a_job_by_its_mark_beside_entries_that_cannot_be_read():
    assert search([DAMAGED, list_job(0, mark="other"), MINE]) == ([MINE], 1)


def test_jobs_of_others_are_not_it():
    assert search([list_job(0), list_job(0, mark="other")], [list_job(0)]) == ([], 2)


def test_an_entry_that_cannot_be_read_may_be_the_job():
    with pytest.raises(ReplyError, match="1 entries in the list of jobs cannot be read"):
        search([DAMAGED, list_job(0)])


def test_an_entry_that_cannot_be_read_is_not_the_job_if_it_is_older():
    assert search([list_job(2, is_readable=False)]) == ([], 1)


@pytest.mark.parametrize(
    ("days", "n_read"),
    [
        ([[3, 4], [0]], 1),
        ([[0, 4], [0]], 2),
        ([[3], [4], [0]], 2),
        ([[3], [0], [4], [0]], 4),
        ([[9_999], [0]], 2),
        ([[3, 3], [0]], 2),
        ([[4, 3], [0]], 2),
        ([[None, None], [0]], 2),
        ([[None, 3, 4], [0]], 1),
    ],
)
def test_ends_at_older_jobs_only_where_the_list_shows_its_order(days, n_read):
    assert search(*([list_job(number) for number in page] for page in days)) == ([], n_read)


@pytest.mark.parametrize(("age_s", "expected"), [(0, False), (DAY_S, False), (DAY_S + 60, False), (90_000, True)])
def test_allows_the_clocks_a_day_of_difference(age_s, expected):
    assert is_older(1_764_000_000, 1_764_000_000.0 + age_s) is expected


def state(status, succeeded=0, ended_as=None):
    return JobState(status=status, provider_status=status, succeeded=succeeded, ended_as=ended_as)


@pytest.mark.parametrize(
    ("newer", "older", "expected"),
    [
        (state("cancelled"), state("running"), "older"),
        (state("running"), state("cancelling"), "newer"),
        (state("failed"), state("completed", 2), "older"),
        (state("completed", 2), state("completed", 2), "older"),
        (state("completed", 3), state("partial", 2, "completed"), "newer"),
        (state("partial", 1, "cancelled"), state("running"), "older"),
        (state("cancelled"), state("cancelled"), "newer"),
        (state("cancelled"), state("partial", 1, "expired"), "older"),
    ],
)
def test_chooses_the_job_that_answers(newer, older, expected):
    assert choose_job({"newer": newer, "older": older}) == expected


@pytest.mark.parametrize(
    ("older", "hint"),
    [("running", "cancel all but one of them, then"), ("completed", "cancel newer, then")],
)
def test_refuses_jobs_that_can_still_be_cancelled(older, hint):
    with pytest.raises(ConfigurationError, match="newer, older") as caught:
        choose_job({"newer": state("queued"), "older": state(older)})
    assert caught.value.hint.startswith(hint)
