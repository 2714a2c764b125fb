"""Every value that is stored comes back from JSON as it was, and bad data is refused by the name of the field."""

import json
import types
import typing
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pollux_sync import (
    APIError,
    CacheHandle,
    ConfigurationError,
    DeferredHandle,
    DeferredSnapshot,
    HttpRequest,
    HttpResponse,
    RateLimitError,
    Reply,
    RetryPolicy,
    Source,
    ToolCall,
    Usage,
)
from pollux_sync.data.bodies import Payload
from pollux_sync.data.converter import SCHEMA_VERSION, Storable, dump_value, load_value
from pollux_sync.data.handles import Asset, RemoteCache
from pollux_sync.data.interaction import Continuation
from pollux_sync.data.jobs import DeferredJob, JobState, SubmissionAttempt
from pollux_sync.data.reply import Failure
from pollux_sync.data.source import BytesLoader
from pollux_sync.data.tool import ToolResult
from pollux_sync.engine.journaling import JobFile, StoredUpload
from pollux_sync.errors import (
    Attempt,
    CacheError,
    ContextOverflowError,
    DeferredNotReadyError,
    Fault,
    PluginLoadError,
    PolluxError,
    ProviderBugError,
    SourceError,
    ToolCallParseError,
)

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | st.integers() | FLOATS | TEXTS
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2), max_leaves=4
)
#: A payload is read from files when it is sent, and is not stored.
LEAF_TYPES = {
    Payload: st.none(),
    bytes: st.binary(max_size=20),
    str: TEXTS,
    int: st.integers(),
    float: FLOATS,
    Decimal: st.decimals(allow_nan=False, allow_infinity=False, places=6),
    bool: st.booleans(),
    type(None): st.none(),
    Any: JSON,
}
PARTS = (
    Asset,
    Attempt,
    DeferredJob,
    Fault,
    HttpRequest,
    JobState,
    RemoteCache,
    StoredUpload,
    SubmissionAttempt,
    ToolCall,
    Usage,
)
STORABLE = (CacheHandle, DeferredHandle, DeferredSnapshot, HttpResponse, JobFile, Reply)

#: The first example imports cattrs, which takes longer than hypothesis allows by itself.
FEW = settings(max_examples=25, deadline=None)


def build_instances(tp):
    """Any value of a type: every field of a class is filled, as its annotation says."""
    if tp in LEAF_TYPES:
        return LEAF_TYPES[tp]
    origin, args = typing.get_origin(tp), typing.get_args(tp)
    if origin is Literal:
        return st.sampled_from(args)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(build_instances, args))
    if origin is tuple:
        return st.lists(build_instances(args[0]), max_size=2).map(tuple)
    if origin in (dict, Mapping):
        return st.dictionaries(build_instances(args[0]), build_instances(args[1]), max_size=3)
    attrs.resolve_types(tp, localns={"Decimal": Decimal})
    fields = {field.alias: build_instances(field.type) for field in attrs.fields(tp)}
    return st.builds(tp, **fields | ({"schema_version": st.just(SCHEMA_VERSION)} if "schema_version" in fields else {}))


def copy_through_json(data):
    return json.loads(json.dumps(data, allow_nan=False))


@pytest.mark.parametrize("value_type", PARTS)
@FEW
@given(data=st.data())
def test_round_trips_a_part_of_a_stored_value(value_type, data):
    value = data.draw(build_instances(value_type))
    assert load_value(copy_through_json(dump_value(value)), value_type) == value


@pytest.mark.parametrize("value_type", STORABLE)
@FEW
@given(data=st.data())
def test_round_trips_a_stored_value_with_its_version(value_type, data):
    value = data.draw(build_instances(value_type))
    stored = copy_through_json(value.to_dict())
    assert stored["schema_version"] == SCHEMA_VERSION
    assert value_type.from_dict(stored) == value


@FEW
@given(
    st.builds(
        RetryPolicy,
        max_attempts=st.integers(1),
        initial_delay_s=st.floats(0, 1e8),
        backoff_multiplier=st.floats(0, exclude_min=True, allow_infinity=False),
        max_delay_s=st.floats(0, 1e8),
        jitter=st.booleans(),
        max_elapsed_s=st.none() | st.floats(0, 1e8),
    )
)
def test_round_trips_a_policy(policy):
    assert load_value(copy_through_json(dump_value(policy)), RetryPolicy) == policy


@FEW
@given(st.builds(ToolResult, TEXTS.filter(str.strip), TEXTS, st.booleans()))
def test_round_trips_a_tool_result(result):
    assert load_value(copy_through_json(dump_value(result)), ToolResult) == result


