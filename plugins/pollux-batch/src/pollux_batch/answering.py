"""Work -> answer: one item asked, tried again where that may help, its raw answer kept before it is read."""

from __future__ import annotations

import json
import random
import time
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

import attrs

from pollux_batch.budgeting import estimate_worst_case
from pollux_batch.data.rows import AnswerFormat, AnswerRow, ChargeRow
from pollux_batch.data.work import SentCall
from pollux_batch.distributing import build_loss, is_loss
from pollux_batch.limiting import find_reset
from pollux_sync import stages
from pollux_sync.data.provider import encode_json
from pollux_sync.data.reply import Failure
from pollux_sync.errors import APIError, PolluxError
from pollux_sync.plugin import HttpResponse, Reply, Usage

if TYPE_CHECKING:
    from decimal import Decimal
    from threading import Event

    from pollux_batch.budgeting import Ledger
    from pollux_batch.data.messages import SenderAnswer
    from pollux_batch.data.rows import StoredAnswer
    from pollux_batch.data.settings import Retries
    from pollux_batch.data.work import Work
    from pollux_batch.journaling import Journal
    from pollux_batch.remembering import MemoryJournal
    from pollux_batch.scheduling import Scheduler
    from pollux_sync.data.reply import Outcome
    from pollux_sync.data.request import Call, Redelivery
    from pollux_sync.errors import Attempt, Fault
    from pollux_sync.plugin import HttpRequest

#: Kinds of failures that say something about the provider, not about the item.
_OVERLOADS = frozenset({"capacity", "connection"})
#: Kinds after which the provider may have carried the request out, and charge for it.
_CHARGED = frozenset({"timeout", "malformed"})
#: Made once: every item begins with it.
_NO_USAGE = Usage()


@attrs.define(kw_only=True, weakref_slot=False)
class Answer:
    """The outcome of a work. ``rows`` are its paid answers, the last of them the one that counts.

    ``charges`` are its tries without an answer that may have been charged for.
    """

    outcome: Outcome
    rows: list[AnswerRow] = attrs.field(factory=list)
    charges: list[ChargeRow] = attrs.field(factory=list)
    usage: Usage
    cost: Decimal | None = None
    n_attempts: int = 0
    duration_s: float = 0.0
    #: When the last call was answered, if it still counts as in flight in its scope.
    answered_at: float | None = None


@attrs.frozen(kw_only=True, eq=False)
class Answerer:
    """Answers works with the limits, the retries and the budget of a job. Many threads use it at once."""

    scheduler: Scheduler[Work]
    journal: Journal | MemoryJournal
    ledger: Ledger
    retries: Retries
    stop: Event

    def begin(self, work: Work) -> bool:
        """Have another process carry out the first call of a work; return False if `answer` has to do that.

        It has to where a plugin observes calls or stands around them: that plugin sees a call before it is sent.
        """
        lane = work.lane
        if lane.begin is None or lane.hooks.is_watched or work.stored is not None:
            return False
        try:
            if work.request is None:
                work.request = stages.encode_request(work.call, lane.hooks)
        except PolluxError:
            return False
        work.sent = SentCall(lane.scope.incident, time.monotonic())
        lane.begin(work.request, lane.hooks.config.timeout_s, partial(self._take_back, work, work.sent))
        return True

    def _take_back(self, work: Work, sent: SentCall, answer: SenderAnswer) -> None:
        sent.answer, sent.answered_at = answer, time.monotonic()
        self.scheduler.take_back(work)

    def answer(self, work: Work) -> Answer:
        """Carry a work out. Its scope has admitted the first call, which another process may have carried out."""
        started = time.monotonic() if work.sent is None else work.sent.sent_at
        asking = _Asking(work, self)
        ask = asking.ask_until_fitting
        outcome = stages.execute_call(work.call, work.lane.hooks, ask, is_rewritten=True, stop=self.stop)
        answer = asking.take_answer(outcome)
        answer.duration_s = time.monotonic() - started
        return answer


