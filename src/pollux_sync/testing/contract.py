"""The contract suite: tests that every provider must pass. The tests of a plugin inherit them.

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
from base64 import b64encode
from contextlib import contextmanager, suppress
from copy import deepcopy
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import attrs
import pytest

from pollux_sync import (
    APIError,
    Config,
    ConfigurationError,
    HttpResponse,
    InternalError,
    Options,
    PolluxError,
    RetryPolicy,
    Source,
    SourceError,
    StreamDone,
    ToolResult,
    cancel_deferred,
    check_ready,
    collect_deferred,
    defer_many,
    explain,
    hookimpl,
    inspect_deferred,
    run,
    run_many,
    stream,
    stream_many,
    wait_deferred,
)
from pollux_sync.builtin.opening import open_hooks
from pollux_sync.engine.encoding import encode_request
from pollux_sync.engine.planning import plan_calls
from pollux_sync.engine.requesting import build_request
from pollux_sync.engine.retrying import decode_reply
from pollux_sync.engine.streaming import ActiveStreams, stream_call
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
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence, Sized
    from pathlib import Path

    from pollux_sync.data.envelope import ResultEnvelope
    from pollux_sync.data.reply import Reply
    from pollux_sync.errors import FaultKind
    from pollux_sync.testing.server import Handler, RecordedRequest, Step

T = TypeVar("T")

_JSON = {"Content-Type": "application/json"}
_SSE = {"content-type": "text/event-stream"}
_RETRY_AT_ONCE = RetryPolicy(initial_delay_s=0, jitter=False)
_NO_RETRY = RetryPolicy(max_attempts=1)
#: The provider and the kind of every client that has sent a request in this process.
_WARM: set[tuple[str, str]] = set()
#: From this status on an answer proves that nothing was stored, so that an upload may be sent again.
_FIRST_ERROR_STATUS = 300
#: Successful answers that are JSON, but of another type than any service gives.
_ODD_ANSWERS: dict[str, Any] = {
    "a list": [],
    "a text": "x",
    "null": None,
    "a number": 7,
    "true": True,
    "an empty object": {},
}
#: Far more than any answer needs here, so that a busy machine causes no timeout.
_ANSWER_TIMEOUT_S = 20.0
#: For tests in which no answer comes: they wait this long for each attempt.
_SHORT_TIMEOUT_S = 0.3
#: For tests in which an answer begins and falls silent. Its beginning must come in time too: where a slow machine makes
#: it late, the longer limit follows.
_SILENCE_TIMEOUTS_S = (_SHORT_TIMEOUT_S, 5.0)
#: A vendor's SDK may wait for the end of a body until its timeout, since the plugin cannot interrupt it.
_BODY_END_TIMEOUT_S = 1.0
#: The forms in which servers write an error into a stream; each tells "busy, try later" and has the status 503.
_BUSY = {"code": 503, "message": "busy, try later"}
_STREAM_ERRORS = {
    "an event": f"data: {json.dumps({'error': _BUSY})}\n\n",
    "a code as text": f"data: {json.dumps({'error': _BUSY | {'code': '503'}})}\n\n",
    "a list": f"data: {json.dumps([{'error': _BUSY}])}\n\n",
    "a named event": f"event: error\ndata: {json.dumps(_BUSY)}\n\n",
    "a named event of text": "event: error\ndata: Service Unavailable: busy, try later\n\n",
    "a field": f"error: {json.dumps({'error': _BUSY})}\n\n",
    "an object": f"data: {json.dumps({'object': 'error', 'type': 'ServerError', 'param': None} | _BUSY)}\n\n",
    "a detail": f"data: {json.dumps({'detail': 'busy, try later', 'status': 503})}\n\n",
    "a code and a message": f"data: {json.dumps(_BUSY)}\n\n",
    "bare json": f"{json.dumps({'error': _BUSY})}\n",
    "bare json over lines": f"{json.dumps({'error': _BUSY}, indent=2)}\n",
}
#: The fields of a reply that the contract compares.
_STATED = ("text", "reasoning", "tool_calls", "usage", "finish_reason")
#: Every split of a transcript is parsed, but only one in this many is run as a complete call, which takes far longer.
_SAMPLE_STEP = 50


@attrs.frozen
class FaultCase:
    """The server's reaction to every attempt, and the error that the caller must get."""

    step: Step
    kind: FaultKind
    status_code: int | None = None
    attempts: int = 1


@attrs.frozen
class Transcript:
    """One answer of the service in two forms: the body of a blocking answer, and the bytes of the stream."""

    body: Any
    stream: bytes
    options: Options | None = None

    @property
    def keeping_options(self) -> Options:
        """The options with which an answer that is empty is returned like any other."""
        return attrs.evolve(self.options or Options(), on_error="keep")


class Contract:
    """The facts about a provider that all contracts need.

    ``key`` is the API key that must appear nowhere, or None for a provider without one. ``base_path`` stands between
    the address of the server and the paths of the service. ``client_kinds`` names the clients that carry requests:
    most tests run once with each. "direct" is the core's client; plugins that also accept an SDK's client add "sdk".
    """

    provider: ClassVar[str]
    model: ClassVar[str] = "contract-model"
    key: ClassVar[str | None] = "sk-contract-very-secret"
    base_path: ClassVar[str] = ""
    client_kinds: ClassVar[tuple[str, ...]] = ("direct",)

    def answer(self, text: str) -> Answer:
        """Return an answer of the service with this text."""
        raise NotImplementedError

    def refuse(self, status: int, message: str) -> Answer:
        """Return an answer of the service with an error status."""
        return Answer(status=status, json={"error": {"message": message}})

    @contextmanager
    def reach(self, url: str, client_kind: str) -> Iterator[dict[str, Any]]:  # noqa: ARG002 - for overriding methods
        """Yield the fields of a Config that reaches the service at ``url``; close what was opened for it afterwards."""
        yield {"base_url": url} if self.key is None else {"base_url": url, "api_key": self.key}

    def fault_cases(self) -> dict[str, FaultCase]:
        """Return the faults to test, by name. Override it to add faults or to change their expected errors."""
        return _build_status_cases(self.refuse, self.key or "") | _build_broken_answer_cases(self.answer("hello"))

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrize the tests by the facts of the subclass."""
        # Here and not in decorators: a decorator of this class cannot see the facts of a subclass.
        if "client_kind" in metafunc.fixturenames:
            metafunc.parametrize("client_kind", self._list_client_kinds())
        if "fault" in metafunc.fixturenames:
            cases = self.fault_cases()
            metafunc.parametrize("fault", list(cases.values()), ids=list(cases))

    def _list_client_kinds(self) -> Sequence[str]:
        return self.client_kinds

    @pytest.fixture
    def server(self) -> Iterator[ScriptedServer]:
        """Yield a scripted server that stands in for the service."""
        with ScriptedServer() as server:
            yield server

    @pytest.fixture
    def config(self, server: ScriptedServer, client_kind: str) -> Iterator[Callable[..., Config]]:
        """Yield a function that builds configurations which reach the server."""
        self._warm_up(client_kind)
        with self.reach(server.url + self.base_path, client_kind) as reach:
            # Retries without a delay: the tests count attempts and never wait for them.
            defaults: dict[str, Any] = {"provider": self.provider, "model": self.model, "retry": _RETRY_AT_ONCE} | reach
            yield lambda **fields: Config(**(defaults | fields))

    def _warm_up(self, client_kind: str) -> None:
        """Ask once, so that no time limit of a test includes what a client imports for its first request."""
        if (self.provider, client_kind) in _WARM:
            return
        _WARM.add((self.provider, client_kind))
        with ScriptedServer() as server, self.reach(server.url + self.base_path, client_kind) as reach:
            defaults: dict[str, Any] = {"provider": self.provider, "model": self.model, "retry": _NO_RETRY}
            config = Config(**(defaults | reach))
            # The server knows nothing, and not every provider streams.
            with suppress(PolluxError):
                run("hi", config=config)
            with suppress(PolluxError):
                stream("hi", config=config).result()

    def _check_fault(
        self, server: ScriptedServer, fault: FaultCase, error: APIError, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Check what the caller gets of a fault, what the server was asked, and that no text shows the key."""
        assert (error.kind, error.status_code) == (fault.kind, fault.status_code)
        assert (error.provider, error.phase, len(error.attempts)) == (self.provider, "generate", fault.attempts)
        # The client may give up before the server has read what was sent.
        assert len(server.wait_for_requests(fault.attempts)) == fault.attempts
        self._check_secrecy(_describe_error(error) + caplog.text)

    def _build_offline_config(self, *plugins: Any) -> Config:
        # Nothing listens at port 9: a request that no middleware answers fails instead of leaving the machine.
        reach: dict[str, Any] = {"base_url": f"http://127.0.0.1:9{self.base_path}"} | (
            {"api_key": self.key} if self.key else {}
        )
        return Config(provider=self.provider, model=self.model, plugins=plugins, **reach)

    def _build_raw_options(self) -> Options:
        raw = {"x_contract": {"a": [1, None]}, "tools": [{"type": "x_contract"}]}
        return Options(provider_options={self.provider: raw}, provider_headers={self.provider: {"X-Contract": "a, b"}})

    def _check_raw(self, server: ScriptedServer) -> None:
        """Check that the server has got the raw fields and headers."""
        (request,) = server.requests
        body = request.json()
        assert (body["x_contract"], body["tools"]) == ({"a": [1, None]}, [{"type": "x_contract"}])
        assert request.headers["x-contract"] == "a, b"

    def _check_secrecy(self, text: str) -> None:
        assert self.key is None or self.key not in text