@FEW
@given(TEXTS, JSON, st.binary(max_size=20))
def test_round_trips_a_source(text, value, content):
    video = Source("file", text, "video/mp4", len(content), BytesLoader(content))
    sources = [Source.from_text(text), Source.from_json(value), video.with_gemini_video_settings(fps=1)]
    for source in (*sources, Source.from_uri("gs://a/b.pdf"), Source.from_arxiv("1706.03762")):
        assert load_value(copy_through_json(dump_value(source)), Source) == source


def test_a_file_comes_back_as_it_was(tmp_path):
    (tmp_path / "whale.txt").write_text("white")
    source = Source.from_file(tmp_path / "whale.txt")
    restored = load_value(copy_through_json(dump_value(source)), Source)
    assert (restored.path, restored.content_loader()) == (source.path, b"white")


@FEW
@given(st.dictionaries(TEXTS, JSON, max_size=3), TEXTS)
def test_a_continuation_comes_back_as_it_was(state, provider):
    continuation = Continuation.from_dict(state | {"provider": provider})
    assert load_value(copy_through_json(dump_value(continuation)), Continuation) == continuation


ATTEMPTS = (
    Attempt(started_at=1.0, duration_s=0.5, kind="timeout", reason="late"),
    Attempt(started_at=2.0, duration_s=1),
)
SNAPSHOT = DeferredSnapshot("job-1", "acme", "m", "running", "RUNNING", 3, 1, 1, 1, expires_at=9.0)


@pytest.mark.parametrize(
    "error",
    [
        PolluxError("down"),
        ConfigurationError("no", hint="say yes"),
        PluginLoadError("broken", name="acme", distribution="pollux-acme", version="1"),
        SourceError("gone"),
        ToolCallParseError("no JSON", tool="weigh", arguments="{"),
        ProviderBugError("raised", hook="pollux_send", distribution="pollux-acme"),
        DeferredNotReadyError("wait"),
        APIError("down", kind="connection", retryable=True, provider="acme", phase="generate", attempts=ATTEMPTS),
        RateLimitError("slower", status_code=429, retry_after_s=1.5, request_id="req", call_idx=2),
        ContextOverflowError("too long", n_tokens=9, n_ctx=8),
        CacheError("gone", kind="cache_missing", phase="cache"),
    ],
)
def test_a_failure_comes_back_with_the_facts_of_its_error(error):
    error.partial_text = "as far as"
    failure = Failure(error, is_follow_up=True, usage=Usage(input_tokens=1))
    restored = Failure.from_dict(copy_through_json(failure.to_dict()))
    assert (type(restored.error), restored.error.args, vars(restored.error)) == (type(error), error.args, vars(error))
    assert attrs.evolve(restored, error=error) == failure


@attrs.frozen
class Row:
    custom_id: str
    outcome: Reply | Failure


def test_a_row_keeps_either_outcome():
    answered = Row("a", Reply(text="hello", tool_calls=(ToolCall("1", "weigh", "{}"),)))
    assert load_value(copy_through_json(dump_value(answered)), Row) == answered
    failed = load_value(copy_through_json(dump_value(Row("b", Failure(RateLimitError("slower"))))), Row)
    assert isinstance(failed.outcome, Failure)
    assert type(failed.outcome.error) is RateLimitError


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [
        ({"text": 5}, r"expected a string, got 5 @ \$\.outcome\.text"),
        ({"error": "down"}, r"no error is called None @ \$\.outcome\.error"),
        (3, r"invalid value.* @ \$\.outcome"),
    ],
)
def test_a_row_with_no_outcome_is_refused(outcome, problem):
    with pytest.raises(ConfigurationError, match=f"not a stored Row: {problem}"):
        load_value({"custom_id": "a", "outcome": outcome}, Row)


def test_the_envelope_that_an_error_carries_is_not_stored():
    error = APIError("down")
    error.partial_result = {"answers": ["a"]}
    assert Failure.from_dict(Failure(error).to_dict()).error.partial_result is None


def test_a_field_that_is_none_is_left_out():
    assert Usage(input_tokens=1).to_dict() == dump_value(Usage(input_tokens=1)) == {"input_tokens": 1}
    assert Reply(text="a").to_dict() == {
        "schema_version": SCHEMA_VERSION,
        "text": "a",
        "tool_calls": [],
        "usage": {},
        "attempts": [],
    }


def test_every_storable_value_is_tested():
    # Those of other packages are tested there.
    own = {cls for cls in Storable.__subclasses__() if cls.__module__.startswith("pollux_sync.")}
    assert own - {Failure} == set(STORABLE)