class _Asking:
    """The calls of one work: the question itself, and repairs of an answer that does not fit its schema."""

    def __init__(self, work: Work, job: Answerer) -> None:
        self._work = work
        self._hooks = work.lane.hooks
        self._scope = work.lane.scope
        self._scheduler = job.scheduler
        self._journal = job.journal
        self._ledger = job.ledger
        self._retries = job.retries
        self._stop = job.stop
        # The scheduler has asked the scope for the first call.
        self._is_admitted = True
        self._sent_at = 0.0
        self._answered_at: float | None = None
        self._sent = work.sent
        self._tries = 0
        self._incident = self._scope.incident if work.sent is None else work.sent.incident
        self._failures = self._throttles = self._outages = 0
        self._rows: list[AnswerRow] = []
        self._charges: list[ChargeRow] = []
        # Of the latest try; there is none yet.
        self._is_charged = True
        self._usage = _NO_USAGE
        self._cost: Decimal | None = None

    def take_answer(self, outcome: Outcome) -> Answer:
        """Return all that is known of the work, now that it has ended."""
        answered_at = self._answered_at
        if answered_at is None:
            self._leave_scope()
        if isinstance(outcome, Failure) and isinstance(outcome.error, APIError):
            self._keep_unread(outcome.error)
            if outcome.error.kind in _CHARGED:
                self._charge()
        attempts = outcome.attempts if isinstance(outcome, Reply) else outcome.error.attempts
        return Answer(
            outcome=outcome,
            rows=self._rows,
            charges=self._charges,
            usage=self._usage,
            cost=self._cost,
            n_attempts=len(attempts),
            answered_at=answered_at,
        )

    def ask_until_fitting(self, call: Call) -> Reply:
        """Return the reply to the question, asked again while it does not fit its schema. Raises APIError."""
        return stages.ask_until_fitting(call, self._work.answers, self._ask)

    def _ask(self, call: Call) -> Reply:
        """Return the reply to one call of the work, from the journal if it is there. Raises APIError."""
        if call is self._work.call and self._work.stored is not None:
            return read_stored(self._work.stored, call, self._hooks)
        if not self._reserve():
            raise APIError("the budget does not allow another call", phase="generate", call_idx=self._work.index)
        key = self._work.key
        if call is not self._work.call:
            key = bytes.fromhex(stages.request_key(call, self._hooks))
            stored = self._journal.find_answers([key]).get(key)
            if stored is not None:
                return read_stored(stored, call, self._hooks)
        return self._ask_delivered(call, key, self._work.redelivery)

    def _ask_delivered(self, call: Call, key: bytes, redelivery: Redelivery | None) -> Reply:
        if redelivery is None:
            return self._ask_provider(call, key)
        ask = partial(self._ask_provider, key=key)
        return stages.request_delivered(call, redelivery, self._stop, ask)

    def _ask_provider(self, call: Call, key: bytes) -> Reply:
        # Encoded for its key already, unless its files were delivered since.
        request = self._work.request if call is self._work.call else None
        request = request or stages.encode_request(call, self._hooks)

        def attempt() -> tuple[Reply, HttpResponse]:
            self._enter_scope()
            self._is_charged = False
            self._tries += 1
            self._sent_at = time.monotonic() if self._sent is None else self._sent.sent_at
            try:
                response, self._answered_at = self._take_sent() or self._send(request)
            except BaseException:
                self._leave_scope()
                raise
            self._respect_quotas(response)
            return self._receive(response, call, key), response

        reply, attempts = stages.call_with_retries(
            attempt, self._hooks, self._stop, phase="generate", call=call, decide=self._decide, wait=self._wait
        )
        return reply.with_attempts(attempts)

    def _take_sent(self) -> tuple[HttpResponse, float] | None:
        """Return the answer to a call that another process has carried out, once. Raises its error."""
        sent, self._sent = self._sent, None
        return None if sent is None else (_unwrap(sent.answer), sent.answered_at)

    def _send(self, request: HttpRequest) -> tuple[HttpResponse, float]:
        """Make one physical attempt; return the answer and when it came."""
        timeout_s, begin = self._hooks.config.timeout_s, self._work.lane.begin
        if begin is None:
            return self._hooks.send(request, timeout_s), time.monotonic()
        inbox: SimpleQueue[SenderAnswer] = SimpleQueue()
        begin(request, timeout_s, inbox.put)
        with self._scheduler.stand_by():
            return _unwrap(inbox.get()), time.monotonic()

    def _respect_quotas(self, response: HttpResponse) -> None:
        quotas = self._hooks.read_rate_limits(response)
        # The lock costs more than all of this: it is taken only where there is a pause.
        reset_s = None if quotas is None else find_reset(quotas)
        if reset_s is not None:
            with self._scheduler.lock:
                self._scope.respect(reset_s, time.monotonic())

    def _receive(self, response: HttpResponse, call: Call, key: bytes) -> Reply:
        """Keep an answer, then read it: one that cannot be read is paid for too."""
        body = response.content if response.content is not None else encode_json(response.body)
        kind: AnswerFormat = "response"
        try:
            reply = stages.decode_reply(response, call, self._hooks)
        except Exception:
            self._keep(key, "unread", body, response, Usage(), None)
            self._charge()
            raise
        if response.body is None:  # it came as events, which are kept as the reply that they make
            kind, body = "reply", encode_json(reply.to_dict())
        cost = None
        try:
            cost = self._settle(reply)
        finally:
            # Also where a plugin fails over its price.
            self._keep(key, kind, body, response, reply.usage, cost)
        return reply

    def _settle(self, reply: Reply) -> Decimal | None:
        """Count what an answer took; return its price if that is known."""
        work, usage = self._work, reply.usage
        self._usage = _add_usage(self._usage, usage)
        if work.n_tokens:
            with self._scheduler.lock:
                self._scope.settle(work.n_tokens, usage.total_tokens)
        if self._ledger.is_limited and None in {usage.input_tokens, usage.output_tokens}:
            # Not known is not free, in this run or the next.
            self._charge()
            return None
        tier = reply.service_tier or work.call.options.priced_tier
        cost = self._hooks.price(work.call.model, usage, tier=tier) if self._hooks.can_price else None
        self._ledger.settle(work.reservation, usage, cost)
        work.reservation = None
        self._add_cost(cost)
        return cost

    def _add_cost(self, cost: Decimal | None) -> None:
        self._cost = cost if self._cost is None or cost is None else self._cost + cost

    def _keep_unread(self, fault: Fault | APIError) -> None:
        """Keep an answer that was none for the client itself, such as one that is no JSON."""
        body = fault.unread_answer
        if fault.kind == "malformed" and body is not None and (not self._rows or self._rows[-1].body != body):
            response = HttpResponse(status=200, headers={}, body=None, content=body)
            self._keep(self._work.key, "unread", body, response, Usage(), None)

    def _keep(  # noqa: PLR0917 - the facts of a row
        self, key: bytes, kind: AnswerFormat, body: bytes, response: HttpResponse, usage: Usage, cost: Decimal | None
    ) -> None:
        self._rows.append(
            AnswerRow(
                key=key,
                ask=self._work.ask,
                label=self._work.label,
                format=kind,
                body=body,
                request_id=response.request_id,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                total_tokens=usage.total_tokens,
                cached_tokens=usage.cached_tokens,
                cost=None if cost is None else str(cost),
                attempts=self._tries,
                duration_s=(self._answered_at or time.monotonic()) - self._sent_at,
                at=time.time(),
            )
        )

    def _enter_scope(self) -> None:
        if self._answered_at is not None:
            # The answer before did not do, so the work goes on.
            self._leave_scope()
        if self._is_admitted:
            return
        now = time.monotonic()
        with self._scheduler.lock:
            self._is_admitted = self._scope.admit(self._work.n_tokens, now)
        if not self._is_admitted and not self._wait_admitted(now):
            raise APIError("interrupted before it was sent", phase="generate", call_idx=self._work.index)

    def _leave_scope(self) -> None:
        if self._is_admitted:
            self._is_admitted = False
            with self._scheduler.lock:
                self._scope.end()
                if self._answered_at is not None:
                    self._scope.record_answer(self._answered_at)
                self._scheduler.announce_change()
            self._answered_at = None

    def _wait_admitted(self, not_before: float) -> bool:
        with self._scheduler.step_aside(self._scope):
            self._is_admitted = self._scheduler.wait_admitted(self._scope, self._work.n_tokens, not_before, self._stop)
        self._incident = self._scope.incident
        return self._is_admitted

    def _decide(self, fault: Fault, ledger: list[Attempt], elapsed_s: float) -> float | str | None:
        """Return the seconds to wait before the next try, or the reason not to try again."""
        now = time.monotonic()
        retries = self._retries
        self._keep_unread(fault)
        if fault.kind == "rate_limit":
            with self._scheduler.lock:
                self._scope.record_throttle(fault.retry_after_s, self._incident, now)
            self._throttles += 1
            if not fault.retryable:
                return None
            # The pause of the scope is what is waited for.
            return 0.0 if self._throttles <= retries.max_throttles else f"refused {self._throttles} times for its rate"
        if fault.kind in _OVERLOADS and fault.retryable and not is_loss(fault):
            with self._scheduler.lock:
                self._scope.record_overload(now)
                is_down = self._scope.is_down(now)
            if is_down:
                return fault.retry_after_s or 0.0
        if fault.kind in _CHARGED:
            self._charge()
        self._failures += 1
        if not fault.retryable or self._failures >= retries.max_attempts:
            return None
        if not self._reserve():
            return "the budget does not allow another try"
        wait_s = min(retries.initial_wait_s * retries.backoff_multiplier ** (self._failures - 1), retries.max_wait_s)
        return max(wait_s * random.uniform(0.5, 1.0), fault.retry_after_s or 0.0)  # noqa: S311 - spreads load

    def _reserve(self) -> bool:
        """Set the budget of another call aside, where that of the last one is settled; return whether there is any."""
        work = self._work
        if work.reservation is None and self._ledger.is_limited:
            work.reservation = self._ledger.reserve(work.call, self._hooks)
        return work.reservation is not None or not self._ledger.is_limited

    def _charge(self) -> None:
        """Count a try that may be charged for as the most that was expected of it, once."""
        if self._is_charged:
            return
        self._is_charged = True
        work = self._work
        worst = work.reservation or estimate_worst_case(work.call, self._hooks)
        self._ledger.settle(work.reservation, Usage(), None)
        work.reservation = None
        self._add_cost(worst.usd)
        cost = None if worst.usd is None else str(worst.usd)
        self._charges.append(ChargeRow(label=work.label, tokens=worst.tokens, cost=cost, at=time.time()))

    def _wait(self, fault: Fault, wait_s: float) -> float | None:
        self._leave_scope()
        started = time.monotonic()
        is_admitted = self._wait_admitted(started + wait_s)
        return time.monotonic() - started if is_admitted else None


