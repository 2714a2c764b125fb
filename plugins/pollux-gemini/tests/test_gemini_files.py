import resource
import subprocess
import sys
from functools import partial

import pytest
from google import genai

from gemini_api import KEY, Files, error
from pollux_sync import APIError, Config, ConfigurationError, Source, hookimpl, run, run_many
from pollux_sync.data.events import UploadDeleted
from pollux_sync.testing.server import Answer, ScriptedServer


@pytest.fixture
def config(config):
    """Return the function that builds configurations, for files that are stored."""
    return partial(config, uploads="always")


@pytest.fixture
def files(server):
    server.handler = Files()
    return server.handler


@pytest.fixture
def sources(tmp_path):
    contents = {"a.pdf": b"%PDF-1.7 a", "b.png": b"\x89PNG\r\n\x1a\nb", "c.mp3": b"ID3\x04 c"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [Source.from_file(tmp_path / name) for name in contents]


def test_uploads_under_the_key_with_name_and_type(server, files, config, sources):
    run("p", source=sources[0], config=config())
    started = server.requests[0]
    assert started.path == "/upload/v1beta/files"
    assert b'"a.pdf"' in started.body
    assert started.headers["x-goog-upload-header-content-type"] == "application/pdf"
    assert started.headers["x-goog-api-key"] == KEY


def test_announces_the_exact_size_and_sends_all_in_one_request(server, files, config, sources):
    run("p", source=sources[0], config=config())
    started, sent = server.requests[:2]
    assert started.headers["x-goog-upload-header-content-length"] == "10"
    assert started.json()["file"] == {"displayName": "a.pdf", "mimeType": "application/pdf", "sizeBytes": "10"}
    assert (sent.headers["x-goog-upload-command"], sent.headers["x-goog-upload-offset"]) == ("upload, finalize", "0")
    assert (sent.headers["content-length"], sent.headers["content-type"]) == ("10", "application/pdf")
    assert sent.body == b"%PDF-1.7 a"


def pass_on_address_of_google(files):
    """Return the service behind a gateway that leaves the addresses in answers as they are."""
    address = "https://generativelanguage.googleapis.com/stored/1?upload_id=a%2Fb"

    def handler(request):
        if "/upload/" in request.path:
            return Answer(headers={"x-goog-upload-url": address})
        return files.store(request) if "/stored/" in request.path else files(request)

    return handler


def test_sends_the_content_to_its_own_host_when_another_is_named(server, config, sources):
    server.handler = pass_on_address_of_google(Files())
    assert run("p", source=sources[0], config=config())["answers"] == ["seen"]
    assert server.requests[1].path == "/stored/1?upload_id=a%2Fb"
    assert server.requests[1].headers["x-goog-api-key"] == KEY


def test_sends_the_content_below_the_path_of_a_gateway(server, sources):
    server.handler = pass_on_address_of_google(Files())
    reach = {"api_key": KEY, "base_url": f"{server.url}/gateway/v1beta", "uploads": "always"}
    assert run("p", source=sources[0], config=Config(provider="gemini", model="m", **reach))["answers"] == ["seen"]
    assert server.requests[1].path == "/gateway/stored/1?upload_id=a%2Fb"


@pytest.mark.parametrize(
    "address", ["http://[bad/up", "nonsense", "x:y", "//", "//evil/up", "?q", "ftp://a.example/x", "http://h:99999/x"]
)
def test_reports_an_address_of_an_upload_that_cannot_be_used(server, config, sources, address):
    server.handler = lambda request: Answer(headers={"x-goog-upload-url": address})
    with pytest.raises(APIError, match="names an address for the upload that cannot be used") as caught:
        run("p", source=sources[0], config=config())
    assert (caught.value.phase, caught.value.kind, len(server.requests)) == ("upload", "malformed", 1)


@pytest.mark.parametrize("status", [403, 404])
def test_file_that_is_gone_already_counts_as_deleted(server, config, sources, status):
    files, seen = Files(), []

    class Watch:
        @hookimpl
        def pollux_event(self, event):
            seen.extend([event.error] if isinstance(event, UploadDeleted) else [])

    server.handler = lambda request: error(status, "gone") if request.method == "DELETE" else files(request)
    run("p", source=sources[0], config=config(plugins=[Watch()]))
    assert seen == [None]


def test_reports_an_upload_whose_answer_describes_no_file(server, config, sources):
    files = Files()
    server.handler = lambda request: Answer(json={"file": {}}) if "/stored/" in request.path else files(request)
    with pytest.raises(APIError, match=r"uploading '.*a\.pdf' failed: the answer describes no file") as caught:
        run("p", source=sources[0], config=config())
    assert (caught.value.kind, len(server.requests)) == ("malformed", 2)


def test_refers_to_files_by_address(server, files, config, sources):
    run("p", source=sources[2], config=config())
    (asked,) = [request.json() for request in server.requests if request.path.endswith(":generateContent")]
    assert asked["contents"][0]["parts"] == [
        {"fileData": {"fileUri": "https://files.example/files/1", "mimeType": "audio/mpeg"}},
        {"text": "p"},
    ]


def test_waits_until_a_file_is_ready(server, config, sources):
    server.handler = Files(states=("PROCESSING", "PROCESSING", "ACTIVE"))
    assert run("p", source=sources[0], config=config())["answers"] == ["seen"]
    assert [r.method for r in server.requests if r.path == "/v1beta/files/1"] == ["GET", "GET", "DELETE"]


@pytest.mark.parametrize(
    "look",
    [
        [],
        {},
        "x",
        {"name": "files/1", "state": 5},
        {"name": "files/1", "state": None},
        {"name": "files/1", "state": "STATE_UNSPECIFIED"},
        {"name": "files/2", "state": "ACTIVE"},
        {"error": {"code": 13, "message": "boom"}},
    ],
)
def test_asks_nothing_about_a_file_whose_state_is_not_told(server, config, sources, look):
    files = Files(states=("PROCESSING",))
    server.handler = lambda request: Answer(json=look) if request.method == "GET" else files(request)
    with pytest.raises(APIError, match="does not say that 'files/1' is ready") as caught:
        run("p", source=sources[0], config=config())
    assert caught.value.phase == "upload"
    assert not [request for request in server.requests if request.path.endswith(":generateContent")]
    assert files.deleted == ["files/1"]


def test_takes_a_stored_file_without_a_state_for_ready(server, config, sources):
    files = Files()
    stored = Answer(json={"file": {"name": "files/1"}})
    server.handler = lambda request: stored if "/stored/" in request.path else files(request)
    assert run("p", source=sources[0], config=config())["answers"] == ["seen"]


@pytest.mark.parametrize(
    ("state", "kind", "said"),
    [("FAILED", "invalid_request", "broken film"), ("PROCESSING", "timeout", "not ready in time")],
)
def test_deletes_a_file_that_does_not_become_ready(server, config, sources, state, kind, said):
    # The file must be stored in time: the SDK loads itself before.
    server.handler = Files()
    run("p", config=config())
    server.handler = Files(states=("PROCESSING", state))
    with pytest.raises(APIError, match=said) as caught:
        run("p", source=sources[0], config=config(timeout_s=1.0 if kind == "timeout" else 20.0))
    assert (caught.value.phase, caught.value.kind) == ("upload", kind)
    assert server.handler.deleted == ["files/1"]
    assert caught.value.hint


def test_says_that_an_upload_was_not_answered_as_one(server, config, sources):
    server.reply(Answer(json={}))
    with pytest.raises(APIError) as caught:
        run("p", source=sources[0], config=config())
    assert (caught.value.phase, caught.value.kind, len(server.requests)) == ("upload", "malformed", 1)


def test_takes_no_file_and_no_key_to_where_it_is_redirected(server, config, sources):
    with ScriptedServer() as elsewhere:
        server.reply(Answer(status=307, headers={"Location": f"{elsewhere.url}/upload"}))
        with pytest.raises(APIError) as caught:
            run("p", source=sources[0], config=config())
        assert elsewhere.requests == []
    assert (caught.value.kind, caught.value.phase) == ("refused", "upload")


def test_says_that_vertex_stores_no_files(server, sources):
    client = genai.Client(vertexai=True, api_key=KEY, http_options={"base_url": server.url})
    with client, pytest.raises(ConfigurationError, match="no files") as caught:
        run("p", source=sources[0], config=Config(provider="gemini", model="m", client=client, uploads="always"))
    assert "gs://" in caught.value.hint
    assert server.requests == []


def test_sends_files_inside_the_requests_of_vertex(server, tmp_path):
    server.handler = Files()
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7".ljust(5_000_000))
    client = genai.Client(vertexai=True, api_key=KEY, http_options={"base_url": server.url})
    with client:
        config = Config(provider="gemini", model="m", client=client)
        # Three times is more than an upload would cost, where there was one.
        result = run_many(["x", "y", "z"], sources=[Source.from_file(tmp_path / "a.pdf")], config=config)
    assert result["answers"] == ["seen"] * 3
    assert [b'"inlineData"' in request.body for request in server.requests] == [True] * 3


BIG = """
import resource, sys
from pollux_sync import Config, Source, run
config = Config(provider="gemini", model="m", api_key="k", base_url=sys.argv[1], uploads="always")
run("small", source=Source.from_file(sys.argv[2]), config=config)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run("big", source=Source.from_file(sys.argv[3]), config=config)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(not hasattr(resource, "getrusage"), reason="this system cannot tell")
def test_uploads_a_large_file_in_constant_memory(tmp_path):
    size = 256 * 1024 * 1024
    with (tmp_path / "big.pdf").open("wb") as file:
        file.truncate(size)
    (tmp_path / "small.pdf").write_bytes(b"%PDF-")
    with ScriptedServer(keep_bodies=False) as server:
        server.handler = Files()
        command = [sys.executable, "-c", BIG, server.url, str(tmp_path / "small.pdf"), str(tmp_path / "big.pdf")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert sum(request.body_size for request in server.handler.stored[1:]) == size
    assert int(done.stdout) < 64 * 1024 * 1024
