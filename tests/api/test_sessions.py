import os
import threading
import time

import attrs
import pytest

from acme_server import FileServer, build_answer
from chat_streams import chunk
from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    Environment,
    Input,
    Options,
    RetryPolicy,
    Session,
    Source,
    hookimpl,
    list_caches,
    run,
    run_many,
    wait_deferred,
)
from pollux_sync.data.events import FileUploaded, RetryScheduled, UploadDeleted
from pollux_sync.testing import Script
from pollux_sync.testing.server import Answer, Events, Hang, ResetBeforeBody
from streams import remove_times, sse

PNG = b"\x89PNG\r\n\x1a\n"


class Files:
    """Counts what is uploaded and deleted."""

    def __init__(self, lifetime_s=None):
        self.uploaded, self.deleted, self.lifetime_s = [], [], lifetime_s

    @hookimpl
    def pollux_event(self, event):
        if isinstance(event, FileUploaded):
            self.uploaded.append(event.identifier)
        if isinstance(event, UploadDeleted):
            self.deleted.append(event.asset.id)

    @hookimpl(wrapper=True)
    def pollux_upload(self):
        asset = yield
        return attrs.evolve(asset, expires_at=self.lifetime_s and time.time() + self.lifetime_s)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    return Source.from_file(path)


def build_mock_config(*plugins, **fields):
    return Config(provider="openai", model="m", use_mock=True, plugins=plugins, **fields)


def test_answers_like_the_functions_of_the_same_names():
    config = build_mock_config()
    with Session(config) as session:
        assert remove_times(session.run("a")) == remove_times(run("a", config=config))
        assert remove_times(session.run_many(["a", "b"])) == remove_times(run_many(["a", "b"], config=config))
        assert remove_times(session.stream("a").result()) == remove_times(run("a", config=config))
        assert session.stream_many(["a", "b"]).result()["answers"] == ["echo: a", "echo: b"]


def test_uploads_a_file_once_and_deletes_it_at_the_end(picture):
    files = Files()
    with Session(build_mock_config(files)) as session:
        session.run("a", source=picture)
        session.run_many(["b", "c"], sources=[picture])
        session.stream("d", source=picture).result()
        assert (len(files.uploaded), files.deleted) == (1, [])
    assert len(files.deleted) == 1


def test_uploads_once_however_many_threads_ask(picture):
    files = Files()
    with Session(build_mock_config(files)) as session:
        threads = [threading.Thread(target=session.run, args=("a",), kwargs={"source": picture}) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(files.uploaded) == 1
    assert len(files.deleted) == 1


def test_uploads_changed_and_expiring_files_again(tmp_path, picture):
    files = Files(lifetime_s=60)
    with Session(build_mock_config(files)) as session:
        session.run("a", source=picture)
        session.run("a", source=picture)
    assert len(files.uploaded) == 2
    files = Files(lifetime_s=3600)
    with Session(build_mock_config(files)) as session:
        session.run("a", source=picture)
        (tmp_path / "a.png").write_bytes(PNG + b"new")
        session.run("a", source=picture)
        session.run("a", source=picture)
    assert len(files.uploaded) == 2


def test_tries_an_upload_again_that_failed(server, config, picture):
    server.handler = FileServer()
    server.reply(ResetBeforeBody())
    with Session(config()) as session:
        with pytest.raises(APIError, match="connection"):
            session.run("a", source=picture)
        assert session.run("a", source=picture)["status"] == "ok"
    assert server.handler.deleted == ["id-a.png"]


def test_holds_one_connection(server, config):
    server.handler = FileServer()
    with Session(config()) as session:
        for _ in range(3):
            session.run("a")
    assert {request.connection for request in server.requests} == {1}


def test_its_options_go_with_every_call_that_has_none():
    script = Script(*"abc")
    with Session(build_mock_config(script), options=Options(temperature=0.5)) as session:
        session.run("a")
        session.run("b", options=Options(temperature=0.1))
        session.stream("c").result()
    assert [body["temperature"] for body in script.requests] == [0.5, 0.1, 0.5]


def test_goes_on_after_tool_calls():
    tool = {"name": "add", "parameters": {"type": "object"}}
    with Session(build_mock_config(), options=Options(tools=[tool])) as session:
        asked = session.run("a")
        (call,) = asked["tool_calls"][0]
        told = session.continue_tool(asked, [{"tool_call_id": call["id"], "content": "3"}])
    assert told["answers"] == ["echo: 3"]


def test_interacts():
    with Session(build_mock_config(), options=Options(temperature=0)) as session:
        first = session.interact(Environment(instructions="Be brief."), "a")
        second = session.interact(input=Input("b", continuation=first.continuation))
    assert (first.text, second.text) == ("echo: a", "echo: b")


def test_runs_tools():
    def add(a: int) -> int:
        """Add."""
        return a + 1

    with Session(build_mock_config()) as session:
        result = session.run_tools("a", tools=[add])
    assert [run["content"] for step in result["diagnostics"]["steps"] for run in step["tool_runs"]] == ["1"]


def test_deferred_jobs_outlive_it(tmp_path):
    config = build_mock_config()
    with Session(config) as session:
        one = session.defer("a", job_file=tmp_path / "job.json")
        many = session.defer_many(["a", "b"])
    assert wait_deferred(one, config=config).status == "completed"
    assert wait_deferred(many, config=config).request_count == 2


def test_deletes_its_caches_at_the_end():
    config = build_mock_config()
    with Session(config) as session:
        handle = session.create_cache([Source.from_text("long")])
        session.create_cache([Source.from_text("long")])
        session.run("a", options=Options(cache=handle))
        assert handle.name in {cache.name for cache in list_caches(config=config)}
    assert handle.name not in {cache.name for cache in list_caches(config=config)}


def test_labels_a_cache():
    with Session(build_mock_config()) as session:
        assert session.create_cache([Source.from_text("long")], label="handbook").label == "handbook"


def test_refuses_calls_when_closed():
    session = Session(build_mock_config())
    session.close()
    session.close()
    for call in (session.run, session.stream, session.defer, session.create_cache):
        with pytest.raises(ConfigurationError, match="the session is closed"):
            call("a") if call != session.create_cache else call([Source.from_text("a")])


def test_deletes_files_of_an_unclosed_session(picture):
    files = Files()
    session = Session(build_mock_config(files))
    session.run("a", source=picture)
    del session
    assert len(files.deleted) == 1


def test_takes_a_config_only():
    with pytest.raises(ConfigurationError, match="config must be a Config"):
        Session("openai")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_is_refused_in_a_forked_child_and_deletes_nothing_there(picture):
    files = Files()
    session = Session(build_mock_config(files))
    session.run("a", source=picture)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:  # pragma: no cover - not measured in the child
        try:
            session.run("b")
        except ConfigurationError as error:
            os.write(writing, error.message.encode())
        session.close()
        os.write(writing, b", deleted %d" % len(files.deleted))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 1000) == b"the session belongs to another process, deleted 0"
    session.close()
    assert len(files.deleted) == 1