class ProviderContract(Contract):
    """The tests of every provider: it answers, reports faults, and never shows the key.

    ``heavy`` lists packages that are slow to import and that a plain call does not need, such as the vendor's SDK.
    ``reports_usage`` says that the answers of `answer` tell how many tokens they cost.
    """

    heavy: ClassVar[tuple[str, ...]] = ("asyncio",)
    reports_usage: ClassVar[bool] = True

    def test_answers_prompts_in_order(self, server: ScriptedServer, config: Callable[..., Config]) -> None:
        """Answers are in the order of their prompts."""
        # More prompts than requests in flight, so that answers may arrive in another order. Two digits
        # each, so that no prompt is part of another.
        prompts = [f"prompt-{number:02}" for number in range(20)]
        server.handler = _build_echo_service(self.answer, prompts)
        result = run_many(prompts, config=config())
        assert result["answers"] == [f"re: {prompt}" for prompt in prompts]
        assert result["status"] == "ok"

    def test_introduces_each_of_several_texts(self, server: ScriptedServer, config: Callable[..., Config]) -> None:
        """The model can tell which of several texts says what; a single text is sent unchanged."""
        server.handler = lambda _: self.answer("hello")
        sources = [Source.from_text("one", identifier="first"), Source.from_json({"a": 2}, identifier="second")]
        run_many("hi", sources=sources, config=config())
        run("hi", source=sources[0], config=config())
        several, single = (json.dumps(request.json()) for request in server.requests)
        texts = ['<source name="first">\none\n</source>', '<source name="second">\n{"a": 2}\n</source>']
        assert [json.dumps(text)[1:-1] in several for text in texts] == [True, True]
        assert "<source" not in single

    def test_refuses_an_empty_source_by_name(self, server: ScriptedServer, config: Callable[..., Config]) -> None:
        """A model that gets nothing to read makes up its answer, so nothing is sent."""
        with pytest.raises(SourceError, match="minutes"):
            run("hi", source=Source.from_text(" ", identifier="minutes"), config=config())
        assert server.requests == []

    def test_reads_the_text_the_finish_reason_and_the_usage(
        self, server: ScriptedServer, config: Callable[..., Config]
    ) -> None:
        """All that the service reports of an answer is in the result."""
        server.reply(self.answer("hello"))
        result = run("hi", config=config())
        assert (result["answers"], result["metrics"]["finish_reasons"]) == (["hello"], ["stop"])
        assert any(result["usage"].values()) == self.reports_usage

    def test_sends_every_option_that_it_declares(self) -> None:
        """An option that is declared and not sent has no effect, which nobody would notice."""
        settings = self._build_offline_config()
        info = read_provider_info(load(PROVIDERS, self.provider))
        for name in sorted(info.options & _OPTIONS.keys()):
            try:
                without, with_option = (explain("hi", config=settings, options=each) for each in _build_pair(name))
            except ConfigurationError:
                assert name in info.conditions, f"{name} is declared without a condition, and refused"
                continue
            assert without.requests[0].body != with_option.requests[0].body, f"{name} is declared, and not sent"

    def test_encodes_a_call_twice_alike_and_leaves_it_unchanged(self) -> None:
        """An encoder is a function of the call: a retry sends the same, and calls share what they hold."""
        settings = self._build_offline_config()
        hooks = open_hooks(settings)
        source = Source.from_text("one", identifier="first")
        # Those with lists and objects, which an encoder could change.
        for name in ("", *sorted(hooks.info.options & {"tools", "history", "response_schema", "stop"})):
            options = Options(**{name: _OPTIONS[name]}) if name else Options()
            (call,) = plan_calls(build_request("hi", (source,), settings, options), hooks).calls
            before = deepcopy(call)
            first, second = (encode_request(call, hooks) for _ in range(2))
            assert (first, call) == (second, before), name
        hooks.close()

    def test_takes_no_error_for_an_answer(self, server: ScriptedServer, config: Callable[..., Config]) -> None:
        """Some services, and proxies before them, report an error with status 200."""
        server.reply(attrs.evolve(self.refuse(400, "no such luck"), status=200))
        with pytest.raises(APIError, match="no such luck") as caught:
            run("hi", config=config(retry=_NO_RETRY))
        self._check_secrecy(_describe_error(caught.value))

    def test_takes_no_json_of_another_type_for_an_answer(
        self, server: ScriptedServer, config: Callable[..., Config]
    ) -> None:
        """Such an answer does not come from the service. It is an error of the answer, and no defect of the plugin."""
        for name, value in _ODD_ANSWERS.items():
            server.reply(Answer(json=value) if value is not None else Answer(body=b"null", headers=_JSON))
            with pytest.raises(APIError) as caught:
                run("hi", config=config(retry=_NO_RETRY))
            assert caught.value.kind == "malformed", name

    def test_says_why_an_answer_is_empty(self, server: ScriptedServer, config: Callable[..., Config]) -> None:
        """A result without an answer always has an error with a hint."""
        server.reply(self.answer(""))
        with pytest.raises(APIError) as caught:
            run("hi", config=config())
        partial = caught.value.partial_result
        assert (caught.value.kind, bool(caught.value.hint)) == ("empty", True)
        assert partial is not None
        assert (partial["status"], len(partial["errors"])) == ("error", 1)

    def test_maps_a_fault(
        self,
        server: ScriptedServer,
        config: Callable[..., Config],
        caplog: pytest.LogCaptureFixture,
        fault: FaultCase,
    ) -> None:
        """A fault has the documented kind, status and number of attempts, and never shows the key."""
        caplog.set_level(logging.DEBUG)
        # One step more than attempts are allowed: a surplus attempt meets the same fault and is counted below.
        server.reply(*[fault.step] * (fault.attempts + 1))
        with pytest.raises(APIError) as caught:
            run("hi", config=config(timeout_s=_choose_timeout_s(fault)))
        self._check_fault(server, fault, caught.value, caplog)

    def test_retries_only_as_the_policy_says(self, server: ScriptedServer, config: Callable[..., Config]) -> None:
        """Neither the plugin nor its SDK retries."""
        server.handler = lambda _: self.refuse(503, "busy")
        with pytest.raises(APIError):
            run("hi", config=config(retry=RetryPolicy(max_attempts=3, initial_delay_s=0, jitter=False)))
        # SDKs retry by default: without the plugin's care each of the 3 attempts would be several requests.
        assert len(server.requests) == 3

    def test_follows_no_redirect(self, server: ScriptedServer, config: Callable[..., Config]) -> None:
        """Neither request nor key is sent to the target of a redirect, whatever an SDK's client does by itself."""
        with ScriptedServer(default=self.answer("taken")) as elsewhere:
            server.reply(Answer(status=307, headers={"Location": f"{elsewhere.url}/ask"}))
            with pytest.raises(APIError) as caught:
                run("hi", config=config())
            assert elsewhere.requests == []
        assert (caught.value.kind, caught.value.status_code) == ("refused", 307)

    def test_refuses_raw_fields_that_it_writes(self, server: ScriptedServer, config: Callable[..., Config]) -> None:
        """No raw field replaces what the core or the decoder depends on; the hint says what to do."""
        for field in read_provider_info(load(PROVIDERS, self.provider)).managed_fields:
            outer, _, inner = field.partition(".")
            options = Options(provider_options={self.provider: {outer: {inner: 1} if inner else 1}})
            with pytest.raises(ConfigurationError, match=f" sets {field}, ") as caught:
                run("hi", config=config(), options=options)
            assert (caught.value.hint or "").startswith(f"leave {field} out")
        assert server.requests == []

    def test_refuses_raw_fields_in_place_of_its_own(
        self, server: ScriptedServer, config: Callable[..., Config]
    ) -> None:
        """No raw field replaces a value that the call writes."""
        settings = config()
        body = explain("hi", config=settings).requests[0].body or {}
        for field in (name for name, value in body.items() if value is not None):
            options = Options(provider_options={self.provider: {field: None}})
            with pytest.raises(ConfigurationError, match=f" sets {field}, ") as caught:
                run("hi", config=settings, options=options)
            assert (caught.value.hint or "").startswith("leave ")
        assert server.requests == []

    def test_sends_raw_fields_and_headers_of_a_call(
        self, server: ScriptedServer, config: Callable[..., Config]
    ) -> None:
        """Fields and headers that a call does not write are sent, whatever their names."""
        server.reply(self.answer("hello"))
        run("hi", config=config(), options=self._build_raw_options())
        self._check_raw(server)

    def test_refuses_the_header_of_the_key_in_a_call(
        self, server: ScriptedServer, config: Callable[..., Config]
    ) -> None:
        """Credentials belong to the configuration, which hides them everywhere."""
        name = read_provider_info(load(PROVIDERS, self.provider)).auth[0]
        with pytest.raises(ConfigurationError, match="carries the key") as caught:
            run("hi", config=config(), options=Options(provider_headers={self.provider: {name.upper(): "k-made-up"}}))
        assert "k-made-up" not in f"{caught.value!r} {caught.value.hint}"
        assert server.requests == []

    def test_hides_secret_headers_of_a_call(
        self, server: ScriptedServer, config: Callable[..., Config], caplog: pytest.LogCaptureFixture
    ) -> None:
        """A header whose name suggests a secret is in no text, even if the service repeats it."""
        caplog.set_level(logging.DEBUG)
        server.handler = lambda _: self.refuse(403, "no, tok-very-secret")
        options = Options(provider_headers={self.provider: {"X-Contract-Token": "tok-very-secret"}})
        with pytest.raises(APIError) as caught:
            run("hi", config=config(), options=options)
        assert server.requests[0].headers["x-contract-token"] == "tok-very-secret"
        explanation = explain("hi", config=config(), options=options)
        assert "X-Contract-Token" in explanation.requests[0].headers
        text = f"{_describe_error(caught.value)} {options!r} {explanation!r} {explanation.to_dict()} {caplog.text}"
        assert "tok-very-secret" not in text

    def test_refuses_tools_by_the_names_that_the_service_refuses(
        self, server: ScriptedServer, config: Callable[..., Config]
    ) -> None:
        """A name that the service does not take is refused before anything is sent."""
        rule = read_provider_info(load(PROVIDERS, self.provider)).tool_names
        for name in ["two words", "gr\u00f6\u00dfe", "x" * 200] if rule else []:
            with pytest.raises(ConfigurationError, match="takes no tool that is called") as caught:
                run("hi", config=config(), options=Options(tools=[{"name": name}]))
            assert caught.value.hint == f"use {rule.about if rule else ''}"
        assert server.requests == []

    def test_hints_at_the_key_when_it_is_refused(self, server: ScriptedServer, config: Callable[..., Config]) -> None:
        """The hint for a refused key is about the key."""
        server.reply(self.refuse(401, "no"))
        with pytest.raises(APIError) as caught:
            run("hi", config=config())
        assert caught.value.kind == "auth"
        assert "key" in (caught.value.hint or "").lower()

    def test_hides_the_key(
        self, server: ScriptedServer, config: Callable[..., Config], caplog: pytest.LogCaptureFixture
    ) -> None:
        """The key is in no repr, explanation, result or log of a successful call, and in no address or body."""
        caplog.set_level(logging.DEBUG)
        server.handler = lambda _: self.answer("hello")
        shared_config = config()
        explanation = explain("hi", config=shared_config)
        result = run("hi", config=shared_config)
        assert result["answers"] == ["hello"]
        visible = (shared_config, explanation, str(explanation), explanation.to_dict(), result)
        # A curl command repeats the headers of its request: it must name the key's variable there, not the key.
        self._check_secrecy(f"{visible!r} {[request.curl for request in explanation.requests]} {caplog.text}")
        # Servers and proxies log the address of a request.
        (request,) = server.requests
        self._check_secrecy(f"{request.path} {request.body!r}")

    def test_hides_the_key_when_the_setup_is_checked(
        self, server: ScriptedServer, config: Callable[..., Config]
    ) -> None:
        """A message of the service that repeats the refused key is scrubbed."""
        server.handler = lambda _: self.refuse(401, f"bad key {self.key}")
        with suppress(ConfigurationError):  # raised by a provider without this check
            self._check_secrecy(repr(check_ready(config=config(retry=_NO_RETRY))))

    def test_imports_no_vendor_package_for_a_plain_call(self, server: ScriptedServer) -> None:
        """A plain call does not import the packages of ``heavy``."""
        # In a new process: in this one, other tests have imported them already.
        server.handler = lambda _: self.answer("hello")
        with self.reach(server.url + self.base_path, self.client_kinds[0]) as reach:
            call = {"provider": self.provider, "model": self.model} | reach
            imported = _run_python(_PLAIN_CALL, json.dumps(call), *self.heavy)
        assert imported == "[]"


