import resource
import subprocess
import sys
from functools import partial

import pytest

from pollux_sync import APIError, Source, run_many
from pollux_sync.testing.server import Answer, ScriptedServer
from responses_api import Files


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
    contents = {"a.pdf": b"%PDF-1.7 a", "b.png": b"\x89PNG\r\n\x1a\nb", "c.mp3": b"ID3 c"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [Source.from_file(tmp_path / name) for name in contents]


def test_uploads_as_a_form_with_name_type_purpose_and_expiry(files, config, sources):
    run_many("p", sources=sources[:1], config=config())
    body = files.stored[0].body
    assert b'filename="a.pdf"' in body
    assert b"Content-Type: application/pdf" in body
    assert b"%PDF-1.7 a" in body
    assert b'name="purpose"\r\n\r\nuser_data' in body
    assert b'name="expires_after[anchor]"\r\n\r\ncreated_at' in body
    assert b'name="expires_after[seconds]"\r\n\r\n86400' in body


def test_refers_to_files_by_id(server, files, config, sources):
    run_many("p", sources=sources[:2], config=config(request_concurrency=1))
    (asked,) = [request.json() for request in server.requests if request.path == "/v1/responses"]
    assert asked["input"][0]["content"][:2] == [
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_image", "file_id": "file-2"},
    ]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"status": "error", "status_details": "bad pdf"}, "bad pdf"),
        ({"error": {"message": "quota"}}, "quota"),
        ({"deleted": True}, "deleted"),
    ],
)
def test_asks_nothing_about_a_file_that_was_not_stored(server, files, config, sources, facts, reason):
    stored = Answer(json={"id": "file-1"} | facts)
    server.handler = lambda request: stored if request.path == "/v1/files" else files(request)
    with pytest.raises(APIError, match=reason) as caught:
        run_many("p", sources=sources[:1], config=config())
    assert caught.value.phase == "upload"
    assert [(request.method, request.path) for request in server.requests] == [
        ("POST", "/v1/files"),
        ("DELETE", "/v1/files/file-1"),
    ]


@pytest.mark.parametrize(
    "facts", [{}, {"status": "processed", "error": None, "bytes": 10}, {"status": "uploaded"}, {"bytes": 3}]
)
def test_takes_a_stored_file_whose_answer_says_nothing_against_it(server, files, config, sources, facts):
    stored = Answer(json={"id": "file-1"} | facts)
    server.handler = lambda request: stored if request.path == "/v1/files" else files(request)
    assert run_many("p", sources=sources[:1], config=config())["answers"]


def test_sends_text_files_as_text(server, files, config, tmp_path):
    (tmp_path / "notes.md").write_text("# notes")
    run_many("p", sources=[Source.from_file(tmp_path / "notes.md")], config=config())
    assert files.stored == []
    assert server.requests[0].json()["input"][0]["content"][0] == {"type": "input_text", "text": "# notes"}


BIG = """
import resource, sys
from pollux_sync import Config, Source, run
config = Config(provider="openai", model="m", api_key="k", base_url=sys.argv[1], uploads="always")
run("warm up", config=config)
run("small", source=Source.from_file(sys.argv[2]), config=config)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run("big", source=Source.from_file(sys.argv[3]), config=config)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(not hasattr(resource, "getrusage"), reason="this system cannot tell")
def test_uploads_a_large_file_in_constant_memory(tmp_path):
    size = 256 * 1024 * 1024
    with (tmp_path / "big.pdf").open("wb") as file:
        file.write(b"%PDF-")
        file.truncate(size)
    (tmp_path / "small.pdf").write_bytes(b"%PDF-")
    with ScriptedServer(keep_bodies=False) as server:
        server.handler = Files()
        command = [
            sys.executable,
            "-c",
            BIG,
            f"{server.url}/v1",
            str(tmp_path / "small.pdf"),
            str(tmp_path / "big.pdf"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert server.handler.stored[-1].body_size > size
    assert int(done.stdout) < 32 * 1024 * 1024
