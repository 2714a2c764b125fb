"""Outcomes -> Envelope: what the caller keeps, and the one place that decides between raising and keeping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pollux_sync.data.reply import USAGE_FIELDS, Failure, Outcome, Reply, ToolCall
from pollux_sync.engine.conversing import next_state
from pollux_sync.errors import ConfigurationError, ToolCallParseError
from pollux_sync.schemas import AnswerMismatch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pollux_sync.data.envelope import AttemptDict, CacheMode, ErrorDict, ResultEnvelope, Status, ToolCallDict
    from pollux_sync.data.reply import Attempt
    from pollux_sync.data.request import Plan, Prepared
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


def keep_partial(interrupt: KeyboardInterrupt, prepared: Prepared, *, duration_s: float) -> None:
    """Let an interrupt that carries ``outcomes`` carry their envelope too, as ``partial_result``."""
    outcomes = getattr(interrupt, "outcomes", ())
    interrupt.partial_result = build_envelope(prepared, outcomes, duration_s=duration_s)  # type: ignore[attr-defined]


def build_envelope(prepared: Prepared, outcomes: Sequence[Outcome], *, duration_s: float) -> ResultEnvelope:
    """The envelope of all outcomes; failed ones have an entry in ``errors``, and as answer what had been streamed."""
    replies = [outcome if isinstance(outcome, Reply) else None for outcome in outcomes]
    structured, schema_errors = _structured(prepared.plan.answer_format, replies)
    raw = [_raw(reply) if reply else None for reply in replies]
    options = prepared.plan.request.options
    errors = [_error(o.error) if isinstance(o, Failure) else None for o in outcomes]
    status = _status(replies)
    states = _states(prepared, replies)
    attempts = [_ledger(outcome) for outcome in outcomes]
    diagnostics: dict[str, Any] = {"raw_responses": raw, "attempts": attempts}
    if prepared.plan.request.per_source:
        diagnostics["calls"] = _labels(prepared)
    if schema_errors is not None:
        diagnostics["schema_errors"] = schema_errors
    usage = _usage(outcomes)
    envelope = {
        "status": status,
        "answers": [_printable(o.text if isinstance(o, Reply) else o.error.partial_text) for o in outcomes],
        "confidence": _CONFIDENCE[status],
        "extraction_method": "text",
        "usage": usage,
        "metrics": {
            "duration_s": duration_s,
            "n_calls": len(outcomes),
            "n_attempts": sum(map(len, attempts)),
            "cache_used": options.cache is not None,
            "cache_mode": cache_mode(prepared.plan),
            "cache_hit": _is_cache_hit(usage),
            "finish_reasons": [reply.finish_reason if reply else None for reply in replies],
        },
        "diagnostics": diagnostics,
        "structured": structured,
        "reasoning": _if_any([reply.reasoning if reply else None for reply in replies]),
        "tool_calls": _tool_calls(replies),
        "errors": errors if any(errors) or options.on_error == "keep" else None,
        "_conversation_state": states[0] if states else None,
        "_conversation_states": _if_any(states) if len(states) > 1 else None,
    }
    return cast("ResultEnvelope", {name: value for name, value in envelope.items() if value is not None})


def result_of(envelope: ResultEnvelope, index: int) -> ResultEnvelope:
    """The result of one prompt of several, as if it had been asked alone: it can be continued like any other.

    ``metrics["duration_s"]`` stays that of all. Raises ConfigurationError for an index that is not there.
    """
    count, given = len(envelope["answers"]), cast("object", index)
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given < count:
        raise ConfigurationError(f"the result has no answer {index!r}", hint=f"it has {count}, counted from 0")
    if count == 1:
        return envelope
    whole = cast("dict[str, Any]", envelope)
    one = {name: _only(value, index) for name, value in whole.items() if name != "_conversation_states"}
    diagnostics = {name: _only(value, index) for name, value in whole["diagnostics"].items()}
    states = whole.get("_conversation_states") or [whole.get("_conversation_state")] * count
    raw = diagnostics["raw_responses"][0] or {}
    (calls,) = one.get("tool_calls", [None])
    is_answered = bool(calls or one["answers"][0].strip())
    usage = dict(raw.get("usage", {}))
    status: Status = "ok" if is_answered else "error"
    one |= {
        "status": status,
        "confidence": _CONFIDENCE[status],
        "usage": usage,
        "metrics": whole["metrics"]
        | {
            "n_calls": 1,
            "n_attempts": len(diagnostics["attempts"][0]),
            "cache_hit": _is_cache_hit(usage),
            "finish_reasons": _only(whole["metrics"]["finish_reasons"], index),
        },
        "diagnostics": diagnostics,
        "_conversation_state": states[index],
    }
    return cast("ResultEnvelope", {name: value for name, value in one.items() if value is not None})


def _only(value: Any, index: int) -> Any:
    return [value[index]] if isinstance(value, list) else value


def tool_arguments(call: ToolCall | Mapping[str, Any]) -> dict[str, Any]:
    """A tool call's arguments as data, of an envelope's ``tool_calls`` or of a Reply.

    Raises ToolCallParseError when the model wrote no JSON object.
    """
    if not isinstance(call, ToolCall):
        call = ToolCall("", call["name"], call["arguments"])
    return call.arguments_dict()


def _printable(text: str) -> str:
    """The text, with what is half a character replaced: files and terminals refuse lone surrogates."""
    if text.isascii():
        return text
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
    answered = [reply is not None and bool(reply.tool_calls or reply.text.strip()) for reply in replies]
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
    raw = {
        "text": reply.text,
        "usage": reply.usage.to_dict(),
        "reasoning": reply.reasoning,
        "tool_calls": [_tool_call(call) for call in reply.tool_calls] if reply.tool_calls else None,
        "response_id": reply.response_id,
        "model": reply.model,
        "finish_reason": reply.finish_reason,
        "raw_finish_reason": reply.raw_finish_reason,
        "provider_state": reply.provider_state,
        "artifacts": reply.artifacts,
    }
    return {name: value for name, value in raw.items() if value is not None}


def _if_any(values: list[Any]) -> list[Any] | None:
    return values if any(values) else None


def _tool_calls(replies: Sequence[Reply | None]) -> list[list[ToolCallDict]] | None:
    """Per prompt what the model wants called; None when nobody wants anything, which is worth no list a prompt."""
    if not any(reply and reply.tool_calls for reply in replies):
        return None
    return [[_tool_call(call) for call in reply.tool_calls] if reply else [] for reply in replies]


def _tool_call(call: ToolCall) -> ToolCallDict:
    try:
        parsed = tool_arguments(call)
    except ToolCallParseError:
        parsed = None
    return {"id": call.id, "name": call.name, "arguments": call.arguments, "arguments_parsed": parsed}


def _is_cache_hit(usage: Mapping[str, int]) -> bool | None:
    return usage["cached_tokens"] > 0 if "cached_tokens" in usage else None


def cache_mode(plan: Plan) -> CacheMode:
    """Which caching the calls ask for."""
    if plan.request.options.cache is not None:
        return "persistent"
    return "implicit" if plan.calls and plan.calls[0].options.implicit_caching else "none"


def _error(error: PolluxError) -> ErrorDict:
    return {
        "type": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "kind": getattr(error, "kind", None),
        "status_code": getattr(error, "status_code", None),
        "retryable": getattr(error, "retryable", False),
    }


def _ledger(outcome: Outcome) -> list[AttemptDict]:
    told = tuple(map(_attempt, outcome.attempts))
    return list(told)  # which takes no room for more, as one that grew does: it adds up over many prompts


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


def _usage(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """The sum over calls of each count that at least one call reported."""
    totals: dict[str, int] = {}
    for outcome in outcomes:
        for name in USAGE_FIELDS:
            count = getattr(outcome.usage, name)
            if count is not None:
                totals[name] = totals.get(name, 0) + count
    return totals


def _states(prepared: Prepared, replies: Sequence[Reply | None]) -> list[dict[str, Any] | None]:
    """Per prompt the conversation so far: when the caller opted in, or gave tools."""
    options = prepared.plan.request.options
    is_wanted = options.wants_conversation or bool(options.tools)
    return [
        next_state(call, reply, prepared.provider) if reply and (is_wanted or reply.tool_calls) else None
        for call, reply in zip(prepared.plan.calls, replies, strict=False)  # an interrupt leaves no replies
    ]