class ConversationContract(Contract):
    """The tests of a provider that takes earlier turns and tools: what came from one wire goes back to another."""

    @pytest.fixture(params=["blocking", "streamed"])
    def ask(self, request: pytest.FixtureRequest, config: Callable[..., Config]) -> Callable[[Options], ResultEnvelope]:
        """Return a function that asks with options, blocking or streamed."""
        if request.param == "blocking":
            return lambda options: run("go on", config=config(), options=options)
        return lambda options: stream("go on", config=config(), options=options).result()

    def test_sends_all_that_is_said_of_a_tool(
        self, server: ScriptedServer, ask: Callable[[Options], ResultEnvelope]
    ) -> None:
        """The model chooses by the descriptions of a tool and of its parameters, and goes on from what it called."""
        server.reply(self.answer("fine"))
        parameters = {"type": "object", "properties": {"path": {"type": "string", "description": "in the archive"}}}
        tool = {"name": "look_up", "description": "Reads one file.", "parameters": parameters}
        turns = [_QUESTION, _call_tools("a", arguments='{"path": "notes"}'), _build_result("a", "three lamps")]
        assert ask(Options(history=turns, tools=[tool]))["answers"] == ["fine"]
        body = server.requests[-1].body.decode()
        said = ("look_up", "Reads one file.", "path", "in the archive", "notes", "three lamps", "what is in the notes?")
        assert [text for text in said if text not in body] == []

    def test_sends_results_of_tools_in_the_order_of_their_calls(
        self, server: ScriptedServer, ask: Callable[[Options], ResultEnvelope]
    ) -> None:
        """Some services pair them by their order."""
        server.reply(self.answer("fine"))
        turns = [
            _QUESTION,
            _call_tools("a", "b"),
            _build_result("b", "second result"),
            _build_result("a", "first result"),
        ]
        assert ask(Options(history=turns, tools=_TOOLS))["answers"] == ["fine"]
        body = server.requests[-1].body.decode()
        assert body.index("first result") < body.index("second result")

    @pytest.mark.parametrize("turns", [["call"], ["result"], ["call", "result", "result"]], ids=" and ".join)
    def test_refuses_calls_and_results_that_do_not_pair(
        self, server: ScriptedServer, ask: Callable[[Options], ResultEnvelope], turns: Sequence[str]
    ) -> None:
        """Services refuse them too, but after the request was sent."""
        history = [_QUESTION, *(_call_tools("a") if turn == "call" else _build_result("a", "fine") for turn in turns)]
        with pytest.raises(ConfigurationError, match="'a'"):
            ask(Options(history=history, tools=_TOOLS))
        assert server.requests == []

    def test_sends_arguments_that_were_cut_off_as_an_object(
        self, server: ScriptedServer, ask: Callable[[Options], ResultEnvelope]
    ) -> None:
        """The result of the call tells the model what it had written."""
        server.reply(self.answer("fine"))
        turns = [_QUESTION, _call_tools("a", arguments='{"path": "notes'), _build_result("a", "not run")]
        assert ask(Options(history=turns, tools=_TOOLS))["answers"] == ["fine"]
        texts = dict(_iter_texts(server.requests[-1].json()))
        assert all(isinstance(json.loads(text), dict) for name, text in texts.items() if name == "arguments")
        assert "not a JSON object" in server.requests[-1].body.decode()

    @pytest.mark.parametrize(
        ("name", "content"), [("chart.png", b"\x89PNG\r\n\x1a\nchart"), ("film.mp4", b"\x00\x00\x00\x18ftypisom")]
    )
    def test_sends_a_file_that_a_tool_returned_or_tells_of_it(
        self,
        server: ScriptedServer,
        ask: Callable[[Options], ResultEnvelope],
        tmp_path: Path,
        name: str,
        content: bytes,
    ) -> None:
        """A file that the service does not take in a result is named there: the rounds before are paid for."""
        server.reply(self.answer("fine"))
        (tmp_path / name).write_bytes(content)
        source = Source.from_file(tmp_path / name)
        turns = [_QUESTION, _call_tools("a"), ToolResult.from_value("a", [source, "as asked"]).to_turn()]
        # The model gets the file as it was when the tool returned it.
        (tmp_path / name).unlink()
        assert ask(Options(history=turns, tools=_TOOLS))["answers"] == ["fine"]
        body = server.requests[-1].body.decode()
        assert "as asked" in body
        is_taken = read_provider_info(load(PROVIDERS, self.provider)).takes_result(source)
        assert (b64encode(content).decode() in body) == is_taken
        assert (f"{name} ({source.mime_type}) cannot be shown" in body) != is_taken

    def test_sends_no_blank_turn(self, server: ScriptedServer, ask: Callable[[Options], ResultEnvelope]) -> None:
        """An answer that was blocked, or cut off in its thoughts, has no text."""
        server.reply(self.answer("fine"))
        turns = [_QUESTION, {"role": "assistant", "content": " \n"}, {"role": "assistant", "content": ""}]
        assert ask(Options(history=turns, system_instruction=" "))["answers"] == ["fine"]
        assert all(text.strip() for _, text in _iter_texts(server.requests[-1].json()))

    def test_continues_an_answer_that_ends_with_half_a_character(
        self, server: ScriptedServer, ask: Callable[[Options], ResultEnvelope]
    ) -> None:
        """Such an answer was cut off inside an emoji; no JSON in UTF-8 can hold it."""
        server.reply(self.answer("cut \ud83d"), self.answer("fine"))
        asked = ask(Options(history=[]))
        assert asked["answers"] == ["cut \ufffd"]
        stored = json.loads(json.dumps(asked, ensure_ascii=False).encode())
        assert ask(Options(continue_from=stored))["answers"] == ["fine"]
        server.requests[-1].body.decode()

    def test_replaces_lone_surrogates_in_earlier_turns(
        self, server: ScriptedServer, ask: Callable[[Options], ResultEnvelope]
    ) -> None:
        """A tool may return the name of a file that is not UTF-8."""
        server.reply(self.answer("fine"))
        turns = [_QUESTION, _call_tools("a"), _build_result("a", "caf\udce9.txt")]
        assert ask(Options(history=turns, tools=_TOOLS))["answers"] == ["fine"]
        assert any("caf\ufffd.txt" in text for _, text in _iter_texts(server.requests[-1].json()))


