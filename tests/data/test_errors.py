import copy
import inspect
import pickle

import attrs
import pytest

from pollux_sync import (
    APIError,
    CacheError,
    ConfigurationError,
    ContextOverflowError,
    DeferredNotReadyError,
    DeferredSnapshot,
    Fault,
    InternalError,
    PlanningError,
    PluginLoadError,
    PolluxError,
    ProviderBugError,
    RateLimitError,
    SourceError,
    ToolCallParseError,
    errors,
)
from pollux_sync.errors import Attempt, Interrupted, Terminated, build_api_error, build_stop, is_refusal

SNAPSHOT = DeferredSnapshot("job-1", "acme", "m", "running", "IN_PROGRESS", 3, 1, 0, 2, submitted_at=1.5)
ATTEMPTS = (
    Attempt(started_at=1.0, duration_s=0.25, status_code=503, kind="capacity", reason="busy"),
    Attempt(started_at=2.0, duration_s=0.5, wait_s=0.75, status_code=429, kind="rate_limit", request_id="r-2"),
)
API_FACTS = {
    "kind": "rate_limit",
    "retryable": True,
    "status_code": 429,
    "retry_after_s": 1.5,
    "request_id": "r-2",
    "provider": "acme",
    "phase": "generate",
    "call_idx": 4,
    "attempts": ATTEMPTS,
}
FACTS = {
    PolluxError: {},
    ConfigurationError: {},
    PluginLoadError: {"name": "acme", "distribution": "pollux-acme", "version": "1.2"},
    SourceError: {},
    ToolCallParseError: {"tool": "weather", "arguments": "{"},
    PlanningError: {},
    InternalError: {},
    ProviderBugError: {"hook": "pollux_encode", "distribution": "pollux-acme"},
    DeferredNotReadyError: {"snapshot": SNAPSHOT},
    APIError: API_FACTS,
    RateLimitError: API_FACTS,
    ContextOverflowError: API_FACTS | {"kind": "context_overflow", "n_tokens": 9000, "n_ctx": 8192},
    CacheError: API_FACTS,
}


def build_error(error_type):
    error = error_type("the whale got away", hint="lower a boat", **FACTS[error_type])
    error.partial_result = {"status": "partial", "answers": ["one", ""]}
    return error


every_error = pytest.mark.parametrize("error_type", FACTS, ids=lambda error_type: error_type.__name__)


def test_table_of_this_test_lists_every_error():
    classes = {value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)}
    assert classes == set(FACTS)


@pytest.mark.parametrize(
    ("child", "parent"),
    [
        (PolluxError, Exception),
        (ConfigurationError, PolluxError),
        (ConfigurationError, ValueError),
        (PluginLoadError, ConfigurationError),
        (SourceError, PolluxError),
        (PlanningError, PolluxError),
        (ToolCallParseError, PolluxError),
        (ToolCallParseError, ValueError),
        (InternalError, PolluxError),
        (ProviderBugError, InternalError),
        (DeferredNotReadyError, PolluxError),
        (APIError, PolluxError),
        (RateLimitError, APIError),
        (ContextOverflowError, APIError),
        (CacheError, APIError),
    ],
)
def test_error_is_a_kind_of(child, parent):
    assert parent in child.__bases__


@every_error
def test_text_is_the_message_and_below_it_the_hint(error_type):
    assert str(build_error(error_type)) == "the whale got away\n  hint: lower a boat"


@every_error
def test_text_without_a_hint_is_the_message(error_type):
    assert str(error_type("the whale got away")) == "the whale got away"


@every_error
def test_message_leaves_out_the_hint(error_type):
    assert build_error(error_type).message == "the whale got away"


@every_error
def test_message_is_all_an_error_needs(error_type):
    assert error_type("the whale got away").partial_result is None


@every_error
def test_facts_are_attributes(error_type):
    error = build_error(error_type)
    assert {name: getattr(error, name) for name in FACTS[error_type]} == FACTS[error_type]


@every_error
@pytest.mark.parametrize(
    "copied",
    [
        *(lambda error, protocol=p: pickle.loads(pickle.dumps(error, protocol)) for p in range(2, 6)),  # noqa: S301
        copy.copy,
        copy.deepcopy,
    ],
    ids=["pickle 2", "pickle 3", "pickle 4", "pickle 5", "copy", "deepcopy"],
)
def test_error_survives_with_all_it_carries(error_type, copied):
    original = build_error(error_type)
    twin = copied(original)
    assert (type(twin), str(twin), vars(twin)) == (error_type, str(original), vars(original))


