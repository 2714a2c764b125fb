import json
import threading
import time
from collections import OrderedDict

import attrs
import pytest

from installing import install
from pollux_sync import (
    APIError,
    CacheError,
    CacheHandle,
    Config,
    ConfigurationError,
    Options,
    RawTool,
    RemoteMCP,
    Source,
    WebSearch,
    cached,
    create_cache,
    delete_cache,
    extend_cache,
    hookimpl,
    list_caches,
    process,
    run,
    run_many,
)
from pollux_sync.api import caching
from pollux_sync.data.events import CacheCreated, FileUploaded, UploadDeleted
from pollux_sync.data.request import TextPart
from pollux_sync.engine.reaching import resolve_config

TEXT = Source.from_text("the manual")


class Watching:
    """Counts events, and what is asked of the provider."""

    def __init__(self):
        self.events = []
        self.asked = []
        self.failure = None

    @hookimpl
    def pollux_event(self, event):
        self.events.append(type(event))

    @hookimpl(wrapper=True)
    def pollux_create_cache(self, call):
        self.asked.append("create")
        if self.failure:
            time.sleep(0.1)
            raise self.failure
        return (yield)

    @hookimpl(wrapper=True)
    def pollux_extend_cache(self):
        self.asked.append("extend")
        return (yield)


@pytest.fixture(autouse=True)
def _no_caches_of_other_tests(monkeypatch):
    monkeypatch.setattr(caching.caches, "_registered", OrderedDict())


@pytest.fixture
def watching():
    return Watching()


@pytest.fixture
def config(watching):
    return Config(provider="gemini", model="m", use_mock=True, plugins=[watching])


def test_answers_from_the_content_of_a_cache(config):
    handle = create_cache([TEXT], config=config, ttl_seconds=60)
    result = run("how?", config=config, options=Options(cache=handle))
    assert result["metrics"]["cache_used"] is True
    assert (result["metrics"]["cache_mode"], result["metrics"]["cache_hit"]) == ("persistent", True)
    assert (handle.provider, handle.model, handle.n_tokens) == ("gemini", "m", 10)
    assert 50 < handle.expires_at - time.time() <= 60
    assert CacheHandle.from_dict(json.loads(json.dumps(handle.to_dict()))) == handle


def test_says_how_a_call_without_one_was_cached(config):
    metrics = [run("?", config=config, options=Options(implicit_caching=on))["metrics"] for on in (None, True)]
    assert [(m["cache_mode"], m["cache_hit"]) for m in metrics] == [("none", None), ("implicit", None)]


