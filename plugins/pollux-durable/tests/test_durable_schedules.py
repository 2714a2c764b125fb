import itertools
import threading
import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

import pollux_durable
from pollux_durable import SchedulePayload, get_handle, schedules, workflow
from pollux_durable.configuring import find_host
from pollux_durable.crons import check_cron, find_latest, find_next
from pollux_durable.errors import PayloadError
from pollux_durable.registry import registry
from pollux_durable.scheduling import Scheduler
from pollux_sync.errors import ConfigurationError

DAILY = "0 9 * * *"
BERLIN = "Europe/Berlin"


@pytest.fixture
def memory(own_registry):
    pollux_durable.configure("memory:")


def fire(now, *, since=0.0):
    Scheduler(find_host(), since).fire_due(now)


def read_next(name, key="global"):
    (found,) = [schedule for schedule in schedules.list(name) if schedule.key == key]
    return found.next_at


def list_runs(name):
    return [run.execution_id for run in reversed(find_host().list_runs(workflow_id=name))]


def in_berlin(*numbers, fold=0):
    return datetime(*numbers, tzinfo=ZoneInfo(BERLIN), fold=fold).timestamp()


# Times


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        (DAILY, in_berlin(2026, 3, 28, 10), in_berlin(2026, 3, 29, 9)),
        (DAILY, in_berlin(2026, 10, 24, 10), in_berlin(2026, 10, 25, 9)),
        ("30 2 * * *", in_berlin(2026, 3, 28, 3), in_berlin(2026, 3, 29, 3)),
        ("30 2 * * *", in_berlin(2026, 10, 24, 3), in_berlin(2026, 10, 25, 2, 30)),
        ("30 2 * * *", in_berlin(2026, 10, 25, 2, 30), in_berlin(2026, 10, 26, 2, 30)),
        ("0 * * * *", in_berlin(2026, 10, 25, 2), in_berlin(2026, 10, 25, 2, fold=1)),
        ("0 0 9 * * *", in_berlin(2026, 5, 1), in_berlin(2026, 5, 1, 9)),
        ("30 0 9 * * *", in_berlin(2026, 5, 1), in_berlin(2026, 5, 1, 9, 0, 30)),
        ("@daily", in_berlin(2026, 5, 1), in_berlin(2026, 5, 2)),
    ],
)
def test_finds_the_next_time_as_the_clocks_of_the_zone_show_it(cron, after, expected):
    assert find_next(cron, BERLIN, after) == expected


def test_next_time_is_after_the_given_one():
    nine = datetime(2026, 5, 1, 9, tzinfo=UTC).timestamp()
    assert find_next(DAILY, "UTC", nine - 0.5) == nine
    assert find_next(DAILY, "UTC", nine) == nine + 86_400


@pytest.mark.parametrize("late_s", [0.0, 0.3, 3600.0])
def test_latest_time_is_the_given_one_or_before_it(late_s):
    nine = datetime(2026, 5, 1, 9, tzinfo=UTC).timestamp()
    assert find_latest(DAILY, "UTC", nine + late_s) == nine


def test_latest_time_is_the_first_one_where_the_clock_was_set_back():
    assert find_latest("30 2 * * *", BERLIN, in_berlin(2026, 10, 25, 4)) == in_berlin(2026, 10, 25, 2, 30)


@pytest.mark.parametrize(
    "cron", ["", "daily", "* * * *", "61 * * * *", "* * * * * * *", "0 0 30 2 *", "@never", "H * * * *", None, 5]
)
def test_refuses_a_cron_expression_that_is_none(cron):
    with pytest.raises(ConfigurationError, match="stands for no time") as caught:
        check_cron(cron, "UTC", "this test")
    assert "minute, hour" in caught.value.hint


@pytest.mark.parametrize("timezone", ["Mars/Phobos", "", "../etc/passwd", "Europe", None, 5])
def test_refuses_a_time_zone_that_is_none(timezone):
    with pytest.raises(ConfigurationError, match="no time zone") as caught:
        check_cron(DAILY, timezone, "this test")
    assert "Europe/Berlin" in caught.value.hint


