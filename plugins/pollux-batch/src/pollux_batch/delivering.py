"""Answers -> results: read, parsed, and handed to the thread that waits for them."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from decimal import Decimal
from itertools import repeat
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from pollux_batch.data.results import WorkItemResult
from pollux_batch.data.usage import read_usage
from pollux_sync.data.findings import FINDING_FIELDS, dump_findings
from pollux_sync.errors import APIError, ConfigurationError, PolluxError, SourceError
from pollux_sync.plugin import Reply
from pollux_sync.schemas import AnswerMismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pollux_batch.answering import Answer
    from pollux_batch.data.items import BatchItem, BrokenItem
    from pollux_batch.data.responses import LLMResponse
    from pollux_batch.data.work import Follower, Refused, Work
    from pollux_sync.data.reply import Outcome
    from pollux_sync.schemas import AnswerFormat

_MAX_ERROR = 500
#: The fields of a reply that its metadata have as they are.
_PLAIN_FACTS = ("finish_reason", "model", "service_tier", "reasoning")
_LEAST_PAUSE_S = 0.002


def drain(results: deque[WorkItemResult]) -> Iterator[WorkItemResult]:
    """Return an iterator over the results, each of which it takes out as it yields it.

    Python acts on Ctrl-C between two of its own instructions, and this iterator runs none of them: an interrupted
    reader finds a result either where it was or where it went.
    """
    return map(deque.popleft, repeat(results, len(results)))


class Outbox:
    """The results that wait for their reader. ``ordered`` holds each back until all before it are there."""

    def __init__(self, *, is_ordered: bool, changed: Callable[[], None]) -> None:
        self._is_ordered = is_ordered
        self._announce = changed
        self._lock = threading.Lock()
        self._wakeups: SimpleQueue[None] = SimpleQueue()
        self._ready: deque[WorkItemResult] = deque()
        self._held: dict[int, WorkItemResult] = {}
        self._next = 0
        self._is_wanted = False
        self._is_ended = False
        self._taken_at = 0.0

    def __len__(self) -> int:
        return len(self._ready) + len(self._held)

    def put(self, results: list[WorkItemResult]) -> None:
        """Hand results over."""
        with self._lock:
            for result in results:
                if self._is_ordered:
                    self._held[result.submission_index] = result
                else:
                    self._ready.append(result)
            while self._next in self._held:
                self._ready.append(self._held.pop(self._next))
                self._next += 1
            self._wake_reader()

    def take(self, into: deque[WorkItemResult], timeout_s: float) -> None:
        """Move what is there to ``into``, after a wait for it. An interrupt leaves each result here or there."""
        # Results that come fast are taken together: waking up for each would cost the workers the interpreter.
        pause_s = self._taken_at + _LEAST_PAUSE_S - time.monotonic()
        if pause_s > 0:
            time.sleep(pause_s)
        with self._lock:
            self._is_wanted = not (self._ready or self._is_ended)
        if self._is_wanted:
            with suppress(Empty):
                self._wakeups.get(timeout=timeout_s)
        with self._lock:
            self._is_wanted = False
            into.extend(drain(self._ready))
        self._taken_at = time.monotonic()
        if into:
            self._announce()

    def end(self) -> None:
        """Wait for results no more: all work is done."""
        with self._lock:
            self._is_ended = True
            self._wake_reader()

    def release(self) -> None:
        """Let go what was held back: nothing more comes that it waits for."""
        with self._lock:
            self._ready.extend(map(self._held.pop, sorted(self._held)))

    def _wake_reader(self) -> None:
        if self._is_wanted:
            self._is_wanted = False
            self._wakeups.put(None)


class Reader:
    """Builds results from answers, with the parser of the job."""

    def __init__(self, parser: Callable[[LLMResponse], Any] | None) -> None:
        self._parser = parser

    def read_answer(self, work: Work, answer: Answer) -> WorkItemResult:
        """Return the result of a work that was asked."""
        result = self._build(work, answer.outcome, work.answers)
        result.token_usage = read_usage(answer.usage)
        result.cost = answer.cost
        result.attempts = answer.n_attempts
        result.duration_s = answer.duration_s
        if answer.charges:
            n_tokens = sum(charge.tokens for charge in answer.charges)
            result.metadata = {**(result.metadata or {}), "charged_by_estimate": n_tokens}
        return result

    def read_outcome(self, work: Work, outcome: Outcome) -> WorkItemResult:
        """Return the result of a work."""
        return self._build(work, outcome, work.answers)

    def read_known(self, work: Work, outcome: Outcome, label: str) -> WorkItemResult:
        """Return the result of an item whose answer was in the journal, stored for the item ``label``."""
        result = self._build(work, outcome, work.answers)
        result.replayed = True
        result.deduped_from = label if label != work.label else None
        result.cost = Decimal(0)
        return result

    def follow(
        self, followers: Iterable[Follower], work: Work, outcome: Outcome, *, is_known: bool = False
    ) -> list[WorkItemResult]:
        """Return the results of the items that wait for a work's answer, which may have been in the journal."""
        results = [self._follow(follower, work, outcome) for follower in followers]
        for result in results:
            result.replayed = is_known
        return results

    def refuse(self, refused: Refused) -> WorkItemResult:
        """Return the result of an item that could not be asked."""
        return _fail(refused.index, refused.label, refused.item, refused.error)

    def _follow(self, follower: Follower, work: Work, outcome: Outcome) -> WorkItemResult:
        result = self._build(follower, outcome, work.answers)
        result.deduped_from = work.label
        result.cost = Decimal(0)
        return result

    def _build(self, entry: Work | Follower, outcome: Outcome, answers: AnswerFormat | None) -> WorkItemResult:
        if not isinstance(outcome, Reply):
            return _fail(entry.index, entry.label, entry.item, outcome.error)
        try:
            output = self._read_output(outcome, answers)
        except Exception as error:  # noqa: BLE001 - a parser of the caller's may raise anything, which is its result
            return _fail(entry.index, entry.label, entry.item, error, _describe_reply(outcome))
        return WorkItemResult(
            item_id=entry.label,
            success=True,
            output=output,
            context=entry.item.context,
            submission_index=entry.index,
            metadata=_describe_reply(outcome),
        )

    def _read_output(self, reply: Reply, answers: AnswerFormat | None) -> Any:
        if not reply.has_content:
            raise APIError(
                f"the answer is empty; it ended with {reply.raw_finish_reason or reply.finish_reason or 'no reason'}",
                kind="empty",
                hint="raise Options(max_tokens=...), or change the prompt",
            )
        value = reply.text if answers is None else answers.read(reply.text)
        if self._parser is None:
            return value
        from pollux_batch.data.responses import build_response

        return self._parser(build_response(reply, value))


