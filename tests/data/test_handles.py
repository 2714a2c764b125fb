import json
import pickle
import time

import attrs
import pytest

from pollux_sync import CacheHandle, ConfigurationError, DeferredSnapshot

HANDLE = CacheHandle("cachedContents/whale", "gemini-flash", "gemini", 2_000_000_000.5)
STORED = {
    "name": "cachedContents/whale",
    "model": "gemini-flash",
    "provider": "gemini",
    "expires_at": 2_000_000_000.5,
    "schema_version": 1,
}


def test_cache_handle_is_stored_as_plain_data():
    assert HANDLE.to_dict() == STORED


def test_cache_handle_round_trips_through_json():
    assert CacheHandle.from_dict(json.loads(json.dumps(HANDLE.to_dict()))) == HANDLE


def test_cache_handle_is_stored_with_its_label():
    assert attrs.evolve(HANDLE, label="handbook").to_dict() == STORED | {"label": "handbook"}


def test_reads_a_cache_handle_without_a_version():
    assert CacheHandle.from_dict({k: v for k, v in STORED.items() if k != "schema_version"}) == HANDLE


def test_cache_handle_takes_a_whole_number_of_seconds():
    assert CacheHandle.from_dict(STORED | {"expires_at": 2_000_000_000}).expires_at == 2_000_000_000.0


@pytest.mark.parametrize("field", ["name", "model", "provider", "expires_at"])
def test_cache_handle_that_lacks_a_field_is_refused_by_its_name(field):
    with pytest.raises(ConfigurationError, match=f"not a stored CacheHandle.*{field}") as caught:
        CacheHandle.from_dict({k: v for k, v in STORED.items() if k != field})
    assert caught.value.hint == "pass the result of to_dict(), unchanged"


def test_cache_handle_with_an_unknown_field_is_refused_by_its_name():
    with pytest.raises(ConfigurationError, match="colour"):
        CacheHandle.from_dict(STORED | {"colour": "white"})


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("name", None),
        ("model", 5),
        ("provider", ["gemini"]),
        ("expires_at", "soon"),
        ("expires_at", None),
        ("expires_at", True),
        ("label", 5),
        ("schema_version", "one"),
    ],
)
def test_cache_handle_with_a_field_of_the_wrong_type_is_refused_by_its_name(field, wrong):
    with pytest.raises(ConfigurationError, match=field):
        CacheHandle.from_dict(STORED | {field: wrong})


@pytest.mark.parametrize("wrong", [None, [], "handle", 3])
def test_cache_handle_is_loaded_from_a_dict_only(wrong):
    with pytest.raises(ConfigurationError, match="not a stored CacheHandle"):
        CacheHandle.from_dict(wrong)


def test_cache_handle_of_a_newer_version_asks_for_an_upgrade():
    with pytest.raises(ConfigurationError, match="schema version 2") as caught:
        CacheHandle.from_dict(STORED | {"schema_version": 2})
    assert caught.value.hint == "upgrade pollux-sync"


def test_cache_handle_of_a_newer_version_asks_for_an_upgrade_also_when_it_has_new_fields():
    with pytest.raises(ConfigurationError, match="schema version 2") as caught:
        CacheHandle.from_dict(STORED | {"schema_version": 2, "region": "north"})
    assert caught.value.hint == "upgrade pollux-sync"


def test_cache_handle_expires():
    assert attrs.evolve(HANDLE, expires_at=time.time()).is_expired


def test_cache_handle_lives_until_then():
    assert not attrs.evolve(HANDLE, expires_at=time.time() + 60).is_expired


def test_cache_handle_is_a_value():
    assert pickle.loads(pickle.dumps(HANDLE)) == HANDLE  # noqa: S301 - our own bytes
    assert hash(attrs.evolve(HANDLE)) == hash(HANDLE)


def build_snapshot(status):
    return DeferredSnapshot("job-1", "acme", "m", status, status.upper(), 3, 1, 1, 1, expires_at=9.0)


@pytest.mark.parametrize("status", ["completed", "partial", "failed", "cancelled", "expired"])
def test_deferred_job_has_ended(status):
    assert build_snapshot(status).is_terminal


@pytest.mark.parametrize("status", ["queued", "running", "cancelling"])
def test_deferred_job_goes_on(status):
    assert not build_snapshot(status).is_terminal


def test_snapshot_is_a_value():
    assert pickle.loads(pickle.dumps(build_snapshot("running"))) == build_snapshot("running")  # noqa: S301 - our own bytes