# Declarations


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"schedule": "every day"}, "stands for no time"),
        ({"schedule": {"cron": DAILY, "timezone": "Nowhere"}}, "no time zone"),
        ({"schedule": {"cron": DAILY, "zone": "UTC"}}, "schedule of 'bad'"),
        ({"schedule": {"timezone": "UTC"}}, "schedule of 'bad'"),
        ({"schedule": 9}, "schedule of 'bad'"),
        ({"schedule": {"cron": DAILY, "key": " "}}, "key of a schedule"),
        ({"schedule": DAILY, "queue": "mail"}, "a schedule and a queue"),
        ({"schedule": True, "queue": "mail"}, "a schedule and a queue"),
        ({"schedule": DAILY, "trigger_on_event": "orders"}, "a schedule and a topic"),
    ],
)
def test_refuses_a_declaration_that_cannot_work(own_registry, settings, reason):
    with pytest.raises(ConfigurationError, match=reason) as caught:
        workflow(id="bad", **settings)(lambda ctx: None)
    assert caught.value.hint
    assert "bad" not in registry._workflows


def test_refuses_a_payload_that_is_no_schedule(own_registry):
    def bad(ctx, payload: int): ...

    with pytest.raises(PayloadError, match="SchedulePayload"):
        workflow(schedule=DAILY)(bad)


def test_stores_what_a_workflow_declares(memory):
    @workflow(schedule={"cron": DAILY, "timezone": BERLIN, "key": "report"})
    def declared(ctx): ...

    (schedule,) = schedules.list(declared)
    assert (schedule.id, schedule.cron, schedule.timezone) == ("declared:report", DAILY, BERLIN)


def test_workflow_that_may_be_scheduled_has_no_schedule_yet(memory):
    @workflow(schedule=True)
    def later(ctx): ...

    assert not schedules.list(later)
    assert schedules.create(later, DAILY).key == "global"


def test_workflow_that_may_not_be_scheduled_is_refused(memory):
    @workflow(schedule=False)
    def never(ctx): ...

    @workflow(trigger_on_event="orders")
    def triggered(ctx): ...

    for one in (never, triggered):
        with pytest.raises(ConfigurationError, match="is declared with"):
            schedules.create(one, DAILY)


def test_declaration_that_is_gone_takes_its_schedule_along_and_no_other(memory):
    @workflow(schedule=DAILY)
    def moved(ctx): ...

    schedules.create(moved, DAILY, key="user/1")
    find_host().schedules.declare("moved", None, 0.0)
    assert [schedule.key for schedule in schedules.list(moved)] == ["user/1"]


# Starting


def test_starts_the_workflow_with_its_times(memory):
    seen = []

    @workflow(schedule={"cron": DAILY, "timezone": BERLIN})
    def daily(ctx, payload: SchedulePayload):
        seen.append(payload)

    first = read_next("daily")
    fire(first + 0.2)
    second = read_next("daily")
    get_handle(list_runs("daily")[0]).result(10)
    fire(second)
    get_handle(list_runs("daily")[1]).result(10)
    assert [payload.timestamp.timestamp() for payload in seen] == [first, second]
    assert [payload.timestamp.hour for payload in seen] == [9, 9]
    assert seen[0].last_timestamp is None
    assert seen[1].last_timestamp == seen[0].timestamp
    assert seen[0].upcoming == seen[1].timestamp
    assert (seen[0].timezone, seen[0].schedule_id, seen[0].key) == (BERLIN, "daily:global", "global")


def test_next_time_is_not_the_one_after_it(memory):
    @workflow(schedule=DAILY)
    def each_day(ctx): ...

    times = [read_next("each_day")]
    for _ in range(3):
        fire(times[-1])
        get_handle(list_runs("each_day")[-1]).result(10)
        times.append(read_next("each_day"))
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == [86_400] * 3
    assert len(list_runs("each_day")) == 3