class StreamingContract(Contract):
    """The tests of a provider that streams. ``partial`` is the beginning of a stream whose text so far is "half".

    ``joins_streams`` says that its decoder calls `EventStream.join`, which lets others store its streamed answers.
    ``replies`` states what some transcripts stand for, by their names: of each text, reasoning, tool calls, usage and
    finish reason are compared. Other transcripts are only compared with themselves in the other form.
    """

    joins_streams: ClassVar[bool] = False
    replies: ClassVar[Mapping[str, Reply]] = {}
    transcripts: ClassVar[Mapping[str, Transcript]]
    partial: ClassVar[bytes]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrize the tests by the facts of the subclass."""
        super().pytest_generate_tests(metafunc)
        if "transcript" in metafunc.fixturenames:
            metafunc.parametrize("transcript", list(self.transcripts.values()), ids=list(self.transcripts))
        if "stream_error" in metafunc.fixturenames:
            errors = [text.encode() for text in _STREAM_ERRORS.values()]
            metafunc.parametrize("stream_error", errors, ids=list(_STREAM_ERRORS))

    def test_stream_result_does_not_depend_on_chunk_boundaries(self, transcript: Transcript) -> None:
        """The same bytes have the same result, wherever the network splits them."""
        service = _OfflineService(transcript)
        config = self._build_offline_config(service)
        blocking = _drop_times(run("hi", config=config, options=transcript.keeping_options))
        expected_events = list(_ChunkStream([transcript.stream]))
        for number, chunks in enumerate(_iter_splits(transcript.stream)):
            # Equal events imply equal results, since nothing after the parser sees the chunks.
            assert list(_ChunkStream(chunks)) == expected_events
            if number % _SAMPLE_STEP == 0 or len(chunks) > 2:  # the last split has one byte per chunk
                service.chunks = chunks
                assert _drop_times(stream("hi", config=config, options=transcript.keeping_options).result()) == blocking

    def test_decodes_the_stated_replies(self) -> None:
        """No part of an answer is lost in both forms."""
        settings = self._build_offline_config()
        hooks = open_hooks(settings)
        for name, expected in self.replies.items():
            transcript = self.transcripts[name]
            (call,) = plan_calls(build_request("hi", (), settings, transcript.keeping_options), hooks).calls
            reply = decode_reply(HttpResponse(status=200, body=transcript.body), call, hooks)
            assert {field: getattr(reply, field) for field in _STATED} == {
                field: getattr(expected, field) for field in _STATED
            }, name
        hooks.close()

    def test_reads_a_stream_that_arrives_byte_by_byte(
        self, server: ScriptedServer, config: Callable[..., Config], transcript: Transcript
    ) -> None:
        """Every client waits for the rest of a character that the network has split."""
        stream_bytes = _write_characters(transcript.stream)
        server.reply(Events([bytes([byte]) for byte in stream_bytes]), Answer(json=transcript.body))
        streamed = stream("hi", config=config(), options=transcript.keeping_options).result()
        assert _drop_times(streamed) == _drop_times(run("hi", config=config(), options=transcript.keeping_options))

    def test_streamed_answer_equals_the_blocking_answer(
        self, server: ScriptedServer, config: Callable[..., Config], transcript: Transcript
    ) -> None:
        """Every kind of client yields the same events, and the envelope of the blocking answer."""
        server.reply(Events([transcript.stream]), Answer(json=transcript.body))
        events = list(stream("hi", config=config(), options=transcript.keeping_options))
        assert isinstance(events[-1], StreamDone)
        streamed = _drop_times(events[-1].result)
        assert streamed == _drop_times(run("hi", config=config(), options=transcript.keeping_options))
        text, reasoning = (_join_texts(events, kind) for kind in ("text_delta", "reasoning_delta"))
        calls = [event.call for event in events if event.type == "tool_call"]
        assert _join_arguments(events) == [_parse_arguments(call.arguments) for call in calls]
        assert (text, reasoning) == (streamed["answers"][0], streamed.get("reasoning", [""])[0])
        # Without the last event, whose envelope holds times.
        offline = self._build_offline_config(_OfflineService(transcript))
        assert events[:-1] == list(stream("hi", config=offline, options=transcript.keeping_options))[:-1]

    def test_sends_raw_fields_and_headers_of_a_stream(
        self, server: ScriptedServer, config: Callable[..., Config]
    ) -> None:
        """A stream sends what a blocking call sends."""
        server.reply(Events([next(iter(self.transcripts.values())).stream]))
        stream("hi", config=config(), options=attrs.evolve(self._build_raw_options(), on_error="keep")).result()
        self._check_raw(server)

    def test_a_streamed_answer_can_be_kept_and_read_again(
        self, server: ScriptedServer, config: Callable[..., Config], transcript: Transcript
    ) -> None:
        """The answer that `EventStream.join` keeps is, as stored JSON, that of a blocking call."""
        server.reply(Events([transcript.stream]))
        kept: list[HttpResponse] = []
        settings = config()
        hooks = open_hooks(settings)
        request = build_request("hi", (), settings, transcript.keeping_options)
        (call,) = plan_calls(request, hooks).calls
        outcome = _run_to_end(stream_call(call, hooks, ActiveStreams(), keep=kept.append))
        hooks.close()
        assert len(kept) == 1 or not (kept or self.joins_streams)
        for answer in kept:
            stored = HttpResponse.from_dict(json.loads(json.dumps(answer.to_dict())))
            assert decode_reply(stored, call, hooks).with_attempts(outcome.attempts) == outcome

    def test_counts_no_part_of_the_usage_beyond_its_whole(self, transcript: Transcript) -> None:
        """Cached tokens are part of the input, and thoughts of the output, however the service counts them."""
        service = _OfflineService(transcript)
        usage = run("hi", config=self._build_offline_config(service), options=transcript.keeping_options)["usage"]
        assert usage.get("cached_tokens", 0) + usage.get("cache_write_tokens", 0) <= usage.get("input_tokens", 0)
        assert usage.get("reasoning_tokens", 0) <= usage.get("output_tokens", 0)
        # Some services report the total alone.
        if {"input_tokens", "output_tokens", "total_tokens"} <= usage.keys():
            assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]

    def test_maps_a_fault_before_the_first_event(
        self,
        server: ScriptedServer,
        config: Callable[..., Config],
        caplog: pytest.LogCaptureFixture,
        fault: FaultCase,
    ) -> None:
        """A fault before the first event has the kind, status and attempts of a blocking call."""
        caplog.set_level(logging.DEBUG)
        server.reply(*[fault.step] * (fault.attempts + 1))
        with pytest.raises(APIError) as caught:
            stream("hi", config=config(timeout_s=_choose_timeout_s(fault))).result()
        self._check_fault(server, fault, caught.value, caplog)

    @pytest.mark.parametrize(
        ("ending", "kind"),
        [("end", "malformed"), ("close", "connection"), ("reset", "connection"), ("hang", "timeout")],
    )
    def test_keeps_the_partial_text_when_a_stream_breaks(
        self, server: ScriptedServer, config: Callable[..., Config], ending: Any, kind: FaultKind
    ) -> None:
        """A stream that breaks raises an error with the text so far."""
        for timeout_s in _SILENCE_TIMEOUTS_S if kind == "timeout" else (_ANSWER_TIMEOUT_S,):
            n_before = len(server.requests)
            server.reply(Events([self.partial], ending=ending))
            with pytest.raises(APIError) as caught:
                stream("hi", config=config(timeout_s=timeout_s)).result()
            if caught.value.partial_text:
                break
        assert (caught.value.kind, caught.value.partial_text) == (kind, "half")
        # Not retried: the reader already has "half", and a second attempt would deliver it again.
        assert len(server.requests) - n_before == len(caught.value.attempts) == 1

    def test_retries_a_stream_that_ends_before_its_first_event(
        self, server: ScriptedServer, config: Callable[..., Config]
    ) -> None:
        """No event has arrived, so a retry cannot deliver one twice."""
        name, transcript = next(iter(self.transcripts.items()))
        server.reply(Events([], ending="close"), Events([transcript.stream]))
        result = stream("hi", config=config(), options=transcript.options).result()
        assert result["metrics"]["n_attempts"] == 2, name

    def test_tells_an_error_inside_a_stream(
        self, server: ScriptedServer, config: Callable[..., Config], stream_error: bytes
    ) -> None:
        """The error has the words and the status of the service, in whatever form they come, and the text so far."""
        server.reply(Events([self.partial, stream_error]))
        with pytest.raises(APIError, match="busy, try later") as caught:
            stream("hi", config=config()).result()
        assert (caught.value.kind, caught.value.status_code) == ("capacity", 503)
        assert (caught.value.partial_text, len(server.requests)) == ("half", 1)

    def test_retries_an_error_in_place_of_a_stream(
        self, server: ScriptedServer, config: Callable[..., Config], stream_error: bytes
    ) -> None:
        """Nothing was shown before the error, so that a retry shows nothing twice."""
        transcript = next(iter(self.transcripts.values()))
        server.reply(Events([stream_error]), Events([transcript.stream]))
        result = stream("hi", config=config(), options=transcript.options).result()
        assert [attempt["status_code"] for attempt in result["diagnostics"]["attempts"][0]] == [503, 200]

    def test_reads_a_whole_answer_that_is_called_a_stream(
        self, server: ScriptedServer, config: Callable[..., Config], transcript: Transcript
    ) -> None:
        """A server that does not stream, but says that it does, loses no answer."""
        body = json.dumps(transcript.body, indent=2).encode()
        server.reply(Answer(body=body, headers=_SSE), Answer(json=transcript.body))
        streamed = stream("hi", config=config(), options=transcript.keeping_options).result()
        assert _drop_times(streamed) == _drop_times(run("hi", config=config(), options=transcript.keeping_options))

    def test_reads_a_stream_that_answers_a_plain_call(
        self, server: ScriptedServer, config: Callable[..., Config], transcript: Transcript
    ) -> None:
        """A server that streams unasked loses no answer, which is paid for."""
        server.reply(Events([transcript.stream]), Answer(json=transcript.body))
        streamed = _drop_times(run("hi", config=config(), options=transcript.keeping_options))
        assert streamed == _drop_times(run("hi", config=config(), options=transcript.keeping_options))

    def test_keeps_what_arrived_of_a_stream_that_answers_a_plain_call(
        self, server: ScriptedServer, config: Callable[..., Config]
    ) -> None:
        """A stream without an end is not an answer, but may be paid for."""
        server.reply(Events([self.partial]))
        try:
            kept = run("hi", config=config())["answers"][0].encode()
        except APIError as error:
            kept = error.unread_answer or b""
        # The form of some services does not tell that it has no end: then what arrived is the answer.
        assert kept in {b"half", self.partial}

    def test_closing_a_stream_closes_its_connection(
        self, server: ScriptedServer, config: Callable[..., Config]
    ) -> None:
        """The service sees that its reader has left."""
        # A service generates, and charges, until the connection closes.
        server.reply(Events([self.partial], ending="hang"))
        with stream("hi", config=config()) as events:
            next(events)
        server.wait_for_open_connections(0)

    def test_closing_many_streams_wakes_their_readers(
        self, server: ScriptedServer, config: Callable[..., Config]
    ) -> None:
        """Closing does not wait for the next event of any stream."""
        server.handler = lambda _: Events([self.partial], ending="hang")
        with stream_many(["a", "b", "c"], config=config()) as events:
            next(events)
        server.wait_for_open_connections(0)

    def test_accepts_a_complete_answer_whose_body_does_not_end(
        self, server: ScriptedServer, config: Callable[..., Config]
    ) -> None:
        """The answer is complete with its last event, even if the body goes on."""
        # A client that reads the body to its end gives up at the timeout, and must keep the answer nevertheless.
        transcript = next(iter(self.transcripts.values()))
        server.reply(Events([transcript.stream], ending="hang"))
        one_attempt = config(timeout_s=_BODY_END_TIMEOUT_S, retry=_NO_RETRY)
        assert stream("hi", config=one_attempt, options=transcript.options).result()["status"] == "ok"
        server.wait_for_open_connections(0)


class FileService(Protocol):
    """A scripted service that stores files and answers "seen" to every question.

    It lists uploads in ``stored`` and the ids of deleted ones in ``deleted``. It refuses an upload that contains the
    bytes ``failing`` with status 400.
    """

    stored: Sequence[Any]
    deleted: Sequence[str]
    failing: bytes | None

    def __call__(self, request: RecordedRequest) -> Step:
        """Answer one request."""


class FilesContract(Contract):
    """The tests of a provider that stores files.

    ``files`` maps the names of three files that it uploads to their content. ``failing`` are bytes that only the
    upload of the last one contains.
    """

    files: ClassVar[Mapping[str, bytes]]
    failing: ClassVar[bytes]

    def serve_files(self) -> FileService:
        """Return a service that stores files."""
        raise NotImplementedError

    @pytest.fixture
    def service(self, server: ScriptedServer) -> FileService:
        """Return the service that answers for the scripted server."""
        server.handler = service = self.serve_files()
        return service

    @pytest.fixture
    def sources(self, tmp_path: Path) -> list[Source]:
        """Write ``files`` to disk and return them as sources."""
        for name, content in self.files.items():
            (tmp_path / name).write_bytes(content)
        return [Source.from_file(tmp_path / name) for name in self.files]

    def test_uploads_each_file_once_and_deletes_it(
        self, service: FileService, config: Callable[..., Config], sources: list[Source]
    ) -> None:
        """20 prompts about 3 files need 3 uploads and 3 deletions."""
        result = run_many([f"p{number}" for number in range(20)], sources=sources, config=config(uploads="always"))
        assert result["answers"] == ["seen"] * 20
        assert len(service.stored) == len(service.deleted) == len(set(service.deleted)) == 3

    def test_deletes_the_files_when_a_prompt_fails(
        self, server: ScriptedServer, service: FileService, config: Callable[..., Config], sources: list[Source]
    ) -> None:
        """A refused prompt does not affect the others, and no file is left behind."""
        server.handler = lambda request: self.refuse(400, "no") if b"p7" in request.body else service(request)
        with pytest.raises(APIError) as caught:
            run_many([f"p{number}" for number in range(10)], sources=sources, config=config(uploads="always"))
        assert caught.value.partial_result is not None
        assert caught.value.partial_result["answers"].count("seen") == 9
        assert len(service.stored) == len(set(service.deleted)) == 3

    def test_deletes_the_others_when_the_last_upload_fails(
        self, service: FileService, config: Callable[..., Config], sources: list[Source]
    ) -> None:
        """Files that were uploaded for a call that cannot be sent are deleted."""
        service.failing = self.failing
        with pytest.raises(APIError) as caught:
            run_many("p", sources=sources, config=config(uploads="always"))
        assert (caught.value.phase, caught.value.status_code) == ("upload", 400)
        assert len(set(service.deleted)) == 2

    @pytest.mark.usefixtures("service")
    def test_does_not_repeat_an_upload_after_a_reset(
        self, server: ScriptedServer, config: Callable[..., Config], sources: list[Source]
    ) -> None:
        """An upload is sent once, even if its connection breaks."""
        # The service may have stored the file before the reset. A second upload would leave the first one behind,
        # because its id never arrived.
        server.reply(ResetBeforeBody())
        with pytest.raises(APIError) as caught:
            run("p", source=sources[0], config=config(uploads="always"))
        assert (caught.value.phase, caught.value.kind, len(server.requests)) == ("upload", "connection", 1)

    def test_maps_a_fault_of_an_upload(
        self,
        server: ScriptedServer,
        config: Callable[..., Config],
        sources: list[Source],
        caplog: pytest.LogCaptureFixture,
        fault: FaultCase,
    ) -> None:
        """A fault of an upload has the kind and status of a call's; it is repeated only if the service answered so."""
        caplog.set_level(logging.DEBUG)
        server.reply(*[fault.step] * (fault.attempts + 1))
        with pytest.raises(APIError, match="uploading") as caught:
            run("p", source=sources[0], config=config(uploads="always", timeout_s=_choose_timeout_s(fault)))
        error = caught.value
        assert (error.phase, error.kind, error.status_code) == ("upload", fault.kind, fault.status_code)
        attempts = fault.attempts if (fault.status_code or 0) >= _FIRST_ERROR_STATUS else 1
        assert len(server.wait_for_requests(attempts)) == len(error.attempts) == attempts
        self._check_secrecy(_describe_error(error) + caplog.text)


