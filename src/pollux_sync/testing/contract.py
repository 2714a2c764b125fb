"""What every provider must do, as tests that a plugin's own tests inherit.

A subclass states facts about one provider: its name, how a `Config` reaches the scripted server, and answers in its
wire format. pytest collects the inherited tests with it. This module needs pytest, which the core does not depend
on: import it in tests only.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import attrs
import pytest

from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    HttpResponse,
    Options,
    RetryPolicy,
    Source,
    StreamDone,
    cancel_deferred,
    check_ready,
    collect_deferred,
    defer_many,
    explain,
    hookimpl,
    run,
    run_many,
    stream,
    stream_many,
    wait_deferred,
)
from pollux_sync.hooks.loading import PROVIDERS, load
from pollux_sync.hooks.relay import read_provider_info
from pollux_sync.schemas import answer_format, unstructure
from pollux_sync.testing.server import (
    Answer,
    CloseWithoutAnswer,
    Drip,
    Events,
    GzipBomb,
    Hang,
    ResetBeforeBody,
    ResetInsideBody,
    ScriptedServer,
    Truncated,
)
from pollux_sync.wire.bodies import MAX_BODY_BYTES
from pollux_sync.wire.sse import ByteStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
    from pathlib import Path

    from pollux_sync.errors import FaultKind
    from pollux_sync.testing.server import Handler, RecordedRequest, Step

_JSON = {"Content-Type": "application/json"}
_SSE = {"content-type": "text/event-stream"}
_QUICK = RetryPolicy(initial_delay_s=0, jitter=False)
_ONCE = RetryPolicy(max_attempts=1)
#: Long enough for every answer here, and short enough to wait for where none comes.
_PATIENT_S = 20.0
_HASTY_S = 0.3
#: A client of the caller may wait as long for the end of a body: there is no way to hurry it.
_TAIL_S = 1.0
#: Of the cuts of a stream every so many are followed to the envelope, besides the one byte by byte.
_SAMPLED = 50


@attrs.frozen
class FaultCase:
    """What the server does to every attempt, and the error that must come of it."""

    step: Step
    kind: FaultKind
    status_code: int | None = None
    attempts: int = 1


@attrs.frozen
class Transcript:
    """One answer, as the service gives it at once and as it streams it."""

    body: Any
    stream: bytes
    options: Options | None = None


class Contract:
    """The facts that all contracts need. ``ways`` names the ways to the wire: a plugin may have several.

    ``key`` is the key that must show nowhere, None for a provider without one. ``base_path`` stands between the
    address of the server and the paths of the service.
    """

    provider: ClassVar[str]
    model: ClassVar[str] = "contract-model"
    key: ClassVar[str | None] = "sk-contract-very-secret"
    base_path: ClassVar[str] = ""
    ways: ClassVar[tuple[str, ...]] = ("direct",)

    def answer(self, text: str) -> Answer:
        """Return the service's answer that says ``text``."""
        raise NotImplementedError

    def refuse(self, status: int, message: str) -> Answer:
        """Return the service's answer with an error status."""
        return Answer(status=status, json={"error": {"message": message}})

    @contextmanager
    def reach(self, url: str, way: str) -> Iterator[dict[str, Any]]:  # noqa: ARG002 - for plugins with several ways
        """Yield the fields of a Config that reaches the service at ``url``; close afterwards what it opened."""
        yield {"base_url": url} if self.key is None else {"base_url": url, "api_key": self.key}

    def fault_cases(self) -> dict[str, FaultCase]:
        """Return the faults to test, by name. Override it to add some, or to state what differs."""
        return _http_faults(self.refuse, self.key or "") | _broken_answers(self.answer("hello"))

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Give every test its parameters out of the facts."""
        if "way" in metafunc.fixturenames:
            metafunc.parametrize("way", self._tested_ways())
        if "fault" in metafunc.fixturenames:
            cases = self.fault_cases()
            metafunc.parametrize("fault", list(cases.values()), ids=list(cases))

    def _tested_ways(self) -> Sequence[str]:
        return self.ways

    @pytest.fixture
    def server(self) -> Iterator[ScriptedServer]:
        """Return a scripted server in the place of the service."""
        with ScriptedServer() as server:
            yield server

    @pytest.fixture
    def config(self, server: ScriptedServer, way: str) -> Iterator[Callable[..., Config]]:
        """Return a function that makes configurations which reach the server."""
        with self.reach(server.url + self.base_path, way) as reach:
            usual: dict[str, Any] = {"provider": self.provider, "model": self.model, "retry": _QUICK} | reach
            yield lambda **fields: Config(**(usual | fields))


class ProviderContract(Contract):
    """What every provider must do: call, fail and keep its key to itself.

    ``heavy`` are packages that are slow to import and that a plain call has no use for, such as the vendor's SDK.
    """

    heavy: ClassVar[tuple[str, ...]] = ("asyncio",)

    def test_answers_prompts_in_order(self, server: ScriptedServer, config: Callable[..., Config]) -> None:
        """Every answer stands at the place of its prompt."""
        prompts = [f"prompt-{number:02}" for number in range(20)]
        server.handler = _echo(self.answer, prompts)
        result = run_many(prompts, config=config())
        assert result["answers"] == [f"re: {prompt}" for prompt in prompts]
        assert result["status"] == "ok"

    def test_maps_a_fault(
        self,
        server: ScriptedServer,
        config: Callable[..., Config],
        caplog: pytest.LogCaptureFixture,
        fault: FaultCase,
    ) -> None:
        """A fault has the kind, the status and the number of attempts that are documented, and never the key."""
        caplog.set_level(logging.DEBUG)
        server.reply(*[fault.step] * (fault.attempts + 1))
        with pytest.raises(APIError) as caught:
            run("hi", config=config(timeout_s=_time_limit(fault)))
        _check_error(caught.value, fault, self.provider)
        assert len(server.requests) == fault.attempts
        self._check_secrecy(_shown(caught.value) + caplog.text)

    def test_retries_are_those_of_the_policy_alone(self, server: ScriptedServer, config: Callable[..., Config]) -> None:
        """Nothing beneath the core tries again."""
        server.handler = lambda _: self.refuse(503, "busy")
        with pytest.raises(APIError):
            run("hi", config=config(retry=RetryPolicy(max_attempts=3, initial_delay_s=0, jitter=False)))
        assert len(server.requests) == 3

    def test_follows_no_redirect(self, server: ScriptedServer) -> None:
        """Neither request nor key goes to where a redirect leads; a client of the caller has rules of its own."""
        with (
            ScriptedServer(default=self.answer("taken")) as elsewhere,
            self.reach(server.url + self.base_path, self.ways[0]) as reach,
        ):
            server.reply(Answer(status=307, headers={"Location": f"{elsewhere.url}/ask"}))
            with pytest.raises(APIError) as caught:
                run("hi", config=Config(provider=self.provider, model=self.model, **reach))
            assert elsewhere.requests == []
        assert (caught.value.kind, caught.value.status_code) == ("refused", 307)

    def test_says_where_the_key_comes_from(self, server: ScriptedServer, config: Callable[..., Config]) -> None:
        """A refused key leads to a hint."""
        server.reply(self.refuse(401, "no"))
        with pytest.raises(APIError) as caught:
            run("hi", config=config())
        assert caught.value.kind == "auth"
        assert "key" in (caught.value.hint or "").lower()

    def test_key_shows_nowhere(
        self, server: ScriptedServer, config: Callable[..., Config], caplog: pytest.LogCaptureFixture
    ) -> None:
        """The key is in no repr, explanation, result or log of a call that succeeds."""
        caplog.set_level(logging.DEBUG)
        server.handler = lambda _: self.answer("hello")
        made = config()
        explanation = explain("hi", config=made)
        result = run("hi", config=made)
        assert result["answers"] == ["hello"]
        shown = (made, explanation, str(explanation), explanation.to_dict(), result)
        self._check_secrecy(f"{shown!r} {[request.curl for request in explanation.requests]} {caplog.text}")

    def test_key_shows_nowhere_when_the_setup_is_checked(
        self, server: ScriptedServer, config: Callable[..., Config]
    ) -> None:
        """A service that repeats the key while it refuses it does not make it known."""
        server.handler = lambda _: self.refuse(401, f"bad key {self.key}")
        with suppress(ConfigurationError):  # it cannot be asked
            self._check_secrecy(repr(check_ready(config=config(retry=_ONCE))))

    def test_imports_no_vendor_package_for_a_plain_call(self, server: ScriptedServer) -> None:
        """What is slow to import is imported by those who need it."""
        server.handler = lambda _: self.answer("hello")
        with self.reach(server.url + self.base_path, self.ways[0]) as reach:
            call = {"provider": self.provider, "model": self.model} | reach
            done = _run_python(_PLAIN_CALL, json.dumps(call), *self.heavy)
        assert done == "[]"

    def _check_secrecy(self, shown: str) -> None:
        assert self.key is None or self.key not in shown


class StreamingContract(Contract):
    """What a provider that streams must do. ``partial`` is the beginning of a stream that has said ``half``."""

    transcripts: ClassVar[Mapping[str, Transcript]]
    partial: ClassVar[bytes]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Give every test its parameters out of the facts."""
        super().pytest_generate_tests(metafunc)
        if "transcript" in metafunc.fixturenames:
            metafunc.parametrize("transcript", list(self.transcripts.values()), ids=list(self.transcripts))

    def test_envelope_is_that_of_the_answer_however_the_stream_is_cut(self, transcript: Transcript) -> None:
        """No cut between two bytes changes what comes of a stream."""
        pieces = _Pieces(transcript)
        config = self._offline(pieces)
        blocking = _comparable(run("hi", config=config, options=transcript.options))
        whole = list(_PieceStream([transcript.stream]))
        for number, cut in enumerate(_cuts_of(transcript.stream)):
            assert list(_PieceStream(cut)) == whole  # which is all that the rest of the way sees of the cut
            if number % _SAMPLED == 0 or len(cut) > 2:  # byte by byte
                pieces.pieces = cut
                assert _comparable(stream("hi", config=config, options=transcript.options).result()) == blocking

    def test_streams_what_it_answers(
        self, server: ScriptedServer, config: Callable[..., Config], transcript: Transcript
    ) -> None:
        """Every way to the wire gives the events of the stream, and the envelope of the answer."""
        server.reply(Events([transcript.stream]), Answer(json=transcript.body))
        events = list(stream("hi", config=config(), options=transcript.options))
        assert isinstance(events[-1], StreamDone)
        streamed = _comparable(events[-1].result)
        assert streamed == _comparable(run("hi", config=config(), options=transcript.options))
        said, thought = (_join_texts(events, kind) for kind in ("text_delta", "reasoning_delta"))
        calls = [event.call for event in events if event.type == "tool_call"]
        assert _join_arguments(events) == [_parse(call.arguments) for call in calls]
        assert (said, thought) == (streamed["answers"][0], streamed.get("reasoning", [""])[0])
        offline = self._offline(_Pieces(transcript))
        assert events[:-1] == list(stream("hi", config=offline, options=transcript.options))[:-1]

    def test_a_fault_before_the_first_event_is_that_of_a_call(
        self,
        server: ScriptedServer,
        config: Callable[..., Config],
        caplog: pytest.LogCaptureFixture,
        fault: FaultCase,
    ) -> None:
        """What fails before anything has come has the kind, the status and the attempts of a call."""
        caplog.set_level(logging.DEBUG)
        server.reply(*[fault.step] * (fault.attempts + 1))
        with pytest.raises(APIError) as caught:
            stream("hi", config=config(timeout_s=_time_limit(fault))).result()
        _check_error(caught.value, fault, self.provider)
        assert len(server.requests) == fault.attempts
        assert self.key is None or self.key not in _shown(caught.value) + caplog.text

    @pytest.mark.parametrize(
        ("ending", "kind"),
        [("end", "malformed"), ("close", "connection"), ("reset", "connection"), ("hang", "timeout")],
    )
    def test_raises_what_breaks_a_stream_with_the_text_so_far(
        self, server: ScriptedServer, config: Callable[..., Config], ending: Any, kind: FaultKind
    ) -> None:
        """A stream that breaks is not begun again, and what has come is not lost."""
        server.reply(Events([self.partial], ending=ending))
        with pytest.raises(APIError) as caught:
            stream("hi", config=config(timeout_s=_HASTY_S if kind == "timeout" else _PATIENT_S)).result()
        assert (caught.value.kind, caught.value.partial_text) == (kind, "half")
        assert len(server.requests) == len(caught.value.attempts) == 1

    def test_a_stream_that_ends_before_its_first_event_is_begun_again(
        self, server: ScriptedServer, config: Callable[..., Config]
    ) -> None:
        """Nothing has come yet, so that nothing can come twice."""
        name, transcript = next(iter(self.transcripts.items()))
        server.reply(Events([], ending="close"), Events([transcript.stream]))
        result = stream("hi", config=config(), options=transcript.options).result()
        assert result["metrics"]["n_attempts"] == 2, name

    def test_leaving_a_stream_closes_its_connection(
        self, server: ScriptedServer, config: Callable[..., Config]
    ) -> None:
        """Nobody pays for what nobody reads."""
        server.reply(Events([self.partial], ending="hang"))
        with stream("hi", config=config()) as events:
            next(events)
        server.wait_for_open_connections(0)

    def test_leaving_many_streams_wakes_those_that_wait(
        self, server: ScriptedServer, config: Callable[..., Config]
    ) -> None:
        """Whoever leaves does not wait for the next event of any of them."""
        server.handler = lambda _: Events([self.partial], ending="hang")
        with stream_many(["a", "b", "c"], config=config()) as events:
            next(events)
        server.wait_for_open_connections(0)

    def test_an_answer_is_whole_although_its_body_does_not_end(
        self, server: ScriptedServer, config: Callable[..., Config]
    ) -> None:
        """What is missing after the last event costs no answer: who waits for it gives up, and has the answer."""
        transcript = next(iter(self.transcripts.values()))
        server.reply(Events([transcript.stream], ending="hang"))
        asked = config(timeout_s=_TAIL_S, retry=_ONCE)
        assert stream("hi", config=asked, options=transcript.options).result()["status"] == "ok"
        server.wait_for_open_connections(0)

    def _offline(self, pieces: _Pieces) -> Config:
        reach: dict[str, Any] = {"base_url": f"http://127.0.0.1:9{self.base_path}"} | (
            {"api_key": self.key} if self.key else {}
        )
        return Config(provider=self.provider, model=self.model, plugins=[pieces], **reach)