def begin(ask):
    """Return a thread that asks, and the list that gets the error or the answer."""
    ended = []

    def work():
        try:
            ended.append(ask())
        except Exception as error:  # noqa: BLE001 - looked at by the test
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, ended


def test_abort_ends_the_calls_in_flight_at_once_and_tries_none_again(server, config):
    server.handler = lambda _: Hang()
    with Session(config()) as session:
        thread, ended = begin(lambda: session.run_many(["a", "b", "c"]))
        server.wait_for_requests(3)
        session.abort()
        thread.join(5)
        (error,) = ended
        assert isinstance(error, APIError)
        assert "aborted" in str(error)
        assert error.retryable is False
        with pytest.raises(ConfigurationError, match="aborted"):
            session.run("d")
        session.abort()
    session.abort()
    assert len(server.requests) == 3


@pytest.mark.parametrize("ask", [Session.run_many, lambda *args, **kw: Session.stream_many(*args, **kw).result()])
def test_abort_leaves_an_error_for_each_call_that_had_not_begun(server, ask):
    server.handler = lambda _: Hang()
    config = Config(provider="local", model="m", base_url=server.url, request_concurrency=2)
    with Session(config) as session:
        thread, ended = begin(lambda: ask(session, list("abcd"), options=Options(on_error="keep")))
        server.wait_for_requests(2)
        session.abort()
        thread.join(5)
    assert [error["status_code"] for error in ended[0]["errors"]] == [None] * 4
    assert len(server.requests) == 2


def test_abort_ends_the_wait_before_a_retry(server, config):
    server.handler = lambda _: Answer(status=503, json={"error": "later"}, headers={"Retry-After": "50"})
    waiting = threading.Event()

    class Watching:
        @hookimpl
        def pollux_event(self, event):
            if isinstance(event, RetryScheduled):
                waiting.set()

    with Session(config(retry=RetryPolicy(max_elapsed_s=100), plugins=(Watching(),))) as session:
        thread, ended = begin(lambda: session.run("a"))
        assert waiting.wait(5)
        session.abort()
        thread.join(5)
        assert [error.status_code for error in ended] == [503]
    assert len(server.requests) == 1


def test_abort_leaves_the_calls_of_others_alone(server, config):
    server.handler = lambda request: Hang(answer=build_answer(request.json()["prompt"]))
    with Session(config()) as session, Session(config()) as other:
        asked = [lambda: session.run("a"), lambda: other.run("b"), lambda: run("c", config=config())]
        begun = [*map(begin, asked)]
        server.wait_for_requests(3)
        session.abort()
        begun[0][0].join(5)
        server.release()
        for thread, _ in begun:
            thread.join(5)
    assert isinstance(begun[0][1][0], APIError)
    assert all(ended[0]["status"] == "ok" for _, ended in begun[1:])


def test_an_aborted_session_still_deletes_its_files(server, config, picture):
    files = FileServer()
    server.handler = files
    session = Session(config())
    session.run("a", source=picture)
    server.handler = lambda _: Hang()
    thread, ended = begin(lambda: session.run("b", source=picture))
    server.wait_for_requests(3)
    session.abort()
    thread.join(5)
    server.handler = files
    session.close()
    assert len(files.deleted) == 1
    assert "aborted" in str(ended[0])


def test_the_next_session_goes_on_with_the_connection_of_the_last(server, config):
    server.handler = FileServer()
    with Session(config()) as session:
        session.run("a")
    with Session(config()) as session, Session(config()) as another:
        session.run("b")
        another.run("c")
    assert [request.connection for request in server.requests] == [1, 1, 2]


def test_a_session_of_a_mock_can_be_aborted():
    session, other = Session(build_mock_config()), Session(build_mock_config())
    session.abort()
    with pytest.raises(ConfigurationError, match="aborted"):
        session.run("a")
    assert other.run("a")["answers"] == ["echo: a"]


def test_abort_ends_a_stream_and_keeps_its_text(server):
    beginning = sse(chunk(content="Hel"), chunk(content="lo"))
    server.reply(Events([beginning], ending="hang"))
    reading = threading.Event()

    def read():
        for event in session.stream("a"):
            if event.type == "text_delta":
                reading.set()

    with Session(Config(provider="local", model="m", base_url=server.url)) as session:
        thread, ended = begin(read)
        assert reading.wait(5)
        session.abort()
        thread.join(5)
        assert ended[0].partial_text == "Hello"
    assert len(server.requests) == 1
