"""The mock provider. It answers every kind of call offline, by these rules.

* Text: ``echo: `` and the first 100 characters of the first text that is not blank: sources, prompt, then history.
* Response schema: a minimal instance of it; in JSON mode an empty object.
* Tools: the first turn calls the tool of ``tool_choice``, or the first one, with minimal arguments. The turn after its
  result is text.
* Tools that the provider runs: each was used once, without result.
* Reasoning: one line, if the call asks for it.
* Service tier: the one that the call asks for, if it does.
* Files: stored under ``mock://uploaded/<name>`` until they are deleted.
* Caches: kept with their labels until they expire. A call with an expired cache fails as at a provider; others count 10
  cached tokens.
* Deferred jobs: kept in this process; they have ended at the first look.
* Streams: one word per event.
* Models: the list has one, "mock". Any other name is answered too, and is always ready.
* Usage: 10 input and 10 output tokens per call.

`pollux_sync.testing.Script` replaces these answers by scripted ones and by faults.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Mapping
from datetime import date
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync.data.findings import HostedCall
from pollux_sync.data.mime import OCTET_STREAM
from pollux_sync.data.provider import (
    TEXT_FILE_RULE,
    TEXT_RULE,
    Address,
    HttpRequest,
    HttpResponse,
    ProviderInfo,
    SourceRule,
)
from pollux_sync.data.reply import Reply, ToolCall, Usage
from pollux_sync.data.request import AssetPart, Part, TextPart, UriPart
from pollux_sync.data.rules import CacheLabels, DeferredLimits, PrefixCaching
from pollux_sync.hooks.specs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.data.config import ConfigValues
    from pollux_sync.data.handles import Asset, RemoteCache
    from pollux_sync.data.jobs import DeferredBatch, DeferredJob, DeferredRow, JobState
    from pollux_sync.data.models import ModelInfo
    from pollux_sync.data.request import Call, Turn
    from pollux_sync.data.source import Source
    from pollux_sync.data.streaming import Delta, EventStream
    from pollux_sync.errors import Fault
    from pollux_sync.wire.faults import HttpError

#: The hint for a cache that has expired or was deleted.
CACHE_GONE_HINT = "make a new one with create_cache"
#: Enough to recognise a prompt in a test, and short enough to read beside others.
_MAX_ECHO = 100
_USAGE = {"input_tokens": 10, "output_tokens": 10, "total_tokens": 20}
_SETTINGS = (
    "temperature",
    "top_p",
    "stop",
    "seed",
    "service_tier",
    "parallel_tool_calls",
    "max_tokens",
    "reasoning_effort",
    "reasoning_budget_tokens",
    "reasoning_summary",
    "implicit_caching",
)


def _build_not_found(body: dict[str, Any]) -> HttpError:
    from pollux_sync.wire.faults import HttpError

    return HttpError(HttpResponse(status=404, body=body))


class _AllHosted(Mapping[str, frozenset[str]]):
    """Every tool that providers run, with all of its fields. Loaded when it is looked at, since few calls have any."""

    def __getitem__(self, kind: str) -> frozenset[str]:
        return _list_hosted()[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(_list_hosted())

    def __len__(self) -> int:
        return len(_list_hosted())


@cache
def _list_hosted() -> dict[str, frozenset[str]]:
    from pollux_sync.data.hosted import HOSTED_KINDS

    return {kind: frozenset(attrs.fields_dict(tool)) for kind, tool in HOSTED_KINDS.items()}


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
        *("stop", "seed", "service_tier", "parallel_tool_calls"),
        *("reasoning_effort", "reasoning_budget_tokens", "reasoning_summary", "history", "implicit_caching", "cache"),
    },
    sources=(
        TEXT_RULE,
        TEXT_FILE_RULE,
        SourceRule(source_types={"file"}, delivery="upload"),
        SourceRule(source_types={"stored"}, delivery="stored"),
        SourceRule(source_types={"uri", "youtube", "arxiv"}, delivery="uri"),
    ),
    result_types=("*",),
    hosted_tools=_AllHosted(),
    # What the answers are made of.
    managed_fields={"model", "history", "parts", "prompt", "hosted_tools", "schema", "cache", "stream"},
    managed_by={
        "system": "Options(system_instruction=...)",
        "schema": "Options(response_schema=...)",
        "parts": "sources",
        "prompt": "the prompt",
        "hosted_tools": "Options(tools=[...])",
    },
    has_json_mode=True,
    # The limit of Gemini's caches, so that a label is refused as it would be there.
    cache_labels=CacheLabels(
        max_chars=128, as_of=date(2026, 11, 26), docs="https://ai.google.dev/api/caching#CachedContent"
    ),
    # The times that Anthropic's caches may be kept, so that every value of the option can be tried.
    prefix_caching=PrefixCaching(
        ttls={"5m", "1h"},
        as_of=date(2026, 11, 27),
        docs="https://platform.claude.com/docs/en/build-with-claude/prompt-caching",
    ),
    # The limits of OpenAI's batches, so that a job is split as it would be there.
    deferred=DeferredLimits(max_requests=50_000, max_bytes=200_000_000),
)


@attrs.frozen
class MockJob:
    """A deferred job of the mock: its mark, and the bodies of its requests by custom id."""

    mark: str
    bodies: dict[str, dict[str, Any]]
    is_cancelled: bool = False


class MockStore:
    """The client of the mock: its files, caches and jobs. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: set[str] = set()
        self._caches: dict[str, RemoteCache] = {}
        self.jobs: dict[str, MockJob] = {}
        self._numbers = count(1)

    def store_file(self, name: str) -> str:
        """Store a file and return its address."""
        address = _build_address(name)
        with self._lock:
            self._files.add(address)
        return address

    def delete_file(self, address: str) -> None:
        """Delete a file. An unknown address is ignored."""
        with self._lock:
            self._files.discard(address)

    @property
    def files(self) -> frozenset[str]:
        """The addresses of the stored files."""
        with self._lock:
            return frozenset(self._files)

    def store_cache(self, model: str, ttl_s: float, label: str | None = None) -> RemoteCache:
        """Create a cache and return it."""
        with self._lock:
            from pollux_sync.data.handles import RemoteCache

            name, end = f"mock-cache-{next(self._numbers)}", time.time() + ttl_s
            cache = RemoteCache(name=name, model=model, expires_at=end, n_tokens=10, label=label)
            self._caches[name] = cache
            return cache

    def extend_cache(self, name: str, ttl_s: float) -> RemoteCache:
        """Set when a cache expires and return it. Raises HttpError (404) if it is unknown or expired."""
        # Under the same lock as the check, so that a cache cannot be deleted between check and renewal.
        with self._lock:
            cache = attrs.evolve(self._require_cache(name), expires_at=time.time() + ttl_s)
            self._caches[name] = cache
            return cache

    def delete_cache(self, name: str) -> None:
        """Delete a cache. Raises HttpError (404) if it is unknown or expired."""
        with self._lock:
            del self._caches[self._require_cache(name).name]

    def check_cache(self, name: str) -> None:
        """Raise HttpError (404) for an unknown or expired cache."""
        with self._lock:
            self._require_cache(name)

    @property
    def caches(self) -> list[RemoteCache]:
        """The caches that have not expired."""
        with self._lock:
            return [cache for cache in self._caches.values() if cache.expires_at > time.time()]

    def store_job(self, job: MockJob) -> str:
        """Store a job and return its id."""
        with self._lock:
            job_id = f"mock-job-{next(self._numbers)}"
            self.jobs[job_id] = job
            return job_id

    def read_job(self, job_id: str) -> MockJob:
        """Return the job of this id. Raises HttpError (404) when it does not exist."""
        # A job lives in this process only: another process that has its file gets the answer of a real service.
        if job_id not in self.jobs:
            body = {"error": {"message": f"this process has no job {job_id}"}}
            raise _build_not_found(body)
        return self.jobs[job_id]

    def _require_cache(self, name: str) -> RemoteCache:
        cache = self._caches.get(name)
        if cache is None or cache.expires_at <= time.time():
            body = {"error": {"code": "cache_missing", "message": f"there is no cache {name}"}}
            raise _build_not_found(body)
        return cache


