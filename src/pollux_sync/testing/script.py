"""Scripted answers, faults and jobs, with which a script can be tested offline."""

from __future__ import annotations

import copy
import json
import re
import threading
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import attrs

from pollux_sync.builtin.mock import MockStore, split_into_words
from pollux_sync.data.jobs import is_terminal
from pollux_sync.data.provider import HttpRequest, HttpResponse
from pollux_sync.data.reply import Reply
from pollux_sync.data.retry import RetryPolicy
from pollux_sync.data.streaming import EventStream
from pollux_sync.hooks.config import Config
from pollux_sync.hooks.specs import hookimpl
from pollux_sync.wire.faults import HttpError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

    from pollux_sync.data.jobs import DeferredJob, DeferredRow, DeferredStatus, ItemStatus, JobState
    from pollux_sync.data.streaming import Delta

    Rows: TypeAlias = Iterable[DeferredRow]

#: The field of a scripted answer's body that holds the reply.
_REPLY = "scripted_reply"

_FinalAnswer: TypeAlias = "str | dict[str, Any] | list[Any] | Reply | BrokenOff"
Answer: TypeAlias = "_FinalAnswer | Exception | Callable[[dict[str, Any]], Answer]"


@attrs.frozen
class BrokenOff:
    """A streamed answer that fails after ``text`` has arrived. A call without a stream fails without a text."""

    text: str
    error: Exception = attrs.field(factory=ConnectionResetError)

    def copy_error(self) -> Exception:
        """Return a copy of the error, to be raised once."""
        # Python extends the traceback of an exception each time it is raised: one shared object would grow for ever.
        return copy.copy(self.error)


def failing(status: int, message: str = "scripted", *, retry_after_s: float | None = None) -> HttpError:
    """Return the error of an attempt that failed with this HTTP status, as a provider's client raises it."""
    headers = {} if retry_after_s is None else {"retry-after": f"{retry_after_s:g}"}
    return HttpError(HttpResponse(status=status, headers=headers, body={"error": {"message": message}}))


class Script:
    """Middleware that answers physical attempts by a script: ``Config(use_mock=True, plugins=[script])``.

    An answer is a text, a Reply, a dict or list (returned as JSON text), a `BrokenOff`, an exception to raise, or a
    function that takes the body of the request and returns one of these. For exceptions see `failing`;
    ``ConnectionResetError()`` and ``TimeoutError()`` are faults of the network. A stream has one event per word.

    An answer of `on` is for requests that contain its words, the others are for any request. Each is used once, in
    order of arrival. When none is left, ``otherwise`` is the answer, or without it the provider's. ``requests`` lists
    the bodies of all requests.
    """

    def __init__(self, *answers: Answer, otherwise: Answer | None = None) -> None:
        self.requests: list[dict[str, Any]] = []
        self._otherwise = otherwise
        self._lock = threading.Lock()
        self._queues: list[tuple[str, list[Answer]]] = [("", list(answers))]

    def on(self, words: str, *answers: Answer) -> Self:
        """Add answers for requests whose body contains ``words`` anywhere. They precede the general answers."""
        # The last queue is that of the general answers, which match every request.
        self._queues.insert(-1, (words, list(answers)))
        return self

    def build_config(self, **fields: Any) -> Config:
        """Return a Config of the mock with this script innermost, which retries without delays."""
        usual = {"provider": "mock", "model": "mock", "use_mock": True, "retry": RetryPolicy(initial_delay_s=0)}
        return Config(**{**usual, **fields, "plugins": [self, *fields.get("plugins", ())]})

    @property
    def is_used_up(self) -> bool:
        """True if every scripted answer has been used."""
        with self._lock:
            return not any(queue for _, queue in self._queues)

    # tryfirst: before the hooks of the provider, so that nothing is sent.
    @hookimpl(tryfirst=True)
    def pollux_send(self, request: HttpRequest) -> HttpResponse | None:
        answer = self._take_answer(request)
        if isinstance(answer, BrokenOff):
            raise answer.copy_error()
        # As JSON, like the body of any other answer: middleware may store it.
        return None if answer is None else HttpResponse(status=200, body={_REPLY: _build_reply(answer).to_dict()})

    @hookimpl(tryfirst=True)
    def pollux_stream(self, request: HttpRequest) -> EventStream | None:
        answer = self._take_answer(request)
        return None if answer is None else _ScriptedStream(answer)

    @hookimpl(tryfirst=True)
    def pollux_decode_stream(self, stream: EventStream) -> Iterator[Delta | Reply] | None:
        return stream.items() if isinstance(stream, _ScriptedStream) else None

    def _take_answer(self, request: HttpRequest) -> _FinalAnswer | None:
        """Return the next answer. Raises one that is an exception."""
        body = request.body or {}
        answer = self._take_next(body)
        # A loop, because a function may return another function.
        while callable(answer) and not isinstance(answer, Exception):
            answer = answer(body)
        if isinstance(answer, Exception):
            raise BrokenOff("", answer).copy_error()
        return answer

    @hookimpl(wrapper=True)
    def pollux_collect_deferred(self, job: DeferredJob, client: Any) -> Generator[None, Rows, Rows]:
        rows = yield
        # Only the mock keeps the bodies of the requests. With another client the words of `on` match nothing.
        bodies = client.read_job(job.job_id).bodies if isinstance(client, MockStore) else {}
        return [self._answer_row(row, bodies.get(row.custom_id, {})) for row in rows]

    def _answer_row(self, row: DeferredRow, body: dict[str, Any]) -> DeferredRow:
        """Return the row with the next scripted answer; an exception becomes its failure."""
        try:
            response = self.pollux_send(HttpRequest(path="", body=body))
        except Exception as error:  # noqa: BLE001 - a scripted answer may be any exception
            failure = error.response if isinstance(error, HttpError) else None
            return attrs.evolve(row, status="failed", response=None, error=str(error), error_response=failure)
        return attrs.evolve(row, response=response) if response else row

    @hookimpl(tryfirst=True)
    def pollux_decode(self, response: HttpResponse) -> Reply | None:
        body = response.body
        return Reply.from_dict(body[_REPLY]) if isinstance(body, dict) and _REPLY in body else None

    def _take_next(self, body: dict[str, Any]) -> Answer | None:
        text = "\n".join(_iter_texts(body))
        # One lock for both: requests of different threads get their answers in the order in which they are recorded.
        with self._lock:
            self.requests.append(body)
            for words, queue in self._queues:
                if queue and words in text:
                    return queue.pop(0)
        return self._otherwise