def test_one_of_two_schedulers_starts_a_time(memory):
    @workflow(schedule=DAILY)
    def once(ctx): ...

    due = read_next("once")
    (row,) = find_host().schedules.find_due(due)  # as another process has read it before
    fire(due)
    assert Scheduler(find_host(), 0.0)._bring_on(row, due) is None
    day = datetime.fromtimestamp(due, UTC)
    assert list_runs("once") == [f"schedule:once:global:{day:%Y-%m-%d}T09:00:00Z"]


def test_starts_nothing_while_the_run_before_goes_on(memory):
    @workflow(schedule=DAILY)
    def slow(ctx):
        return ctx.step.suspend("wait")

    fire(read_next("slow"))
    first = get_handle(list_runs("slow")[0])
    wait_until(lambda: first.status == "waiting")
    skipped = read_next("slow")
    fire(skipped)
    assert list_runs("slow") == [first.id]
    assert read_next("slow") == skipped + 86_400
    first.answer("wait", "go on")
    first.result(10)
    fire(read_next("slow"))
    assert len(list_runs("slow")) == 2


def test_missed_times_are_left_out(memory):
    @workflow(schedule=DAILY)
    def missed(ctx): ...

    due = read_next("missed")
    back = due + 3 * 86_400 + 3600
    fire(back, since=back)
    assert list_runs("missed") == []
    assert read_next("missed") == due + 4 * 86_400


def test_scheduler_that_was_held_up_starts_the_latest_time_only(memory):
    @workflow(schedule=DAILY)
    def late(ctx, payload: SchedulePayload):
        return payload.timestamp.timestamp()

    due = read_next("late")
    fire(due + 2 * 86_400 + 60)
    (run,) = list_runs("late")
    assert get_handle(run).result(10) == due + 2 * 86_400


def test_time_that_another_process_may_be_starting_is_left_to_it(memory):
    @workflow(schedule=DAILY)
    def shared(ctx): ...

    due = read_next("shared")
    fire(due + 0.1, since=due + 0.1)
    assert (list_runs("shared"), read_next("shared")) == ([], due)


def test_missed_times_are_made_up_for_one_after_the_other_with_backfill(memory):
    seen = []

    @workflow(schedule={"cron": DAILY, "backfill": True})
    def complete(ctx, payload: SchedulePayload):
        seen.append(payload.timestamp.timestamp())

    due = read_next("complete")
    back = due + 2 * 86_400 + 3600
    for _ in range(3):
        fire(back, since=back)
        get_handle(list_runs("complete")[-1]).result(10)
    fire(back, since=back)
    assert seen == [due, due + 86_400, due + 2 * 86_400]


def test_run_whose_process_died_before_it_was_started_is_started_by_another(memory):
    @workflow(schedule=DAILY)
    def claimed(ctx): ...

    due = read_next("claimed")
    (row,) = find_host().schedules.find_due(due)
    assert find_host().schedules.claim(row, due, due + 86_400, due)
    fire(due + 1)
    assert list_runs("claimed") == []
    fire(due + 10)
    assert len(list_runs("claimed")) == 1
    assert find_host().schedules.find_due(due + 10) == []


def test_many_schedules_are_due_at_once(memory):
    @workflow(schedule=True)
    def crowd(ctx): ...

    for number in range(120):
        schedules.create(crowd, DAILY, key=f"user/{number}")
    due = read_next("crowd", "user/0")
    fire(due)
    fire(due)
    assert len(find_host().list_runs(workflow_id="crowd", limit=1000)) == 120