class MockProvider:
    """The plugin of the mock provider."""

    @hookimpl
    def pollux_provider_info(self) -> ProviderInfo:
        return _INFO

    @hookimpl
    def pollux_open(self, config: ConfigValues) -> MockStore:
        # One store for each client: files and caches of one configuration do not show in another.
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
            "history": [_encode_turn(turn) for turn in turns],
            "parts": [_encode_part(part) for part in call.parts],
            "prompt": call.prompt,
            "tools": [*map(dict, options.functions)],
            "hosted_tools": [{"type": tool.kind, "fields": dict(tool.iter_set())} for tool in options.hosted_tools],
            "tool_choice": options.tool_choice,
            "schema": {"type": "object"} if options.wants_json_object else call.response_schema,
            "cache": options.cache and options.cache.name,
        }
        return HttpRequest(path="/mock", body=body | {name: getattr(options, name) for name in _SETTINGS})

    @hookimpl
    def pollux_send(self, request: HttpRequest, client: MockStore) -> HttpResponse:
        # Checked when the call is sent, as at a provider: the cache may expire between planning and sending.
        body = request.body or {}
        if body.get("cache"):
            client.check_cache(body["cache"])
        return HttpResponse(status=200, body=_build_answer(body))

    @hookimpl
    def pollux_count_tokens(self) -> int:
        return _USAGE["input_tokens"]

    @hookimpl
    def pollux_classify_error(self, error: Exception) -> Fault | None:
        from pollux_sync.wire.faults import HttpError, classify_error

        fault = classify_error(error)
        # To the shared classifier this is a plain 404: how a service reports a lost cache is known to its plugin alone.
        is_missing = isinstance(error, HttpError) and "cache_missing" in str(error.response.body)
        return attrs.evolve(fault, kind="cache_missing", hint=CACHE_GONE_HINT) if fault and is_missing else None

    @hookimpl
    def pollux_create_cache(self, call: Call, ttl_s: float, client: MockStore, label: str | None) -> RemoteCache:
        return client.store_cache(call.model, ttl_s, label)

    @hookimpl
    def pollux_extend_cache(self, name: str, ttl_s: float, client: MockStore) -> RemoteCache:
        return client.extend_cache(name, ttl_s)

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
            hosted_calls=tuple(HostedCall(kind=kind, name=kind) for kind in body.get("hosted_calls", ())) or None,
            text=body.get("text", ""),
            reasoning=body.get("reasoning"),
            tool_calls=calls,
            usage=Usage(**body["usage"]),
            finish_reason="tool_calls" if calls else "stop",
            service_tier=body.get("service_tier"),
        )

    @hookimpl
    def pollux_stream(self, request: HttpRequest, client: MockStore) -> EventStream:
        # Imported late: a script that does not stream does not pay for it.
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
        from pollux_sync.data.jobs import DeferredJob

        # In bytes a line ends at a line feed alone; text mode would also split at a carriage return.
        with batch.path.open("rb") as lines:
            job = MockJob(batch.mark, {line["id"]: line["body"] for line in map(json.loads, lines)})
        return DeferredJob(job_id=client.store_job(job), first=batch.first, request_count=batch.request_count)

    @hookimpl
    def pollux_find_deferred(self, batch: DeferredBatch, client: MockStore) -> DeferredJob | None:
        from pollux_sync.data.jobs import DeferredJob

        # By the mark, which the job file has even when the answer with the job's id was lost.
        job_ids = [job_id for job_id, job in client.jobs.items() if job.mark == batch.mark]
        count = batch.request_count
        return DeferredJob(job_id=job_ids[0], first=batch.first, request_count=count) if job_ids else None

    @hookimpl
    def pollux_find_uploads(self, mark: str, client: MockStore) -> list[Asset]:
        names = sorted(name for name in client.files if name.startswith(_build_address(mark)))
        from pollux_sync.data.handles import Asset

        return [Asset(id=name, mime_type=OCTET_STREAM, uri=name) for name in names]

    @hookimpl
    def pollux_inspect_deferred(self, job: DeferredJob, client: MockStore) -> JobState:
        from pollux_sync.data.jobs import JobState

        if client.read_job(job.job_id).is_cancelled:
            return JobState(status="cancelled", provider_status="CANCELLED", completed_at=time.time())
        count = job.request_count
        return JobState(status="completed", provider_status="DONE", succeeded=count, completed_at=time.time())

    @hookimpl
    def pollux_collect_deferred(self, job: DeferredJob, client: MockStore) -> Iterator[DeferredRow]:
        from pollux_sync.data.jobs import DeferredRow

        stored = client.read_job(job.job_id)
        if stored.is_cancelled:
            return iter(())
        answers = ((name, HttpResponse(status=200, body=_build_answer(body))) for name, body in stored.bodies.items())
        return (DeferredRow(custom_id=name, status="succeeded", response=answer) for name, answer in answers)

    @hookimpl
    def pollux_cancel_deferred(self, job: DeferredJob, client: MockStore) -> bool:
        client.jobs[job.job_id] = attrs.evolve(client.read_job(job.job_id), is_cancelled=True)
        return True

    @hookimpl
    def pollux_upload(self, source: Source, client: MockStore, name: str) -> Asset:
        address = client.store_file(name)
        from pollux_sync.data.handles import Asset

        return Asset(id=address, mime_type=source.mime_type, uri=address)

    @hookimpl
    def pollux_delete_upload(self, asset: Asset, client: MockStore) -> bool:
        client.delete_file(asset.id)
        return True

    @hookimpl
    def pollux_list_models(self) -> list[ModelInfo]:
        from pollux_sync.data.models import ModelInfo

        return [ModelInfo(id="mock", display_name="Mock")]

    @hookimpl
    def pollux_check_ready(self) -> bool:
        return True