def _iter_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for item in value.values() for text in _iter_texts(item))
    elif isinstance(value, list | tuple):
        yield from (text for item in value for text in _iter_texts(item))


class JobScript:
    """Middleware that scripts the course of deferred jobs: ``Config(use_mock=True, plugins=[...])``.

    ``looks`` are the statuses that successive looks at a job find; the last one is repeated. The other arguments name
    requests by the index of their prompt: ``failed`` maps it to an error message, ``expired``, ``cancelled`` and
    ``missing`` list it. A message such as "status 429: slow down" stands for an answer with this status. Rows come in
    reverse order, because a provider may return them in any order.
    """

    def __init__(
        self,
        *looks: DeferredStatus,
        failed: Mapping[int, str] | None = None,
        expired: Iterable[int] = (),
        cancelled: Iterable[int] = (),
        missing: Iterable[int] = (),
    ) -> None:
        self._looks = looks or ("completed",)
        self._count = 0
        self._fates: dict[int, tuple[ItemStatus, str | None]] = {
            index: ("failed", message) for index, message in (failed or {}).items()
        }
        self._fates |= dict.fromkeys(expired, ("expired", None)) | dict.fromkeys(cancelled, ("cancelled", None))
        self._missing = frozenset(missing)

    @hookimpl(wrapper=True)
    def pollux_inspect_deferred(self) -> Generator[None, JobState, JobState]:
        state = yield
        status = self._looks[min(self._count, len(self._looks) - 1)]
        self._count += 1
        if not is_terminal(status):
            # The mock's job has ended already: take back what the state says about its end.
            return attrs.evolve(state, status=status, provider_status=status, succeeded=0, completed_at=None)
        failed = len(self._fates) + len(self._missing)
        succeeded = max(0, state.succeeded - failed)
        return attrs.evolve(state, status=status, provider_status=status, succeeded=succeeded, failed=failed)

    @hookimpl(wrapper=True)
    def pollux_collect_deferred(self) -> Generator[None, Rows, Rows]:
        rows = yield
        # Reversed, since a provider promises no order: a reader that relies on one fails here.
        return [self._apply_fate(row) for row in reversed(list(rows)) if _read_index(row) not in self._missing]

    def _apply_fate(self, row: DeferredRow) -> DeferredRow:
        if _read_index(row) not in self._fates:
            return row
        status, error = self._fates[_read_index(row)]
        return attrs.evolve(row, status=status, error=error, error_response=_read_failure(error or ""), response=None)


def _read_failure(message: str) -> HttpResponse | None:
    """Return the error answer that a message such as "status 429: slow down" describes, None for another message."""
    match = re.fullmatch(r"status (\d{3}): (.*)", message, re.DOTALL)
    return match and HttpResponse(status=int(match[1]), body={"error": {"message": match[2]}})


def _read_index(row: DeferredRow) -> int:
    # A custom id ends with the index of its prompt.
    return int(row.custom_id.rpartition("-")[2])


class _ScriptedStream(EventStream):
    """A scripted answer as a stream, one event per word."""

    def __init__(self, answer: _FinalAnswer) -> None:
        super().__init__(HttpResponse(status=200))
        self._answer = answer

    def items(self) -> Iterator[Delta | Reply]:
        if isinstance(self._answer, BrokenOff):
            yield from split_into_words(Reply(text=self._answer.text))
            raise self._answer.copy_error()
        reply = _build_reply(self._answer)
        yield from split_into_words(reply)
        yield reply


def _build_reply(answer: str | dict[str, Any] | list[Any] | Reply) -> Reply:
    if isinstance(answer, Reply):
        return answer
    text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    return Reply(text=text, finish_reason="stop")