def _describe_reply(reply: Reply) -> dict[str, Any]:
    # Where an artifact has the name of another fact, it is the same in the provider's form.
    facts = {**(reply.artifacts or {})}
    for name in _PLAIN_FACTS:
        value = getattr(reply, name)
        if value is not None:
            facts[name] = value
    if reply.tool_calls:
        facts["tool_calls"] = [{"id": c.id, "name": c.name, "arguments": c.arguments} for c in reply.tool_calls]
    for name in FINDING_FIELDS:
        found = getattr(reply, name)
        if found:
            facts[name] = dump_findings(found)
    return facts


def _fail(
    index: int,
    label: str,
    item: BatchItem | BrokenItem | None,
    error: Exception,
    metadata: dict[str, Any] | None = None,
) -> WorkItemResult:
    text = error.message if isinstance(error, PolluxError) else str(error)
    return WorkItemResult(
        item_id=label,
        success=False,
        error=f"{type(error).__name__}: {text}"[:_MAX_ERROR],
        exception=error.with_traceback(None),
        error_category=name_category(error),
        context=item.context if item else None,
        submission_index=index,
        metadata=metadata,
    )


def name_category(error: BaseException) -> str:
    """Return the category of an error: the kind of a provider's failure, or what was wrong on this side."""
    if isinstance(error, APIError):
        return error.kind
    if isinstance(error, AnswerMismatch):
        return "validation_error"
    if isinstance(error, SourceError):
        return "source_error"
    if isinstance(error, ConfigurationError):
        return "configuration_error"
    return "pollux_error" if isinstance(error, PolluxError) else "parse_error"
