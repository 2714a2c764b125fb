import logging
import signal
import threading
import time
from collections import Counter

import attrs
import pytest

from pollux_batch import (
    AbortMode,
    BaseMiddleware,
    BaseObserver,
    BatchAdmissionClosedError,
    BatchItem,
    CallableStrategy,
    CallOutcome,
    FrameworkTimeoutError,
    GuardrailConfig,
    ItemDeadlineExceeded,
    LLMCallStrategy,
    LLMWorkItem,
    ModelStrategy,
    ParallelBatchProcessor,
    PolluxModel,
    ProcessorConfig,
    ProcessorStateError,
    RateLimitConfig,
    RateLimitRetriesExceeded,
    RetryConfig,
    TokenTrackingError,
    process_prompts,
    process_stream,
)
from pollux_batch.receiving import LazyIntake
from pollux_batch.testing import FakeRateLimitError, FakeStrategy
from pollux_sync import Config, Reply, Usage
from pollux_sync.plugin import TokenEstimate
from pollux_sync.testing import Script, failing

USAGE = {"input_tokens": 3, "output_tokens": 2}
AT_ONCE = RetryConfig(initial_wait=0)
NO_PAUSE = RateLimitConfig(cooldown_seconds=0, slow_start_items=0)


def config(**facts):
    return ProcessorConfig(**{"retry": AT_ONCE, "rate_limit": NO_PAUSE} | facts)


def ask(strategy, prompts=("Who?",), *, settings=None, **facts):
    return process_prompts(strategy, prompts, config=config(**facts), **settings or {})


def ask_one(strategy, **facts):
    (result,) = ask(strategy, **facts).results
    return result


