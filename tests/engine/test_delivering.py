"""Files: inside each request or stored once, whichever costs less, and the way on where a service refuses one."""

import pytest

from acme_server import FileServer
from pollux_sync import (
    APIError,
    ConfigurationError,
    Options,
    Session,
    Source,
    SourceError,
    explain,
    hookimpl,
    run,
    run_many,
    stream,
    stream_many,
)
from pollux_sync.data.events import FileUploaded
from pollux_sync.testing.server import Answer, ResetBeforeBody

PROMPTS = [f"p{number:02}" for number in range(20)]
JPEG = b"\xff\xd8\xff\xe0"


class Service(FileServer):
    """The file server; it answers requests with more than ``max_inline_bytes`` inside with ``refusal``.

    Without ``files_status`` it stores files, else it answers with that status.
    """

    def __init__(self, *, max_inline_bytes=10**9, refusal=None, files_status=None):
        super().__init__()
        self.max_inline_bytes, self.files_status = max_inline_bytes, files_status
        self.refusal = refusal or Answer(status=413, json={"error": "Request Entity Too Large"})
        self.asked = []

    def __call__(self, request):
        if request.path == "/files" and self.files_status:
            return Answer(status=self.files_status, json={"error": "no such thing"})
        if request.path != "/ask":
            return super().__call__(request)
        parts = request.json()["parts"]
        self.asked.append(parts)
        is_refused = sum(part.get("bytes", 0) for part in parts) > self.max_inline_bytes
        return self.refusal if is_refused else super().__call__(request)


@pytest.fixture
def service(server):
    server.handler = Service()
    return server.handler


@pytest.fixture
def picture(tmp_path):
    """Makes sources of pictures of a size, each of other content; a picture is all zeros behind its number."""
    made = []

    def make(size_bytes, name=None):
        made.append(name or f"{len(made)}.jpg")
        path = tmp_path / made[-1]
        with path.open("wb") as file:
            file.write(JPEG + made[-1].encode())
            file.truncate(size_bytes)
        return Source.from_file(path)

    return make


def count_ways(service):
    """Return how many files were stored, and how many went inside requests."""
    inline = sum("bytes" in part for parts in service.asked for part in parts)
    return len(service.stored), inline


# What costs less


def test_one_question_about_a_small_picture_is_one_request(server, service, config, picture):
    assert run("What?", source=picture(100_000), config=config())["answers"] == ["WHAT?"]
    assert service.asked == [[{"bytes": 100_000}]]
    assert len(server.requests) == 1


def test_many_prompts_over_a_large_picture_store_it_once(service, config, picture):
    result = run_many(PROMPTS, sources=[picture(30_000_000)], config=config())
    assert result["status"] == "ok"
    assert (service.stored, service.deleted) == (["0.jpg"], ["id-0.jpg"])
    assert service.asked == [[{"file": "id-0.jpg"}]] * 20


def test_many_prompts_over_a_small_picture_store_nothing(service, config, picture):
    run_many(PROMPTS, sources=[picture(50_000)], config=config())
    assert count_ways(service) == (0, 20)


@pytest.mark.parametrize(
    ("size_bytes", "prompts", "ways"),
    [
        # In base64 a file is a third longer, so that one question costs 4 MB more from 12 MB on.
        (11_900_000, 1, (0, 1)),
        (12_100_000, 1, (1, 0)),
        (2_300_000, 2, (0, 2)),
        (2_500_000, 2, (1, 0)),
    ],
)
def test_stores_a_file_from_where_its_repetition_costs_more(service, config, picture, size_bytes, prompts, ways):
    run_many(PROMPTS[:prompts], sources=[picture(size_bytes)], config=config())
    assert count_ways(service) == ways


def test_counts_the_calls_that_need_a_file_and_no_others(service, config, picture):
    sources = [picture(2_500_000), picture(2_500_000)]
    run_many("p", sources=sources, config=config(), per_source=True)
    assert count_ways(service) == (0, 2)


def test_counts_equal_content_once_for_all_its_uses(service, config, picture):
    content = [picture(2_500_000, "same.jpg")] * 2
    run_many("p", sources=content, config=config())
    assert count_ways(service) == (1, 0)
    assert service.asked == [[{"file": "id-same.jpg"}] * 2]


