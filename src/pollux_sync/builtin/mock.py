"""The mock provider: answers offline, by rule, to everything a call can ask.

* Text: ``echo: `` and the first 100 characters of the first text there is, sources before the prompt.
* A response schema: its minimal instance. Tools: the first turn calls the tool asked for (else the
  first) with minimal arguments, the turn after its result is text.
* Reasoning asked for: a line of it. Files: stored under ``mock://uploaded/<name>`` until deleted.
* Caches: kept for their time; a call with one that is gone fails as at a provider, others count 10 cached tokens.
* Deferred jobs: kept in this process, ended at the first look.
* Streams: word by word.
* Models: one, called mock; any other is answered too, and is always ready.
* Usage: 10 input and 10 output tokens a call.

`pollux_sync.testing.Script` replaces these answers by scripted ones, and by faults.
"""

from __future__ import annotations

import json
import re
import threading
import time
from itertools import count
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.builtin.examples import build_example
from pollux_sync.data.handles import DeferredJob, JobState, RemoteCache
from pollux_sync.data.mime import OCTET_STREAM
from pollux_sync.data.models import ModelInfo
from pollux_sync.data.provider import (
    TEXT_FILE_RULE,
    TEXT_RULE,
    Address,
    DeferredLimits,
    HttpRequest,
    HttpResponse,
    ProviderInfo,
    SourceRule,
)
from pollux_sync.data.reply import Reply, ToolCall, Usage
from pollux_sync.data.request import Asset, AssetPart, DeferredRow, Part, TextPart, UriPart
from pollux_sync.hooks.specs import hookimpl
from pollux_sync.wire.faults import HttpError, classify_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.data.config import ConfigValues
    from pollux_sync.data.request import Call, DeferredBatch, Turn
    from pollux_sync.data.source import Source
    from pollux_sync.data.streaming import Delta, EventStream
    from pollux_sync.errors import Fault

#: What to do about a cache that the provider has forgotten.
CACHE_GONE_HINT = "make a new one with create_cache"
_ECHOED = 100
_USAGE = {"input_tokens": 10, "output_tokens": 10, "total_tokens": 20}
_SETTINGS = (
    "temperature",
    "top_p",
    "max_tokens",
    "reasoning_effort",
    "reasoning_budget_tokens",
    "implicit_caching",
)

_INFO = ProviderInfo(
    name="mock",
    needs_key=False,
    options={
        *(
            "system_instruction",
            "response_schema",
            "tools",
            "tool_choice",
            "temperature",
            "top_p",
            "max_tokens",
        ),
        *("reasoning_effort", "reasoning_budget_tokens", "history", "implicit_caching", "cache"),
    },
    sources=(
        TEXT_RULE,
        TEXT_FILE_RULE,
        SourceRule(source_types={"file"}, delivery="upload"),
        SourceRule(source_types={"uri", "youtube", "arxiv"}, delivery="uri"),
    ),
    managed_fields={
        "model",
        "system",
        "history",
        "parts",
        "prompt",
        "tools",
        "tool_choice",
        "schema",
        "cache",
        *_SETTINGS,
    },
    deferred=DeferredLimits(max_requests=50_000, max_bytes=200_000_000),
)


@attrs.frozen
class MockJob:
    """A deferred job of the mock: its mark, and the bodies of its requests by id."""

    mark: str
    bodies: dict[str, dict[str, Any]]
    is_cancelled: bool = False