class FileService(Protocol):
    """A scripted service that stores files and answers "seen" to every question.

    It lists uploads in ``stored`` and the ids of deleted ones in ``deleted``. An upload that holds the bytes
    ``failing`` is refused with status 400.
    """

    stored: Sequence[Any]
    deleted: Sequence[str]
    failing: bytes | None

    def __call__(self, request: RecordedRequest) -> Step:
        """Answer one request."""


class FilesContract(Contract):
    """What a provider that stores files must do. ``files`` are three files that it uploads, by name.

    ``failing`` is what an upload of the last of them holds, and no other request.
    """

    files: ClassVar[Mapping[str, bytes]]
    failing: ClassVar[bytes]

    def serve_files(self) -> FileService:
        """Return a service that stores files."""
        raise NotImplementedError

    @pytest.fixture
    def service(self, server: ScriptedServer) -> FileService:
        """Return the service behind the scripted server."""
        server.handler = service = self.serve_files()
        return service

    @pytest.fixture
    def sources(self, tmp_path: Path) -> list[Source]:
        """Return the files as sources."""
        for name, content in self.files.items():
            (tmp_path / name).write_bytes(content)
        return [Source.from_file(tmp_path / name) for name in self.files]

    def test_uploads_each_file_once_and_deletes_it(
        self, service: FileService, config: Callable[..., Config], sources: list[Source]
    ) -> None:
        """20 prompts over 3 files make 3 uploads and 3 deletions."""
        result = run_many([f"p{number}" for number in range(20)], sources=sources, config=config())
        assert result["answers"] == ["seen"] * 20
        assert len(service.stored) == len(service.deleted) == len(set(service.deleted)) == 3

    def test_deletes_the_files_when_a_prompt_fails(
        self, server: ScriptedServer, service: FileService, config: Callable[..., Config], sources: list[Source]
    ) -> None:
        """One refused prompt costs no other, and leaves no file behind."""
        server.handler = lambda request: self.refuse(400, "no") if b"p7" in request.body else service(request)
        with pytest.raises(APIError) as caught:
            run_many([f"p{number}" for number in range(10)], sources=sources, config=config())
        assert caught.value.partial_result is not None
        assert caught.value.partial_result["answers"].count("seen") == 9
        assert len(service.stored) == len(set(service.deleted)) == 3

    def test_deletes_the_others_when_the_last_upload_fails(
        self, service: FileService, config: Callable[..., Config], sources: list[Source]
    ) -> None:
        """What was stored for a call that cannot be made is deleted."""
        service.failing = self.failing
        with pytest.raises(APIError) as caught:
            run_many("p", sources=sources, config=config())
        assert (caught.value.phase, caught.value.status_code) == ("upload", 400)
        assert len(set(service.deleted)) == 2

    @pytest.mark.usefixtures("service")
    def test_does_not_repeat_an_upload_after_a_reset(
        self, server: ScriptedServer, config: Callable[..., Config], sources: list[Source]
    ) -> None:
        """The file may have been stored: a second one would be left over."""
        server.reply(ResetBeforeBody())
        with pytest.raises(APIError) as caught:
            run("p", source=sources[0], config=config())
        assert (caught.value.phase, caught.value.kind, len(server.requests)) == ("upload", "connection", 1)


