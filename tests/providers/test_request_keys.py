"""The key of a request: a contract with whoever stores answers under it."""

import json
from pathlib import Path

import attrs
import pytest

from pollux_sync import Config, Options, Source, stages
from pollux_sync.data.handles import Asset
from pollux_sync.data.request import AssetPart, InlinePart
from pollux_sync.data.source import BytesLoader

GOLDEN = Path(__file__).parent / "request_keys.json"
MODELS = {
    "anthropic": "claude-sonnet-4-6",
    "gemini": "gemini-2.5-flash",
    "local": "qwen3-8b",
    "openai": "gpt-5-mini",
    "openrouter": "meta/llama-4",
}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
SCHEMA = {"type": "object", "properties": {"year": {"type": "integer"}}, "required": ["year"]}
TOOL = {"name": "look_up", "description": "Looks a year up.", "parameters": SCHEMA}
ANYWHERE = {"local": "http://127.0.0.1:9/v1", "openrouter": None}


def build_image(data):
    return Source("file", "a.png", "image/png", len(data), BytesLoader(data))


#: The arguments of a call, by name. Each is one step away from "prompt".
CASES = {
    "prompt": {},
    "other prompt": {"prompts": "Who?"},
    "system": {"options": Options(system_instruction="Be brief.")},
    "length": {"options": Options(max_tokens=50)},
    "schema": {"options": Options(response_schema=SCHEMA)},
    "tool": {"options": Options(tools=[TOOL])},
    "text": {"sources": [Source.from_text("Call me Ishmael.")]},
    "image": {"sources": [build_image(PNG)]},
    "other image": {"sources": [build_image(PNG + b"x")]},
    "history": {
        "options": Options(history=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}])
    },
}


def open_hooks(provider, **settings):
    given = {"model": MODELS[provider], "api_key": "k-made-up", "base_url": ANYWHERE.get(provider)}
    return stages.open_hooks(Config(provider=provider, **(given | settings)))


def plan_call(hooks, prompts="When?", sources=(), options=None):
    (call,) = stages.plan_calls(stages.build_request(prompts, sources, hooks.config, options), hooks).calls
    return call


def build_key(provider, case="prompt", **settings):
    hooks = open_hooks(provider, **settings)
    return stages.request_key(plan_call(hooks, **CASES[case]), hooks)


def test_keys_are_those_of_the_golden_file():
    """A change of a key makes everybody pay again for the answers they have: mend the change, not the file."""
    keys = {provider: {case: build_key(provider, case) for case in CASES} for provider in MODELS}
    assert keys == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("provider", MODELS)
def test_every_difference_of_what_is_asked_makes_another_key(provider):
    keys = [build_key(provider, case) for case in CASES]
    keys += [build_key(provider, model="other"), build_key(provider, use_mock=True)]
    assert len(set(keys)) == len(keys)


def test_another_address_makes_another_key():
    assert build_key("local") != build_key("local", base_url="http://127.0.0.1:10/v1")


@pytest.mark.parametrize("provider", MODELS)
def test_nothing_else_makes_another_key(provider):
    key = build_key(provider, "image")
    assert key == build_key(provider, "image", api_key="k-other", request_concurrency=50, timeout_s=5)


def test_template_of_a_local_model_makes_another_key():
    templates = [{}, {"chat_template": "{{ messages }}"}, {"chat_template": "{{ tools }}"}]
    assert len({build_key("local", provider_options=options) for options in templates}) == 3
    assert build_key("local", provider_options={"n_threads": 2}) == build_key("local")


def build_header_key(**headers):
    hooks = open_hooks("anthropic")
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    call = plan_call(hooks, options=Options(provider_headers={"anthropic": headers, "openai": {"X-Team": "blue"}}))
    return stages.request_key(call, hooks)


def test_header_of_a_call_makes_another_key():
    keys = {build_key("anthropic"), build_header_key(X_Team="blue"), build_header_key(X_Team="red")}
    assert len({*keys, build_header_key(anthropic_beta="a"), build_header_key(anthropic_beta="a,b")}) == 5


def test_header_counts_however_it_is_written():
    assert build_header_key(anthropic_beta="a,b") == build_header_key(Anthropic_Beta="a, b,a")


def test_secret_header_of_a_call_and_headers_for_others_make_no_other_key():
    assert build_header_key(X_Token="a") == build_header_key(X_Token="b") == build_key("anthropic")


@pytest.mark.parametrize("provider", ["anthropic", "gemini", "openai"])
def test_file_counts_by_its_content_whatever_its_id_and_its_way(provider):
    hooks = open_hooks(provider)
    call = plan_call(hooks, **CASES["image"])
    (part,) = call.parts
    stored = [
        AssetPart(part.source, Asset(id=name, mime_type="image/png", uri=f"https://files/{name}"), part.identity)
        for name in ("f-1", "f-2")
    ]
    ways = [part, InlinePart(part.source, PNG), *stored]
    assert len({stages.request_key(attrs.evolve(call, parts=(way,)), hooks) for way in ways}) == 1


def test_file_that_others_stored_counts_by_its_id():
    hooks = open_hooks("openai")
    calls = [plan_call(hooks, sources=[Source.from_file_id(name, mime_type="image/png")]) for name in ("f-1", "f-2")]
    assert len({stages.request_key(call, hooks) for call in calls}) == 2


@pytest.mark.parametrize("provider", MODELS)
def test_file_is_not_read_into_the_request_of_a_key_where_the_provider_stores_it(provider):
    hooks = open_hooks(provider)
    request = stages.render_request(plan_call(hooks, **CASES["image"]), hooks)
    is_stored = hooks.info.find_rule(CASES["image"]["sources"][0]).delivery == "upload"
    assert (b"sha256-" in request.content) == is_stored
