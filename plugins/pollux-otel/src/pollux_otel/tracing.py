"""Calls, streams and tools -> spans. A tracer that fails changes no call."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode

from pollux_otel.attributes import (
    describe_attempt,
    describe_call,
    describe_reply,
    describe_tool,
    dump_answer,
    dump_question,
    name_error,
)
from pollux_sync.plugin import PolluxError, Reply, StreamStart, hookimpl, read_variable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from contextlib import AbstractContextManager

    from pollux_otel.attributes import Attributes
    from pollux_sync.plugin import Attempt, Call, DeferredJob, Delta, Hooks, ToolCall, ToolResult

#: The variable of OpenTelemetry by which content is asked for.
_CONTENT_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_NS_PER_S = 1_000_000_000

log = logging.getLogger("pollux_otel")


class Otel:
    """Traces calls with OpenTelemetry: a span for each call, with one inside for each attempt, and for each tool.

    * ``content``: whether prompts and answers are attributes of the spans. Default: what
      OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT says, else no.
    * ``tracer_provider``: where spans go. Default: the provider of the process.
    """

    def __init__(self, *, content: bool | None = None, tracer_provider: trace.TracerProvider | None = None) -> None:
        self._has_content = _wants_content() if content is None else content
        self._tracer = trace.get_tracer("pollux_otel", tracer_provider=tracer_provider)

    @hookimpl(wrapper=True)
    def pollux_call(self, call: Call, hooks: Hooks) -> Generator[None, Reply, Reply]:
        with self._open_call(call, hooks) as recording, recording.activate():
            reply = yield
            recording.add_reply(reply)
            return reply

    @hookimpl
    def pollux_call_stream(
        self, call: Call, proceed: Callable[[Call], Iterator[Delta | Reply]], hooks: Hooks
    ) -> Iterator[Delta | Reply]:
        with self._open_call(call, hooks, facts={"gen_ai.request.stream": True}) as recording:
            # The span is the current one only while the answer is read: between two items the caller's code runs.
            with recording.activate():
                items = iter(proceed(call))
            while True:
                with recording.activate():
                    item = next(items, None)
                if item is None:
                    return
                recording.add_item(item)
                yield item

    @hookimpl(wrapper=True)
    def pollux_call_deferred(self, call: Call, job: DeferredJob, hooks: Hooks) -> Generator[None, Reply, Reply]:
        # Nothing is sent: the answer has been there before.
        with self._open_call(call, hooks, SpanKind.INTERNAL, facts={"pollux.job_id": job.job_id}) as recording:
            reply = yield
            recording.add_reply(reply)
            return reply

    @hookimpl(wrapper=True)
    def pollux_call_tool(self, call: ToolCall) -> Generator[None, ToolResult, ToolResult]:
        # What goes in and out is in the spans of the calls around it, where a redaction has seen it.
        describe = partial(describe_tool, call)
        recording = _Recording(self._tracer, f"execute_tool {call.name}", SpanKind.INTERNAL, describe)
        with recording.keep_open(), recording.activate():
            result = yield
            if result.is_error:
                recording.mark_failed("tool_error")
            return result

    @contextmanager
    def _open_call(
        self, call: Call, hooks: Hooks, kind: SpanKind = SpanKind.CLIENT, *, facts: Attributes | None = None
    ) -> Iterator[_Recording]:
        def describe() -> Attributes:
            return {**describe_call(call, hooks), **(facts or {})}

        recording = _Recording(self._tracer, f"chat {call.model}", kind, describe, has_content=self._has_content)
        with recording.keep_open():
            recording.add_question(call)
            yield recording


class _Recording:
    """One span, from its beginning to its end. What OpenTelemetry raises is logged."""

    def __init__(
        self,
        tracer: trace.Tracer,
        name: str,
        kind: SpanKind,
        describe: Callable[[], Attributes],
        *,
        has_content: bool = False,
    ) -> None:
        self._tracer = tracer
        self._has_content = has_content
        self._started = time.monotonic()
        self._is_first = True
        self._span: Span = INVALID_SPAN
        with _isolate():
            self._span = tracer.start_span(name, kind=kind, attributes=describe())

    @contextmanager
    def keep_open(self) -> Iterator[None]:
        """End the span with the block, as failed if the block raises."""
        try:
            yield
        except GeneratorExit:  # a stream that the caller leaves has not failed
            raise
        except BaseException as error:
            self._add_failure(error)
            raise
        finally:
            with _isolate():
                self._span.end()

    def activate(self) -> AbstractContextManager[Span]:
        """Make the span the current one in a block: what begins in it is inside of the span."""
        return trace.use_span(self._span, record_exception=False, set_status_on_exception=False)

    def add_question(self, call: Call) -> None:
        """Add the content of a call, if it was asked for."""
        with _isolate():
            # A span that is not sampled takes nothing.
            if self._has_content and self._span.is_recording():
                self._span.set_attributes(dump_question(call))

    def add_item(self, item: Delta | Reply) -> None:
        """Add what an item of a stream says."""
        if isinstance(item, Reply):
            self.add_reply(item)
        elif self._is_first and not isinstance(item, StreamStart):
            self._is_first = False
            with _isolate():
                waited_s = time.monotonic() - self._started
                self._span.set_attribute("gen_ai.response.time_to_first_chunk", waited_s)

    def add_reply(self, reply: Reply) -> None:
        """Add an answer, and a span for each attempt at it."""
        with _isolate():
            if self._span.is_recording():
                content = dump_answer(reply) if self._has_content else {}
                self._span.set_attributes({**describe_reply(reply), **content})
                self._add_attempts(reply.attempts)

    def mark_failed(self, kind: str, description: str | None = None) -> None:
        """Mark what the span is about as failed."""
        with _isolate():
            self._span.set_attribute("error.type", kind)
            self._span.set_status(StatusCode.ERROR, description)

    def _add_failure(self, error: BaseException) -> None:
        # A message may quote what was asked.
        self.mark_failed(name_error(error), str(error) if self._has_content else None)
        with _isolate():
            if isinstance(error, PolluxError) and self._span.is_recording():
                self._add_attempts(error.attempts)

    def _add_attempts(self, attempts: tuple[Attempt, ...]) -> None:
        # From the ledger, which knows also of answers that could not be read, and is complete only now.
        place = trace.set_span_in_context(self._span)
        for number, attempt in enumerate(attempts):
            started_ns = int(attempt.started_at * _NS_PER_S)
            attributes = describe_attempt(number, attempt)
            span = self._tracer.start_span("attempt", place, attributes=attributes, start_time=started_ns)
            if attempt.kind is not None:
                span.set_status(StatusCode.ERROR)
            span.end(started_ns + int(attempt.duration_s * _NS_PER_S))


@contextmanager
def _isolate() -> Iterator[None]:
    """Log what a tracer or its processors raise in the block: a call must not fail for its trace."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - see above
        log.warning("a span cannot be written: %s", type(error).__name__)


def _wants_content() -> bool:
    return (read_variable(_CONTENT_VARIABLE) or "").lower() == "true"