def test_many_threads_make_one_cache_and_one_upload(config, watching, tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7")
    source = Source.from_file(tmp_path / "a.pdf")
    handles = []
    threads = [
        threading.Thread(target=lambda: handles.append(create_cache([source], config=config))) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(handles) == 20
    assert len(set(handles)) == 1
    assert watching.asked == ["create"]
    assert [watching.events.count(kind) for kind in (FileUploaded, UploadDeleted, CacheCreated)] == [1, 1, 1]


def test_a_failure_reaches_every_waiting_thread_and_is_not_remembered(config, watching):
    watching.failure = APIError("no room", kind="invalid_request")
    errors = []

    def ask():
        with pytest.raises(CacheError, match="no room") as caught:
            create_cache([TEXT], config=config)
        errors.append(caught.value)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 8
    assert len(watching.asked) < 8
    assert {error.phase for error in errors} == {"cache"}
    watching.failure = None
    assert create_cache([TEXT], config=config).name


@pytest.mark.parametrize(
    "other",
    [
        {"sources": [Source.from_text("another manual")]},
        {"sources": [TEXT, TEXT]},
        {"system_instruction": "be brief"},
        {"tools": [{"name": "x"}]},
        {"label": "handbook"},
    ],
)
def test_other_content_is_another_cache(config, other):
    handles = {create_cache(**({"sources": [TEXT], "config": config} | also)).name for also in ({}, {}, other)}
    assert len(handles) == 2


@pytest.mark.parametrize(
    "tools",
    [
        [WebSearch(max_uses=number) for number in (1, 2)],
        [RawTool({"type": name}, provider="gemini") for name in "ab"],
        [RemoteMCP(name="docs", url="https://mcp.example.org", token=f"token-of-{name}") for name in ("ann", "bob")],
    ],
)
def test_another_tool_of_the_provider_is_another_cache(config, tools):
    handles = [create_cache([TEXT], config=config, tools=[tool]).name for tool in (*tools, *tools)]
    assert (len(set(handles)), handles[:2]) == (2, handles[2:])


def test_shares_a_cache_of_equal_label(config, watching):
    handles = {create_cache([TEXT], config=config, label=label).name for label in ("a", "b", "a", "b")}
    assert len(handles) == 2
    assert watching.asked == ["create", "create"]


def test_gives_no_labelled_cache_to_a_call_without_label(config, watching):
    labelled = create_cache([TEXT], config=config, label="handbook")
    plain = create_cache([TEXT], config=config)
    assert (labelled.label, plain.label) == ("handbook", None)
    assert watching.asked == ["create", "create"]


def test_hands_the_label_to_the_hook_and_the_observers(config, watching):
    seen = []

    class Seeing:
        @hookimpl(wrapper=True)
        def pollux_create_cache(self, label):
            seen.append(label)
            return (yield)

        @hookimpl
        def pollux_event(self, event):
            if isinstance(event, CacheCreated):
                seen.append(event.handle.label)

    create_cache([TEXT], config=attrs.evolve(config, plugins=[Seeing()]), label="handbook")
    assert seen == ["handbook", "handbook"]


def test_finds_a_cache_by_its_label(config):
    made = {label: create_cache([TEXT], config=config, label=label) for label in (None, "handbook", "ärger 鯨")}
    listed = list_caches(config=config)
    assert {handle.label: handle for handle in listed} == made


def test_a_longer_time_keeps_the_label(config, watching):
    create_cache([TEXT], config=config, ttl_seconds=60, label="handbook")
    longer = create_cache([TEXT], config=config, ttl_seconds=600, label="handbook")
    assert extend_cache(longer, 900, config=config).label == longer.label == "handbook"
    assert watching.asked == ["create", "extend", "extend"]


def test_labels_a_cache_again_that_the_provider_has_lost(config):
    handle = create_cache([TEXT], config=config, ttl_seconds=60, label="handbook")
    drop_behind_our_back(config, handle)
    again = create_cache([TEXT], config=config, ttl_seconds=600, label="handbook")
    assert (again.name != handle.name, again.label) == (True, "handbook")


def test_a_deleted_cache_is_created_again_under_its_label(config, watching):
    first = create_cache([TEXT], config=config, label="handbook")
    delete_cache(first, config=config)
    assert create_cache([TEXT], config=config, label="handbook").name != first.name
    assert watching.asked == ["create", "create"]


def test_other_accounts_and_models_have_caches_of_their_own(watching):
    configs = [
        Config(**({"provider": "gemini", "model": "m", "use_mock": True, "plugins": [watching]} | also))
        for also in ({"api_key": "one"}, {"api_key": "two"}, {"api_key": "one", "model": "n"})
    ]
    handles = [create_cache([TEXT], config=config) for config in configs]
    assert watching.asked == ["create"] * 3
    assert handles[0].account != handles[1].account
    assert all("one" not in str(handle.to_dict()) for handle in handles)
    with pytest.raises(ConfigurationError, match="another account"):
        run("?", config=configs[1], options=Options(cache=handles[0]))
    with pytest.raises(ConfigurationError, match="another account"):
        extend_cache(handles[0], 60, config=configs[1])


def test_a_longer_time_is_honoured(config, watching):
    first = create_cache([TEXT], config=config, ttl_seconds=60)
    assert create_cache([TEXT], config=config, ttl_seconds=30) == first
    longer = create_cache([TEXT], config=config, ttl_seconds=600)
    assert (longer.name, longer.expires_at > first.expires_at + 500) == (first.name, True)
    assert watching.asked == ["create", "extend"]


def test_a_cache_that_ends_soon_is_extended(config, watching, monkeypatch):
    first = create_cache([TEXT], config=config, ttl_seconds=600)
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + 580)
    again = create_cache([TEXT], config=config, ttl_seconds=600)
    assert again.name == first.name
    assert watching.asked == ["create", "extend"]


def test_creates_an_expired_cache_again(config, watching, monkeypatch):
    first = create_cache([TEXT], config=config, ttl_seconds=60)
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + 61)
    with pytest.raises(ConfigurationError, match="has expired"):
        run("?", config=config, options=Options(cache=first))
    assert create_cache([TEXT], config=config, ttl_seconds=60).name != first.name
    assert watching.asked == ["create", "create"]