def _build_address(name: str) -> str:
    return f"mock://uploaded/{name}"


def _encode_turn(turn: Turn) -> dict[str, Any]:
    return attrs.asdict(attrs.evolve(turn, parts=())) | {"parts": [_encode_part(part) for part in turn.parts]}


def _encode_part(part: Part) -> dict[str, str]:
    if isinstance(part, TextPart):
        return {"text": part.text}
    if isinstance(part, AssetPart):
        return {"asset": part.asset.id}
    return {"uri": part.uri} if isinstance(part, UriPart) else {}


def _build_answer(body: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"usage": _USAGE | ({"cached_tokens": 10} if body.get("cache") else {})}
    asks = body.get("reasoning_effort") or body.get("reasoning_budget_tokens") or body.get("reasoning_summary")
    if asks and body.get("reasoning_summary") != "none":
        answer["reasoning"] = f"mock reasoning about: {_read_first_text(body)}"
    if body.get("hosted_tools"):
        answer["hosted_calls"] = [tool["type"] for tool in body["hosted_tools"]]
    if body.get("service_tier"):
        answer["service_tier"] = "default" if body["service_tier"] == "auto" else body["service_tier"]
    tool = _choose_tool(body)
    if tool is not None:
        arguments = _write_example(tool.get("parameters") or {"type": "object"})
        answer["tool_calls"] = [{"id": "call_0", "name": tool["name"], "arguments": arguments}]
    elif body.get("schema") is not None:
        answer["text"] = _write_example(body["schema"])
    else:
        answer["text"] = f"echo: {_read_first_text(body)}"
    return answer