class Recorder(LLMCallStrategy[str]):
    """Fails as it is told, and takes notes of every call."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.told = []
        self.states = []

    def prepare(self):
        self.told.append("prepare")

    def execute(self, prompt, attempt, timeout, state=None):
        self.told.append(("execute", attempt))
        self.states.append(state)
        if self.failures:
            raise self.failures.pop(0)
        return prompt.upper(), USAGE, {"model": "m"}

    def on_error(self, exception, attempt, state=None):
        self.told.append(("on_error", type(exception).__name__, attempt))
        state.set("errors", state.get("errors", 0) + 1)

    def cleanup(self):
        self.told.append("cleanup")


# Batches


def test_works_items_off_in_the_order_in_which_they_were_added():
    with ParallelBatchProcessor(config()) as processor:
        for n in range(20):
            processor.add_work(LLMWorkItem(f"row_{n}", FakeStrategy(str.upper), f"p{n}", context=n))
        result = processor.process_all()
    assert result.outputs(with_ids=True) == [(f"row_{n}", f"P{n}") for n in range(20)]
    assert [one.context for one in result.results] == list(range(20))
    assert (result.succeeded, result.unanswered, result.termination.kind) == (20, 0, "completed")


def test_a_processor_without_items_has_no_results():
    with ParallelBatchProcessor() as processor:
        assert processor.process_all().results == []


def test_a_result_has_what_the_strategy_returned():
    result = ask_one(Recorder())
    assert (result.output, result.metadata, result.attempts) == ("WHO?", {"model": "m"}, 1)
    assert result.token_usage == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}


@pytest.mark.parametrize("returned", ["yes", ("yes",), ("a", {}, None, 1)])
def test_another_shape_than_a_pair_or_a_triple_fails_the_item(returned):
    class Odd(Recorder):
        def execute(self, prompt, attempt, timeout, state=None):
            return returned

    result = ask_one(Odd())
    assert isinstance(result.exception, ValueError)
    assert "execute of Odd returned" in result.error


def test_an_item_is_added_once():
    item = LLMWorkItem("a", FakeStrategy("yes"))
    processor = ParallelBatchProcessor()
    processor.add_work(item)
    with pytest.raises(ValueError, match="item 'a' was added before"):
        processor.add_work(item)


def test_two_items_may_have_one_id():
    strategy = FakeStrategy(str.upper)
    result = ask(strategy, [("a", "x"), ("a", "y")])
    assert (result.outputs(), result.by_id["a"].output) == (["X", "Y"], "Y")


def test_only_items_can_be_added():
    with pytest.raises(ValueError, match="an item must be an LLMWorkItem, got str"):
        ParallelBatchProcessor().add_work("Who?")


def test_a_queue_that_is_full_before_the_start_is_refused():
    processor = ParallelBatchProcessor(config(max_queue_size=1))
    processor.add_work(LLMWorkItem("a", FakeStrategy("yes")))
    with pytest.raises(ValueError, match=r"max_queue_size=1 items(.|\n)*start\(\) first"):
        processor.add_work(LLMWorkItem("b", FakeStrategy("yes")))


def test_nothing_is_added_after_the_start_of_a_batch():
    processor = ParallelBatchProcessor()
    processor.process_all()
    with pytest.raises(RuntimeError, match="takes no more items"):
        processor.add_work(LLMWorkItem("a", FakeStrategy("yes")))


def test_nothing_is_added_beside_an_intake():
    processor = ParallelBatchProcessor(intake=LazyIntake([]))
    with pytest.raises(BatchAdmissionClosedError):
        processor.add_work(LLMWorkItem("a", FakeStrategy("yes")))


@pytest.mark.parametrize("second", ["process_all", "start"])
def test_a_processor_is_used_once(second):
    processor = ParallelBatchProcessor()
    processor.process_all()
    with pytest.raises(ProcessorStateError, match="used once"):
        getattr(processor, second)()


@pytest.mark.parametrize("first", ["finish", "results"])
def test_a_stream_must_be_started(first):
    with pytest.raises(ProcessorStateError, match=r"start\(\) first"):
        getattr(ParallelBatchProcessor(), first)()


def test_a_dry_run_calls_nobody():
    strategy = Recorder()
    result = ask_one(strategy, dry_run=True)
    assert result.output.startswith("[DRY-RUN]")
    assert result.token_usage["total_tokens"] == 150
    assert strategy.told == []


def test_a_dry_run_that_fails_is_a_failed_item():
    def fail(prompt):
        raise ValueError("no")

    assert ask_one(CallableStrategy(str.upper, dry_run=fail), dry_run=True).error == "ValueError: no"


# Tries


def test_attempts_are_counted_and_the_strategy_learns_before_each_next_one():
    strategy = Recorder(ConnectionError("a"), ConnectionError("b"))
    result = ask_one(strategy)
    assert (result.output, result.attempts) == ("WHO?", 3)
    assert strategy.told == [
        "prepare",
        ("execute", 1),
        ("on_error", "ConnectionError", 1),
        ("execute", 2),
        ("on_error", "ConnectionError", 2),
        ("execute", 3),
        "cleanup",
    ]


def test_an_item_fails_once_its_attempts_are_used_up():
    result = ask_one(FakeStrategy("yes", failure_schedule=[ConnectionError("down")] * 3))
    assert (result.success, result.attempts, result.error_category) == (False, 3, "connection_error")
    assert result.error == "ConnectionError: down"
    assert result.exception.__traceback__ is None


def test_a_permanent_failure_is_not_tried_again_but_learned_from():
    strategy = Recorder(KeyError("x"))
    assert ask_one(strategy).attempts == 1
    assert ("on_error", "KeyError", 1) in strategy.told


def test_a_refusal_for_the_rate_uses_up_no_attempt():
    # Each pause takes a second or more.
    strategy = Recorder(FakeRateLimitError(), FakeRateLimitError(), ConnectionError("a"))
    result = ask_one(strategy)
    assert (result.success, result.attempts) == (True, 4)
    assert [one[1] for one in strategy.told if one[0] == "execute"] == [1, 1, 1, 2]


def test_an_item_that_is_refused_too_often_fails():
    strategy = FakeStrategy("yes", failure_schedule=[FakeRateLimitError() for _ in range(9)])
    result = ask_one(strategy, retry=RetryConfig(max_rate_limit_retries=2))
    assert isinstance(result.exception, RateLimitRetriesExceeded)
    assert isinstance(result.exception.__cause__, FakeRateLimitError)
    assert (result.attempts, result.error_category) == (3, "rate_limit_retries_exceeded")


def test_no_retries_of_refusals_fails_at_the_first():
    strategy = FakeStrategy("yes", failure_schedule=[FakeRateLimitError()])
    assert ask_one(strategy, retry=RetryConfig(max_rate_limit_retries=0)).attempts == 1


def test_the_pause_is_as_long_as_the_provider_asks():
    # The configured pause would take minutes.
    strategy = FakeStrategy("yes", failure_schedule=[FakeRateLimitError(retry_after=0.01)])
    seen = Events()
    paused = RateLimitConfig(slow_start_items=0)
    assert ask(strategy, rate_limit=paused, settings={"observers": [seen]}).succeeded == 1
    assert seen.data["cooldown_started"][0]["duration_s"] == 0.01


def test_one_state_goes_through_all_tries_of_an_item_and_to_no_other():
    strategy = Recorder(ConnectionError("a"))
    ask(strategy, ["x", "y"])
    # Kept alive in the list, so that no id is used twice.
    tries = Counter(id(state) for state in strategy.states)
    assert sorted(tries.values()) == [1, 2]
    assert {tries[id(state)]: state.get("errors") for state in strategy.states} == {2: 1, 1: None}


def test_an_error_in_on_error_changes_nothing(caplog):
    def fail(error):
        raise ValueError("oops")

    strategy = FakeStrategy("yes", failure_schedule=[ConnectionError("down")], on_error=fail)
    with caplog.at_level(logging.WARNING):
        assert ask_one(strategy).success
    assert "on_error of FakeStrategy failed: oops" in caplog.text


def test_tokens_of_failed_tries_are_counted():
    def parse(response):
        if response.text == "bad":
            raise KeyError("no")
        return response.text

    bad, good = (Reply(text=text, usage=Usage(input_tokens=4, output_tokens=2)) for text in ("bad", "good"))
    model = PolluxModel(Config(provider="openai", model="m", use_mock=True, plugins=[Script(bad, good)]))
    result = ask_one(ModelStrategy(model, parse, error_classifier=Retryable()))
    assert (result.output, result.attempts, result.token_usage["total_tokens"]) == ("good", 2, 12)


class Retryable:
    """Tries everything again."""

    def classify(self, exception):
        from pollux_batch import ErrorInfo

        return ErrorInfo(is_retryable=True, error_category="validation_error")


def test_an_error_that_carries_tokens_stands_for_its_cause():
    def fail(prompt):
        raise TokenTrackingError("no", token_usage=USAGE) from KeyError("x")

    learned = []
    result = ask_one(CallableStrategy(fail, on_error=learned.append))
    assert isinstance(learned[0], KeyError)
    assert (result.error, result.error_category) == ("KeyError: 'x'", "logic_error")
    assert result.token_usage["total_tokens"] == 5


def test_an_error_with_a_usage_that_is_none_is_read_as_far_as_possible():
    class OddError(ConnectionError):
        usage = "much"

    assert ask_one(FakeStrategy("yes", failure_schedule=[OddError()])).token_usage == {}


def test_a_failing_classifier_fails_the_item():
    class Broken:
        def classify(self, exception):
            raise ValueError("oops")

    result = ask_one(FakeStrategy("yes", failure_schedule=[ConnectionError("down")], error_classifier=Broken()))
    assert (result.error, result.error_category) == ("ConnectionError: down", "classifier_error")


def test_the_classifier_of_the_processor_comes_before_that_of_the_strategy():
    strategy = FakeStrategy("yes", failure_schedule=[KeyError("x")])
    assert ask(strategy, settings={"error_classifier": Retryable()}).succeeded == 1


def test_failures_of_the_core_are_tried_again():
    model = PolluxModel(Config(provider="openai", model="m", use_mock=True, plugins=[Script(failing(503), "yes")]))
    assert (ask_one(ModelStrategy(model)).output, model.config.retry.max_attempts) == ("yes", 1)


# Limits of time


def test_a_try_that_takes_too_long_is_left_and_tried_again():
    is_over = threading.Event()
    seen = []

    def answer(prompt, *, attempt, timeout):
        seen.append(timeout)
        if attempt == 1:
            is_over.wait(5)
        return attempt

    result = ask_one(CallableStrategy(answer), attempt_timeout=1.0)
    is_over.set()
    assert (result.output, result.attempts) == (2, 2)
    assert seen[0] == pytest.approx(1.0, abs=0.01)


def test_an_item_whose_tries_all_take_too_long_fails():
    is_over = threading.Event()
    strategy = CallableStrategy(lambda prompt: is_over.wait(5))
    result = ask_one(strategy, attempt_timeout=0.02, retry=RetryConfig(max_attempts=2, initial_wait=0))
    is_over.set()
    assert isinstance(result.exception, FrameworkTimeoutError)
    assert (result.error_category, result.exception.timeout_limit) == ("framework_timeout", 0.02)


def test_a_late_answer_is_used_while_its_item_is_open():
    has_given_up = threading.Event()
    calls = []

    def answer(prompt):
        calls.append(prompt)
        has_given_up.wait(5)
        return CallOutcome("late", USAGE)

    def learn(error):
        has_given_up.set()
        time.sleep(0.5)  # the answer comes before the next try

    result = ask_one(CallableStrategy(answer, on_error=learn), attempt_timeout=0.05)
    assert (result.output, result.token_usage["total_tokens"], len(calls)) == ("late", 5, 1)


def test_a_retry_that_does_not_fit_the_time_of_its_item_fails_with_the_first_error():
    strategy = FakeStrategy("yes", failure_schedule=[ConnectionError("down")])
    guardrails = GuardrailConfig(total_timeout_per_item=5)
    result = ask_one(strategy, guardrails=guardrails, retry=RetryConfig(initial_wait=20, max_wait=20))
    assert (result.error, result.attempts) == ("ConnectionError: down", 1)


def test_a_pause_that_does_not_fit_the_time_of_its_item_fails_with_the_refusal():
    strategy = FakeStrategy("yes", failure_schedule=[FakeRateLimitError()])
    result = ask_one(strategy, guardrails=GuardrailConfig(total_timeout_per_item=5), rate_limit=RateLimitConfig())
    assert (result.error_category, result.attempts) == ("rate_limit", 1)


def test_all_tries_of_an_item_together_have_a_limit():
    is_over = threading.Event()
    seen = Events()
    strategy = CallableStrategy(lambda prompt: is_over.wait(5))
    guardrails = GuardrailConfig(total_timeout_per_item=0.05)
    (result,) = ask(strategy, guardrails=guardrails, settings={"observers": [seen]}).results
    is_over.set()
    assert isinstance(result.exception, ItemDeadlineExceeded)
    assert result.error_category == "framework_total_item_timeout"
    assert "item_deadline_exceeded" in seen.data


# Life cycle


def test_a_shared_strategy_is_prepared_and_cleaned_up_once():
    strategy = Recorder()
    ask(strategy, [f"p{n}" for n in range(20)])
    assert Counter(one for one in strategy.told if isinstance(one, str)) == {"prepare": 1, "cleanup": 1}
    assert (strategy.told[0], strategy.told[-1]) == ("prepare", "cleanup")


def test_each_strategy_of_its_own_is_prepared_and_cleaned_up_once():
    strategies = [Recorder() for _ in range(10)]
    with ParallelBatchProcessor(config()) as processor:
        for n, strategy in enumerate(strategies):
            processor.add_work(LLMWorkItem(f"row_{n}", strategy, "p"))
        processor.process_all()
    assert [strategy.told for strategy in strategies] == [["prepare", ("execute", 1), "cleanup"]] * 10


def test_a_failed_prepare_is_remembered_for_all_items():
    class Broken(Recorder):
        def prepare(self):
            super().prepare()
            raise ConnectionError("no way")

    strategy = Broken()
    result = ask(strategy, ["a", "b", "c"])
    assert strategy.told == ["prepare"]
    assert {one.error for one in result.results} == {
        "StrategyPrepareError: prepare() of Broken failed: ConnectionError: no way"
    }
    assert {one.error_category for one in result.results} == {"connection_error"}


class Messy(Recorder):
    def cleanup(self):
        super().cleanup()
        raise ValueError("stuck")


def test_a_failed_cleanup_is_raised_after_all_were_called():
    messy, tidy = Messy(), Recorder()
    processor = ParallelBatchProcessor(config())
    processor.add_work(LLMWorkItem("a", messy, "x"))
    processor.add_work(LLMWorkItem("b", tidy, "x"))
    processor.process_all()
    with pytest.raises(ValueError, match="stuck"):
        processor.shutdown()
    assert messy.told[-1] == tidy.told[-1] == "cleanup"
    processor.shutdown()
    assert messy.told.count("cleanup") == 1


def leave(strategy, error=None):
    with ParallelBatchProcessor(config()) as processor:
        processor.add_work(LLMWorkItem("a", strategy, "x"))
        processor.process_all()
        if error:
            raise error


def test_a_failed_cleanup_is_raised_at_the_end_of_a_block():
    with pytest.raises(ValueError, match="stuck"):
        leave(Messy())


def test_a_failed_cleanup_hides_no_error_of_the_block():
    with pytest.raises(KeyError):
        leave(Messy(), KeyError("mine"))


def test_a_failed_cleanup_costs_no_results():
    assert ask_one(Messy()).output == "WHO?"


def test_without_a_block_nothing_is_cleaned_up():
    strategy = Recorder()
    processor = ParallelBatchProcessor()
    processor.add_work(LLMWorkItem("a", strategy, "x"))
    processor.process_all()
    assert "cleanup" not in strategy.told


# Scopes and limits


class Counting(Recorder):
    """Counts how many calls are in flight."""

    def __init__(self, **facts):
        super().__init__()
        self.lock = threading.Lock()
        self.now = self.most = 0
        vars(self).update(facts)

    def execute(self, prompt, attempt, timeout, state=None):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.005)
        with self.lock:
            self.now -= 1
        return prompt, {}


class Narrow(Counting):
    max_concurrency = 2


def test_as_many_calls_are_in_flight_as_there_are_workers():
    strategy = Counting()
    ask(strategy, ["x"] * 24, max_workers=4)
    assert 2 <= strategy.most <= 4


@pytest.mark.parametrize(
    ("strategy", "facts", "most"),
    [
        (Narrow(), {}, 2),
        (Counting(), {"max_provider_concurrency": 3}, 3),
        (Counting(thread_safe=False), {}, 1),
    ],
)
def test_no_more_calls_are_in_flight_than_may_be(strategy, facts, most):
    ask(strategy, ["x"] * 20, max_workers=8, **facts)
    assert strategy.most <= most


def test_a_strategy_makes_room_for_the_workers():
    model = PolluxModel(Config(provider="openai", model="m", use_mock=True))
    ask(ModelStrategy(model), concurrency=40)
    assert model.config.request_concurrency == 40


def test_strategies_of_one_quota_pause_together_and_others_go_on():
    quota = object()
    answered = threading.Event()
    throttled = FakeStrategy("a", failure_schedule=[FakeRateLimitError(retry_after=60)], quota_scope=quota)
    same = FakeStrategy("b", quota_scope=quota)
    other = FakeStrategy(lambda prompt: answered.set() or "c")
    with ParallelBatchProcessor(config(max_workers=1)) as processor:
        for name, strategy in (("a", throttled), ("b", same), ("c", other)):
            processor.add_work(LLMWorkItem(name, strategy))
        processor.start()
        assert answered.wait(5)
        assert (throttled.calls, same.calls) == (1, 0)


def test_a_quota_that_cannot_be_read_fails_the_item_alone():
    class Broken(Recorder):
        @property
        def quota_scope(self):
            raise ValueError("no quota")

    result = process_prompts(Recorder(), [LLMWorkItem("a", Broken(), "x"), "y"])
    assert [one.error_category for one in result.results] == ["quota_scope_error", None]


def test_tokens_are_estimated_for_a_limit_of_tokens():
    asked = []

    def estimate(prompt):
        asked.append(prompt)
        return TokenEstimate(input_tokens=1)

    ask(FakeStrategy("yes"), ["x", "y"], max_tokens_per_minute=1e6, token_estimator=estimate)
    assert asked == ["x", "y"]


def test_a_prompt_whose_tokens_cannot_be_estimated_fails():
    strategy = FakeStrategy("yes", token_estimator=lambda prompt: prompt.tokens)
    result = ask_one(strategy, max_tokens_per_minute=1e6)
    assert result.error_category == "token_estimation_error"
    assert strategy.calls == 0


def test_tokens_are_estimated_by_length_where_nobody_knows_better():
    assert ask(FakeStrategy("yes", token_usage=USAGE), ["x"] * 5, max_tokens_per_minute=1e6).succeeded == 5


# Guardrails


def test_a_category_may_end_the_job():
    class AuthenticationError(Exception):
        status_code = 401

    guardrails = GuardrailConfig(abort_on_error_categories={"authentication"})
    strategy = FakeStrategy("yes", failure_schedule=[None, AuthenticationError("bad key")])
    result = ask(strategy, ["x"] * 50, max_workers=1, guardrails=guardrails)
    assert (result.termination.kind, result.termination.error_category) == ("fail_fast", "authentication")
    assert result.termination.triggering_item_id == "item_1"
    assert strategy.calls == 2


def test_a_budget_of_tokens_ends_the_job():
    strategy = FakeStrategy("yes", token_usage=USAGE)
    result = ask(strategy, ["x"] * 50, max_workers=1, guardrails=GuardrailConfig(max_total_tokens=10))
    assert (result.termination.kind, strategy.calls) == ("budget_exceeded", 2)


def test_a_budget_of_money_ends_the_job():
    tries = []

    def price(usage):
        tries.append(usage)
        return 0.5

    guardrails = GuardrailConfig(max_total_cost=1.0, cost_function=price)
    strategy = FakeStrategy("yes", failure_schedule=[ConnectionError("down")])
    result = ask(strategy, guardrails=guardrails)
    assert result.termination.kind == "budget_exceeded"
    assert [(one.attempt, one.try_number, one.success) for one in tries] == [(1, 1, False), (2, 2, True)]


def test_a_job_has_a_limit_of_time():
    is_over = threading.Event()
    strategy = CallableStrategy(lambda prompt: is_over.wait(5))
    guardrails = GuardrailConfig(batch_timeout=0.05, abort_mode=AbortMode.CANCEL_ACTIVE)
    result = ask(strategy, ["x"] * 9, max_workers=2, guardrails=guardrails)
    is_over.set()
    assert result.termination.kind == "batch_timeout"
    assert {one.error_category for one in result.results} == {"batch_aborted"}
    assert result.unanswered is None


def test_an_item_that_waits_for_its_next_try_fails_when_the_job_ends():
    strategy = FakeStrategy("yes", failure_schedule=[FakeRateLimitError()])
    guardrails = GuardrailConfig(batch_timeout=0.1)
    result = ask_one(strategy, rate_limit=RateLimitConfig(), guardrails=guardrails)
    assert result.error_category == "batch_aborted"


# Middleware, observers, callbacks


class Upper(BaseMiddleware):
    def before_process(self, work_item):
        return attrs.evolve(work_item, prompt=f"{work_item.prompt}!")

    def after_process(self, result):
        return attrs.evolve(result, output=f"<{result.output}>")


class Skip(BaseMiddleware):
    def before_process(self, work_item):
        return None if work_item.prompt == "secret" else work_item


class Rescue(BaseMiddleware):
    def on_error(self, work_item, error):
        from pollux_batch import WorkItemResult

        return WorkItemResult(item_id=work_item.item_id, success=True, output=f"saved from {error}")


class Broken(BaseMiddleware):
    def __init__(self, where):
        def fail(*_):
            raise ValueError("oops")

        setattr(self, where, fail)


class Renames(BaseMiddleware):
    def before_process(self, work_item):
        return attrs.evolve(work_item, item_id="other")


def ask_through(strategy, *middlewares, prompts=("Who?",)):
    return ask(strategy, prompts, settings={"middlewares": middlewares}).results


def test_middleware_changes_items_once_and_results_in_reverse():
    strategy = FakeStrategy(str, failure_schedule=[ConnectionError("down")])
    assert ask_through(strategy, Upper(), BaseMiddleware())[0].output == "<Who?!>"


def test_middleware_may_skip_an_item():
    strategy = FakeStrategy("yes")
    skipped, answered = ask_through(strategy, Skip(), Upper(), prompts=["secret", "open"])
    assert (skipped.item_id, skipped.error_category) == ("item_0", "middleware_filtered")
    assert "Skipped by middleware" in skipped.error
    assert (answered.success, strategy.calls) == (True, 1)


def test_middleware_may_answer_in_place_of_a_failure():
    (result,) = ask_through(FakeStrategy("", failure_schedule=[KeyError("x")]), BaseMiddleware(), Rescue())
    assert result.output == "saved from 'x'"


def test_nothing_is_sent_that_a_middleware_failed_to_see():
    strategy = FakeStrategy("yes")
    (result,) = ask_through(strategy, Broken("before_process"))
    assert (result.success, result.error_category, strategy.calls) == (False, "middleware_contract_error", 0)


def test_nothing_gets_out_that_a_middleware_failed_to_see():
    (result,) = ask_through(FakeStrategy("secret", token_usage=USAGE), Broken("after_process"))
    assert (result.success, result.output, result.token_usage["total_tokens"]) == (False, None, 5)


def test_middleware_that_fails_at_a_failure_leaves_it_as_it_is():
    (result,) = ask_through(FakeStrategy("", failure_schedule=[KeyError("x")]), Broken("on_error"))
    assert result.error_category == "logic_error"


def test_middleware_keeps_the_id_of_an_item():
    (result,) = ask_through(FakeStrategy("yes"), Renames())
    assert "changed the id or the strategy of item 'item_0'" in result.error


class Events(BaseObserver):
    def __init__(self):
        self.data = {}

    def on_event(self, event, data):
        self.data.setdefault(str(event), []).append(dict(data))
        data.clear()


class BrokenObserver(BaseObserver):
    def on_event(self, event, data):
        raise ValueError("oops")


def test_observers_are_told_each_with_a_payload_of_its_own(caplog):
    first, second = Events(), Events()
    strategy = FakeStrategy("yes", failure_schedule=[KeyError("x")])
    ask(strategy, ["a", "b"], max_workers=1, settings={"observers": [first, BrokenObserver(), BaseObserver(), second]})
    assert first.data == second.data
    assert {event: len(all_data) for event, all_data in first.data.items()} == {
        "batch_started": 1,
        "item_started": 2,
        "item_admitted": 2,
        "item_failed": 1,
        "item_completed": 1,
        "batch_completed": 1,
    }
    assert first.data["item_failed"][0]["error_category"] == "logic_error"
    assert "BrokenObserver failed at item_started" in caplog.text


def test_the_post_processor_sees_every_result_and_changes_nothing(caplog):
    seen = []

    def save(result):
        seen.append(result.item_id)
        raise ValueError("disk full")

    strategy = FakeStrategy("yes", failure_schedule=[KeyError("x")])
    result = ask(strategy, ["a", "b"], settings={"post_processor": save})
    assert (sorted(seen), result.succeeded) == (["item_0", "item_1"], 1)
    assert "post_processor failed" in caplog.text


def test_a_post_processor_that_takes_too_long_is_left(caplog):
    is_over = threading.Event()
    ask(FakeStrategy("yes"), post_processor_timeout=0.02, settings={"post_processor": lambda _: is_over.wait(5)})
    is_over.set()
    assert "post_processor took longer than 0.02 s" in caplog.text


def test_progress_is_told_at_intervals():
    told = []
    settings = {"progress_callback": lambda *facts: told.append(facts[:2])}
    with ParallelBatchProcessor(config(progress_interval=2), **settings) as processor:
        for n in range(5):
            processor.add_work(LLMWorkItem(f"{n}", FakeStrategy("yes")))
        processor.process_all()
    assert told == [(2, 5), (4, 5)]


def test_what_was_counted_can_be_read():
    strategy = FakeStrategy("yes", failure_schedule=[KeyError("x"), FakeRateLimitError()], token_usage=USAGE)
    with ParallelBatchProcessor(config(max_workers=1)) as processor:
        for name in "ab":
            processor.add_work(LLMWorkItem(name, strategy))
        processor.process_all()
        stats = processor.get_stats()
    assert stats.pop("start_time") <= time.time()
    assert stats == {
        "total": 2,
        "processed": 2,
        "succeeded": 1,
        "failed": 1,
        "error_counts": {"logic_error": 1},
        "rate_limit_count": 1,
        "total_input_tokens": 3,
        "total_output_tokens": 2,
        "total_total_tokens": 5,
    }


# Streams


def test_a_stream_yields_results_while_items_are_added():
    with ParallelBatchProcessor(config()) as processor:
        processor.start()
        results = processor.results()
        processor.add_work(LLMWorkItem("a", FakeStrategy(str.upper), "x"))
        assert next(results).output == "X"
        processor.add_work(LLMWorkItem("b", FakeStrategy(str.upper), "y"))
        processor.finish()
        assert [result.output for result in results] == ["Y"]


def test_a_full_queue_holds_its_producer_back():
    gate = threading.Event()
    strategy = CallableStrategy(lambda prompt: gate.wait(5))
    with ParallelBatchProcessor(config(max_workers=1, max_queue_size=2)) as processor:
        processor.start()
        added = []

        def produce():
            for n in range(9):
                processor.add_work(LLMWorkItem(f"{n}", strategy))
                added.append(n)
            processor.finish()

        producer = threading.Thread(target=produce)
        producer.start()
        producer.join(0.2)
        assert len(added) <= 3
        gate.set()
        assert len(list(processor.results())) == 9
        producer.join()


def test_a_producer_that_waits_is_told_of_the_end():
    gate = threading.Event()
    raised = []
    processor = ParallelBatchProcessor(config(max_workers=1, max_queue_size=1))
    processor.start()
    strategy = CallableStrategy(lambda prompt: gate.wait(5))

    def produce():
        try:
            for n in range(9):
                processor.add_work(LLMWorkItem(f"{n}", strategy))
        except BatchAdmissionClosedError as error:
            raised.append(error)

    producer = threading.Thread(target=produce)
    producer.start()
    producer.join(0.1)
    processor.finish()
    producer.join(5)
    gate.set()
    processor.shutdown()
    assert len(raised) == 1


def test_nothing_is_added_to_a_finished_stream():
    with ParallelBatchProcessor() as processor:
        processor.start()
        processor.finish()
        with pytest.raises(BatchAdmissionClosedError):
            processor.add_work(LLMWorkItem("a", FakeStrategy("yes")))
        assert list(processor.results()) == []


def test_a_slow_reader_holds_the_workers_back():
    strategy = FakeStrategy("yes")
    with ParallelBatchProcessor(config(max_workers=2, max_result_queue_size=3)) as processor:
        for n in range(60):
            processor.add_work(LLMWorkItem(f"{n}", strategy))
        processor.start()
        processor.finish()
        results = processor.results()
        next(results)
        time.sleep(0.1)
        assert strategy.calls < 40
        assert 1 + len(list(results)) == 60


def test_a_reader_that_leaves_ends_the_work():
    strategy = FakeStrategy("yes", latency=0.02)
    stream = process_stream(strategy, (f"p{n}" for n in range(10_000)), concurrency=2)
    next(stream)
    stream.close()
    calls = strategy.calls
    time.sleep(0.1)
    assert strategy.calls == calls < 1_000


def test_an_error_of_the_input_comes_after_the_results_before_it():
    def read():
        yield "a"
        yield "b"
        raise OSError("no more lines")

    seen = []
    with pytest.raises(OSError, match="no more lines"):
        seen.extend(result.output for result in process_stream(FakeStrategy(str.upper), read()))
    assert set(seen) <= {"A", "B"}


def test_what_ends_a_worker_is_raised_where_results_are_read():
    def leave(prompt):
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        ask(CallableStrategy(leave))


def test_shutdown_in_the_middle_waits_for_what_is_in_flight():
    strategy = FakeStrategy("yes", latency=0.01)
    processor = ParallelBatchProcessor(config(max_workers=2))
    for n in range(50):
        processor.add_work(LLMWorkItem(f"{n}", strategy))
    processor.start()
    processor.shutdown()
    assert processor.termination.kind == "interrupted"
    assert processor.get_stats()["processed"] == strategy.calls < 50
    with pytest.raises(BatchAdmissionClosedError):
        processor.add_work(LLMWorkItem("a", strategy))


def test_ctrl_c_begins_nothing_more_and_keeps_what_is_there():
    def answer(prompt):
        if prompt == "p3":
            signal.raise_signal(signal.SIGINT)
        time.sleep(0.01)
        return prompt

    result = ask(CallableStrategy(answer), [f"p{n}" for n in range(5_000)], max_workers=2)
    assert result.termination.kind == "interrupted"
    assert 3 < result.succeeded < 5_000


def test_a_second_ctrl_c_leaves_at_once():
    gate = threading.Event()

    def answer(prompt):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.6)  # two that are not noticed yet are one
        gate.wait(5)

    with pytest.raises(KeyboardInterrupt):
        ask(CallableStrategy(answer))
    gate.set()


# Prompts


def test_prompts_may_be_texts_pairs_triples_and_items():
    strategy = FakeStrategy(str.upper)
    result = process_prompts(strategy, ["a", ("x", "b"), ("y", "c", 7), LLMWorkItem("z", strategy, "d")])
    assert result.outputs(with_ids=True) == [("item_0", "A"), ("x", "B"), ("y", "C"), ("z", "D")]
    assert result.by_id["y"].context == 7


@pytest.mark.parametrize("prompts", ["Who?", b"Who?", 7])
def test_prompts_must_be_many(prompts):
    with pytest.raises(ValueError, match="prompts must be an iterable"):
        process_prompts(FakeStrategy("yes"), prompts)


@pytest.mark.parametrize("prompt", [BatchItem("a"), 7, ("x", None)])
def test_a_prompt_that_cannot_be_asked_is_refused(prompt):
    with pytest.raises(ValueError, match=r"[Ii]tem"):
        process_prompts(FakeStrategy("yes"), [prompt])


def test_prompts_need_a_strategy():
    with pytest.raises(ValueError, match="must be an LLMCallStrategy"):
        process_prompts(str.upper, ["a"])


def test_concurrency_belongs_into_the_config_if_there_is_one():
    with pytest.raises(ValueError, match="exclude each other"):
        process_prompts(FakeStrategy("yes"), ["a"], config=config(), concurrency=3)


def test_prompts_are_read_as_they_are_needed():
    read = []
    stream = process_stream(FakeStrategy("yes"), (read.append(n) or "x" for n in range(10_000)), config=config())
    next(stream)
    stream.close()
    assert len(read) < 5_000
