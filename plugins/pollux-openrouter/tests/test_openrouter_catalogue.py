from uuid import uuid4

import pytest

from openrouter_api import answer
from pollux_openrouter.catalogue import MAX_AGE_S, Catalogue, ModelFacts, decode_facts, find_facts, iter_problems
from pollux_sync import Config, ConfigurationError, Options, Source, run
from pollux_sync.data.provider import HttpResponse
from pollux_sync.data.request import Call, InlinePart, Plan, Request
from pollux_sync.testing.server import Answer, ResetBeforeBody

IMAGE = Source("file", "cat.png", "image/png", 3, lambda: b"abc")
TEXT_ONLY = {
    "id": "acme/text",
    "architecture": {"input_modalities": ["text"]},
    "supported_parameters": ["max_tokens"],
}
ABLE = {
    "id": "acme/able",
    "architecture": {"input_modalities": ["text", "image", "audio"]},
    "supported_parameters": ["tools", "tool_choice", "response_format", "reasoning"],
}
MODELS = Answer(json={"data": [TEXT_ONLY, ABLE]})
TOOLS = [{"name": "ping"}]


def find_problems(model, parts=(), **options):
    call = Call(index=0, model=model, prompt="hi", parts=parts, options=Options(**options))
    models = decode_facts(HttpResponse(status=200, body={"data": [TEXT_ONLY, ABLE]}))
    return [problem.message for problem in iter_problems(call, find_facts(model, models))]


@pytest.mark.parametrize(
    ("asked", "lacking"),
    [
        ({"parts": (InlinePart(IMAGE, b"abc"),)}, "image input"),
        ({"parts": (InlinePart(Source("file", "a.mp3", "audio/mpeg", 1, bytes), b"a"),)}, "audio input"),
        ({"tools": TOOLS}, "tools"),
        ({"tools": TOOLS, "tool_choice": "auto"}, "tool_choice"),
        ({"response_schema": {"type": "object"}}, "response_schema"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"reasoning_budget_tokens": 10}, "reasoning_budget_tokens"),
        ({"reasoning_summary": "auto"}, "reasoning_summary"),
    ],
)
def test_finds_features_that_a_model_lacks(asked, lacking):
    assert lacking in find_problems("acme/text", **asked)[-1]
    assert lacking in find_problems("acme/text:nitro", **asked)[-1]
    assert find_problems("acme/able", **asked) == []
    assert find_problems("acme/unlisted", **asked) == []


def test_lets_every_model_hide_its_thoughts():
    assert find_problems("acme/text", reasoning_summary="none") == []


def test_lets_pdfs_pass():
    assert (
        find_problems("acme/text", parts=(InlinePart(Source("file", "a.pdf", "application/pdf", 1, bytes), b"a"),))
        == []
    )


@pytest.mark.parametrize(
    "body",
    [{"data": []}, {"data": ["x", {}, {"id": 7}]}, {"data": [{"id": "acme/text", "architecture": "?"}]}],
)
def test_takes_a_strange_list_for_no_facts(body):
    assert find_facts("acme/text", decode_facts(HttpResponse(status=200, body=body))) == ModelFacts()


def test_a_capability_overrules_the_list():
    call = Call(index=0, model="acme/text", prompt="hi", options=Options(tools=TOOLS), capabilities={"tools": True})
    assert list(iter_problems(call, ModelFacts(parameters=frozenset({"max_tokens"})))) == []


def test_prefers_the_entry_that_has_the_suffix():
    models = {"a:free": ModelFacts(inputs=frozenset({"text"})), "a": ModelFacts(inputs=frozenset({"image"}))}
    assert (find_facts("a:free", models).inputs, find_facts("a:nitro", models).inputs) == ({"text"}, {"image"})


def plan(**options):
    config = Config(provider="openrouter", model="acme/text", api_key="k")
    options = Options(tools=TOOLS, **options)
    request = Request(prompts=("hi",), sources=(), config=config, options=options)
    return Plan(request=request, calls=(Call(index=0, model="acme/text", prompt="hi", options=options),))


def test_reads_the_list_again_when_it_has_expired():
    now, fetched = [0.0], []
    catalogue = Catalogue(lambda config: fetched.append(config) or {}, clock=lambda: now[0])
    for now[0] in (0.0, MAX_AGE_S - 1, MAX_AGE_S, MAX_AGE_S + 1):
        assert catalogue.find_problem(plan()) is None
    assert len(fetched) == 2


def test_reports_no_problem_if_other_models_may_answer():
    catalogue = Catalogue(lambda _: decode_facts(HttpResponse(status=200, body={"data": [TEXT_ONLY]})))
    assert catalogue.find_problem(plan()) is not None
    assert catalogue.find_problem(plan(provider_options={"openrouter": {"models": ["acme/able"]}})) is None


@pytest.fixture
def careful(server, config):
    """A configuration that checks, at an address of which the process has read no list yet."""
    return config(
        model="acme/text:free", base_url=f"{server.url}/{uuid4().hex}", provider_options={"check_catalogue": True}
    )


def test_refuses_before_the_question_is_sent(server, careful):
    server.reply(MODELS, answer())
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="takes no image input") as caught:
            run("what?", source=IMAGE, config=careful)
    assert "openrouter.ai/models" in caught.value.hint
    assert run("hi", config=careful)["answers"] == ["hello"]
    assert [request.path.rpartition("/")[2] for request in server.requests] == ["models", "completions"]


@pytest.mark.parametrize("step", [Answer(status=500, json={}), Answer(body=b"<html>"), ResetBeforeBody()])
def test_sends_the_call_when_the_list_cannot_be_read(server, careful, step):
    server.reply(step, answer())
    assert run("hi", config=careful)["answers"] == ["hello"]


def test_looks_into_no_list_unasked(server, config):
    server.reply(answer())
    run("what?", source=IMAGE, config=config(model="acme/text"))
    assert [request.method for request in server.requests] == ["POST"]