class DeferredContract(Contract):
    """What a provider with deferred jobs must do."""

    def serve_jobs(self) -> Handler:
        """Return a service of deferred jobs, each of which ends after a look or two."""
        raise NotImplementedError

    def list_jobs(self, service: Any) -> Sized:
        """Return the jobs that the service has, ended or not."""
        raise NotImplementedError

    def list_files(self, service: Any) -> Sized:
        """Return what is stored now, but for what the service itself stored."""
        raise NotImplementedError

    def answer_to(self, prompt: str) -> str:
        """Return what the service answers to a prompt."""
        raise NotImplementedError

    @pytest.fixture
    def service(self, server: ScriptedServer) -> Handler:
        """Return the service behind the scripted server."""
        server.handler = service = self.serve_jobs()
        return service

    def _collect(self, job: Any, config: Config) -> Any:
        wait_deferred(job, config=config, poll=0)
        return collect_deferred(job, config=config)

    def test_answers_deferred_prompts_in_order(self, service: Handler, config: Callable[..., Config]) -> None:
        """Every answer stands at the place of its prompt; nothing is left over."""
        prompts = [f"prompt {number:02}" for number in range(30)]
        handle = defer_many(prompts, config=config())
        assert self._collect(handle, config())["answers"] == [self.answer_to(prompt) for prompt in prompts]
        assert (len(self.list_jobs(service)), len(self.list_files(service))) == (1, 0)

    def test_a_finished_job_file_makes_no_second_job(
        self, service: Handler, config: Callable[..., Config], tmp_path: Path
    ) -> None:
        """Whoever asks again with the same file pays once."""
        first = defer_many(["a", "b"], config=config(), job_file=tmp_path / "job.json")
        assert defer_many(["a", "b"], config=config(), job_file=tmp_path / "job.json") == first
        assert len(self.list_jobs(service)) == 1

    @pytest.mark.parametrize("is_done", [False, True], ids=["lost on the way there", "lost on the way back"])
    @pytest.mark.parametrize("index", range(3))
    def test_a_submission_goes_on_after_a_lost_request(
        self,
        server: ScriptedServer,
        service: Handler,
        config: Callable[..., Config],
        tmp_path: Path,
        *,
        index: int,
        is_done: bool,
    ) -> None:
        """Whichever request is lost, the next call goes on: one job exists, and no file but its own."""
        server.handler = _lose(service, index, is_done=is_done)
        path = tmp_path / "job.json"
        with suppress(APIError):
            defer_many(["a", "b"], config=config(retry=_ONCE), job_file=path)
        server.handler = service
        defer_many(["a", "b"], config=config(), job_file=path)
        assert len(self.list_jobs(service)) == 1
        assert self._collect(path, config())["answers"] == [self.answer_to("a"), self.answer_to("b")]
        assert len(self.list_files(service)) == 0

    @pytest.mark.usefixtures("service")
    def test_cancelling_ends_a_job(self, config: Callable[..., Config]) -> None:
        """A cancelled job ends, and every prompt is accounted for."""
        handle = defer_many(["a", "b"], config=config())
        cancel_deferred(handle, config=config())
        assert wait_deferred(handle, config=config(), poll=0).is_terminal
        assert len(collect_deferred(handle, config=config())["answers"]) == 2

    @pytest.mark.usefixtures("service")
    def test_key_is_not_in_the_job_file(self, config: Callable[..., Config], tmp_path: Path) -> None:
        """The file may be kept for days."""
        handle = defer_many(["a"], config=config(), job_file=tmp_path / "job.json")
        assert self.key is None or self.key not in f"{handle!r} {(tmp_path / 'job.json').read_text()}"