def test_schedule_that_cannot_be_started_stops_no_other_and_is_told_once(memory, caplog):
    @workflow(schedule=DAILY)
    def bad(ctx): ...

    @workflow(schedule=DAILY)
    def good(ctx): ...

    due = read_next("good")
    with find_host().engine.database.transact() as transaction:
        transaction.execute("UPDATE pollux_schedules SET timezone = 'Mars/Phobos' WHERE workflow_id = 'bad'")
    scheduler = Scheduler(find_host(), 0.0)
    for _ in range(2):
        scheduler.fire_due(due)
    assert (list_runs("bad"), len(list_runs("good"))) == ([], 1)
    assert [record.getMessage().split(" cannot")[0] for record in caplog.records] == ["schedule 'bad:global'"]


# Changing


def test_schedule_with_the_same_key_is_updated_and_others_stay(memory):
    @workflow(schedule=True)
    def remind(ctx): ...

    schedules.create(remind, DAILY, key="user/1")
    schedules.create(remind, DAILY, BERLIN, key="user/2")
    schedules.create("remind", "0 18 * * *", key="user/1")
    assert [(schedule.key, schedule.cron) for schedule in schedules.list()] == [
        ("user/1", "0 18 * * *"),
        ("user/2", DAILY),
    ]


def test_keys_have_runs_of_their_own(memory):
    @workflow(schedule=True)
    def per_user(ctx, payload: SchedulePayload):
        ctx.step.suspend("wait")

    for key in ("a", "b"):
        schedules.create(per_user, DAILY, key=key)
    fire(read_next("per_user", "a"))
    assert len(list_runs("per_user")) == 2


def test_paused_schedule_starts_nothing_until_it_is_resumed(memory):
    @workflow(schedule=DAILY)
    def paused(ctx): ...

    due = read_next("paused")
    assert schedules.pause(paused).is_paused
    fire(due)
    assert list_runs("paused") == []
    assert not schedules.resume(paused).is_paused
    fire(due)
    assert len(list_runs("paused")) == 1


def test_pause_outlives_a_restart_and_a_changed_declaration_counts(memory):
    @workflow(schedule=DAILY)
    def kept(ctx): ...

    schedules.pause(kept)
    find_host().schedules.declare("kept", kept.timetable, 1.0)
    (schedule,) = schedules.list(kept)
    assert (schedule.is_paused, schedule.next_at > 1.0) == (True, True)


def test_deleted_schedule_is_gone(memory):
    @workflow(schedule=True)
    def short(ctx): ...

    schedules.create(short, DAILY)
    schedules.delete(short)
    assert not schedules.list(short)


@pytest.mark.parametrize("change", [schedules.pause, schedules.resume, schedules.delete])
def test_refuses_to_change_a_schedule_that_does_not_exist(memory, change):
    @workflow(schedule=DAILY)
    def known(ctx): ...

    with pytest.raises(ConfigurationError, match="no schedule with the key 'other'") as caught:
        change(known, key="other")
    assert "'global'" in caught.value.hint


@pytest.mark.parametrize("settings", [{"cron": "never"}, {"cron": DAILY, "timezone": "Nowhere"}])
def test_refuses_to_create_a_schedule_without_times(memory, settings):
    @workflow(schedule=True)
    def strict(ctx): ...

    with pytest.raises(ConfigurationError):
        schedules.create(strict, **settings)
    assert not schedules.list(strict)


# Processes

SCHEDULED = """
import pollux_durable
from pollux_durable import SchedulePayload, schedules, workflow

@workflow(schedule="* * * * * *")
def tick(ctx, payload: SchedulePayload):
    with open(LOG, "a") as log:
        log.write(f"{payload.timestamp.isoformat()}\\n")

pollux_durable.configure(URL)
schedules.list()
"""


def test_two_processes_on_one_file_start_each_time_once(run_twice):
    with run_twice(SCHEDULED) as read_log:
        n_before = len(read_log())
        wait_until(lambda: len(read_log()) >= n_before + 3, 20)
    times = [datetime.fromisoformat(line) for line in read_log()]
    assert len({*times}) == len(times)
    assert times == sorted(times)


def wait_until(is_true, patience_s=10):
    until = time.monotonic() + patience_s
    while not is_true():
        assert time.monotonic() < until
        threading.Event().wait(0.01)
