"""The connection is opened while files are being read, where the request is sure to be sent."""

import attrs
import pytest

from acme_server import FileServer
from pollux_sync import Config, Source, run, stream
from pollux_sync.plugin import hookimpl
from pollux_sync.testing.server import Answer

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(64)


class Around:
    """A middleware that may answer calls itself."""

    @hookimpl(wrapper=True)
    def pollux_call(self):
        return (yield)


@pytest.fixture
def local(server):
    config = Config(provider="local", model="m", base_url=server.url)
    server.reply(*[Answer(json={"choices": [{"message": {"content": "A lighthouse."}}]})] * 2)
    return config


def build_picture(read):
    return Source("file", "tower.png", "image/png", len(PICTURE), read)


def test_connects_while_a_file_is_read(server, local):
    def read():
        server.wait_for_open_connections(1)
        return PICTURE

    assert run("What is this?", source=build_picture(read), config=local)["answers"] == ["A lighthouse."]
    assert server.open_connections == 1


def test_does_not_connect_where_a_plugin_may_answer(server, local):
    seen = []

    def read():
        seen.append(server.open_connections)
        return PICTURE

    run("What is this?", source=build_picture(read), config=attrs.evolve(local, plugins=[Around()]))
    assert set(seen) == {0}


def test_a_stream_connects_when_it_is_read(server, local):
    answer = stream("What is this?", source=build_picture(lambda: PICTURE), config=local)
    assert server.open_connections == 0
    answer.close()


def test_an_upload_the_call_and_the_deletion_share_one_connection(server, acme, config, tmp_path):
    path = tmp_path / "tower.png"
    path.write_bytes(PICTURE)
    server.handler = FileServer()
    run("What is this?", source=Source.from_file(path), config=config(uploads="always"))
    assert [request.path for request in server.requests] == ["/files", "/ask", "/files/id-tower.png"]
    assert {request.connection for request in server.requests} == {1}
