"""Outcomes -> Envelope: what the caller keeps, and the one place that decides between raising and keeping."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from pollux_sync.data.reply import USAGE_FIELDS, Failure, Outcome, Reply
from pollux_sync.engine.conversing import next_state
from pollux_sync.schemas import AnswerMismatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pollux_sync.data.envelope import AttemptDict, ErrorDict, ResultEnvelope, Status, ToolCallDict
    from pollux_sync.data.reply import Attempt, ToolCall
    from pollux_sync.data.request import Prepared
    from pollux_sync.errors import PolluxError
    from pollux_sync.schemas import AnswerFormat

_CONFIDENCE = {"ok": 0.9, "partial": 0.5, "error": 0.5}


def seal_envelope(prepared: Prepared, outcomes: Sequence[Outcome], *, duration_s: float) -> ResultEnvelope:
    """The envelope of all outcomes.

    With ``on_error="raise"`` and a failure among them, raises the error of the lowest index, the
    envelope as its ``partial_result``. A call that was not sent because another failed does not count.
    """
    envelope = build_envelope(prepared, outcomes, duration_s=duration_s)
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    if failures and prepared.plan.request.options.on_error == "raise":
        raise _first(failures, envelope)
    return envelope


def _first(failures: Sequence[Failure], envelope: ResultEnvelope) -> PolluxError:
    error = next((failure.error for failure in failures if not failure.is_follow_up), failures[0].error)
    error.partial_result = envelope
    if len(envelope["answers"]) > 1:
        error.add_note(
            f"call {error.call_idx}; {len(failures)} of {len(envelope['answers'])} failed: see partial_result"
        )
    return error


def build_envelope(prepared: Prepared, outcomes: Sequence[Outcome], *, duration_s: float) -> ResultEnvelope:
    """The envelope of all outcomes; failed ones have "" as answer and an entry in ``errors``."""
    replies = [outcome if isinstance(outcome, Reply) else None for outcome in outcomes]
    structured, schema_errors = _structured(prepared.plan.answer_format, replies)
    raw = [_raw(reply) if reply else None for reply in replies]
    status = _status(replies)
    optional = {
        "structured": structured,
        "reasoning": _if_any([reply.reasoning if reply else None for reply in replies]),
        "tool_calls": _if_any([[_tool_call(c) for c in reply.tool_calls] if reply else [] for reply in replies]),
        "errors": _if_any([_error(o.error) if isinstance(o, Failure) else None for o in outcomes]),
        "_conversation_state": _state(prepared, replies),
    }
    attempts = [[_attempt(attempt) for attempt in outcome.attempts] for outcome in outcomes]
    diagnostics: dict[str, Any] = {"raw_responses": raw, "attempts": attempts}
    if prepared.plan.request.per_source:
        diagnostics["calls"] = _labels(prepared)
    if schema_errors is not None:
        diagnostics["schema_errors"] = schema_errors
    envelope = {
        "status": status,
        "answers": [_printable(reply.text) if reply else "" for reply in replies],
        "confidence": _CONFIDENCE[status],
        "extraction_method": "text",
        "usage": _usage(replies),
        "metrics": {
            "duration_s": duration_s,
            "n_calls": len(outcomes),
            "n_attempts": sum(map(len, attempts)),
            "cache_used": prepared.plan.request.options.cache is not None,
            "finish_reasons": [reply.finish_reason if reply else None for reply in replies],
        },
        "diagnostics": diagnostics,
    }
    envelope.update((name, value) for name, value in optional.items() if value is not None)
    return cast("ResultEnvelope", envelope)


def _printable(text: str) -> str:
    """The text, with what is half a character replaced: files and terminals refuse lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _labels(prepared: Prepared) -> list[dict[str, Any]]:
    """Which prompt of which source each answer belongs to."""
    request = prepared.plan.request
    return [
        {"prompt": index, "source": source.identifier}
        for source in request.sources
        for index in range(len(request.prompts))
    ]


def _status(replies: Sequence[Reply | None]) -> Status:
    answered = [bool(reply and (reply.tool_calls or reply.text.strip())) for reply in replies]
    if all(answered):
        return "ok"
    return "partial" if any(answered) else "error"


def _structured(
    answers: AnswerFormat | None, replies: Sequence[Reply | None]
) -> tuple[list[Any] | None, list[str | None] | None]:
    """Per prompt the typed answer and why there is none; (None, None) without a schema."""
    if answers is None:
        return None, None
    values: list[Any] = []
    errors: list[str | None] = []
    for reply in replies:
        value, error = _read(answers, reply)
        values.append(value)
        errors.append(error)
    return values, errors


def _read(answers: AnswerFormat, reply: Reply | None) -> tuple[Any, str | None]:
    if reply is None or (reply.tool_calls and not reply.text.strip()):
        return None, None
    try:
        return answers.read(reply.text), None
    except AnswerMismatch as mismatch:
        cut = " (the answer was cut off: raise max_tokens)" if reply.finish_reason == "length" else ""
        return None, f"{mismatch}{cut}"


def _raw(reply: Reply) -> dict[str, Any]:
    raw: dict[str, Any] = {"text": reply.text, "usage": reply.usage.to_dict()}
    extras = {
        "reasoning": reply.reasoning,
        "tool_calls": [_tool_call(call) for call in reply.tool_calls] or None,
        "response_id": reply.response_id,
        "model": reply.model,
        "finish_reason": reply.finish_reason,
        "raw_finish_reason": reply.raw_finish_reason,
        "provider_state": reply.provider_state,
        "artifacts": reply.artifacts,
    }
    raw.update((name, value) for name, value in extras.items() if value is not None)
    return raw


def _if_any(values: list[Any]) -> list[Any] | None:
    return values if any(values) else None


def _tool_call(call: ToolCall) -> ToolCallDict:
    try:
        parsed = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        parsed = None
    return {
        "id": call.id,
        "name": call.name,
        "arguments": call.arguments,
        "arguments_parsed": parsed if isinstance(parsed, dict) else None,
    }


def _error(error: PolluxError) -> ErrorDict:
    return {
        "type": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "kind": getattr(error, "kind", None),
        "status_code": getattr(error, "status_code", None),
        "retryable": getattr(error, "retryable", False),
    }


def _attempt(attempt: Attempt) -> AttemptDict:
    return {
        "started_at": attempt.started_at,
        "duration_s": attempt.duration_s,
        "wait_s": attempt.wait_s,
        "status_code": attempt.status_code,
        "kind": attempt.kind,
        "reason": attempt.reason,
        "request_id": attempt.request_id,
    }


def _usage(replies: Sequence[Reply | None]) -> dict[str, int]:
    """The sum over calls of each count that at least one call reported."""
    totals: dict[str, int] = {}
    for reply in filter(None, replies):
        for name in USAGE_FIELDS:
            count = getattr(reply.usage, name)
            if count is not None:
                totals[name] = totals.get(name, 0) + count
    return totals


def _state(prepared: Prepared, replies: Sequence[Reply | None]) -> dict[str, Any] | None:
    """The conversation so far: when the caller opted in, or the first prompt's answer calls tools."""
    first = replies[0] if replies else None
    if first is None or not (first.tool_calls or prepared.plan.request.options.wants_conversation):
        return None
    return next_state(prepared.calls[0], first, prepared.provider)