def drop_behind_our_back(config, handle):
    with process.clients.lease(config) as hooks:
        hooks.client.delete_cache(handle.name)


def test_a_cache_that_the_provider_forgot_is_noticed(config, watching):
    handle = create_cache([TEXT], config=config)
    drop_behind_our_back(config, handle)
    with pytest.raises(CacheError, match="there is no cache") as caught:
        run_many(["a", "b"], config=config, options=Options(cache=handle))
    assert (caught.value.kind, caught.value.hint) == ("cache_missing", "make a new one with create_cache")
    assert len(caught.value.attempts) == 1
    assert create_cache([TEXT], config=config).name != handle.name
    assert watching.asked == ["create", "create"]


def test_creates_a_cache_again_that_the_provider_has_lost(config):
    handle = create_cache([TEXT], config=config, ttl_seconds=60)
    drop_behind_our_back(config, handle)
    assert create_cache([TEXT], config=config, ttl_seconds=600).name != handle.name
    with pytest.raises(CacheError):
        extend_cache(handle, 60, config=config)


def test_lists_and_deletes(config):
    names = {create_cache([TEXT], config=config, system_instruction=text).name for text in ("a", "b")}
    listed = list_caches(config=config)
    assert {handle.name for handle in listed} >= names
    for handle in listed:
        delete_cache(handle, config=config)
        delete_cache(handle, config=config)
    assert list_caches(config=config) == []


def test_a_block_deletes_its_cache(config):
    with cached([TEXT], config=config, system_instruction="block") as handle:
        assert run("?", config=config, options=Options(cache=handle))["status"] == "ok"
    assert handle.name not in {other.name for other in list_caches(config=config)}


def test_a_block_labels_its_cache(config):
    with cached([TEXT], config=config, label="handbook") as handle:
        assert handle.label == "handbook"


class NoDeletion:
    @hookimpl(wrapper=True)
    def pollux_delete_cache(self):
        yield
        raise APIError("not today", kind="invalid_request", status_code=400)


def broken_block(reach):
    with cached([TEXT], config=reach):
        raise LookupError("in the block")


def test_clean_up_does_not_mask_an_error_of_the_block(watching):
    reach = Config(provider="gemini", model="m", use_mock=True, plugins=[watching, NoDeletion()])
    with pytest.raises(LookupError, match="in the block"):
        broken_block(reach)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ttl_seconds": 0, "system_instruction": 3}, "ttl_seconds"),
        ({"ttl_seconds": True}, "ttl_seconds"),
        ({"system_instruction": 3, "sources": "x"}, "system_instruction"),
        ({"sources": "x"}, "list of Source"),
        ({"sources": [TEXT, "x"], "tools": [3]}, r"sources\[1\]"),
        ({"tools": [{"name": "x"}, 3]}, r"tools\[1\]"),
        ({"tools": [{"name": "x", "parameters": {"a": object()}}]}, r"tools\[0\]"),
        ({"sources": []}, "nothing to cache"),
        ({"label": 3, "sources": "x"}, "label must be a string, got int"),
    ],
)
def test_refuses_in_the_documented_order(config, settings, message):
    with pytest.raises(ConfigurationError, match=message):
        create_cache(**({"sources": [TEXT], "config": config} | settings))


