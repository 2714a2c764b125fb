import resource
import subprocess
import sys
from functools import partial

import pytest

from messages_api import Files, text
from pollux_sync import Source, run_many
from pollux_sync.testing.server import ScriptedServer


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
    contents = {"a.pdf": b"%PDF-1.7 a", "b.png": b"\x89PNG\r\n\x1a\nb", "c.gif": b"GIF89a c"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [Source.from_file(tmp_path / name) for name in contents]


def test_uploads_as_a_form_with_name_type_and_expiry(files, config, sources):
    run_many("p", sources=sources[:1], config=config())
    (stored,) = files.stored
    assert b'filename="a.pdf"' in stored.body
    assert b"Content-Type: application/pdf" in stored.body
    assert b"%PDF-1.7 a" in stored.body
    assert b'name="expires_in_seconds"\r\n\r\n86400' in stored.body
    assert stored.headers["anthropic-beta"] == "files-api-2025-04-14"


def test_refers_to_files_by_id(server, files, config, sources):
    run_many("p", sources=sources[:2], config=config(request_concurrency=1))
    (asked,) = [request for request in server.requests if request.path == "/v1/messages"]
    assert asked.headers["anthropic-beta"] == "files-api-2025-04-14"
    assert asked.json()["messages"][0]["content"][:2] == [
        {"type": "document", "source": {"type": "file", "file_id": "file-1"}, "title": "a.pdf"},
        {"type": "image", "source": {"type": "file", "file_id": "file-2"}},
    ]


def test_sends_text_files_as_text(server, files, config, tmp_path):
    (tmp_path / "notes.md").write_text("# notes")
    run_many("p", sources=[Source.from_file(tmp_path / "notes.md")], config=config())
    (asked,) = server.requests
    assert asked.json()["messages"][0]["content"][0] == text("# notes")
    assert "anthropic-beta" not in asked.headers


BIG = """
import resource, sys
from pollux_sync import Config, Source, run
config = Config(provider="anthropic", model="m", api_key="k", base_url=sys.argv[1], uploads="always")
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
            server.url,
            str(tmp_path / "small.pdf"),
            str(tmp_path / "big.pdf"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert server.handler.stored[-1].body_size > size
    assert int(done.stdout) < 32 * 1024 * 1024