def _write_example(schema: dict[str, Any]) -> str:
    # Imported here: most answers have no schema.
    from pollux_sync.builtin.examples import build_example

    return json.dumps(build_example(schema))


def split_into_words(reply: Reply) -> Iterator[Delta]:
    """Return the deltas of a reply, one for each word of its text and reasoning."""
    from pollux_sync.data.streaming import ReasoningDelta, TextDelta, split_into_deltas

    for delta in split_into_deltas(reply):
        if isinstance(delta, TextDelta | ReasoningDelta):
            # Each word keeps the blanks around it, so that the deltas join to the exact text.
            yield from map(type(delta), re.findall(r"\s*\S+\s*", delta.text))
        else:
            yield delta


def _choose_tool(body: dict[str, Any]) -> dict[str, Any] | None:
    choice, history = body.get("tool_choice"), body.get("history")
    # Raw fields may have added tools of a service, which it would run itself.
    tools = [tool for tool in body.get("tools") or () if _is_function(tool)]
    # After a tool's result the answer is text, so that every tool loop with the mock ends.
    if not tools or choice == "none" or (history and history[-1]["role"] == "tool"):
        return None
    named: list[dict[str, Any]] = [
        tool for tool in tools if isinstance(choice, dict) and tool["name"] == choice.get("name")
    ]
    return (named or tools)[0]


def _is_function(tool: Any) -> bool:
    return isinstance(tool, dict) and tool.get("type", "function") == "function" and isinstance(tool.get("name"), str)


def _read_first_text(body: dict[str, Any]) -> str:
    texts = [part.get("text", "") for part in body["parts"]]
    texts += [body.get("prompt") or "", *(turn["content"] for turn in reversed(body["history"]))]
    return next((text for text in texts if text.strip()), "")[:_MAX_ECHO]
