"""`kill -9` at every step of a submission, lost answers, wrong clocks, strangers: in the end one job exists.

Here the clocks take turns, over the steps and the moments of a stranger. In a soak every clock meets all of them, and
kills come at random besides.
"""

import itertools
import time

import pytest

from killing import DONE, FAILED, KILLED, REFUSED, SERVICES, anthropic, openai, serve, start_killer

DAY_S = 86_400.0
#: The clock of the first call and that of the next, compared with the service's.
CLOCKS = {
    "right": (0.0, 0.0),
    "ahead": (DAY_S, DAY_S),
    "behind": (-DAY_S, -DAY_S),
    "jumps on": (0.0, DAY_S),
    "jumps back": (0.0, -DAY_S),
}


def take_turns(number):
    """Return one of the clocks, as an item of CLOCKS."""
    return [*CLOCKS.items()][number % len(CLOCKS)]


#: Writes of the job file: intent, two uploads, an attempt, its job, the handle.
WRITES = 6
REQUESTS = {service: service().requests for service in SERVICES}
STEPS = [
    (service, step, index)
    for service, requests in REQUESTS.items()
    for step, count in (("write", WRITES), ("request", requests))
    for index in range(count)
]
every_service = pytest.mark.parametrize("submissions", SERVICES, indirect=True, ids=lambda service: service.__name__)


def build_id(value):
    return value.__name__ if callable(value) else str(value)


@pytest.fixture(scope="module")
def killer():
    with start_killer() as killer:
        yield killer


@pytest.fixture
def submissions(request, killer, tmp_path):
    with serve(request.param(), killer, tmp_path) as submissions:
        yield submissions


at_every_step = pytest.mark.parametrize(("submissions", "step", "index"), STEPS, indirect=["submissions"], ids=build_id)


@at_every_step
def test_goes_on_after_a_kill_at_every_step(submissions, step, index):
    kill_and_go_on(submissions, step, index, "before", *take_turns(2 * index))
    kill_and_go_on(submissions, step, index, "after", *take_turns(2 * index + 1))
    submissions.check()


@pytest.mark.soak
@at_every_step
def test_goes_on_after_a_kill_at_every_step_with_every_clock(submissions, step, index):
    for when, clock in itertools.product(("before", "after"), CLOCKS.items()):
        kill_and_go_on(submissions, step, index, when, *clock)
    submissions.check()


def kill_and_go_on(submissions, step, index, when, clock, shifts_s):
    name = f"{when} {clock}"
    assert submissions.submit(name, step=step, index=index, when=when, shift_s=shifts_s[0]) == KILLED
    submissions.finish(name, shift_s=shifts_s[1])


@every_service
def test_there_are_no_other_steps(submissions):
    assert submissions.submit(step="write", index=WRITES) == DONE
    assert submissions.submit("other", step="request", index=submissions.service.requests) == DONE
    submissions.check()


@pytest.mark.soak
@every_service
def test_a_second_kill_while_going_on_changes_nothing(submissions):
    last = submissions.service.requests - 1
    for step, count in (("write", WRITES), ("request", last + 1)):
        for index in range(count):
            name = f"{step}-{index}"
            assert submissions.submit(name, step="request", index=last, when="after") == KILLED
            submissions.submit(name, step=step, index=index, when="after")
            submissions.finish(name)
    submissions.check()


@pytest.mark.soak
@pytest.mark.parametrize("is_done", [False, True], ids=["request lost", "answer lost"])
@pytest.mark.parametrize(
    ("submissions", "index"),
    [(service, index) for service, requests in REQUESTS.items() for index in range(requests)],
    indirect=["submissions"],
    ids=build_id,
)
def test_goes_on_after_a_loss_and_a_kill(submissions, index, is_done):
    for later in (1, 2):
        for when in ("before", "after"):
            name = f"{later}-{when}"
            submissions.network.plan(losses={index: is_done})
            # What is lost ends some calls at once; others try again, or look first, and are killed there.
            submissions.submit(name, step="request", index=index + later, when=when)
            submissions.finish(name)
    submissions.check()


@every_service
def test_goes_on_after_a_kill_while_a_refusal_is_cleaned_up(submissions):
    last = submissions.service.requests - 1
    for index in itertools.count(last + 1):
        for when in ("before", "after"):
            name = f"{index} {when}"
            submissions.network.plan(refused=last)
            code = submissions.submit(name, step="request", index=index, when=when)
            submissions.finish(name)
        if code == FAILED:  # it was not killed: there is no such request any more
            break
    submissions.check()


@every_service
def test_a_refusal_whose_clean_up_fails_leaves_no_dead_files_to_the_next_call(submissions):
    last = submissions.service.requests - 1
    for index in range(last + 1, last + 5):
        submissions.network.plan(refused=last, losses={index: False})
        assert submissions.submit(str(index)) == FAILED
        submissions.finish(str(index))
    submissions.check()


