"""Odd answers about jobs and files: to cancellations and deletions, and rows of results that quote the key."""

import json

import attrs
import pytest

import anthropic_batches
import gemini_batches
import openai_batches
from pollux_sync import (
    APIError,
    Config,
    Options,
    RetryPolicy,
    Source,
    cancel_deferred,
    collect_deferred,
    defer_many,
    hookimpl,
    inspect_deferred,
    wait_deferred,
)
from pollux_sync.data.events import UploadDeleted
from pollux_sync.testing.server import Answer, ScriptedServer

KEY = "key-of-the-tests"
SERVICES = {
    "openai": (openai_batches.OpenAIBatches, "/v1"),
    "anthropic": (anthropic_batches.Batches, ""),
    "gemini": (gemini_batches.Batches, ""),
}
PAGE = Answer(body=b"<html>login</html>", headers={"Content-Type": "text/html"})
EMPTY = {"204": Answer(status=204), "empty": Answer(body=b"")}

every_provider = pytest.mark.parametrize("provider", SERVICES)


@attrs.define
class Way:
    """The way to a service, on which ``edit`` changes answers: (request, step) -> step."""

    service: object
    edit: object = None

    def __call__(self, request):
        step = self.service(request)
        return step if self.edit is None else self.edit(request, step)


@pytest.fixture
def way(provider):
    return Way(SERVICES[provider][0]())


@pytest.fixture
def config(provider, way):
    with ScriptedServer() as server:
        server.handler = way
        facts = {"base_url": f"{server.url}{SERVICES[provider][1]}", "retry": RetryPolicy(max_attempts=1)}
        yield lambda **fields: Config(provider=provider, model="m", api_key=KEY, **facts, **fields)


@every_provider
@pytest.mark.parametrize("answer", [*EMPTY.values(), PAGE], ids=[*EMPTY, "page"])
def test_a_cancellation_that_arrived_is_no_error_whatever_the_answer(way, config, answer):
    handle = defer_many(["a", "b"], config=config())
    way.edit = lambda request, step: answer if request.path.endswith("cancel") else step
    cancel_deferred(handle, config=config())
    assert inspect_deferred(handle, config=config()).status in {"cancelling", "cancelled", "partial"}


@every_provider
@pytest.mark.parametrize("answer", [*EMPTY.values(), PAGE], ids=[*EMPTY, "page"])
def test_a_cancellation_that_did_not_arrive_is_an_error(way, config, answer):
    handle = defer_many(["a", "b"], config=config())
    service = way.service
    way.service = lambda request: answer if request.path.endswith("cancel") else service(request)
    with pytest.raises(APIError) as caught:
        cancel_deferred(handle, config=config())
    assert caught.value.phase == "batch_cancel"


@every_provider
@pytest.mark.parametrize("answer", EMPTY.values(), ids=EMPTY)
def test_a_deletion_needs_no_body(way, config, answer, tmp_path):
    errors = []

    class Watch:
        @hookimpl
        def pollux_event(self, event):
            errors.extend([event.error] if isinstance(event, UploadDeleted) else [])

    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7 a")
    settings = config(uploads="always", plugins=[Watch()])
    handle = defer_many(["a"], sources=[Source.from_file(tmp_path / "a.pdf")], config=settings)
    wait_deferred(handle, config=settings, poll=0)
    way.edit = lambda request, step: answer if request.method == "DELETE" else step
    collect_deferred(handle, config=settings)
    assert errors == [None]


def change_rows(change):
    """Return the edit that changes every row of results."""

    def edit(request, step):
        if not request.path.endswith(("/content", "/results")) and ":download" not in request.path:
            return step
        rows = [change(json.loads(line)) for line in step.body.splitlines()]
        return attrs.evolve(step, body="".join(json.dumps(row) + "\n" for row in rows).encode())

    return edit


def fail(provider, row, *, code, message):
    """Return the row of a request that failed."""
    if provider == "openai":
        return row | {"response": None, "error": {"code": code, "message": message}}
    if provider == "anthropic":
        error = {"error": {"type": code, "message": message}}
        return row | {"result": {"type": "errored", "error": error}}
    return {"key": row["key"], "error": {"code": code, "message": message, "status": code}}


def collect(way, config, change):
    """Return the envelope of a job whose rows were changed."""
    # More than Gemini answers inline.
    handle = defer_many([f"p{number}" for number in range(40)], config=config(), options=Options(on_error="keep"))
    wait_deferred(handle, config=config(), poll=0)
    way.edit = change_rows(change)
    try:
        return collect_deferred(handle, config=config())
    except APIError as error:
        return error.partial_result


@every_provider
def test_the_error_of_a_row_is_read_by_its_words(provider, way, config):
    codes = {"openai": "insufficient_quota", "anthropic": "invalid_request_error", "gemini": 8}
    message = "Your credit balance is too low, or exhausted."
    result = collect(way, config, lambda row: fail(provider, row, code=codes[provider], message=message))
    assert {error["kind"] for error in result["errors"]} == {"quota"}
    assert "add credit" in result["errors"][0]["hint"]


@every_provider
def test_a_row_that_quotes_the_key_does_not_show_it(provider, way, config):
    result = collect(way, config, lambda row: fail(provider, row, code=KEY, message=f"bad key {KEY}"))
    assert KEY not in json.dumps(result["diagnostics"])
    assert result["diagnostics"]["deferred"]["items"][0]["status"] == "failed"


@every_provider
def test_a_row_of_another_job_that_quotes_the_key_does_not_show_it(provider, way, config):
    name = "key" if provider == "gemini" else "custom_id"
    result = collect(way, config, lambda row: row | {name: f"{KEY} {row[name]}"})
    assert result["diagnostics"]["deferred"]["unmatched"]
    assert KEY not in json.dumps(result["diagnostics"])


@every_provider
def test_the_message_of_a_row_is_cut_as_that_of_a_call(provider, way, config):
    result = collect(way, config, lambda row: fail(provider, row, code="odd", message="x" * 5000))
    message = result["diagnostics"]["deferred"]["items"][0]["error"]
    assert message.endswith("xxx...")
    assert len(message) == 503
