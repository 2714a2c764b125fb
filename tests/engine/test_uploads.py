import threading
from itertools import islice

import pytest

from acme_server import FileServer
from pollux_sync import APIError, Options, Source, hookimpl, run_many
from pollux_sync.data.events import FileUploaded, UploadDeleted
from pollux_sync.testing.server import Answer, ResetBeforeBody, Truncated

PROMPTS = [f"p{number}" for number in range(20)]


@pytest.fixture
def files(server):
    server.handler = FileServer()
    return server.handler


@pytest.fixture
def pictures(tmp_path):
    """Makes image sources, each with content of its own."""

    def make(*names):
        for name in names:
            (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n" + name.encode())
        return [Source.from_file(tmp_path / name) for name in names]

    return make


def test_uploads_each_file_once_and_deletes_it(files, config, pictures):
    result = run_many(PROMPTS, sources=pictures("a.png", "b.png", "c.png"), config=config())
    assert result["status"] == "ok"
    assert sorted(files.stored) == ["a.png", "b.png", "c.png"]
    assert sorted(files.deleted) == ["id-a.png", "id-b.png", "id-c.png"]


def test_calls_refer_to_the_uploaded_files_in_order(server, files, config, pictures):
    run_many("p", sources=[*pictures("a.png"), Source.from_text("t"), *pictures("b.png")], config=config())
    (asked,) = [request.json() for request in server.requests if request.path == "/ask"]
    assert asked["parts"] == [{"file": "id-a.png"}, {"text": "t"}, {"file": "id-b.png"}]


def test_uploads_equal_content_once(files, config, tmp_path):
    for name in ("one.png", "two.png"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\nsame")
    run_many("p", sources=[Source.from_file(tmp_path / n) for n in ("one.png", "two.png")], config=config())
    assert len(files.stored) == len(files.deleted) == 1


def test_uploads_changed_content_anew(files, config, tmp_path):
    path = tmp_path / "a.png"
    for content in (b"first", b"second"):
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
        run_many("p", sources=[Source.from_file(path)], config=config())
    assert len(files.stored) == 2


def test_deletes_after_a_failed_prompt(files, config, pictures):
    files.failing_prompts = {"p3": 400}
    with pytest.raises(APIError):
        run_many(PROMPTS, sources=pictures("a.png", "b.png"), config=config())
    assert sorted(files.deleted) == ["id-a.png", "id-b.png"]


def test_deletes_the_others_after_a_failed_upload(files, config, pictures):
    files.failing_uploads = {"c.png"}
    with pytest.raises(APIError, match="unreadable") as caught:
        run_many(PROMPTS, sources=pictures("a.png", "b.png", "c.png"), config=config())
    assert (caught.value.phase, caught.value.call_idx, caught.value.status_code) == ("upload", 0, 400)
    assert sorted(files.deleted) == ["id-a.png", "id-b.png"]


def test_gives_each_blocked_prompt_an_error_of_its_own(files, config, pictures):
    files.failing_uploads = {"a.png"}
    with pytest.raises(APIError) as caught:
        run_many(["x", "y"], sources=pictures("a.png"), config=config())
    assert [entry["type"] for entry in caught.value.partial_result["errors"]] == ["APIError", "APIError"]


def test_asks_no_prompt_whose_file_failed_and_every_other(server, files, config, pictures):
    files.failing_uploads = {"a.png"}
    options = Options(on_error="keep")
    result = run_many(["x"], sources=pictures("a.png", "b.png"), config=config(), options=options, per_source=True)
    assert result["answers"] == ["", "X"]
    assert len([request for request in server.requests if request.path == "/ask"]) == 1


def test_retries_an_upload_when_the_server_allows_it(server, files, config, pictures):
    server.reply(Answer(status=503, json={"error": "busy"}))
    assert run_many("p", sources=pictures("a.png"), config=config())["answers"] == ["P"]
    assert files.stored == ["a.png"]


def test_does_not_repeat_an_upload_after_a_reset(server, files, config, pictures):
    server.reply(ResetBeforeBody())
    with pytest.raises(APIError) as caught:
        run_many("p", sources=pictures("a.png"), config=config())
    assert (caught.value.phase, caught.value.kind) == ("upload", "connection")
    assert files.stored == []


def test_a_failed_deletion_changes_nothing(server, files, config, pictures):
    seen = []

    class Watch:
        @hookimpl
        def pollux_event(self, event):
            seen.append(event)

    def handler(request):
        return Answer(status=500, json={"error": "stuck"}) if request.method == "DELETE" else files(request)

    server.handler = handler
    result = run_many("p", sources=pictures("a.png"), config=config(plugins=[Watch()]))
    assert result["answers"] == ["P"]
    (deleted,) = [event for event in seen if isinstance(event, UploadDeleted)]
    assert "stuck" in deleted.error
    assert [event.identifier.rpartition("/")[2] for event in seen if isinstance(event, FileUploaded)] == ["a.png"]


def test_sends_small_content_inside_the_request_where_declared(server, files, config, tmp_path):
    (tmp_path / "a.gif").write_bytes(b"GIF89a..")
    run_many("p", sources=[Source.from_file(tmp_path / "a.gif")], config=config())
    assert server.requests[0].json()["parts"] == [{"bytes": 8}]


def test_sends_an_address_unchanged(server, files, config):
    run_many("p", sources=[Source.from_uri("https://acme.example/x")], config=config())
    assert server.requests[0].json()["parts"] == [{"uri": "https://acme.example/x"}]


def test_does_not_repeat_an_upload_whose_answer_was_cut(server, files, config, pictures):
    def handler(request):
        answer = files(request)
        return Truncated(b'{"id": "file"}', 5) if request.path == "/files" else answer

    server.handler = handler
    with pytest.raises(APIError) as caught:
        run_many("p", sources=pictures("a.png"), config=config())
    assert caught.value.phase == "upload"
    assert files.stored == ["a.png"]


def test_one_content_under_two_types_is_two_files(files, config, tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nsame")
    sources = [Source.from_file(tmp_path / "a.png", mime_type=mime) for mime in ("image/png", "image/png; v=2")]
    run_many("p", sources=sources, config=config())
    assert len(files.stored) == len(files.deleted) == 2


def test_gives_each_blocked_prompt_its_own_index(files, config, pictures):
    files.failing_uploads = {"a.png"}
    seen = []

    class Watch:
        @hookimpl(wrapper=True)
        def pollux_plan(self):
            plan = yield
            seen.append(len(plan.calls))
            return plan

    with pytest.raises(APIError) as caught:
        run_many(["x", "y"], sources=pictures("a.png"), config=config(plugins=[Watch()]))
    assert (caught.value.call_idx, seen) == (0, [2])


def test_looks_less_and_less_often_at_a_file_that_is_processed():
    from pollux_sync.engine import preparing

    waits = list(islice(preparing._iter_poll_waits(), 30))
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (0.1, 5.0)


def test_a_file_that_arrives_too_late_deletes_itself(server, files, config, pictures, monkeypatch):
    from pollux_sync.builtin.opening import open_hooks
    from pollux_sync.data.request import UploadPart
    from pollux_sync.engine import preparing

    monkeypatch.setattr(preparing, "_GRACE_S", 0.0)
    (source,) = pictures("a.png")
    scope = preparing.UploadScope(open_hooks(config()))
    with scope:
        pass
    scope.upload(UploadPart(source, source.content_sha256()), threading.Event())
    assert files.deleted == ["id-a.png"]
