"""``response_schema=dict``: any JSON object, asked for without a schema."""

import json
import typing
from typing import Any

import pytest

from pollux_sync import (
    Config,
    ConfigurationError,
    DeferredHandle,
    Options,
    RetryPolicy,
    collect_deferred,
    defer,
    defer_many,
    explain,
    run,
    run_many,
    stream,
)
from pollux_sync.testing import Script

ANY_OBJECT = {"type": "object", "additionalProperties": {}}
JSON_MODE = Options(response_schema=dict)
ADA = {"name": "Ada", "born": {"year": 1815, "share": 0.5}, "tags": [None, True]}


def config(*answers):
    retry = RetryPolicy(initial_delay_s=0, jitter=False)
    plugins = [Script(*answers)]
    return Config(provider="openai", model="m", use_mock=True, plugins=plugins, retry=retry, request_concurrency=1)


def test_returns_the_object_that_the_model_wrote():
    assert run("Who?", config=config(ADA), options=JSON_MODE)["structured"] == [ADA]


def test_reads_an_object_in_a_fenced_block():
    assert run("Who?", config=config('```json\n{"a": 1}\n```'), options=JSON_MODE)["structured"] == [{"a": 1}]


@pytest.mark.parametrize("answer", ["[1, 2]", "7", '"text"', "null", "no JSON", '{"cut": '])
def test_any_other_answer_is_an_error_of_the_answer(answer):
    result = run_many(["Who?", "Who else?"], config=config(answer, ADA), options=JSON_MODE)
    assert (result["answers"][0], result["structured"]) == (answer, [None, ADA])
    assert [error is None for error in result["diagnostics"]["schema_errors"]] == [False, True]


def test_asks_again_for_an_answer_that_is_no_object():
    options = Options(response_schema=dict, schema_repairs=1)
    assert run("Who?", config=config("[1]", ADA), options=options)["structured"] == [ADA]


def test_streams_an_object():
    (*_, last) = stream("Who?", config=config(ADA), options=JSON_MODE)
    assert last.result["structured"] == [ADA]


def test_the_mock_answers_an_empty_object():
    mock = Config(provider="openai", model="m", use_mock=True)
    assert run("Who?", config=mock, options=JSON_MODE)["structured"] == [{}]


def test_explains_that_no_schema_is_sent():
    explanation = explain("Who?", config=config(), options=JSON_MODE)
    assert (explanation.response_schema, explanation.findings) == (None, ())


@pytest.mark.parametrize("kind", [dict[str, Any], typing.Dict, ANY_OBJECT])  # noqa: UP006 - the old form too
def test_other_spellings_are_schemas(kind):
    explanation = explain("Who?", config=config(), options=Options(response_schema=kind))
    assert explanation.response_schema == ANY_OBJECT


def test_provider_without_a_json_mode_is_asked_for_nothing(server, config):
    with pytest.raises(ConfigurationError, match="'acme' has no JSON mode") as caught:
        run("Who?", config=config(), options=JSON_MODE)
    assert "dict[str, Any]" in caught.value.hint
    assert server.requests == []


@pytest.mark.parametrize("given", [None, dict])
def test_collects_objects(given):
    reach = config(ADA, "[1]")
    handle = defer_many(["Who?", "Who else?"], config=reach, options=JSON_MODE)
    stored = DeferredHandle.from_dict(json.loads(json.dumps(handle.to_dict())))
    result = collect_deferred(stored, response_schema=given, config=reach)
    assert result["structured"] == [ADA, None]
    assert result["diagnostics"]["schema_errors"][1]


@pytest.mark.parametrize(("asked", "given"), [(dict, ANY_OBJECT), (ANY_OBJECT, dict), (dict, dict[str, Any])])
def test_refuses_to_collect_objects_as_what_was_not_asked_for(asked, given):
    reach = config(ADA)
    handle = defer("Who?", config=reach, options=Options(response_schema=asked))
    with pytest.raises(ConfigurationError, match="another response_schema"):
        collect_deferred(handle, response_schema=given, config=reach)


def test_job_file_of_a_schema_is_not_one_of_json_mode(tmp_path):
    reach, path = config(ADA), tmp_path / "job.json"
    defer("Who?", config=reach, options=Options(response_schema=ANY_OBJECT), job_file=path)
    with pytest.raises(ConfigurationError, match="other"):
        defer("Who?", config=reach, options=JSON_MODE, job_file=path)


def test_handle_without_json_mode_is_stored_as_before():
    reach = config("text")
    assert "answer_mode" not in defer("Who?", config=reach).to_dict()
