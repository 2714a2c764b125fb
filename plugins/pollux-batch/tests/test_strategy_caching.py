import threading
import time
import warnings

import pytest

from pollux_batch import GeminiCachedModel, GeminiStrategy, ManagedLLMModel, ProcessorStateError, process_prompts
from pollux_sync import Config, Source, create_cache, delete_cache, list_caches
from pollux_sync.errors import APIError
from pollux_sync.testing import Script, failing

MANUAL = Source.from_text("Call me Ishmael.")


@pytest.fixture
def config(request):
    # The mock keeps the caches of each configuration apart.
    return Config(provider="gemini", model="m", use_mock=True, api_key=request.node.name)


def build(config, *, sources=(MANUAL,), **facts):
    return GeminiCachedModel(config, list(sources), **facts)


def prepare(config, **facts):
    model = build(config, **facts)
    model.prepare()
    return model


def names(config):
    return {handle.name for handle in list_caches(config=build(config).config)}


def make(config, label, *, source=MANUAL, ttl_seconds=3600):
    return create_cache([source], config=build(config).config, label=label, ttl_seconds=ttl_seconds).name


def test_answers_from_its_cache(config):
    response = prepare(config).generate("Who?")
    assert response.cached_input_tokens == 10
    assert isinstance(build(config), ManagedLLMModel)


def test_a_strategy_prepares_it_and_leaves_the_cache_to_the_next_run(config):
    result = process_prompts(GeminiStrategy(build(config)), ["Who?", "When?"])
    assert result.total_cached_tokens == 20
    model = build(config)
    model.request_concurrency(5)
    assert len(list_caches(config=model.config)) <= 1


def test_many_threads_make_one_cache(config):
    model = build(config)
    threads = [threading.Thread(target=model.prepare) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(config) == {model.cache_name}


def test_a_cache_of_equal_content_is_found_again(config):
    assert prepare(config).cache_name == prepare(config).cache_name


@pytest.mark.parametrize(
    "facts",
    [
        {"sources": [Source.from_text("Another book.")]},
        {"system_instruction": "Be brief."},
        {"cache_tags": {"customer": "acme"}},
    ],
)
def test_a_cache_of_other_content_or_without_the_tags_is_not_taken(config, facts):
    assert prepare(config).cache_name != prepare(config, **facts).cache_name


def test_a_cache_with_more_tags_is_taken(config):
    tagged = prepare(config, cache_tags={"customer": "acme", "year": "2026"})
    assert prepare(config, cache_tags={"customer": "acme"}).cache_name == tagged.cache_name


def test_tags_differ_by_case(config):
    assert prepare(config, cache_tags={"c": "acme"}).cache_name != prepare(config, cache_tags={"c": "ACME"}).cache_name


def test_a_cache_without_a_fingerprint_is_taken_only_for_its_tags(config):
    other = make(config, 'abl-tags:{"customer":"acme"}')
    assert prepare(config, cache_tags={"customer": "acme"}).cache_name == other
    assert prepare(config).cache_name != other


@pytest.mark.parametrize("label", ["my cache", "abl-tags:{", "abl-tags:[1]"])
def test_a_cache_with_another_label_is_not_taken(config, label):
    assert prepare(config).cache_name != make(config, label)


def test_a_cache_that_is_about_to_end_is_not_taken(config):
    short = make(config, build(config)._label, ttl_seconds=100)
    model = prepare(config)
    # The core extends the one that it knows to have created.
    assert model._handle.expires_at > time.time() + 3_000
    assert model.cache_name == short


def test_a_cache_is_extended_before_its_end(config):
    model = build(config, cache_ttl_seconds=5, cache_renewal_buffer_seconds=4.9)
    model.prepare()
    name, first = model.cache_name, model._handle.expires_at
    time.sleep(0.11)
    model.generate("Who?")
    assert model.cache_name == name
    assert model._handle.expires_at > first


def test_a_cache_that_has_gone_is_replaced_and_asked_again(config):
    model = prepare(config)
    gone = model._handle
    delete_cache(gone, config=model.config)
    assert model.generate("Who?").cached_input_tokens == 10
    assert model.cache_name != gone.name


def test_without_renewal_a_cache_must_be_prepared(config):
    model = build(config, auto_renew=False)
    with pytest.raises(ProcessorStateError, match=r"prepare\(\) first"):
        model.generate("Who?")
    model.prepare()
    assert model.generate("Who?").text


def test_other_failures_are_raised(request):
    config = Config(provider="gemini", model="m", use_mock=True, api_key="k", plugins=[Script(failing(400))])
    with pytest.raises(APIError, match="400"):
        prepare(config).generate("Who?")


def test_a_deleted_cache_is_deleted_once(config):
    model = prepare(config)
    model.delete_cache()
    model.delete_cache()
    assert model.cache_name is None
    assert names(config) == set()


@pytest.mark.parametrize("facts", [{"system_instruction": "Hi"}, {"config": {"system_instruction": "Hi"}}])
def test_an_instruction_belongs_into_the_cache(config, facts):
    with pytest.raises(ValueError, match="the instruction of a cached model is in its cache"):
        build(config).generate("Who?", **facts)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"cache_ttl_seconds": 300}, "cache_renewal_buffer_seconds=300 is not less than"),
        ({"cache_tags": {"abl-content": "x"}}, "reserved"),
        ({"cache_tags": {"n": 1}}, "must be texts"),
        ({"cache_tags": {"customer": "x" * 90}}, "a label of"),
        ({"sources": ["text"]}, "must be a list of Source"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_built(config, facts, message):
    with pytest.raises(ValueError, match=message):
        build(config, **facts)


@pytest.mark.parametrize(("ttl_s", "buffer_s"), [(30, 20), (600, 30)])
def test_short_times_are_warned_of(config, ttl_s, buffer_s):
    with pytest.warns(UserWarning, match="is short"):
        build(config, cache_ttl_seconds=ttl_s, cache_renewal_buffer_seconds=buffer_s)


def test_times_for_tests_are_not(config):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(config, cache_ttl_seconds=5, cache_renewal_buffer_seconds=1)


def test_is_made_of_a_key():
    model = GeminiCachedModel.from_api_key(
        "m", "k", cached_content=[MANUAL], config={"use_mock": True}, cache_tags={"a": "b"}
    )
    assert model.config.api_key == "k"
