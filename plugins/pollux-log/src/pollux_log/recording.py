"""Calls and replies -> records. Only the fields that are listed are written: no headers, no keys."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

import attrs

from pollux_log.records import FIELDS, LogFile
from pollux_sync.plugin import ConfigurationError, PolluxError, Reply, TextPart, hookimpl, read_variable

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator, Iterable, Iterator

    from pollux_log.records import Kind
    from pollux_sync.plugin import Call, DeferredBatch, DeferredJob, Delta, Hooks

log = logging.getLogger("pollux_log")


class Log:
    """Writes a record of each call into a SQLite file.

    * ``path``: the file. Default: POLLUX_LOG_PATH, else ``~/.local/share/pollux-sync/log.sqlite``.
    * ``fields``: which of `FIELDS` are written. Default: POLLUX_LOG_FIELDS, separated by commas, else all.

    A file that cannot be opened is an error before a call is sent. One that fails later is reported in Python's log,
    and costs no answer.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, fields: Iterable[str] | None = None) -> None:
        self._file = LogFile(path)
        self._fields = _choose_fields(fields)

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        self._file.close()

    @hookimpl(wrapper=True)
    def pollux_call(self, call: Call, hooks: Hooks) -> Generator[None, Reply, Reply]:
        self._file.open()
        recording = _Recording("call", call, hooks)
        try:
            reply = yield
        except PolluxError as error:
            self._add(recording.describe_failure(error))
            raise
        self._add(recording.describe_reply(reply))
        return reply

    @hookimpl
    def pollux_call_stream(
        self, call: Call, proceed: Callable[[Call], Iterator[Delta | Reply]], hooks: Hooks
    ) -> Iterator[Delta | Reply]:
        self._file.open()
        recording = _Recording("stream", call, hooks)
        try:
            for item in proceed(call):
                if isinstance(item, Reply):
                    self._add(recording.describe_reply(item))
                yield item
        except PolluxError as error:
            self._add(recording.describe_failure(error))
            raise

    @hookimpl(wrapper=True)
    def pollux_call_deferred(self, call: Call, job: DeferredJob, hooks: Hooks) -> Generator[None, Reply, Reply]:
        recording = _Recording("deferred", call, hooks)
        try:
            reply = yield
        except PolluxError as error:
            self._complete(job, call, recording.describe_failure(error))
            raise
        self._complete(job, call, recording.describe_reply(reply))
        return reply

    @hookimpl(wrapper=True)
    def pollux_encode_deferred(self, mark: str, call: Call) -> Generator[None, dict[str, Any], dict[str, Any]]:
        self._file.open()
        row = yield
        # The prompt is known only now: when the job has ended there is its index alone.
        facts = {**_describe_call("deferred", call), "mark": mark, "call_index": call.index}
        self._add(facts)
        return row

    @hookimpl(wrapper=True)
    def pollux_submit_deferred(self, batch: DeferredBatch) -> Generator[None, DeferredJob, DeferredJob]:
        job = yield
        self._name_job(job, batch)
        return job

    @hookimpl(wrapper=True)
    def pollux_find_deferred(self, batch: DeferredBatch) -> Generator[None, DeferredJob | None, DeferredJob | None]:
        job = yield
        if job is not None:
            self._name_job(job, batch)
        return job

    def _name_job(self, job: DeferredJob, batch: DeferredBatch) -> None:
        # The mark of a batch is that of its submission, with the index of its first request.
        mark = batch.mark.rpartition("-")[0]
        self._write(self._file.name_job, job.job_id, mark, batch.first, batch.request_count)

    def _add(self, facts: dict[str, Any]) -> None:
        self._write(self._file.add, self._choose(facts))

    def _complete(self, job: DeferredJob, call: Call, facts: dict[str, Any]) -> None:
        # Its prompt and sources were written when it was submitted.
        known = {name: value for name, value in self._choose(facts).items() if name not in {"prompt", "sources", "at"}}
        self._write(self._file.complete, job.job_id, call.index, {"at": facts["at"], **known})

    def _choose(self, facts: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in facts.items() if name not in FIELDS or name in self._fields}

    def _write(self, write: Callable[..., None], *values: object) -> None:
        try:
            write(*values)
        # Whatever it is: the answer is there, and paid for.
        except Exception as error:  # noqa: BLE001
            log.warning("a call cannot be written to %s: %s", self._file.path, error)


class _Recording:
    """A call from its beginning on, as the facts that may be written."""

    def __init__(self, kind: Kind, call: Call, hooks: Hooks) -> None:
        self._facts = {**_describe_call(kind, call), "provider": hooks.info.name}
        self._started = time.monotonic()

    def describe_reply(self, reply: Reply) -> dict[str, Any]:
        """Return the facts of a call that was answered."""
        response = reply.response
        raw = None if response is None or response.body is None else response.content or _encode(response.body)
        return self._facts | {
            "answer": reply.text,
            "tool_calls": [attrs.asdict(tool_call) for tool_call in reply.tool_calls] or None,
            "finish_reason": reply.finish_reason,
            "usage": reply.usage.to_dict(),
            "cost_usd": None if reply.cost_usd is None else f"{reply.cost_usd:f}",
            "duration_s": self._read_duration(),
            "attempts": [attrs.asdict(attempt) for attempt in reply.attempts],
            "notes": None if reply.notes is None else dict(reply.notes),
            "raw": raw,
        }

    def describe_failure(self, error: PolluxError) -> dict[str, Any]:
        """Return the facts of a call that failed."""
        return self._facts | {
            "duration_s": self._read_duration(),
            "attempts": [attrs.asdict(attempt) for attempt in error.attempts],
            "error": f"{type(error).__name__}: {error.message}",
        }

    def _read_duration(self) -> float | None:
        """Return the seconds since the beginning; None for a call of a job, of which only the collection is seen."""
        return None if self._facts["kind"] == "deferred" else time.monotonic() - self._started


def _describe_call(kind: Kind, call: Call) -> dict[str, Any]:
    sources = [part.source.identifier for part in call.parts if not isinstance(part, TextPart)]
    return {
        "at": time.time(),
        "kind": kind,
        "model": call.model,
        "prompt": call.prompt,
        "sources": sources or None,
    }


def _encode(body: object) -> bytes:
    # An answer may hold half a character, which UTF-8 cannot: as an escape it stays what it was.
    return json.dumps(body).encode()


def _choose_fields(fields: Iterable[str] | None) -> frozenset[str]:
    if fields is None:
        listed = read_variable("POLLUX_LOG_FIELDS")
        fields = FIELDS if listed is None else [name.strip() for name in listed.split(",") if name.strip()]
    chosen = frozenset([fields] if isinstance(fields, str) else fields)
    if unknown := chosen - set(FIELDS):
        raise ConfigurationError(f"a log has no field {min(unknown)!r}", hint=f"choose among: {', '.join(FIELDS)}")
    return chosen