def test_refuses_a_provider_without_caches():
    config = Config(provider="openai", model="m", api_key="k")
    with pytest.raises(ConfigurationError, match="'openai' has no caches") as caught:
        create_cache([TEXT], config=config)
    assert "cached_tokens" in caught.value.hint
    assert list_caches(config=config) == []


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (3, "label must be a string, got int"),
        ("", "label must not be empty or blank"),
        ("  ", "label must not be empty or blank"),
        ("x" * 129, "label must have at most 128 characters, got 129"),
        ("two\nlines", r"label holds '\\n', which cannot be printed"),
        ("half \ud83d", r"label holds '\\ud83d', which cannot be printed"),
    ],
)
def test_refuses_a_label_before_anything_is_sent(config, watching, label, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        create_cache([TEXT], config=config, label=label)
    assert caught.value.hint == "pass 1 to 128 printable characters"
    assert watching.asked == []


@pytest.mark.parametrize("label", ["x", "鯨" * 128, "handbook, 3rd edition"])
def test_takes_a_label(config, label):
    assert create_cache([TEXT], config=config, label=label).label == label


SHELF = """
import attrs
from pollux_sync.builtin.mock import _INFO, MockProvider
from pollux_sync.plugin import hookimpl


class Shelf(MockProvider):
    @hookimpl
    def pollux_provider_info(self):
        return attrs.evolve(_INFO, name="shelf", cache_labels=None)

    @hookimpl
    def pollux_create_cache(self, call, ttl_s, client):
        return client.store_cache(call.model, ttl_s)
"""


@pytest.fixture
def shelf(tmp_path, monkeypatch, watching):
    """Return a configuration of a provider whose caches have no labels."""
    install(tmp_path / "site", "pollux-shelf", shelf="pollux_shelf:Shelf")
    (tmp_path / "site" / "pollux_shelf.py").write_text(SHELF)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return Config(provider="shelf", model="m", plugins=[watching])


def test_refuses_a_label_where_caches_have_none(shelf, watching):
    with pytest.raises(ConfigurationError, match="provider 'shelf' keeps no label of a cache") as caught:
        create_cache([TEXT], config=shelf, label="handbook")
    assert caught.value.hint == "leave label out, and store the handle: handle.to_dict()"
    assert watching.asked == []


def test_creates_a_cache_without_label_where_caches_have_none(shelf):
    assert create_cache([TEXT], config=shelf).label is None
    assert [handle.label for handle in list_caches(config=shelf)] == [None]


def test_a_handle_of_another_provider_is_refused(config):
    handle = CacheHandle("c", "m", "acme", time.time() + 60)
    with pytest.raises(ConfigurationError, match="belongs to provider 'acme'"):
        delete_cache(handle, config=config)
    with pytest.raises(ConfigurationError, match="must be a Config"):
        delete_cache(handle, config="acme")


def test_reads_the_environment_without_a_config(monkeypatch):
    monkeypatch.setenv("GEMINI_API_KEY", "k")
    handle = CacheHandle("c", "m", "gemini", time.time() + 60)
    assert resolve_config(handle, None) == Config(provider="gemini", model="m")


def test_a_plugin_that_is_missing_is_named():
    with pytest.raises(ConfigurationError, match="whale") as caught:
        delete_cache(CacheHandle("c", "m", "whale", time.time() + 60))
    assert "pip install" in caught.value.hint


class Redacting:
    """Removes a name, and keeps what the provider was asked to cache."""

    def __init__(self):
        self.cached = []

    @hookimpl(wrapper=True)
    def pollux_rewrite_call(self):
        call = yield
        return attrs.evolve(call, parts=tuple(TextPart(part.text.replace("Ahab", "NAME")) for part in call.parts))

    @hookimpl(wrapper=True)
    def pollux_create_cache(self, call):
        self.cached.append(call)
        return (yield)


def test_content_of_a_cache_is_rewritten_like_a_call():
    plugin = Redacting()
    config = Config(provider="gemini", model="m", use_mock=True, plugins=[plugin])
    create_cache([Source.from_text("Ahab hunts.")], config=config, ttl_seconds=60)
    assert [part.text for part in plugin.cached[0].parts] == ["NAME hunts."]