class SchemaContract(Contract):
    """What a provider that takes a ``response_schema`` must do.

    ``values`` are types, each with values of it. ``sent_schema`` reads the schema out of a request's body.
    """

    values: ClassVar[Sequence[tuple[Any, Sequence[Any]]]]

    def sent_schema(self, body: Any) -> Any:
        """Return the schema that a request asks for."""
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Give every test its parameters out of the facts."""
        super().pytest_generate_tests(metafunc)
        if "typed_values" in metafunc.fixturenames:
            metafunc.parametrize("typed_values", self.values, ids=[str(kind) for kind, _ in self.values])

    def _tested_ways(self) -> Sequence[str]:
        return self.ways[:1]  # a schema is made before a way is taken

    def test_values_come_back_as_they_were(
        self, server: ScriptedServer, config: Callable[..., Config], typed_values: tuple[Any, Sequence[Any]]
    ) -> None:
        """Values of every type survive the way to the dialect that is sent, and back."""
        kind, values = typed_values
        made = config()
        lowered = answer_format(kind, read_provider_info(load(PROVIDERS, self.provider)).schema_dialect).lowered
        for value in values:
            server.reply(self.answer(json.dumps(lowered.lower_value(unstructure(value)))))
            result = run("which?", config=made, options=Options(response_schema=kind))
            assert result["structured"] == [value], result["diagnostics"]["schema_errors"]
            assert type(result["structured"][0]) is type(value)
            assert self.sent_schema(server.requests[-1].json()) == lowered.schema


class SDKContract:
    """What a plugin that stands on a vendor's SDK must do: work with the oldest version it admits too.

    ``sdk`` is the package as it is imported. The oldest version is installed in ``oldest_folder``, for example by
    ``pip install --target``. ``test_files`` are run with it, but for tests that need no SDK: those whose way is
    "direct", unless they are about files.
    """

    sdk: ClassVar[str]
    oldest_version: ClassVar[str]
    oldest_folder: ClassVar[Path]
    test_files: ClassVar[Sequence[Path]]

    def test_oldest_sdk_is_older_than_the_one_in_use(self) -> None:
        """The other tests use a newer SDK, so that both ends are tested."""
        script = f"import {self.sdk} as sdk; print(sdk.__version__)"
        assert _run_python(script, path=self.oldest_folder) == self.oldest_version
        assert _run_python(script) != self.oldest_version

    def test_oldest_sdk_passes_the_same_tests(self) -> None:
        """What the plugin needs of its SDK is there in the oldest version."""
        needing = "(not direct or files) and not oldest and not however_the_stream_is_cut"
        options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "error", "-k", needing)
        command = [sys.executable, "-m", "pytest", *options, *map(str, self.test_files)]
        done = _run(command, path=self.oldest_folder, timeout_s=300)
        assert done.returncode == 0, done.stdout[-3000:]


def _http_faults(refuse: Callable[[int, str], Answer], key: str) -> dict[str, FaultCase]:
    """Return the statuses that every service may answer with."""
    lasting: dict[int, FaultKind] = {
        400: "invalid_request",
        401: "auth",
        403: "auth",
        404: "not_found",
        413: "invalid_request",
        422: "invalid_request",
    }
    passing: dict[int, FaultKind] = {
        408: "timeout",
        429: "rate_limit",
        500: "capacity",
        502: "capacity",
        503: "capacity",
        504: "capacity",
        529: "capacity",
    }
    cases = {
        f"status {status}": FaultCase(refuse(status, f"no, {key}"), kind, status) for status, kind in lasting.items()
    }
    return cases | {
        f"status {status}": FaultCase(refuse(status, f"later, {key}"), kind, status, attempts=2)
        for status, kind in passing.items()
    }


def _broken_answers(answer: Answer) -> dict[str, FaultCase]:
    """Return what may become of an answer on its way."""
    body = json.dumps(answer.json).encode()
    return {
        "a gateway's page": FaultCase(Answer(status=502, body=b"<html><title>502</title>"), "capacity", 502, 2),
        "reset": FaultCase(ResetBeforeBody(), "connection", None, 2),
        "closed": FaultCase(CloseWithoutAnswer(), "connection", None, 2),
        "reset inside": FaultCase(ResetInsideBody(body, 5, headers=_JSON), "connection", None, 2),
        "cut off": FaultCase(Truncated(body, 5, headers=_JSON), "connection", None, 2),
        "silence": FaultCase(Hang(), "timeout", None, 2),
        "dripping": FaultCase(Drip(body=b" " * 999, interval_s=0.02, headers=_JSON), "timeout", None, 2),
        "a gzip bomb": FaultCase(GzipBomb(MAX_BODY_BYTES + 1), "malformed"),
        "broken json": FaultCase(Answer(body=body[:6], headers=_JSON), "malformed", 200, 2),
        "a login page": FaultCase(Answer(body=b"<html>", headers={"Content-Type": "text/html"}), "malformed", 200),
    }


def _check_error(error: APIError, fault: FaultCase, provider: str) -> None:
    assert (error.kind, error.status_code) == (fault.kind, fault.status_code)
    assert (error.provider, error.phase, len(error.attempts)) == (provider, "generate", fault.attempts)


def _time_limit(fault: FaultCase) -> float:
    return _HASTY_S if fault.kind == "timeout" and fault.status_code is None else _PATIENT_S


def _shown(error: APIError) -> str:
    """Return all that an error may show to somebody."""
    text = "".join(traceback.format_exception(error))
    return f"{text} {error!r} {error.hint} {error.partial_result} {error.attempts} {pickle.dumps(error)!r}"


def _echo(answer: Callable[[str], Answer], prompts: Sequence[str]) -> Callable[[RecordedRequest], Answer]:
    """Return a service that answers the prompt which it finds in a request."""

    def reply(request: RecordedRequest) -> Answer:
        (prompt,) = [prompt for prompt in prompts if prompt.encode() in request.body]
        return answer(f"re: {prompt}")

    return reply


def _lose(service: Handler, index: int, *, is_done: bool) -> Callable[[RecordedRequest], Step]:
    """Return the service, but the request with this number is lost, before it was done or after."""
    numbers = itertools.count()

    def reply(request: RecordedRequest) -> Step:
        if next(numbers) != index:
            return service(request)
        if is_done:
            service(request)
        return ResetBeforeBody()

    return reply


_PLAIN_CALL = """
import json, sys
from pollux_sync import Config, run
assert run("hi", config=Config(**json.loads(sys.argv[1])))["answers"] == ["hello"]
print(sorted({name for name in sys.modules if name.partition(".")[0] in sys.argv[2:]}))
"""


def _run_python(script: str, *arguments: str, path: Path | None = None) -> str:
    """Run a script in a process of its own; return what it prints."""
    done = _run([sys.executable, "-c", script, *arguments], path=path)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _run(command: list[str], *, path: Path | None = None, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a command; with ``path`` packages are looked for there first, and coverage is not measured."""
    environment = dict(os.environ)
    if path is not None:
        environment = {name: value for name, value in environment.items() if not name.startswith("COVERAGE")}
        environment["PYTHONPATH"] = str(path)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False)  # noqa: S603