@every_error
def test_copy_of_an_error_may_get_facts_of_its_own(error_type):
    original = build_error(error_type)
    copy.copy(original).partial_result = None
    assert original.partial_result is not None


def test_notes_survive_pickling():
    error = build_error(APIError)
    error.add_note("on line 7 of the log")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["on line 7 of the log"]  # noqa: S301 - our own bytes


FAULT = Fault(
    kind="capacity",
    message="overloaded",
    retryable=True,
    status_code=529,
    retry_after_s=2.0,
    request_id="r-1",
    hint="wait",
)


@pytest.mark.parametrize(
    ("status_code", "kind", "phase", "error_type"),
    [
        (429, "rate_limit", "generate", RateLimitError),
        (429, "unknown", "generate", RateLimitError),
        (None, "rate_limit", "generate", RateLimitError),
        (429, "rate_limit", "cache", RateLimitError),
        (500, "capacity", "cache", CacheError),
        (None, "connection", "cache", CacheError),
        (400, "context_overflow", "generate", ContextOverflowError),
        (500, "context_overflow", "cache", ContextOverflowError),
        (500, "capacity", "generate", APIError),
        (401, "auth", "upload", APIError),
        (None, "timeout", "batch_submit", APIError),
    ],
)
def test_fault_becomes_the_error_of_its_kind_and_phase(status_code, kind, phase, error_type):
    fault = attrs.evolve(FAULT, status_code=status_code, kind=kind)
    assert type(build_api_error(fault, provider="acme", phase=phase)) is error_type


@pytest.mark.parametrize(
    "fault", [FAULT, attrs.evolve(FAULT, kind="context_overflow", n_tokens=9000, n_ctx=8192)], ids=lambda f: f.kind
)
def test_error_of_a_fault_carries_all_its_facts(fault):
    error = build_api_error(fault, provider="acme", phase="upload")
    facts = {name: value for name, value in attrs.asdict(fault).items() if value is not None}
    assert {name: getattr(error, name) for name in facts} == facts


def test_an_overflow_has_its_kind_by_default():
    assert ContextOverflowError("too long").kind == "context_overflow"


@pytest.mark.parametrize("kind", ["auth", "context_overflow"])
def test_fault_that_lasts_is_never_retryable(kind):
    assert attrs.evolve(FAULT, kind=kind).retryable is False
    assert Fault(kind=kind, message="no", retryable=True).retryable is False


def test_error_of_a_fault_names_its_place():
    error = build_api_error(FAULT, provider="acme", phase="upload", attempts=ATTEMPTS, call_idx=3)
    assert (error.provider, error.phase, error.attempts, error.call_idx) == ("acme", "upload", ATTEMPTS, 3)


def test_error_of_a_fault_belongs_to_no_call_by_default():
    error = build_api_error(FAULT, provider="acme", phase="cache")
    assert (error.call_idx, error.attempts) == (None, ())


def test_fault_survives_pickling():
    assert pickle.loads(pickle.dumps(FAULT)) == FAULT  # noqa: S301 - our own bytes


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 402, 403, 404, 413, 415, 422, 429])
def test_status_proves_that_nothing_was_created(status):
    assert is_refusal(status)


@pytest.mark.parametrize("status", [None, 200, 303, 408, 409, 425, 499, 500, 502, 503, 504, 529])
def test_status_proves_nothing(status):
    assert not is_refusal(status)


def test_an_interrupt_is_a_keyboard_interrupt_that_survives_pickling():
    interrupt = pickle.loads(pickle.dumps(Interrupted(outcomes=(1,), partial_result={"answers": ["x"]})))  # noqa: S301
    assert isinstance(interrupt, KeyboardInterrupt)
    assert (interrupt.outcomes, interrupt.partial_result) == ((1,), {"answers": ["x"]})


@pytest.mark.parametrize("again", [copy.copy, lambda stop: pickle.loads(pickle.dumps(stop))])  # noqa: S301
def test_a_terminated_call_is_a_system_exit_that_keeps_its_code_and_answers(again):
    stop = again(Terminated(7, outcomes=(1,), partial_result={"answers": ["x"]}))
    assert isinstance(stop, SystemExit)
    assert (stop.code, stop.outcomes, stop.partial_result) == (7, (1,), {"answers": ["x"]})


@pytest.mark.parametrize("code", [None, 0, 143, "no way"])
def test_a_stop_keeps_the_exit_code_of_its_cause(code):
    assert build_stop(SystemExit(code), ()).code == code


def test_a_stop_keeps_the_outcomes_of_its_cause():
    assert build_stop(Interrupted(outcomes=(1,)), ()).outcomes == (1,)
