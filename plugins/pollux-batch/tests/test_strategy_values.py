import pickle

import pytest

import pollux_batch
from pollux_batch import (
    ErrorCategory,
    GuardrailConfig,
    LLMCallStrategy,
    LLMWorkItem,
    ProcessorConfig,
    RateLimitConfig,
    RetryConfig,
    RetryState,
    StartupRampConfig,
    TimeoutCategory,
    errors,
)
from pollux_sync.errors import PolluxError

NUMBERS = [
    (RetryConfig, "max_attempts"),
    (RetryConfig, "initial_wait"),
    (RetryConfig, "max_rate_limit_retries"),
    (RateLimitConfig, "cooldown_seconds"),
    (RateLimitConfig, "slow_start_items"),
    (StartupRampConfig, "ramp_interval_seconds"),
    (GuardrailConfig, "total_timeout_per_item"),
    (GuardrailConfig, "max_total_tokens"),
    (ProcessorConfig, "max_workers"),
    (ProcessorConfig, "attempt_timeout"),
    (ProcessorConfig, "max_requests_per_minute"),
    (ProcessorConfig, "max_queue_size"),
    (ProcessorConfig, "progress_callback_timeout"),
]


class Echo(LLMCallStrategy[str]):
    def execute(self, prompt, attempt, timeout, state=None):
        return prompt, {}, None


@pytest.mark.parametrize("name", pollux_batch.__all__)
def test_public_name_can_be_used(name):
    assert getattr(pollux_batch, name).__doc__


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'pollux_batch' has no attribute 'LLMGadget'"):
        _ = pollux_batch.LLMGadget


def test_dir_lists_the_public_names():
    assert dir(pollux_batch) == pollux_batch.__all__ == sorted(pollux_batch.__all__)


@pytest.mark.parametrize("value", [-1, True, float("nan"), float("inf"), "5"])
@pytest.mark.parametrize(("kind", "name"), NUMBERS)
def test_a_number_that_cannot_work_is_refused_by_name_with_a_typical_one(kind, name, value):
    with pytest.raises(ValueError, match=rf"{name} must be.*\n  hint: a typical value is \d"):
        kind(**{name: value})


@pytest.mark.parametrize("name", ["timeout_per_item", "enable_detailed_logging"])
def test_a_setting_that_nobody_reads_is_refused(name):
    with pytest.raises(TypeError, match=name):
        ProcessorConfig(**{name: 1})


def test_configs_have_the_documented_defaults():
    config = ProcessorConfig()
    assert (config.max_workers, config.attempt_timeout, config.retry.max_attempts) == (5, 120.0, 3)
    assert (config.retry.max_rate_limit_retries, config.rate_limit.cooldown_seconds) == (20, 300.0)


def test_a_longest_wait_below_the_first_is_refused():
    with pytest.raises(ValueError, match="max_wait is 1"):
        RetryConfig(initial_wait=2, max_wait=1)


def test_a_longest_cooldown_below_the_first_is_refused():
    with pytest.raises(ValueError, match="max_cooldown_seconds is 1"):
        RateLimitConfig(max_cooldown_seconds=1)


def test_one_category_in_place_of_a_set_is_refused():
    with pytest.raises(ValueError, match="abort_on_error_categories must be a set"):
        GuardrailConfig(abort_on_error_categories="authentication")


def test_a_most_cost_without_a_way_to_know_it_is_refused():
    with pytest.raises(ValueError, match="belong together"):
        GuardrailConfig(max_total_cost=1.0)


def test_an_unknown_abort_mode_is_refused():
    with pytest.raises(ValueError, match="abort_mode 'now' is not known"):
        GuardrailConfig(abort_mode="now")


def test_a_token_estimator_without_a_limit_is_refused():
    with pytest.raises(ValueError, match="without max_tokens_per_minute"):
        ProcessorConfig(token_estimator=len)


def test_concurrency_sets_the_workers():
    assert (ProcessorConfig(concurrency=9).workers, ProcessorConfig(max_workers=7).workers) == (9, 7)


@pytest.mark.parametrize("item_id", ["", "  ", None, 7])
def test_an_item_needs_an_id(item_id):
    with pytest.raises(ValueError, match="item_id must be a non-blank text"):
        LLMWorkItem(item_id, Echo())


@pytest.mark.parametrize("strategy", [None, object(), Echo])
def test_an_item_needs_a_strategy(strategy):
    with pytest.raises(ValueError, match="must be an LLMCallStrategy"):
        LLMWorkItem("a", strategy)


@pytest.mark.parametrize("prompt", [None, ["a"], 7])
def test_a_prompt_must_be_a_text(prompt):
    with pytest.raises(TypeError, match="the prompt of item 'a' must be a text"):
        LLMWorkItem("a", Echo(), prompt)


def test_a_prompt_may_be_empty():
    assert LLMWorkItem("a", Echo()).prompt == ""


def test_there_are_37_categories():
    assert len(ErrorCategory) == 37
    assert ErrorCategory.RATE_LIMIT == "rate_limit"


def test_there_are_four_limits_of_time():
    assert len(TimeoutCategory) == 4


def test_an_empty_state_is_true():
    assert bool(RetryState())


def test_a_state_keeps_values_by_key():
    state = RetryState()
    state.set("model", "large")
    assert (state.get("model"), state.get("n", 3), "model" in state) == ("large", 3, True)
    assert repr(state) == "RetryState({'model': 'large'})"


def test_a_missing_key_is_an_error_only_when_asked():
    state = RetryState()
    state.delete("model")
    with pytest.raises(KeyError, match="model"):
        state.delete("model", raise_if_missing=True)


def test_a_cleared_state_is_empty():
    state = RetryState()
    state.set("model", "large")
    state.clear()
    assert state.data == {}


ERRORS = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, PolluxError)]


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_survives_pickling(kind):
    error = pickle.loads(pickle.dumps(kind("It failed.", hint="try again")))  # noqa: S301 - our own bytes
    assert (type(error), error.message, error.hint) == (kind, "It failed.", "try again")


def test_a_strategy_has_defaults_for_all_but_execute():
    strategy = Echo()
    strategy.prepare()
    strategy.on_error(ValueError(), 1)
    strategy.cleanup()
    assert strategy.dry_run("x" * 60)[0] == f"[DRY-RUN] Mock output for prompt: {'x' * 50}..."
    assert strategy.concurrency_scope is strategy.quota_scope is strategy
    assert (
        strategy.max_concurrency is strategy.estimate_tokens("", 1) is strategy.recommended_error_classifier() is None
    )
    assert not strategy.request_concurrency(4)


def test_a_strategy_without_execute_cannot_be_built():
    with pytest.raises(TypeError, match="execute"):
        LLMCallStrategy()