class DeferredContract(Contract):
    """The tests of a provider that runs deferred jobs."""

    def serve_jobs(self) -> Handler:
        """Return a service of deferred jobs, each of which ends after it was inspected once or twice."""
        raise NotImplementedError

    def list_jobs(self, service: Any) -> Sized:
        """Return the jobs of the service, whether they have ended or not."""
        raise NotImplementedError

    def list_files(self, service: Any) -> Sized:
        """Return the files that are stored now, except those that the service itself wrote."""
        raise NotImplementedError

    def expect_answer(self, prompt: str) -> str:
        """Return the text that the service answers to this prompt."""
        raise NotImplementedError

    def fault_cases(self) -> dict[str, FaultCase]:
        """Return the faults of calls, and answers of odd types."""
        odd = {f"json: {name}": FaultCase(Answer(json=value), "malformed", 200) for name, value in _ODD_ANSWERS.items()}
        return super().fault_cases() | odd

    def end_jobs(self, service: Any) -> None:
        """Make every job of the service end, for a provider that recognises its jobs by their results alone."""

    @pytest.fixture
    def service(self, server: ScriptedServer) -> Handler:
        """Return the service that answers for the scripted server."""
        server.handler = service = self.serve_jobs()
        return service

    def _submit_in_the_end(self, service: Any, prompts: list[str], config: Config, job_file: Path) -> None:
        """Submit once more. A service may have to end a job before it shows whose it is."""
        try:
            defer_many(prompts, config=config, job_file=job_file)
        except ConfigurationError:
            self.end_jobs(service)
            defer_many(prompts, config=config, job_file=job_file)

    def _collect(self, job: Any, config: Config) -> Any:
        # poll=0: the scripted job ends after a look or two, so the test need not wait between them.
        wait_deferred(job, config=config, poll=0)
        return collect_deferred(job, config=config)

    def test_answers_deferred_prompts_in_order(self, service: Handler, config: Callable[..., Config]) -> None:
        """Answers are in the order of their prompts, and no uploaded file is left behind."""
        prompts = [f"prompt {number:02}" for number in range(30)]
        handle = defer_many(prompts, config=config())
        assert self._collect(handle, config())["answers"] == [self.expect_answer(prompt) for prompt in prompts]
        assert (len(self.list_jobs(service)), len(self.list_files(service))) == (1, 0)

    def test_submits_no_second_job_for_a_finished_job_file(
        self, service: Handler, config: Callable[..., Config], tmp_path: Path
    ) -> None:
        """The same submission with the same job file is paid once."""
        first = defer_many(["a", "b"], config=config(), job_file=tmp_path / "job.json")
        assert defer_many(["a", "b"], config=config(), job_file=tmp_path / "job.json") == first
        assert len(self.list_jobs(service)) == 1

    @pytest.mark.parametrize("is_done", [False, True], ids=["request lost", "answer lost"])
    @pytest.mark.parametrize("index", range(3))
    def test_continues_a_submission_after_a_lost_request(
        self,
        server: ScriptedServer,
        service: Handler,
        config: Callable[..., Config],
        tmp_path: Path,
        *,
        index: int,
        is_done: bool,
    ) -> None:
        """The next call continues: in the end there is one job, and no other file than its own."""
        # The caller sees the same broken connection whether the service got the request or not, so the plugin has to
        # look up what exists before it repeats a step.
        server.handler = _lose_request(service, index, is_done=is_done)
        path = tmp_path / "job.json"
        with suppress(APIError):
            defer_many(["a", "b"], config=config(retry=_NO_RETRY), job_file=path)
        server.handler = service
        self._submit_in_the_end(service, ["a", "b"], config(), path)
        assert len(self.list_jobs(service)) == 1
        assert self._collect(path, config())["answers"] == [self.expect_answer("a"), self.expect_answer("b")]
        assert len(self.list_files(service)) == 0

    def test_a_fault_at_any_request_of_a_submission_ends_in_one_job(
        self,
        server: ScriptedServer,
        service: Handler,
        config: Callable[..., Config],
        tmp_path: Path,
        fault: FaultCase,
    ) -> None:
        """Wherever the fault begins, it is a documented error, and the next call ends with one job and its files."""
        reach = config(retry=_NO_RETRY, timeout_s=_choose_timeout_s(fault))
        for index in itertools.count():
            prompts, path = [f"a{index}", f"b{index}"], tmp_path / f"{index}.json"
            server.handler = faulty = _FaultFrom(service, fault.step, index)
            _expect_documented_error(lambda: defer_many(prompts, config=reach, job_file=path))  # noqa: B023 - run now
            server.handler = service
            self._submit_in_the_end(service, prompts, config(), path)
            assert len(self.list_jobs(service)) == index + 1
            answers = self._collect(path, config())["answers"]
            assert (answers, len(self.list_files(service))) == ([self.expect_answer(p) for p in prompts], 0)
            if not faulty.was_met:
                return

    def test_a_fault_while_a_job_is_read_loses_no_answer(
        self,
        server: ScriptedServer,
        service: Handler,
        config: Callable[..., Config],
        fault: FaultCase,
    ) -> None:
        """Wherever the fault begins, a look, the results and a cancellation fail as documented, and can be repeated."""
        reach = config(retry=_NO_RETRY, timeout_s=_choose_timeout_s(fault))
        for index in itertools.count():
            handle = defer_many(["a", "b"], config=config())
            wait_deferred(handle, config=config(), poll=0)
            met = False
            for act in (inspect_deferred, collect_deferred, cancel_deferred):
                server.handler = faulty = _FaultFrom(service, fault.step, index)
                is_done = _expect_documented_error(lambda: act(handle, config=reach))  # noqa: B023 - run now
                met = met or faulty.was_met
                server.handler = service
                if act is collect_deferred and is_done:
                    break
            else:
                result = collect_deferred(handle, config=config())
                assert result["answers"] == [self.expect_answer("a"), self.expect_answer("b")]
            if not met:
                return

    @pytest.mark.usefixtures("service")
    def test_cancelling_ends_a_job(self, config: Callable[..., Config]) -> None:
        """A cancelled job ends, and its result has an entry for every prompt."""
        handle = defer_many(["a", "b"], config=config())
        cancel_deferred(handle, config=config())
        assert wait_deferred(handle, config=config(), poll=0).is_terminal
        assert len(collect_deferred(handle, config=config())["answers"]) == 2

    @pytest.mark.usefixtures("service")
    def test_key_is_not_in_the_job_file(self, config: Callable[..., Config], tmp_path: Path) -> None:
        """A job file and the repr of a handle do not contain the key."""
        # Job files lie on disk for days, and people paste handles into logs.
        handle = defer_many(["a"], config=config(), job_file=tmp_path / "job.json")
        self._check_secrecy(f"{handle!r} {(tmp_path / 'job.json').read_text()}")


