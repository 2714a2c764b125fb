"""Files of the providers that store them: inside the request, uploaded, or there already; by both ways to the wire."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time

import attrs
import pytest

import gemini_api
import messages_api
import openai_batches
import responses_api
from pollux_sync import (
    Config,
    ConfigurationError,
    Interrupted,
    Options,
    RetryPolicy,
    Source,
    SourceError,
    explain,
    hookimpl,
    run,
    run_many,
    stream,
    to_jsonable,
)
from pollux_sync.data.events import UploadDeleted
from pollux_sync.testing.server import Answer, ScriptedServer

PROMPTS = [f"p{number:02}" for number in range(20)]
ONCE = RetryPolicy(max_attempts=1)
PDF, JPEG = b"%PDF-1.7 ", b"\xff\xd8\xff\xe0"


@attrs.frozen
class Provider:
    """A provider with its service, and how to read what was sent to it."""

    facts: object
    files: type
    find_inline: object  # (body) -> the base64 texts
    find_id: object  # (body) -> what refers to a stored file
    read_upload: object  # (request) -> the content of an upload

    @property
    def name(self):
        return self.facts.provider


def iter_values(value, name):
    """Yield the values of every field of this name inside a JSON value."""
    if isinstance(value, dict):
        yield from [value[name]] if name in value else []
        value = list(value.values())
    for inner in value if isinstance(value, list) else []:
        yield from iter_values(inner, name)


def split_data_url(urls):
    return [url.partition(";base64,")[2] for url in urls if url.startswith("data:")]


def read_form(request):
    return openai_batches.parse_form(request)["file"][1]


OPENAI = Provider(
    responses_api.OpenAIFacts(),
    responses_api.Files,
    lambda body: split_data_url([*iter_values(body, "file_data"), *iter_values(body, "image_url")]),
    lambda body: [*iter_values(body, "file_id")],
    read_form,
)
ANTHROPIC = Provider(
    messages_api.AnthropicFacts(),
    messages_api.Files,
    lambda body: [*iter_values(body, "data")],
    lambda body: [*iter_values(body, "file_id")],
    read_form,
)
GEMINI = Provider(
    gemini_api.GeminiFacts(),
    gemini_api.Files,
    lambda body: [*iter_values(body, "data")],
    lambda body: [*iter_values(body, "fileUri")],
    lambda request: request.body,
)
PROVIDERS = [OPENAI, ANTHROPIC, GEMINI]


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


@pytest.fixture(params=PROVIDERS, ids=lambda provider: provider.name)
def provider(request):
    return request.param


@pytest.fixture
def service(server, provider):
    server.handler = provider.files()
    return server.handler


@pytest.fixture(params=["direct", "sdk"])
def config(request, server, provider):
    """Return a function that makes configurations for the provider at the scripted server."""
    facts = provider.facts
    url = f"{server.url}{getattr(facts, 'base_path', '')}"
    facts.key = "sk-very-secret"
    with facts.reach(url, request.param) as reach:
        defaults = {"provider": provider.name, "model": getattr(facts, "model", "m"), "retry": ONCE} | reach
        yield lambda **fields: Config(**(defaults | fields))


@pytest.fixture
def write(tmp_path):
    """Write a file that begins so and has this size, of no pattern; return its source."""

    def make(name, head, size_bytes):
        pattern = bytes(range(256)) * (size_bytes // 256 + 1)
        (tmp_path / name).write_bytes((head + pattern)[:size_bytes])
        return Source.from_file(tmp_path / name)

    return make


def list_questions(server):
    """Return the bodies of the questions."""
    ends = ("/responses", "/messages", ":generateContent", "alt=sse")
    return [request.json() for request in server.requests if request.path.endswith(ends)]


@pytest.mark.parametrize(("name", "head"), [("a.jpg", JPEG), ("a.pdf", PDF)])
def test_one_question_about_a_small_file_is_one_request_that_holds_it(
    server, service, provider, config, write, name, head
):
    source = write(name, head, 100_000)
    assert run("What?", source=source, config=config())["answers"] == ["seen"]
    (request,) = server.requests
    (text,) = provider.find_inline(request.json())
    assert base64.b64decode(text, validate=True) == source.content_loader()


def test_many_prompts_over_a_large_file_store_it_once(server, service, provider, config, write):
    source = write("a.pdf", PDF, 30_000_000)
    result = run_many(PROMPTS, sources=[source], config=config())
    assert result["answers"] == ["seen"] * 20
    (stored,) = service.stored
    assert provider.read_upload(stored) == source.content_loader()
    assert len(service.deleted) == 1
    assert all(provider.find_id(body) and not provider.find_inline(body) for body in list_questions(server))


def test_many_prompts_over_a_small_file_store_nothing(server, service, provider, config, write):
    run_many(PROMPTS, sources=[write("a.jpg", JPEG, 50_000)], config=config())
    assert len(server.requests) == 20
    assert len({text for body in list_questions(server) for text in provider.find_inline(body)}) == 1


def refuse(status, message):
    return Answer(status=status, json={"error": {"message": message}})


def refuse_inline(provider, service, answer):
    """Return the service, except that it gives this answer to questions with a file inside."""

    def handler(request):
        is_file = "files" in request.path or "/stored/" in request.path
        return service(request) if is_file or not provider.find_inline(request.json()) else answer

    return handler


@pytest.mark.parametrize("status", [413, 400])
def test_stores_a_file_whose_size_inside_a_request_is_refused(server, service, provider, config, write, status):
    server.handler = refuse_inline(provider, service, refuse(status, "the request is too large"))
    source = write("a.pdf", PDF, 100_000)
    result = run_many(PROMPTS, sources=[source], config=config(request_concurrency=3))
    assert result["answers"] == ["seen"] * 20
    assert [provider.read_upload(stored) for stored in service.stored] == [source.content_loader()]
    assert len(service.deleted) == 1
    attempts = [[attempt["status_code"] for attempt in call] for call in result["diagnostics"]["attempts"]]
    assert {tuple(statuses) for statuses in attempts} == {(200,), (status, 200)}


def test_a_file_that_cannot_be_stored_is_sent_once_for_all_calls(server, service, provider, config, write):
    too_large = refuse_inline(provider, service, refuse(413, "too large"))
    server.handler = lambda request: refuse(500, "full") if "files" in request.path else too_large(request)
    options = Options(on_error="keep")
    result = run_many(PROMPTS, sources=[write("a.pdf", PDF, 100_000)], config=config(), options=options)
    assert all("a.pdf' failed: status 500" in error["message"] for error in result["errors"])
    ledger = [[attempt["status_code"] for attempt in call] for call in result["diagnostics"]["attempts"]]
    assert ledger == [[413, 500]] * 20
    assert len([request for request in server.requests if "files" in request.path]) == 1


@pytest.mark.parametrize("ask", [run, stream])
def test_ctrl_c_while_a_refused_file_is_stored_deletes_it(server, service, provider, config, write, ask):
    too_large = refuse_inline(provider, service, refuse(413, "too large"))

    def handler(request):
        before = len(service.stored)
        answer = too_large(request)
        if len(service.stored) > before:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
            time.sleep(0.3)  # the file is stored, and the stop comes before the answer that names it
        return answer

    server.handler = handler
    with pytest.raises(Interrupted):
        for _ in ask("p", source=write("a.pdf", PDF, 100_000), config=config()):
            pass
    assert len(service.stored) == len(service.deleted) == 1


def test_streams_with_the_file_stored_when_its_size_is_refused(server, service, provider, config, write):
    server.handler = refuse_inline(provider, service, refuse(413, "too large"))
    # The services of these tests answer at once, which is taken for a stream.
    result = stream("p", source=write("a.pdf", PDF, 100_000), config=config()).result()
    assert result["answers"] == ["seen"]
    assert [attempt["status_code"] for attempt in result["diagnostics"]["attempts"][0]] == [413, 200]
    assert len(service.stored) == len(service.deleted) == 1


@pytest.mark.parametrize("status", [404, 405, 501])
def test_sends_a_file_inside_the_requests_where_none_can_be_stored(server, service, provider, config, write, status):
    def handler(request):
        return refuse(status, "no such path") if "/files" in request.path else service(request)

    server.handler = handler
    result = run_many(PROMPTS[:3], sources=[write("a.pdf", PDF, 3_700_000)], config=config())
    assert result["answers"] == ["seen"] * 3
    assert [len(provider.find_inline(body)) for body in list_questions(server)] == [1, 1, 1]


def test_names_a_file_that_changes_while_it_is_stored(server, service, provider, config, write):
    source = write("a.pdf", PDF, 5_000_000)
    changed = source.path.read_bytes()[:-1] + b"!"

    def refuse_and_change(request):
        # The question: what is stored after it must not be the changed file.
        if provider.find_inline(request.json()):
            source.path.write_bytes(changed)
            return refuse(413, "too large")
        return service(request)

    server.handler = refuse_and_change
    with pytest.raises(SourceError, match=r"a\.pdf' changed while it was sent"):
        run("p", source=source, config=config())
    assert service.stored == []


def test_explains_a_small_file_as_it_is_sent(server, service, provider, config, write):
    source = write("a.jpg", JPEG, 1000)
    explanation = explain("p", sources=[source], config=config())
    run("p", source=source, config=config())
    assert list_questions(server) == [explanation.requests[0].body]
    assert [shown.delivery for shown in explanation.sources] == ["inline"]


def test_does_not_show_the_content_of_a_file_in_texts(service, config, write):
    explanation = explain("p", sources=[write("a.jpg", JPEG, 9999)], config=config())
    assert len(str(explanation)) < 2000


class Deletions:
    """An observer of the failures of deletions."""

    def __init__(self):
        self.errors = []

    @hookimpl
    def pollux_event(self, event):
        if isinstance(event, UploadDeleted):
            self.errors.append(event.error)


@pytest.mark.parametrize(("status", "is_reported"), [(404, False), (500, True)])
def test_file_that_is_gone_already_counts_as_deleted(server, service, config, write, status, is_reported):
    deletions = Deletions()
    server.handler = lambda request: refuse(status, "no") if request.method == "DELETE" else service(request)
    settings = config(uploads="always", plugins=[deletions])
    assert run("p", source=write("a.pdf", PDF, 100), config=settings)["answers"] == ["seen"]
    assert [error is not None for error in deletions.errors] == [is_reported]


# Files that are stored already

FILE_IDS = {"openai": "file-abc123", "anthropic": "file_011Cabc", "gemini": "files/abc-123"}
REFERENCES = FILE_IDS | {"gemini": "https://generativelanguage.googleapis.com/v1beta/files/abc-123"}


def test_refers_to_a_stored_file_and_never_deletes_it(server, service, provider, config):
    source = Source.from_file_id(FILE_IDS[provider.name], mime_type="application/pdf")
    run_many(PROMPTS[:2], sources=[source], config=config(uploads="always"))
    assert [provider.find_id(body) for body in list_questions(server)] == [[REFERENCES[provider.name]]] * 2
    assert len(server.requests) == 2


def test_refers_to_a_stored_file_that_was_stored_as_data(server, service, provider, config):
    source = Source.from_file_id(FILE_IDS[provider.name], mime_type="application/pdf")
    loaded = Source.from_dict(json.loads(json.dumps(source.to_dict())))
    run("p", source=loaded, config=config())
    assert provider.find_id(list_questions(server)[0]) == [REFERENCES[provider.name]]
    assert loaded == source


def test_refers_to_a_stored_file_of_an_earlier_turn(server, service, provider, config):
    source = Source.from_file_id(FILE_IDS[provider.name], mime_type="application/pdf")
    first = run("p", source=source, config=config(), options=Options(history=[]))
    run("q", config=config(), options=Options(continue_from=to_jsonable(first)))
    assert next(map(provider.find_id, list_questions(server))) == [REFERENCES[provider.name]]
    assert not [request for request in server.requests if request.method == "DELETE"]
    assert len(server.requests) == 2


def test_explains_a_stored_file_as_it_is_sent(server, service, provider, config):
    source = Source.from_file_id(FILE_IDS[provider.name], mime_type="application/pdf")
    explanation = explain("p", sources=[source], config=config())
    run("p", source=source, config=config())
    assert list_questions(server) == [explanation.requests[0].body]
    assert [shown.delivery for shown in explanation.sources] == ["stored"]
    assert explanation.uploads == ()


def test_stored_image_is_an_image(server, service, provider, config):
    source = Source.from_file_id(FILE_IDS[provider.name], mime_type="image/png")
    run("p", source=source, config=config())
    assert '"type": "document"' not in json.dumps(list_questions(server)[0])
    assert '"input_file"' not in json.dumps(list_questions(server)[0])


def test_gemini_takes_the_address_of_a_stored_file_too():
    address = "https://generativelanguage.googleapis.com/v1beta/files/abc-123"
    config = Config(provider="gemini", model="m", api_key="k")
    source = Source.from_file_id(address, mime_type="application/pdf")
    (request,) = explain("p", sources=[source], config=config).requests
    assert GEMINI.find_id(request.body) == [address]


@pytest.mark.parametrize("file_id", ["file-abc123", "files/", "../x", "files/a?b"])
def test_gemini_refuses_what_is_not_the_name_of_a_file(file_id):
    config = Config(provider="gemini", model="m", api_key="k")
    source = Source.from_file_id(file_id, mime_type="application/pdf")
    with pytest.raises(ConfigurationError, match="not the name of a file at Gemini") as caught:
        explain("p", sources=[source], config=config)
    assert "files/" in caught.value.hint


@pytest.mark.parametrize("uploads", ["always", "never"])
def test_takes_a_file_whose_name_is_not_utf8(server, service, config, tmp_path, uploads):
    path = tmp_path / os.fsdecode(b"caf\xe9\n.pdf")
    path.write_bytes(PDF)
    assert run("p", source=Source.from_file(path), config=config(uploads=uploads))["answers"] == ["seen"]


def test_mock_takes_a_stored_file():
    source = Source.from_file_id("file-1", mime_type="application/pdf")
    config = Config(provider="openai", model="m", use_mock=True)
    assert run("p", source=Source.from_dict(source.to_dict()), config=config)["answers"] == ["echo: p"]
    (request,) = explain("p", sources=[source], config=config).requests
    assert request.body["parts"] == [{"asset": "file-1"}]


@pytest.mark.parametrize(
    ("file_id", "mime_type"), [("", "image/png"), (" ", "image/png"), (None, "x"), ("f", ""), ("f", None)]
)
def test_refuses_a_stored_file_without_id_or_type(file_id, mime_type):
    with pytest.raises(SourceError, match="must be a non-blank string"):
        Source.from_file_id(file_id, mime_type=mime_type)


# What a run with a file imports

UPLOADING = """
import json, sys
from pollux_sync import Config, Source, run
config = Config(uploads="always", **json.loads(sys.argv[1]))
assert run("hi", source=Source.from_file(sys.argv[2]), config=config)["answers"] == ["seen"]
print(json.dumps(list(sys.modules)))
"""


def test_uploading_imports_no_vendor_sdk_and_nothing_that_it_does_not_use(server, service, provider, write):
    source = write("a.pdf", PDF, 100_000)
    reach = {"provider": provider.name, "model": "m", "api_key": "k"}
    reach["base_url"] = f"{server.url}{getattr(provider.facts, 'base_path', '')}"
    command = [sys.executable, "-c", UPLOADING, json.dumps(reach), str(source.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert len(service.stored) == len(service.deleted) == 1
    modules = set(json.loads(done.stdout))
    vendors = {"openai", "anthropic", "google", "httpx", "httpx2", "pydantic", "asyncio", "anyio"}
    assert not vendors & {name.partition(".")[0] for name in modules}
    # No schema, no observer, no proxy, no client of the caller's.
    unused = {"schemas.lowering", "schemas.validating", "data.events", "wire.proxies", "wire.sdks"}
    assert not {"requests", *(f"pollux_sync.{name}" for name in unused)} & modules
