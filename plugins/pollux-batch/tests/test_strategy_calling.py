import threading
import time

import pytest

from pollux_batch import (
    AdmissionTimeoutError,
    BatchAdmissionClosedError,
    CallableStrategy,
    LLMCallError,
    LLMCallPool,
    LLMGateway,
    ProcessorConfig,
    RateLimitConfig,
    RetryConfig,
    call,
    call_result,
)
from pollux_batch.testing import FakeRateLimitError, FakeStrategy

CONFIG = ProcessorConfig(
    retry=RetryConfig(initial_wait=0), rate_limit=RateLimitConfig(cooldown_seconds=0, slow_start_items=0)
)


def submit_many(pool, prompts):
    answers = {}

    def submit(prompt):
        answers[prompt] = pool.submit(prompt)

    threads = [threading.Thread(target=submit, args=(prompt,)) for prompt in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    return answers


def test_one_prompt_is_answered():
    assert call(FakeStrategy(str.upper), "Who?") == "WHO?"


def test_one_prompt_is_tried_again():
    strategy = FakeStrategy("yes", failure_schedule=[FakeRateLimitError(), ConnectionError()])
    result = call_result(strategy, "Who?", config=CONFIG)
    assert (result.output, result.attempts) == ("yes", 3)


def test_a_call_that_fails_raises_with_its_result():
    with pytest.raises(LLMCallError, match="KeyError: 'x'") as caught:
        call(FakeStrategy("yes", failure_schedule=[KeyError("x")]), "Who?")
    assert caught.value.result.error_category == "logic_error"
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_call_that_fails_has_a_result():
    assert not call_result(FakeStrategy("yes", failure_schedule=[KeyError("x")]), "Who?").success


def test_a_strategy_that_does_not_let_go_costs_no_result():
    def fail():
        raise ValueError("stuck")

    assert call(CallableStrategy(str.upper, cleanup=fail), "Who?") == "WHO?"


def test_a_call_needs_a_strategy():
    with pytest.raises(ValueError, match="must be an LLMCallStrategy"):
        call(str.upper, "Who?")


def test_many_threads_share_a_pool_and_its_strategy():
    told = []
    strategy = FakeStrategy(str.upper, prepare=lambda: told.append("prepare"), cleanup=lambda: told.append("cleanup"))
    with LLMCallPool(strategy, config=CONFIG) as pool:
        answers = submit_many(pool, [f"p{n}" for n in range(40)])
        stats = pool.get_stats()
    assert answers == {f"p{n}": f"P{n}" for n in range(40)}
    assert (stats["total"], stats["succeeded"], told) == (40, 40, ["prepare", "cleanup"])


def test_a_pool_may_be_empty():
    with LLMCallPool(FakeStrategy("yes")) as pool:
        assert pool.get_stats()["total"] == 0


def test_a_closed_pool_takes_no_prompts():
    pool = LLMCallPool(FakeStrategy("yes"), max_pending=1)
    pool.close()
    pool.close()
    for _ in range(2):
        with pytest.raises(BatchAdmissionClosedError):
            pool.submit("Who?")


def test_a_full_pool_refuses_a_prompt_after_a_while():
    gate = threading.Event()
    with LLMCallPool(CallableStrategy(lambda _: gate.wait(5)), max_pending=1, submit_timeout=0.01) as pool:
        caller = threading.Thread(target=pool.submit, args=("a",))
        caller.start()
        while not pool.get_stats()["total"]:
            time.sleep(0.001)
        with pytest.raises(AdmissionTimeoutError, match="no place for another prompt"):
            pool.submit("b")
        gate.set()
        caller.join(5)
        assert pool.submit("c") is True


def test_a_caller_waits_no_longer_than_it_wants():
    gate = threading.Event()
    with LLMCallPool(CallableStrategy(lambda _: gate.wait(5))) as pool:
        with pytest.raises(AdmissionTimeoutError, match="no result in time"):
            pool.submit("a", timeout=0.02)
        gate.set()


def test_what_ends_a_worker_is_raised_where_it_is_waited_for():
    def leave(prompt):
        raise SystemExit(3)

    with LLMCallPool(CallableStrategy(leave)) as pool, pytest.raises(SystemExit):
        pool.submit("a")


def test_a_failed_cleanup_is_raised_when_a_pool_is_closed():
    def fail():
        raise ValueError("stuck")

    pool = LLMCallPool(CallableStrategy(str.upper, cleanup=fail))
    pool.submit("a")
    with pytest.raises(ValueError, match="stuck"):
        pool.close()


def leave_block(error):
    def fail():
        raise ValueError("stuck")

    with LLMCallPool(CallableStrategy(str.upper, cleanup=fail)) as pool:
        pool.submit("a")
        if error:
            raise error


@pytest.mark.parametrize(("error", "raised"), [(None, ValueError), (KeyError("mine"), KeyError)])
def test_a_failed_cleanup_hides_no_error_of_the_block(error, raised):
    with pytest.raises(raised):
        leave_block(error)


@pytest.mark.parametrize("facts", [{"max_pending": 0}, {"submit_timeout": -1}])
def test_a_limit_that_cannot_work_is_refused(facts):
    with pytest.raises(ValueError, match="must be a number"):
        LLMCallPool(FakeStrategy("yes"), **facts)


def test_a_pool_has_its_old_name_too():
    assert LLMGateway is LLMCallPool