class SchemaContract(Contract):
    """The tests of a provider that accepts a ``response_schema``.

    ``values`` lists types, each with values of that type.
    """

    values: ClassVar[Sequence[tuple[Any, Sequence[Any]]]]

    def read_schema(self, body: Any) -> Any:
        """Return the schema that the body of a request contains."""
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrize the tests by the facts of the subclass."""
        super().pytest_generate_tests(metafunc)
        if "typed_values" in metafunc.fixturenames:
            metafunc.parametrize("typed_values", self.values, ids=[str(kind) for kind, _ in self.values])

    def _list_client_kinds(self) -> Sequence[str]:
        return self.client_kinds[:1]  # schemas are lowered before a client is involved

    def test_round_trips_typed_values(
        self, server: ScriptedServer, config: Callable[..., Config], typed_values: tuple[Any, Sequence[Any]]
    ) -> None:
        """Values of every type survive lowering to the dialect of the provider and lifting back."""
        kind, values = typed_values
        shared_config = config()
        lowered = answer_format(kind, read_provider_info(load(PROVIDERS, self.provider)).schema_dialect).lowered
        for value in values:
            server.reply(self.answer(json.dumps(lowered.lower_value(unstructure(value)))))
            result = run("which?", config=shared_config, options=Options(response_schema=kind))
            assert result["structured"] == [value], result["diagnostics"]["schema_errors"]
            # Equality is not enough: in Python 1 == 1.0 == True.
            assert type(result["structured"][0]) is type(value)
            assert self.read_schema(server.requests[-1].json()) == lowered.schema

    def test_sends_the_description_beside_a_reference(
        self, server: ScriptedServer, config: Callable[..., Config]
    ) -> None:
        """A field of a class has a description of its own, which many services refuse beside the reference to it."""
        server.handler = lambda _: self.answer("{}")
        part = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
        field = {"$ref": "#/$defs/Part", "description": "the one on top"}
        kind = {"type": "object", "properties": {"part": field}, "required": ["part"], "$defs": {"Part": part}}
        tool = {"name": "pick", "parameters": kind, "strict": True}
        run("which?", config=config(), options=Options(response_schema=kind))
        run("which?", config=config(), options=Options(tools=[tool]))
        assert ["the one on top" in json.dumps(request.json()) for request in server.requests] == [True, True]
        allows_both = read_provider_info(load(PROVIDERS, self.provider)).schema_dialect.allows_ref_siblings
        assert allows_both or not _has_keyword_beside_reference(self.read_schema(server.requests[0].json()))


def _has_keyword_beside_reference(schema: Any) -> bool:
    if isinstance(schema, dict):
        return ("$ref" in schema and len(schema) > 1) or any(map(_has_keyword_beside_reference, schema.values()))
    return isinstance(schema, list) and any(map(_has_keyword_beside_reference, schema))


class SDKContract:
    """The tests of a plugin that builds on a vendor's SDK: it also works with the oldest version that it accepts.

    ``sdk`` is the name under which the package is imported. ``oldest_folder`` contains the oldest version, installed
    for example by ``pip install --target``. ``test_files`` are run with that version, except for tests that use no
    SDK, those with the client "direct", and for jobs that meet each fault at each request.
    """

    sdk: ClassVar[str]
    oldest_version: ClassVar[str]
    oldest_folder: ClassVar[Path]
    test_files: ClassVar[Sequence[Path]]

    def test_oldest_sdk_is_older_than_the_one_in_use(self) -> None:
        """The other tests use a newer SDK, so that both ends of the range are tested."""
        script = f"import {self.sdk} as sdk; print(sdk.__version__)"
        assert _run_python(script, path=self.oldest_folder) == self.oldest_version
        assert _run_python(script) != self.oldest_version

    def test_oldest_sdk_passes_the_same_tests(self) -> None:
        """The tests of the plugin pass with the oldest SDK."""
        # In a new process, because this one has imported the newer SDK. Neither "oldest", which would start this test
        # again without end, nor the splits of a stream, errors inside one and earlier turns, which the SDK has no part
        # in. Each fault, and each request of a job, meets the oldest SDK in other tests.
        without = (
            "direct",
            "oldest",
            "chunk_boundaries",
            "inside_a_stream",
            "Conversations",
            "a_fault_at",
            "a_fault_while",
        )
        selection = " and ".join(f"not {part}" for part in without)
        options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "error", "-k", selection)
        command = [sys.executable, "-m", "pytest", *options, *map(str, self.test_files)]
        process = _run_command(command, path=self.oldest_folder, timeout_s=300)
        assert process.returncode == 0, process.stdout[-3000:]


def _build_status_cases(refuse: Callable[[int, str], Answer], key: str) -> dict[str, FaultCase]:
    """Return a case for each error status that any service may answer with."""
    # These are answers to the request itself: the same request would fail again, so it is not retried.
    lasting: dict[int, FaultKind] = {
        400: "invalid_request",
        401: "auth",
        402: "quota",
        403: "auth",
        404: "not_found",
        413: "invalid_request",
        422: "invalid_request",
    }
    # These may pass, and are retried once. 522 is Cloudflare's, 529 Anthropic's status for "overloaded".
    temporary: dict[int, FaultKind] = {
        408: "timeout",
        429: "rate_limit",
        500: "capacity",
        502: "capacity",
        503: "capacity",
        504: "capacity",
        522: "capacity",
        529: "capacity",
    }
    # Every message repeats the key, as some services do when they refuse one. It must be scrubbed from all we report.
    cases = {
        f"status {status}": FaultCase(refuse(status, f"no, {key}"), kind, status) for status, kind in lasting.items()
    }
    return cases | {
        f"status {status}": FaultCase(refuse(status, f"later, {key}"), kind, status, attempts=2)
        for status, kind in temporary.items()
    }


def _build_broken_answer_cases(answer: Answer) -> dict[str, FaultCase]:
    """Return a case for each way in which the network or a proxy may damage an answer."""
    body = json.dumps(answer.json).encode()
    return {
        "a gateway's page": FaultCase(Answer(status=502, body=b"<html><title>502</title>"), "capacity", 502, 2),
        "reset": FaultCase(ResetBeforeBody(), "connection", None, 2),
        "closed": FaultCase(CloseWithoutAnswer(), "connection", None, 2),
        "reset inside": FaultCase(ResetInsideBody(body, 5, headers=_JSON), "connection", None, 2),
        "cut off": FaultCase(Truncated(body, 5, headers=_JSON), "connection", None, 2),
        "silence": FaultCase(Hang(), "timeout", None, 2),
        # 999 bytes take 20 s, but each comes in time: only a deadline for the attempt ends it. Blanks, because JSON may
        # begin with them.
        "dripping": FaultCase(Drip(body=b" " * 999, interval_s=0.02, headers=_JSON), "timeout", None, 2),
        # One byte more than the limit, and few bytes on the wire: the limit must count the inflated body.
        "a gzip bomb": FaultCase(GzipBomb(MAX_BODY_BYTES + 1), "malformed"),
        "a dripping refusal": FaultCase(
            Drip(status=400, body=b" " * 999, interval_s=0.02, headers=_JSON), "timeout", None, 2
        ),
        # Of an error only the beginning counts.
        "a gzip bomb as a refusal": FaultCase(GzipBomb(MAX_BODY_BYTES + 1, status=400), "invalid_request", 400),
        # It arrived whole, so it may be paid for: asking again would pay again.
        "broken json": FaultCase(Answer(body=body[:6], headers=_JSON), "malformed", 200),
        # HTML with status 200 comes from something else than the service, and would come again.
        "a login page": FaultCase(Answer(body=b"<html>", headers={"Content-Type": "text/html"}), "malformed", 200),
    }


@attrs.define
class _FaultFrom:
    """A service whose answers are a fault from one request on."""

    service: Handler
    step: Step
    index: int
    count: int = 0

    def __call__(self, request: RecordedRequest) -> Step:
        self.count += 1
        return self.step if self.was_met else self.service(request)

    @property
    def was_met(self) -> bool:
        """True if a request got the fault."""
        return self.count > self.index


def _expect_documented_error(act: Callable[[], object]) -> bool:
    """Return whether the act succeeded. What it raises must be of our tree, and no defect."""
    try:
        act()
    except InternalError:
        raise
    except PolluxError:
        return False
    return True


def _choose_timeout_s(fault: FaultCase) -> float:
    return _SHORT_TIMEOUT_S if fault.kind == "timeout" and fault.status_code is None else _ANSWER_TIMEOUT_S


def _describe_error(error: APIError) -> str:
    """Return every text form of an error, to look for the key in it."""
    # Pickled too: errors cross process boundaries with all their attributes.
    text = "".join(traceback.format_exception(error))
    return f"{text} {error!r} {error.hint} {error.partial_result} {error.attempts} {pickle.dumps(error)!r}"


def _build_echo_service(answer: Callable[[str], Answer], prompts: Sequence[str]) -> Callable[[RecordedRequest], Answer]:
    """Return a service that answers "re: " and the one of ``prompts`` that the request contains."""

    def reply(request: RecordedRequest) -> Answer:
        (prompt,) = [prompt for prompt in prompts if prompt.encode() in request.body]
        return answer(f"re: {prompt}")

    return reply


def _lose_request(service: Handler, index: int, *, is_done: bool) -> Callable[[RecordedRequest], Step]:
    """Return ``service``, except that it resets the connection of one request, before or after carrying it out."""
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
    """Run a script in a new process; return the text that it prints."""
    process = _run_command([sys.executable, "-c", script, *arguments], path=path)
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


def _run_command(
    command: list[str], *, path: Path | None = None, timeout_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a command. With ``path``, packages are imported from there first, and coverage is not measured."""
    environment = dict(os.environ)
    if path is not None:
        environment = {name: value for name, value in environment.items() if not name.startswith("COVERAGE")}
        environment["PYTHONPATH"] = str(path)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False)  # noqa: S603