class MockStore:
    """The mock's files, caches and jobs. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: set[str] = set()
        self._caches: dict[str, RemoteCache] = {}
        self.jobs: dict[str, MockJob] = {}
        self._numbers = count(1)

    def store_file(self, name: str) -> str:
        """Keep a file; gives its address."""
        address = _address(name)
        with self._lock:
            self._files.add(address)
        return address

    def delete_file(self, address: str) -> None:
        """Forget a file."""
        with self._lock:
            self._files.discard(address)

    @property
    def files(self) -> frozenset[str]:
        """The addresses of the files that are stored now."""
        with self._lock:
            return frozenset(self._files)

    def store_cache(self, model: str, ttl_s: float, name: str | None = None) -> RemoteCache:
        """Keep a cache for so long: a new one, or that of the name. Raises HttpError when it is gone."""
        with self._lock:
            if name is not None:
                model = self._living(name).model
            name = name or f"mock-cache-{next(self._numbers)}"
            cache = RemoteCache(name=name, model=model, expires_at=time.time() + ttl_s, n_tokens=10)
            self._caches[name] = cache
            return cache

    def delete_cache(self, name: str) -> None:
        """Delete a cache, as the provider might. Raises HttpError when it is gone."""
        with self._lock:
            del self._caches[self._living(name).name]

    def check_cache(self, name: str) -> None:
        """Raises HttpError for a cache that is gone."""
        with self._lock:
            self._living(name)

    @property
    def caches(self) -> list[RemoteCache]:
        """The caches that live."""
        with self._lock:
            return [cache for cache in self._caches.values() if cache.expires_at > time.time()]

    def store_job(self, job: MockJob) -> str:
        """Keep a job; gives its id."""
        with self._lock:
            job_id = f"mock-job-{next(self._numbers)}"
            self.jobs[job_id] = job
            return job_id

    def read_job(self, job_id: str) -> MockJob:
        """The job of this id. Raises HttpError for one that is not there."""
        if job_id not in self.jobs:
            body = {"error": {"message": f"there is no job {job_id} in this process"}}
            raise HttpError(HttpResponse(status=404, body=body))
        return self.jobs[job_id]

    def _living(self, name: str) -> RemoteCache:
        cache = self._caches.get(name)
        if cache is None or cache.expires_at <= time.time():
            body = {"error": {"code": "cache_missing", "message": f"there is no cache {name}"}}
            raise HttpError(HttpResponse(status=404, body=body))
        return cache


class MockProvider:
    """The mock as a plugin like any other."""

    @hookimpl
    def pollux_provider_info(self) -> ProviderInfo:
        return _INFO

    @hookimpl
    def pollux_open(self, config: ConfigValues) -> MockStore:
        return MockStore()

    @hookimpl
    def pollux_address(self) -> Address:
        return Address(base_url=None)

    @hookimpl
    def pollux_encode(self, call: Call) -> HttpRequest:
        options = call.options
        turns = call.conversation.turns if call.conversation else ()
        body = {
            "model": call.model,
            "system": options.system_instruction,
            "history": [_turn(turn) for turn in turns],
            "parts": [_part(part) for part in call.parts],
            "prompt": call.prompt,
            "tools": [dict(tool) for tool in options.tools or ()],
            "tool_choice": options.tool_choice,
            "schema": call.response_schema,
            "cache": options.cache and options.cache.name,
        }
        return HttpRequest(path="/mock", body=body | {name: getattr(options, name) for name in _SETTINGS})

    @hookimpl
    def pollux_send(self, request: HttpRequest, client: MockStore) -> HttpResponse:
        body = request.body or {}
        if body.get("cache"):
            client.check_cache(body["cache"])
        return HttpResponse(status=200, body=_answer(body))

    @hookimpl
    def pollux_count_tokens(self) -> int:
        return _USAGE["input_tokens"]

    @hookimpl
    def pollux_classify_error(self, error: Exception) -> Fault | None:
        fault = classify_error(error)
        is_missing = isinstance(error, HttpError) and "cache_missing" in str(error.response.body)
        return attrs.evolve(fault, kind="cache_missing", hint=CACHE_GONE_HINT) if fault and is_missing else None

    @hookimpl
    def pollux_create_cache(self, call: Call, ttl_s: float, client: MockStore) -> RemoteCache:
        return client.store_cache(call.model, ttl_s)

    @hookimpl
    def pollux_extend_cache(self, name: str, ttl_s: float, client: MockStore) -> RemoteCache:
        return client.store_cache("", ttl_s, name)

    @hookimpl
    def pollux_list_caches(self, client: MockStore) -> list[RemoteCache]:
        return client.caches

    @hookimpl
    def pollux_delete_cache(self, name: str, client: MockStore) -> bool:
        client.delete_cache(name)
        return True

    @hookimpl
    def pollux_decode(self, response: HttpResponse) -> Reply:
        body = response.body
        calls = tuple(ToolCall(**call) for call in body.get("tool_calls", ()))
        return Reply(
            text=body.get("text", ""),
            reasoning=body.get("reasoning"),
            tool_calls=calls,
            usage=Usage(**body["usage"]),
            finish_reason="tool_calls" if calls else "stop",
        )

    @hookimpl
    def pollux_stream(self, request: HttpRequest, client: MockStore) -> EventStream:
        from pollux_sync.data.streaming import EventStream, ServerEvent

        answer = self.pollux_send(request, client)
        return EventStream(HttpResponse(status=200), [ServerEvent("", answer.body)])

    @hookimpl
    def pollux_decode_stream(self, stream: EventStream) -> Iterator[Delta | Reply]:
        for _, body in stream:
            reply = self.pollux_decode(attrs.evolve(stream.response, body=body))
            yield from split_into_words(reply)
            yield reply

    @hookimpl
    def pollux_encode_deferred(self, custom_id: str, request: HttpRequest) -> dict[str, Any]:
        return {"id": custom_id, "body": request.body}

    @hookimpl
    def pollux_submit_deferred(self, batch: DeferredBatch, client: MockStore) -> DeferredJob:
        with batch.path.open("rb") as lines:  # as bytes, which end at line feeds alone
            job = MockJob(batch.mark, {line["id"]: line["body"] for line in map(json.loads, lines)})
        return DeferredJob(job_id=client.store_job(job), first=batch.first, request_count=batch.request_count)

    @hookimpl
    def pollux_find_deferred(self, batch: DeferredBatch, client: MockStore) -> DeferredJob | None:
        found = [job_id for job_id, job in client.jobs.items() if job.mark == batch.mark]
        count = batch.request_count
        return DeferredJob(job_id=found[0], first=batch.first, request_count=count) if found else None

    @hookimpl
    def pollux_find_uploads(self, mark: str, client: MockStore) -> list[Asset]:
        names = sorted(name for name in client.files if name.startswith(_address(mark)))
        return [Asset(id=name, mime_type=OCTET_STREAM, uri=name) for name in names]

    @hookimpl
    def pollux_inspect_deferred(self, job: DeferredJob, client: MockStore) -> JobState:
        if client.read_job(job.job_id).is_cancelled:
            return JobState(status="cancelled", provider_status="CANCELLED", completed_at=time.time())
        count = job.request_count
        return JobState(status="completed", provider_status="DONE", succeeded=count, completed_at=time.time())

    @hookimpl
    def pollux_collect_deferred(self, job: DeferredJob, client: MockStore) -> Iterator[DeferredRow]:
        kept = client.read_job(job.job_id)
        if kept.is_cancelled:
            return iter(())
        answers = ((name, HttpResponse(status=200, body=_answer(body))) for name, body in kept.bodies.items())
        return (DeferredRow(custom_id=name, status="succeeded", response=answer) for name, answer in answers)

    @hookimpl
    def pollux_cancel_deferred(self, job: DeferredJob, client: MockStore) -> bool:
        client.jobs[job.job_id] = attrs.evolve(client.read_job(job.job_id), is_cancelled=True)
        return True

    @hookimpl
    def pollux_upload(self, source: Source, client: MockStore, name: str) -> Asset:
        address = client.store_file(name)
        return Asset(id=address, mime_type=source.mime_type, uri=address)

    @hookimpl
    def pollux_delete_upload(self, asset: Asset, client: MockStore) -> bool:
        client.delete_file(asset.id)
        return True

    @hookimpl
    def pollux_list_models(self) -> list[ModelInfo]:
        return [ModelInfo(id="mock", display_name="Mock")]

    @hookimpl
    def pollux_check_ready(self) -> bool:
        return True


def _address(name: str) -> str:
    return f"mock://uploaded/{name}"


def _turn(turn: Turn) -> dict[str, Any]:
    return attrs.asdict(attrs.evolve(turn, parts=())) | {"parts": [_part(part) for part in turn.parts]}


def _part(part: Part) -> dict[str, str]:
    if isinstance(part, TextPart):
        return {"text": part.text}
    if isinstance(part, AssetPart):
        return {"asset": part.asset.id}
    return {"uri": part.uri} if isinstance(part, UriPart) else {}


def _answer(body: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"usage": _USAGE | ({"cached_tokens": 10} if body.get("cache") else {})}
    if body.get("reasoning_effort") or body.get("reasoning_budget_tokens"):
        answer["reasoning"] = f"mock reasoning about: {_said(body)}"
    tool = _tool_to_call(body)
    if tool is not None:
        arguments = json.dumps(build_example(tool.get("parameters") or {"type": "object"}))
        answer["tool_calls"] = [{"id": "call_0", "name": tool["name"], "arguments": arguments}]
    elif body.get("schema") is not None:
        answer["text"] = json.dumps(build_example(body["schema"]))
    else:
        answer["text"] = f"echo: {_said(body)}"
    return answer


def split_into_words(reply: Reply) -> Iterator[Delta]:
    """The reply as if it had come bit by bit."""
    from pollux_sync.data.streaming import ReasoningDelta, TextDelta, split_into_deltas

    for delta in split_into_deltas(reply):
        if isinstance(delta, TextDelta | ReasoningDelta):
            yield from map(type(delta), re.findall(r"\s*\S+\s*", delta.text))
        else:
            yield delta


def _tool_to_call(body: dict[str, Any]) -> dict[str, Any] | None:
    tools, choice, history = body.get("tools"), body.get("tool_choice"), body.get("history")
    if not tools or choice == "none" or (history and history[-1]["role"] == "tool"):
        return None
    named: list[dict[str, Any]] = [
        tool for tool in tools if isinstance(choice, dict) and tool["name"] == choice["name"]
    ]
    return (named or tools)[0]


def _said(body: dict[str, Any]) -> str:
    texts = [part.get("text", "") for part in body["parts"]]
    texts += [body.get("prompt") or "", *(turn["content"] for turn in reversed(body["history"]))]
    return next((text for text in texts if text.strip()), "")[:_ECHOED]