def _unwrap(answer: SenderAnswer | None) -> HttpResponse:
    if isinstance(answer, HttpResponse):
        return answer
    raise answer or build_loss("gave no answer")


def read_stored(stored: StoredAnswer, call: Call, hooks: stages.Hooks) -> Reply:
    """Return the reply in a stored answer. Raises what the provider's decoder raises."""
    body = json.loads(stored.body)
    if stored.format == "reply":
        return Reply.from_dict(body)
    headers = {"x-request-id": stored.request_id} if stored.request_id else {}
    return stages.decode_reply(HttpResponse(status=200, headers=headers, body=body, content=stored.body), call, hooks)


def read_known(work: Work, stored: StoredAnswer, journal: Journal | MemoryJournal) -> Outcome:
    """Return the outcome in a stored answer; one that cannot be read must not cost the others."""
    return _Replay(work, stored, journal).read()


def lacks_repair(work: Work, stored: StoredAnswer, journal: Journal | MemoryJournal) -> bool:
    """Return whether a stored answer does not fit its schema, and may still be repaired."""
    if work.answers is None or not work.call.options.schema_repairs:
        return False
    replay = _Replay(work, stored, journal)
    replay.read()
    return replay.lacks_repair


class _Replay:
    """A work answered by the journal alone."""

    def __init__(self, work: Work, stored: StoredAnswer, journal: Journal | MemoryJournal) -> None:
        self._work = work
        self._stored = stored
        self._journal = journal
        self.lacks_repair = False

    def read(self) -> Outcome:
        try:
            return stages.ask_until_fitting(self._work.call, self._work.answers, self._find)
        except PolluxError as error:
            return Failure(error)
        except Exception as error:  # noqa: BLE001 - a decoder of a plugin may raise anything
            return Failure(PolluxError(f"the stored answer cannot be read: {error}"))

    def _find(self, call: Call) -> Reply:
        work = self._work
        if call is work.call:
            return read_stored(self._stored, call, work.lane.hooks)
        # The question again, with an answer that did not fit its schema.
        key = bytes.fromhex(stages.request_key(call, work.lane.hooks))
        repaired = self._journal.find_answers([key]).get(key)
        if repaired is None:
            self.lacks_repair = True
            raise APIError("the answer was not repaired", phase="generate", call_idx=work.index)
        return read_stored(repaired, call, work.lane.hooks)


def _add_usage(one: Usage, two: Usage) -> Usage:
    if one is _NO_USAGE:
        return two
    names = [field.name for field in attrs.fields(Usage)]
    pairs = {name: (getattr(one, name), getattr(two, name)) for name in names}
    return Usage(**{name: b if a is None else a + (b or 0) for name, (a, b) in pairs.items()})