class _PieceStream(ByteStream):
    """An answer that comes in these pieces."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        super().__init__(HttpResponse(status=200, headers=_SSE))
        self._pieces = pieces

    def iter_chunks(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def renew(self) -> None:
        """Do nothing: there is no time limit."""


class _Pieces:
    """Middleware in place of the network: a call gets the transcript's body, a stream gets ``pieces``."""

    def __init__(self, transcript: Transcript) -> None:
        self._body = transcript.body
        self.pieces: Sequence[bytes] = [transcript.stream]

    @hookimpl(tryfirst=True)
    def pollux_send(self) -> HttpResponse:
        """Answer at once."""
        return HttpResponse(status=200, body=self._body)

    @hookimpl(tryfirst=True)
    def pollux_stream(self) -> _PieceStream:
        """Answer piece by piece."""
        return _PieceStream(self.pieces)


def _join_texts(events: Sequence[Any], kind: str) -> str:
    return "".join(event.text for event in events if event.type == kind)


def _join_arguments(events: Sequence[Any]) -> list[Any]:
    """Return the arguments of every tool call, put together from their pieces."""
    deltas = [event for event in events if event.type == "tool_call_delta"]
    indexes = dict.fromkeys(delta.index for delta in deltas)
    return [_parse("".join(delta.arguments for delta in deltas if delta.index == index)) for index in indexes]


def _parse(arguments: str) -> Any:
    """Return the arguments read as JSON; as they are where they were cut off."""
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return arguments


def _cuts_of(transcript: bytes) -> Iterator[list[bytes]]:
    """Yield the transcript in two pieces, cut at every byte; and byte by byte."""
    for position in range(1, len(transcript)):
        yield [transcript[:position], transcript[position:]]
    yield [transcript[start:end] for start, end in pairwise(range(len(transcript) + 1))]


def _comparable(envelope: Any) -> dict[str, Any]:
    """Return the envelope without times."""
    metrics = {name: value for name, value in envelope["metrics"].items() if name != "duration_s"}
    attempts = [[attempt["status_code"] for attempt in call] for call in envelope["diagnostics"]["attempts"]]
    return {**envelope, "metrics": metrics, "diagnostics": envelope["diagnostics"] | {"attempts": attempts}}