@pytest.mark.parametrize(
    ("value_type", "data", "problem"),
    [
        (Reply, {"colour": "white"}, r"extra fields found \(colour\) @ \$"),
        (Reply, {"text": 5}, r"expected a string, got 5 @ \$\.text"),
        (Reply, {"reasoning": False}, r"expected a string, got False @ \$\.reasoning"),
        (Reply, {"usage": {"input_tokens": "5"}}, r"expected an integer, got '5' @ \$\.usage\.input_tokens"),
        (Reply, {"usage": {"input_tokens": 3.7}}, r"expected an integer, got 3\.7 @ \$\.usage\.input_tokens"),
        (Reply, {"usage": None}, r"expected a dict, got NoneType @ \$\.usage"),
        (Reply, {"finish_reason": "tired"}, r"'tired' is not one of: 'stop'.* @ \$\.finish_reason"),
        (Reply, {"tool_calls": "ab"}, r"expected a list, got str @ \$\.tool_calls"),
        (Reply, {"tool_calls": {"id": 1}}, r"expected a list, got dict @ \$\.tool_calls"),
        (Reply, {"tool_calls": [{"id": "a"}]}, r"required field missing @ \$\.tool_calls\[0\]\.name"),
        (Reply, {"provider_state": []}, r"expected an object, got \[\] @ \$\.provider_state"),
        (Reply, {"attempts": [{"started_at": True, "duration_s": 1}]}, r"got True @ \$\.attempts\[0\]\.started_at"),
        (Reply, {"schema_version": "one"}, "schema_version"),
        (HttpResponse, {}, r"required field missing @ \$\.status"),
        (HttpResponse, {"status": "200"}, r"expected an integer, got '200' @ \$\.status"),
        (HttpResponse, {"status": 200, "headers": {"a": 1}}, r"expected a string, got 1 @ \$\.headers"),
        (DeferredSnapshot, {"status": "lost"}, r"'lost' is not one of"),
        (Failure, {}, r"required field missing @ \$\.error"),
        (Failure, {"error": "down"}, r"no error is called None @ \$\.error"),
        (Failure, {"error": {"type": "ValueError", "message": "a"}}, r"no error is called 'ValueError' @ \$\.error"),
        (Failure, {"error": {"type": ["APIError"]}}, r"no error is called \['APIError'\] @ \$\.error"),
        (Failure, {"error": {"type": "APIError"}}, r"required field missing @ \$\.error\.message"),
        (Failure, {"error": {"type": "APIError", "message": "a", "kind": "odd"}}, r"'odd' is not .* @ \$\.error\.kind"),
        (Failure, {"error": {"type": "SourceError", "message": "a", "kind": "auth"}}, r"\(kind\) @ \$\.error"),
    ],
)
def test_bad_data_is_refused_by_the_name_of_the_field(value_type, data, problem):
    with pytest.raises(ConfigurationError, match=f"not a stored {value_type.__name__}: .*{problem}") as caught:
        value_type.from_dict(data)
    assert caught.value.hint == "pass the result of to_dict(), unchanged"


def test_every_bad_field_is_named_at_once():
    with pytest.raises(ConfigurationError, match=r"\$\.text; .*\$\.model; .*\(colour\)"):
        Reply.from_dict({"text": 1, "model": 2, "colour": "white"})


def test_a_reply_that_was_stored_with_its_tier_among_the_artifacts_loads():
    stored = {"text": "x", "artifacts": {"service_tier": "flex"}, "schema_version": 1}
    assert Reply.from_dict(stored) == Reply(text="x", artifacts={"service_tier": "flex"})


@pytest.mark.parametrize("wrong", [None, [], "reply", 3])
def test_a_reply_is_loaded_from_a_dict_only(wrong):
    with pytest.raises(ConfigurationError, match="not a stored Reply"):
        Reply.from_dict(wrong)


@pytest.mark.parametrize("value_type", STORABLE)
def test_a_newer_version_asks_for_an_upgrade(value_type):
    with pytest.raises(ConfigurationError, match=f"this {value_type.__name__} has schema version 2") as caught:
        value_type.from_dict({"schema_version": 2, "new": "field"})
    assert caught.value.hint == "upgrade pollux-sync"


def test_a_check_of_the_class_itself_is_reported():
    with pytest.raises(ConfigurationError, match="not a stored RetryPolicy: max_attempts must be at least 1"):
        load_value({"max_attempts": 0}, RetryPolicy)


@pytest.mark.parametrize("value", [float("nan"), {1j: 1}, object(), {"a": [object()]}])
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises(ConfigurationError, match="has no JSON form"):
        HttpResponse(status=200, body=value).to_dict()