class _ChunkStream(ByteStream):
    """A streamed answer whose body arrives in the given chunks."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        super().__init__(HttpResponse(status=200, headers=_SSE))
        self._chunks = chunks

    def iter_chunks(self) -> Iterator[bytes]:
        return iter(self._chunks)

    def renew(self) -> None:
        """Do nothing, because this stream has no deadline."""


class _OfflineService:
    """Middleware that answers in place of the network: a call with the transcript's body, a stream with ``chunks``."""

    def __init__(self, transcript: Transcript) -> None:
        self._body = transcript.body
        self.chunks: Sequence[bytes] = [transcript.stream]

    # tryfirst: before the plugin's own hooks, which would send.
    @hookimpl(tryfirst=True)
    def pollux_send(self) -> HttpResponse:
        return HttpResponse(status=200, body=self._body)

    @hookimpl(tryfirst=True)
    def pollux_stream(self) -> _ChunkStream:
        return _ChunkStream(self.chunks)


def _build_pair(name: str) -> tuple[Options, Options]:
    """Return options without the option ``name``, and the same with it."""
    needed: dict[str, Any] = {"tools": _TOOLS} if name in {"tool_choice", "parallel_tool_calls"} else {}
    needed |= {"reasoning_effort": "low"} if name == "reasoning_summary" else {}
    return Options(**needed), Options(**needed, **{name: _OPTIONS[name]})


