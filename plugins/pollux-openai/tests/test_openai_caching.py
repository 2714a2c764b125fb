"""What helps the service to find the beginning that several requests share."""

import pytest

from pollux_sync import Config, ConfigurationError, Options, Source, explain

MANUAL, LETTER = Source.from_text("A manual."), Source.from_text("A letter.")
PDF = Source.from_uri("https://acme.example/a.pdf", mime_type="application/pdf")
BREAKPOINT = {"mode": "explicit"}


def explain_bodies(prompts="ab", *, model="gpt-5.6", sources=(MANUAL,), per_source=False, **options):
    config = Config(provider="openai", model=model, api_key="sk-made-up")
    options = Options(**({"implicit_caching": True} | options))
    explanation = explain([*prompts], sources=sources, config=config, options=options, per_source=per_source)
    return [request.body for request in explanation.requests]


def list_keys(*args, **kwargs):
    return [body.get("prompt_cache_key") for body in explain_bodies(*args, **kwargs)]


def test_requests_that_begin_alike_have_one_key_in_every_process():
    assert list_keys() == ["e1fb8f3a7a0953b9c7af5e7519cf2885"] * 2


@pytest.mark.parametrize(
    "other",
    [{"sources": [LETTER]}, {"system_instruction": "Be brief."}, {"tools": [{"name": "f"}]}, {"model": "gpt-6"}],
)
def test_requests_that_begin_otherwise_have_another_key(other):
    assert list_keys(**other)[0] not in {None, *list_keys()}


def test_the_requests_of_each_source_have_a_key_of_their_own():
    keys = list_keys("ab", sources=[MANUAL, LETTER], per_source=True)
    assert keys == [keys[0]] * 2 + [keys[2]] * 2
    assert keys[0] != keys[2]


@pytest.mark.parametrize(
    "call", [{"prompts": "a"}, {"implicit_caching": False}, {"implicit_caching": None}, {"sources": []}]
)
def test_requests_without_a_shared_beginning_have_neither_key_nor_breakpoint(call):
    assert "cache" not in str(explain_bodies(**call))


@pytest.mark.parametrize("sources", [[MANUAL], [MANUAL, PDF]])
@pytest.mark.parametrize("model", ["gpt-5.6", "gpt-5.6-mini", "gpt-5.10", "gpt-6", "gpt-6-2026-10-01"])
def test_newer_models_get_a_breakpoint_after_the_last_shared_source(model, sources):
    (message,) = explain_bodies(model=model, sources=sources)[0]["input"]
    assert [part.get("prompt_cache_breakpoint") for part in message["content"][-2:]] == [BREAKPOINT, None]


@pytest.mark.parametrize("model", ["gpt-5", "gpt-5-mini", "gpt-5.5", "gpt-4.1", "gpt-35-turbo", "o3", "my-deployment"])
def test_models_that_may_not_take_a_breakpoint_get_none(model):
    bodies = explain_bodies(model=model)
    assert all("prompt_cache_key" in body for body in bodies)
    assert "breakpoint" not in str(bodies)


def test_a_shared_instruction_has_a_key_and_no_place_for_a_breakpoint():
    (body, _) = explain_bodies(sources=[], system_instruction="Be brief.")
    assert body["instructions"] == "Be brief."
    assert "breakpoint" not in str(body)


def test_the_callers_own_key_counts():
    assert list_keys(provider_options={"openai": {"prompt_cache_key": "mine"}}) == ["mine"] * 2


@pytest.mark.parametrize("ttl", ["5m", "1h"])
def test_refuses_a_time_to_live_that_the_service_does_not_promise(ttl):
    with pytest.raises(ConfigurationError, match=f"'openai' cannot promise to keep what it caches for {ttl}") as caught:
        explain_bodies(implicit_caching=ttl)
    assert "implicit_caching=True" in caught.value.hint