@pytest.mark.soak
@pytest.mark.parametrize("is_killed", [False, True], ids=["tried again", "killed"])
@every_service
def test_finds_a_job_that_the_service_makes_late(submissions, is_killed):
    last = submissions.service.requests - 1
    assert submissions.submit("first") == DONE  # after which a process takes less time than the service below
    submissions.network.plan(late={last: 1.0})
    at = {"step": "request", "index": last, "when": "after"} if is_killed else {}
    submissions.submit("second", **at, wait_s=2.0)
    submissions.finish("second", wait_s=2.0)
    submissions.check()


#: When a stranger submits, in words: before the first call, beside its last request, before the next call.
MOMENTS = ("before", "just before", "just after", "later")


@pytest.mark.soak
@pytest.mark.parametrize("is_ended", [False, True], ids=["running", "ended"])
@pytest.mark.parametrize("is_made", [False, True], ids=["ours not made", "ours made"])
@pytest.mark.parametrize("moment", MOMENTS)
@every_service
def test_takes_no_job_of_a_stranger_for_its_own(submissions, moment, is_made, is_ended):
    clock, shifts = take_turns(4 * MOMENTS.index(moment) + 2 * is_made + is_ended)
    submit_beside_a_stranger(submissions, clock, shifts, moment=moment, is_made=is_made, is_ended=is_ended)
    submissions.check()


@pytest.mark.soak
@every_service
def test_takes_no_job_of_a_stranger_with_any_clock(submissions):
    for moment, is_made, is_ended, (clock, shifts) in itertools.product(
        MOMENTS, (False, True), (False, True), CLOCKS.items()
    ):
        name = f"{moment} {is_made} {is_ended} {clock}"
        submit_beside_a_stranger(submissions, name, shifts, moment=moment, is_made=is_made, is_ended=is_ended)
    submissions.check()


def submit_beside_a_stranger(submissions, name, shifts, *, moment, is_made, is_ended):
    submissions.service.end_jobs()
    last = submissions.service.requests - 1
    if moment == "before":
        submissions.submit_as_stranger()
    # Ours is the last request; what comes just after it comes before the look-up that follows the lost answer.
    at = {"just before": last, "just after": last + 1}.get(moment)
    submissions.network.plan(losses={last: is_made}, acts={at: submissions.submit_as_stranger})
    lookup = last + 1
    assert submissions.submit(name, step="request", index=lookup, when="after", shift_s=shifts[0]) == KILLED
    if moment == "later":
        submissions.submit_as_stranger()
    if is_ended:
        submissions.service.end_jobs()
    submissions.network.plan()
    code = submissions.submit(name, shift_s=shifts[1])
    # A stranger's job from before the first attempt is older than the bookmark.
    is_unclear = not submissions.service.has_marks and not is_ended and (is_made or moment != "before")
    assert code == (REFUSED if is_unclear else DONE)
    submissions.finish(name, shift_s=shifts[1])


@pytest.mark.parametrize("submissions", [openai], indirect=True)
@pytest.mark.parametrize("jump_s", [-DAY_S, DAY_S])
def test_finds_its_job_behind_a_page_of_younger_ones_after_the_clock_jumped(submissions, jump_s):
    last = submissions.service.requests - 1
    submissions.service.handler.page_size = 2
    assert submissions.submit(step="request", index=last, when="after") == KILLED
    for _ in range(5):
        submissions.submit_as_stranger()
    submissions.finish(shift_s=jump_s)
    submissions.check()


@pytest.mark.parametrize("submissions", [anthropic], indirect=True)
def test_says_again_and_again_which_batches_may_be_its_own(submissions):
    assert submissions.submit("first") == DONE
    assert submissions.submit("second", step="request", index=3, when="after") == KILLED
    submissions.submit_as_stranger()
    assert [submissions.submit("second") for _ in range(3)] == [REFUSED] * 3
    submissions.finish("second")
    submissions.check()


@pytest.mark.soak
@pytest.mark.parametrize("shifts", [(0.0,), (-DAY_S, 0.0, DAY_S)], ids=["right clock", "any clock"])
@every_service
def test_kills_at_random(submissions, soak, shifts):
    draw, requests = soak.draw, submissions.service.requests
    assert submissions.submit("first") == DONE  # which waits until the process has imported everything
    began = time.monotonic()
    assert submissions.submit("second") == DONE
    usual_s = time.monotonic() - began
    for number in range(soak.rounds):
        name = f"job{number}"
        losses, acts = {}, {}
        # Numbers of the first requests: later ones are seldom reached before a kill.
        if draw.random() < 0.7:
            losses[draw.randrange(requests + 2)] = draw.random() < 0.5
        if draw.random() < 0.7:
            acts[draw.randrange(requests + 2)] = submissions.submit_as_stranger
        submissions.network.plan(losses=losses, acts=acts)
        for _ in range(3):
            delay_s = draw.uniform(0.0, 1.5 * usual_s)
            code = submissions.submit(name, delay_s=delay_s, shift_s=draw.choice(shifts))
            assert code in {KILLED, DONE, FAILED, REFUSED}
        assert submissions.submit(name, shift_s=draw.choice(shifts)) in {DONE, FAILED, REFUSED}
        submissions.tally.lost += len(losses) - len(submissions.network.losses)
        submissions.finish(name, shift_s=draw.choice(shifts))
    submissions.check()
    print(submissions.service.provider, submissions.tally)  # noqa: T201 - `make soak` with -s shows it