_QUESTION = {"role": "user", "content": "what is in the notes?"}
_TOOLS = [{"name": "look_up", "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}}]

#: A value of every option that changes what is sent. Of `cache`, only the provider can make one; `implicit_caching` is
#: honoured by some services without being told.
_OPTIONS: dict[str, Any] = {
    "system_instruction": "Be brief.",
    "response_schema": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
    "tools": _TOOLS,
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "temperature": 0.5,
    "top_p": 0.5,
    "stop": ["END"],
    "seed": 7,
    "service_tier": "default",
    "max_tokens": 77,
    "reasoning_effort": "low",
    "reasoning_budget_tokens": 2048,
    "reasoning_summary": "none",
    "history": [_QUESTION, {"role": "assistant", "content": "nothing"}],
}


def _call_tools(*ids: str, arguments: str = "{}") -> dict[str, Any]:
    calls = [{"id": call_id, "name": "look_up", "arguments": arguments} for call_id in ids]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def _build_result(call_id: str, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def _iter_texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text in JSON data, with the name of its field."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for inner_name, inner in value.items():
            yield from _iter_texts(inner, inner_name)
    elif isinstance(value, list):
        for inner in value:
            yield from _iter_texts(inner, name)


def _join_texts(events: Sequence[Any], kind: str) -> str:
    return "".join(event.text for event in events if event.type == kind)


def _join_arguments(events: Sequence[Any]) -> list[Any]:
    """Return the arguments of every tool call, joined from its deltas and parsed."""
    deltas = [event for event in events if event.type == "tool_call_delta"]
    # A dict keeps the order in which the calls began; the deltas of several calls may alternate.
    indexes = dict.fromkeys(delta.index for delta in deltas)
    return [_parse_arguments("".join(delta.arguments for delta in deltas if delta.index == index)) for index in indexes]


def _parse_arguments(arguments: str) -> Any:
    """Return the arguments as parsed JSON, or unchanged if they are incomplete."""
    try:
        return json.loads(arguments or "{}")
    except ValueError:  # the token limit may end an answer inside the arguments of a call
        return arguments


def _iter_splits(transcript: bytes) -> Iterator[list[bytes]]:
    """Yield the transcript split into two chunks at every position, then split into single bytes."""
    for position in range(1, len(transcript)):
        yield [transcript[:position], transcript[position:]]
    yield [transcript[start:end] for start, end in pairwise(range(len(transcript) + 1))]


def _write_characters(transcript: bytes) -> bytes:
    """Return the transcript with characters of several bytes in place of their escapes, as many services write them."""
    lines = [_unescape(line) for line in transcript.decode().splitlines(keepends=True)]
    return "".join(lines).encode()


def _unescape(line: str) -> str:
    head, separator, text = line.rstrip("\r\n").partition("data: ")
    try:
        written = json.dumps(json.loads(text), ensure_ascii=False)
        written.encode()
    except ValueError:  # an end mark, or half a character, which UTF-8 cannot hold
        return line
    return f"{head}{separator}{written}{line[len(head + separator + text) :]}"


def _run_to_end(events: Generator[Any, None, T]) -> T:
    """Return what a generator returns."""
    while True:
        try:
            next(events)
        except StopIteration as end:
            result: T = end.value
            return result


def _drop_times(envelope: Any) -> dict[str, Any]:
    """Return the envelope without durations, for comparison; of an attempt keep the status alone."""
    metrics = {name: value for name, value in envelope["metrics"].items() if name != "duration_s"}
    attempts = [[attempt["status_code"] for attempt in call] for call in envelope["diagnostics"]["attempts"]]
    return {**envelope, "metrics": metrics, "diagnostics": envelope["diagnostics"] | {"attempts": attempts}}