def test_stores_a_file_over_the_limit_of_the_provider(service, config, picture):
    run("p", source=picture(15_000_001), config=config())
    assert count_ways(service) == (1, 0)


def test_stores_the_largest_files_of_a_request_until_the_rest_fits(service, config, picture):
    sources = [picture(5_000_000), picture(9_000_000), picture(8_000_000), picture(1_000_000)]
    run_many("p", sources=sources, config=config())
    assert service.stored == ["1.jpg"]
    assert service.asked == [[{"bytes": 5_000_000}, {"file": "id-1.jpg"}, {"bytes": 8_000_000}, {"bytes": 1_000_000}]]


def test_stores_a_file_that_the_provider_does_not_take_inside_a_request(service, config, tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    run("p", source=Source.from_file(tmp_path / "a.png"), config=config())
    assert count_ways(service) == (1, 0)


def test_expects_more_questions_about_the_files_of_a_session(service, config, picture):
    with Session(config=config(), options=Options()) as session:
        session.run("p", source=picture(1_000_000))
        session.run("q", source=picture(100_000))
    assert count_ways(service) == (1, 1)


def test_reports_what_was_stored_and_nothing_else(service, config, picture):
    seen = []

    class Watch:
        @hookimpl
        def pollux_event(self, event):
            seen.extend([event.identifier] if isinstance(event, FileUploaded) else [])

    sources = [picture(100_000), picture(13_000_000)]
    run_many("p", sources=sources, config=config(plugins=[Watch()]))
    assert seen == [sources[1].identifier]


# What the configuration decides


def test_stores_every_file_if_it_shall(service, config, picture):
    run("p", source=picture(9), config=config(uploads="always"))
    assert count_ways(service) == (1, 0)


def test_stores_no_file_if_it_shall_not(service, config, picture):
    run_many(PROMPTS, sources=[picture(3_000_000)], config=config(uploads="never"))
    assert count_ways(service) == (0, 20)


@pytest.mark.parametrize("size_bytes", [15_000_001, 16_000_000])
def test_refuses_a_file_over_the_limit_that_shall_not_be_stored(server, service, config, picture, size_bytes):
    with pytest.raises(ConfigurationError, match=r"uploads='never', but .*0\.jpg.* up to 15000000 bytes") as caught:
        run_many(PROMPTS, sources=[picture(size_bytes)], config=config(uploads="never"))
    assert "uploads='auto'" in (caught.value.hint or "")
    assert server.requests == []


def test_refuses_files_that_are_too_large_together_and_shall_not_be_stored(server, service, config, picture):
    with pytest.raises(ConfigurationError, match=r"1\.jpg"):
        run_many("p", sources=[picture(9_000_000), picture(9_500_000)], config=config(uploads="never"))
    assert server.requests == []


def test_refuses_a_type_that_has_to_be_stored_and_shall_not(server, service, config, tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ConfigurationError, match="takes no such file"):
        run("p", source=Source.from_file(tmp_path / "a.png"), config=config(uploads="never"))
    assert server.requests == []


def test_explains_the_refusal_of_a_file_that_shall_not_be_stored(config, picture):
    with pytest.raises(ConfigurationError, match="uploads='never'"):
        explain("p", sources=[picture(16_000_000)], config=config(uploads="never"))


@pytest.mark.parametrize("uploads", ["Always", "", None, True])
def test_refuses_an_unknown_setting(config, uploads):
    with pytest.raises(ConfigurationError, match="is not known") as caught:
        config(uploads=uploads)
    assert caught.value.hint == "use one of: auto, always, never"


@pytest.mark.parametrize(
    ("size_bytes", "uploads", "delivery"),
    [(9, "auto", "inline"), (9, "always", "upload"), (13_000_000, "auto", "upload"), (13_000_000, "never", "inline")],
)
def test_explains_the_way_that_a_file_will_go(service, config, picture, size_bytes, uploads, delivery):
    source, settings = picture(size_bytes), config(uploads=uploads)
    explanation = explain("p", sources=[source], config=settings)
    assert [shown.delivery for shown in explanation.sources] == [delivery]
    assert len(explanation.uploads) == (delivery == "upload")
    run("p", source=source, config=settings)
    assert count_ways(service) == ((1, 0) if delivery == "upload" else (0, 1))


# Where the service refuses the size

TOO_LARGE = {
    "413": Answer(status=413, json={"error": {"message": "no"}}),
    "400 too large": Answer(status=400, json={"error": {"message": "the image is too large"}}),
    "400 exceeds": Answer(status=400, json={"error": {"message": "image exceeds 5 MB maximum: 9 MB > 5 MB"}}),
    "400 size": Answer(status=400, json={"error": {"message": "Request payload size is over 20971520 bytes"}}),
}


def list_statuses(result):
    return [[attempt["status_code"] for attempt in call] for call in result["diagnostics"]["attempts"]]


@pytest.mark.parametrize("refusal", TOO_LARGE.values(), ids=TOO_LARGE)
def test_stores_a_file_whose_size_inside_a_request_is_refused(server, config, picture, refusal):
    service = server.handler = Service(max_inline_bytes=1000, refusal=refusal)
    result = run("p", source=picture(100_000), config=config())
    assert result["answers"] == ["P"]
    assert service.asked == [[{"bytes": 100_000}], [{"file": "id-0.jpg"}]]
    assert list_statuses(result) == [[refusal.status, 200]]
    assert service.deleted == ["id-0.jpg"]


def test_stores_a_refused_file_once_for_all_calls(server, config, picture):
    service = server.handler = Service(max_inline_bytes=1000)
    result = run_many(PROMPTS, sources=[picture(100_000)], config=config(request_concurrency=4))
    assert result["answers"] == [prompt.upper() for prompt in PROMPTS]
    assert (service.stored, service.deleted) == (["0.jpg"], ["id-0.jpg"])
    statuses = list_statuses(result)
    refused = statuses.count([413, 200])
    # Those that were on their way when the first was refused; the others knew already.
    assert 1 <= refused <= 4
    assert statuses.count([200]) == 20 - refused
    assert result["metrics"]["n_attempts"] == 20 + refused


class Streaming:
    """Middleware that lets answers be streamed; the service answers at once all the same."""

    @hookimpl
    def pollux_decode_stream(self, stream):
        raise AssertionError("the answer is no stream")


def test_streams_with_the_file_stored_when_its_size_is_refused(server, config, picture):
    service = server.handler = Service(max_inline_bytes=1000)
    result = stream("p", source=picture(100_000), config=config(plugins=[Streaming()])).result()
    assert result["answers"] == ["P"]
    assert list_statuses(result) == [[413, 200]]
    assert (service.stored, service.deleted) == (["0.jpg"], ["id-0.jpg"])


def test_streams_many_with_a_refused_file_stored_once(server, config, picture):
    service = server.handler = Service(max_inline_bytes=1000)
    settings = config(request_concurrency=4, plugins=[Streaming()])
    result = stream_many(PROMPTS, sources=[picture(100_000)], config=settings).result()
    assert result["answers"] == [prompt.upper() for prompt in PROMPTS]
    assert (service.stored, service.deleted) == (["0.jpg"], ["id-0.jpg"])
    assert {tuple(statuses) for statuses in list_statuses(result)} == {(200,), (413, 200)}


def test_leaves_alone_the_calls_whose_files_are_not_refused(server, config, picture):
    service = server.handler = Service(max_inline_bytes=1000)
    sources = [picture(500), picture(2000)]
    result = run_many("p", sources=sources, config=config(), per_source=True)
    assert [len(call) for call in result["diagnostics"]["attempts"]] == [1, 2]
    assert service.stored == ["1.jpg"]


def test_reports_a_refusal_that_is_about_something_else(server, config, picture):
    service = server.handler = Service(
        max_inline_bytes=0, refusal=Answer(status=400, json={"error": {"message": "bad image"}})
    )
    with pytest.raises(APIError, match="bad image"):
        run("p", source=picture(100_000), config=config())
    assert count_ways(service) == (0, 1)


def test_reports_a_refused_size_of_a_call_whose_part_is_no_file(server, config, picture):
    service = server.handler = Service()
    service.failing_prompts = {"p": 413}
    sources = [Source.from_text("long"), picture(100)]
    with pytest.raises(APIError) as caught:
        run_many("p", sources=sources, config=config(), per_source=True)
    assert list_statuses(caught.value.partial_result) == [[413], [413, 413]]


def test_reports_a_refused_size_of_a_question_without_files(server, config):
    server.handler = lambda request: Answer(status=413, json={"error": "too large"})
    with pytest.raises(APIError) as caught:
        run("p", config=config())
    assert (caught.value.status_code, len(caught.value.attempts), len(server.requests)) == (413, 1, 1)


def test_reports_a_refused_size_of_a_file_that_is_stored_already(server, config, picture):
    service = server.handler = Service()
    service.failing_prompts = {"p": 413}
    with pytest.raises(APIError) as caught:
        run("p", source=picture(100_000), config=config())
    assert caught.value.status_code == 413
    assert [attempt.status_code for attempt in caught.value.attempts] == [413, 413]
    assert service.deleted == ["id-0.jpg"]


@pytest.mark.parametrize("uploads", ["never", "always"])
def test_does_not_change_the_way_that_was_decided(server, config, picture, uploads):
    service = server.handler = Service()
    service.failing_prompts = {"p": 413}
    with pytest.raises(APIError) as caught:
        run("p", source=picture(100_000), config=config(uploads=uploads))
    assert (caught.value.status_code, len(service.asked)) == (413, 1)


def test_reports_both_failures_when_the_upload_fails_too(server, config, picture):
    server.handler = Service(max_inline_bytes=1000, files_status=500)
    with pytest.raises(APIError, match=r"uploading .* failed") as caught:
        run("p", source=picture(100_000), config=config())
    assert (caught.value.phase, caught.value.status_code) == ("upload", 500)
    assert [attempt.status_code for attempt in caught.value.attempts][:2] == [413, 500]


@pytest.mark.parametrize("ask", [run, lambda *args, **fields: stream(*args, **fields).result()], ids=["run", "stream"])
def test_does_not_take_an_upload_that_failed_for_the_refusal_before_it(server, config, picture, ask):
    service = Service(max_inline_bytes=1000)
    server.handler = lambda request: ResetBeforeBody() if request.path == "/files" else service(request)
    with pytest.raises(APIError) as caught:
        ask("p", source=picture(100_000), config=config(plugins=[Streaming()]))
    assert (caught.value.phase, caught.value.kind, caught.value.status_code) == ("upload", "connection", None)
    assert "Too Large" not in caught.value.message
    assert [attempt.status_code for attempt in caught.value.attempts] == [413, None]


# Where the service stores no files


@pytest.mark.parametrize("status", [404, 405, 501])
def test_sends_a_file_inside_the_requests_where_none_can_be_stored(server, config, picture, status):
    service = server.handler = Service(files_status=status)
    result = run_many(PROMPTS[:3], sources=[picture(5_000_000)], config=config())
    assert result["answers"] == ["P00", "P01", "P02"]
    assert count_ways(service) == (0, 3)


def test_names_a_file_that_changed_when_none_could_be_stored(server, config, picture):
    source = picture(5_000_000)

    def handler(request):
        source.path.write_bytes(b"another")
        return Answer(status=404, json={"error": "no such thing"})

    server.handler = handler
    with pytest.raises(SourceError, match=r"0\.jpg' changed while it was sent"):
        run_many(PROMPTS[:3], sources=[source], config=config())
    assert len(server.requests) == 1


def test_reports_that_none_can_be_stored_for_a_file_over_the_limit(server, config, picture):
    server.handler = Service(files_status=404)
    with pytest.raises(APIError, match=r"uploading '.*0\.jpg' failed: ") as caught:
        run("p", source=picture(16_000_000), config=config())
    assert (caught.value.phase, caught.value.status_code) == ("upload", 404)


def test_reports_that_none_can_be_stored_where_it_shall_be(server, config, picture):
    service = server.handler = Service(files_status=404)
    with pytest.raises(APIError) as caught:
        run("p", source=picture(9), config=config(uploads="always"))
    assert (caught.value.phase, caught.value.status_code, service.asked) == ("upload", 404, [])


@pytest.mark.parametrize("step", [Answer(status=400, json={"error": "no"}), ResetBeforeBody()], ids=["400", "reset"])
def test_reports_an_upload_that_failed_for_another_reason(server, config, picture, step):
    server.handler = Service()
    server.reply(step)
    with pytest.raises(APIError) as caught:
        run_many(PROMPTS, sources=[picture(5_000_000)], config=config())
    assert caught.value.phase == "upload"


# Files that change


class ActAfterPlanning:
    """A plugin that does something to a file between planning and sending."""

    def __init__(self, act):
        self._act = act

    @hookimpl(wrapper=True)
    def pollux_plan(self):
        plan = yield
        self._act()
        return plan


def test_names_a_file_that_changed_after_it_was_planned(server, service, config, picture):
    source = picture(2_000_000)
    change = ActAfterPlanning(lambda: source.path.write_bytes(b"another"))
    with pytest.raises(SourceError, match=r"0\.jpg' changed while it was sent") as caught:
        run_many(["x", "y"], sources=[source], config=config(plugins=[change]))
    assert caught.value.call_idx == 0
    assert server.requests == []


def test_names_a_file_that_is_gone_after_it_was_planned(server, service, config, picture):
    source = picture(2_000_000)
    remove = ActAfterPlanning(source.path.unlink)
    with pytest.raises(SourceError, match=r"cannot read .*0\.jpg"):
        run("x", source=source, config=config(plugins=[remove]))
    assert server.requests == []


def test_sends_a_small_file_as_it_was_planned(server, service, config, picture):
    source = picture(100_000)
    change = ActAfterPlanning(lambda: source.path.write_bytes(b"another"))
    run("x", source=source, config=config(plugins=[change]))
    assert service.asked == [[{"bytes": 100_000}]]


# Files that are stored already


def test_refers_to_a_stored_file_and_never_deletes_it(server, service, config):
    source = Source.from_file_id("id-mine", mime_type="application/pdf")
    run_many(PROMPTS[:2], sources=[source], config=config(uploads="always"))
    assert service.asked == [[{"file": "id-mine"}]] * 2
    assert {request.path for request in server.requests} == {"/ask"}


# Files that have to be processed


class Processing(Service):
    """A service whose files are ready when they have been looked at some times."""

    def __init__(self, looks):
        super().__init__()
        self.looks, self.looked = looks, 0

    def __call__(self, request):
        if request.path == "/files":
            return self.describe(super().__call__(request).json["id"])
        if request.method == "GET":
            self.looked += 1
            return self.describe(request.path.rpartition("/")[2])
        return super().__call__(request)

    def describe(self, file_id):
        return Answer(json={"id": file_id, "ready": self.looked >= self.looks})


def test_waits_until_a_stored_file_is_ready(server, config, picture):
    service = server.handler = Processing(looks=2)
    assert run("p", source=picture(9), config=config(uploads="always"))["answers"] == ["P"]
    assert [request.method for request in server.requests] == ["POST", "GET", "GET", "POST", "DELETE"]
    assert service.asked == [[{"file": "id-0.jpg"}]]


def test_does_not_look_at_a_file_that_is_ready_at_once(server, service, config, picture):
    run("p", source=picture(9), config=config(uploads="always"))
    assert [request.method for request in server.requests] == ["POST", "POST", "DELETE"]


def test_deletes_a_file_that_is_not_ready_in_time(server, config, picture):
    service = server.handler = Processing(looks=1000)
    with pytest.raises(APIError, match=r"0\.jpg' was uploaded, but not ready in time") as caught:
        run("p", source=picture(9), config=config(uploads="always", timeout_s=1.0))
    assert (caught.value.phase, caught.value.kind) == ("upload", "timeout")
    assert "timeout_s" in (caught.value.hint or "")
    assert service.deleted == ["id-0.jpg"]


def test_names_the_file_whose_state_cannot_be_read(server, config, picture):
    service = Processing(looks=1)

    def handler(request):
        return Answer(status=400, json={"error": "broken"}) if request.method == "GET" else service(request)

    server.handler = handler
    with pytest.raises(APIError, match=r"uploading '.*0\.jpg' failed: .*broken"):
        run("p", source=picture(9), config=config(uploads="always"))
    assert service.deleted == ["id-0.jpg"]
