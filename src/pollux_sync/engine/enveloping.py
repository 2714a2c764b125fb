"""Outcomes -> Envelope: what the caller keeps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

from pollux_sync import schemas
from pollux_sync.data.findings import FINDING_FIELDS, dump_findings
from pollux_sync.data.reply import USAGE_FIELDS, Failure, Outcome, Reply, ToolCall
from pollux_sync.data.result import Envelope
from pollux_sync.engine.conversing import build_state
from pollux_sync.errors import APIError, ConfigurationError, ToolCallParseError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pollux_sync._typed import T
    from pollux_sync.data.envelope import (
        AttemptDict,
        CacheMode,
        CallLabel,
        ConversionDict,
        Diagnostics,
        ErrorDict,
        Metrics,
        ResultEnvelope,
        Status,
        ToolCallDict,
    )
    from pollux_sync.data.options import Options
    from pollux_sync.data.request import Conversion, Plan, Prepared, Request
    from pollux_sync.data.source import Source
    from pollux_sync.errors import Attempt, PolluxError
    from pollux_sync.schemas import AnswerFormat


#: The hints for an answer without content, by the finish reasons that explain it.
_EMPTY_HINTS = {
    "length": "raise max_tokens: they were used up before the answer began, perhaps by thoughts",
    "paused": "the provider paused before the answer began: go on with Options(continue_from=result)",
    "content_filter": "a filter of the provider stopped the answer: change the prompt or the sources",
    "refusal": "the model refused: change the prompt",
}
#: What is said of an answer that does not fit its schema, by the finish reasons that explain it.
_CUT_NOTES = {
    "length": " (the answer was cut off: raise max_tokens)",
    "paused": " (the provider paused before the answer ended: go on with Options(continue_from=result))",
}
_EMPTY_HINT = "ask again; diagnostics['raw_responses'] has all that came"
_KEEP_HINT = ", and Options(on_error='keep') raises no error"


def seal_envelope(prepared: Prepared, outcomes: Sequence[Outcome], *, duration_s: float) -> ResultEnvelope:
    """Return the envelope of all outcomes, or raise: the one place that decides between the two.

    With ``on_error="raise"`` and a failure among them, raises the error of the lowest index with the envelope as its
    ``partial_result``. A call that was not sent because another one failed does not count. A reply without content
    does, unless its finish reason explains it; it stays in the envelope, since it was paid for. In a conversation it is
    not raised: the model may have no more to say, as after the result of a tool.
    """
    envelope = build_envelope(prepared, outcomes, duration_s=duration_s)
    options = prepared.plan.request.options
    if any(envelope.get("errors", ())) and options.on_error == "raise":
        pairs = zip(outcomes, _find_failures(prepared, outcomes), strict=True)
        failures = [failure for outcome, failure in pairs if failure and _is_raised(outcome, options)]
        if failures:
            error = _choose_error(failures, envelope)
            # The frames of the thread that met it say nothing to who asked, unless a plugin has a defect.
            raise error.with_traceback(None) if isinstance(error, APIError) else error
    return envelope


def _is_raised(outcome: Outcome, options: Options) -> bool:
    """Return whether an outcome is raised if it is a failure or a reply without content."""
    if isinstance(outcome, Failure):
        return True
    return not options.wants_conversation and outcome.finish_reason not in _EMPTY_HINTS


def _find_failures(prepared: Prepared, outcomes: Sequence[Outcome]) -> list[Failure | None]:
    """Return for each call its failure, None for one that is answered. A reply without content has one too."""
    failures = [_find_failure(prepared, index, outcome) for index, outcome in enumerate(outcomes)]
    _name_sources(prepared.plan.request, failures)
    return failures


def _find_failure(prepared: Prepared, index: int, outcome: Outcome) -> Failure | None:
    if isinstance(outcome, Failure):
        return outcome
    return None if outcome.has_content else Failure(_build_empty_error(prepared, index, outcome))


def _build_empty_error(prepared: Prepared, index: int, reply: Reply) -> APIError:
    plan, options = prepared.plan, prepared.plan.request.options
    is_kept = plan.is_deferred or options.on_error == "keep" or not _is_raised(reply, options)
    reason = f" (finish reason: {reply.finish_reason})" if reply.finish_reason else ""
    return APIError(
        f"the answer is empty{', although the model reasoned' if reply.reasoning else ''}{reason}",
        hint=_EMPTY_HINTS.get(reply.finish_reason or "", _EMPTY_HINT) + ("" if is_kept else _KEEP_HINT),
        kind="empty",
        provider=prepared.provider,
        phase="generate",
        call_idx=index,
        attempts=reply.attempts,
    )


def _choose_error(failures: Sequence[Failure], envelope: ResultEnvelope) -> PolluxError:
    # A call that was not sent repeats the reason of another one, which is the error to raise.
    error = next((failure.error for failure in failures if not failure.is_follow_up), failures[0].error)
    error.partial_result = envelope
    if len(envelope["answers"]) > 1:
        about = f" about {error.source!r}" if error.source is not None else ""
        error.add_note(
            f"call {error.call_idx}{about}; {len(failures)} of {len(envelope['answers'])} failed: see partial_result"
        )
    return error


def build_envelope(prepared: Prepared, outcomes: Sequence[Outcome], *, duration_s: float) -> ResultEnvelope:
    """Return the envelope of all outcomes.

    One that failed or is empty has an entry in ``errors``; the answer of a failed one is the text that was streamed
    before it failed. Keys without content are left out.
    """
    replies = [outcome if isinstance(outcome, Reply) else None for outcome in outcomes]
    options = prepared.plan.request.options
    structured, schema_errors = _read_structured(prepared.plan.answer_format, replies)
    failures = _find_failures(prepared, outcomes)
    errors = [failure and build_error(failure.error) for failure in failures]
    states = _build_states(prepared, replies)
    status = _decide_status(replies)
    usage = _sum_usage(outcomes)
    attempts = [_build_ledger(outcome) for outcome in outcomes]
    # One dict for all calls: a million prompts must not make a million small envelopes.
    envelope = {
        "status": status,
        "answers": [_read_text(outcome) for outcome in outcomes],
        **_build_compatibility(status),
        "usage": usage,
        "metrics": _build_metrics(prepared.plan, replies, attempts, usage, duration_s),
        "diagnostics": _build_diagnostics(prepared, outcomes, attempts, schema_errors),
        "structured": structured,
        "reasoning": _keep_if_any([reply.reasoning if reply else None for reply in replies]),
        "tool_calls": _build_tool_calls(replies),
        **{
            name: _keep_if_any([dump_findings(getattr(reply, name, None)) for reply in replies])
            for name in FINDING_FIELDS
        },
        # A deferred job accounts for every prompt, also when all were answered.
        "errors": errors if any(errors) or options.on_error == "keep" or prepared.plan.is_deferred else None,
        "_conversation_state": states[0] if states else None,
        "_conversation_states": _keep_if_any(states) if len(states) > 1 else None,
    }
    return _drop_none(envelope)


def _drop_none(fields: Mapping[str, Any]) -> ResultEnvelope:
    return cast("ResultEnvelope", Envelope((name, value) for name, value in fields.items() if value is not None))


def _name_sources(request: Request, failures: Sequence[Failure | None]) -> None:
    """Set the source of each failure, where each call is about one source."""
    for index, failure in enumerate(failures) if request.per_source else ():
        if failure is not None:
            failure.error.source = _find_call_source(request, index).identifier


def _find_call_source(request: Request, index: int) -> Source:
    """Return the source of a call with ``per_source``: all prompts ask about the first source, then about the next."""
    return request.sources[request.source_groups[index // len(request.prompts)]][0]


def _build_compatibility(status: Status) -> dict[str, Any]:
    """Return two keys that say nothing new: scripts written for pollux-ai 1.x may read them."""
    return {"confidence": 0.9 if status == "ok" else 0.5, "extraction_method": "text"}


def _build_metrics(
    plan: Plan,
    replies: Sequence[Reply | None],
    attempts: Sequence[Sequence[AttemptDict]],
    usage: Mapping[str, int],
    duration_s: float,
) -> Metrics:
    metrics: Metrics = {
        "duration_s": duration_s,
        "n_calls": len(replies),
        "n_attempts": sum(map(len, attempts)),
        "cache_used": plan.request.options.cache is not None,
        "cache_mode": read_cache_mode(plan),
        "cache_hit": _read_cache_hit(usage),
        "finish_reasons": [reply.finish_reason if reply else None for reply in replies],
    }
    tiers = [reply.service_tier if reply else None for reply in replies]
    if any(tiers):
        metrics["service_tiers"] = tiers
    costs = [None if reply is None or reply.cost_usd is None else float(reply.cost_usd) for reply in replies]
    return cast("Metrics", {**metrics, **build_costs(costs)})


def build_costs(costs: list[float | None]) -> dict[str, Any]:
    """Return the metrics of these costs, none if no cost is known."""
    known = [cost for cost in costs if cost is not None]
    return {"cost_usd": math.fsum(known), "costs_usd": costs} if known else {}


def _build_diagnostics(
    prepared: Prepared,
    outcomes: Sequence[Outcome],
    attempts: list[list[AttemptDict]],
    schema_errors: list[str | None] | None,
) -> Diagnostics:
    raw_responses = [
        _build_raw_response(outcome) if isinstance(outcome, Reply) else _build_unread_response(outcome.error)
        for outcome in outcomes
    ]
    diagnostics: Diagnostics = {"raw_responses": raw_responses, "attempts": attempts}
    if prepared.plan.conversions:
        diagnostics["conversions"] = [_build_conversion(one) for one in prepared.plan.conversions]
    if prepared.plan.request.per_source:
        diagnostics["calls"] = _build_labels(prepared)
    if schema_errors is not None:
        diagnostics["schema_errors"] = schema_errors
    notes = [dict(outcome.notes) if isinstance(outcome, Reply) and outcome.notes else None for outcome in outcomes]
    if any(notes):
        diagnostics["notes"] = notes
    return diagnostics


def _build_conversion(conversion: Conversion) -> ConversionDict:
    before, after = conversion.source, conversion.converted
    return {"source": before.identifier, "mime_type": before.mime_type, "sent_as": after.mime_type}


def _build_unread_response(error: PolluxError) -> dict[str, Any] | None:
    """Return what arrived of an answer that could not be read: it may be paid for, and so must not be lost."""
    content = error.unread_answer if isinstance(error, APIError) else None
    return None if content is None else {"unread_answer": content.decode("utf-8", "replace")}


def _read_text(outcome: Outcome) -> str:
    return _replace_surrogates(outcome.text if isinstance(outcome, Reply) else outcome.error.partial_text)


def result_of(envelope: ResultEnvelope[T], index: int) -> ResultEnvelope[T]:
    """Return the result of one prompt of several, as if it had been asked alone; it can be continued like any other.

    ``metrics["duration_s"]`` stays that of all. Raises ConfigurationError for an index that does not exist.
    """
    count, given = len(envelope["answers"]), cast("object", index)
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given < count:
        raise ConfigurationError(f"the result has no answer {index!r}", hint=f"it has {count}, counted from 0")
    if count == 1:
        return envelope
    fields = cast("dict[str, Any]", envelope)
    one = {name: _pick(value, index) for name, value in fields.items() if name != "_conversation_states"}
    # Conversions are of the sources, which all prompts may share.
    diagnostics = {
        name: value if name == "conversions" else _pick(value, index) for name, value in fields["diagnostics"].items()
    }
    # With one opted-in prompt, or tool calls of the first alone, there is a single state.
    states = fields.get("_conversation_states") or [fields.get("_conversation_state")] * count
    raw = diagnostics["raw_responses"][0] or {}
    (calls,) = one.get("tool_calls", [None])
    (files,) = one.get("files", [None])
    is_answered = bool(calls or files or one["answers"][0].strip())
    # The envelope only has the sum; each raw response has its own counts.
    usage = dict(raw.get("usage", {}))
    status: Status = "ok" if is_answered else "error"
    one |= {
        "status": status,
        **_build_compatibility(status),
        "usage": usage,
        "metrics": _pick_metrics(fields["metrics"], index)
        | {"n_calls": 1, "n_attempts": len(diagnostics["attempts"][0]), "cache_hit": _read_cache_hit(usage)},
        "diagnostics": diagnostics,
        "_conversation_state": states[index],
    }
    return _drop_none(one)


def _pick_metrics(metrics: Mapping[str, Any], index: int) -> dict[str, Any]:
    picked = {name: _pick(value, index) for name, value in metrics.items()}
    picked.pop("cost_usd", None)
    costs = build_costs(picked.pop("costs_usd", []))
    # The tiers of others say nothing about an answer without one.
    return {name: value for name, value in picked.items() if value != [None] or name != "service_tiers"} | costs


def _pick(value: Any, index: int) -> Any:
    return [value[index]] if isinstance(value, list) else value


def tool_arguments(call: ToolCall | Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool call's arguments as data; the call is one of an envelope's ``tool_calls`` or of a Reply.

    Raises ToolCallParseError when the model did not write a JSON object.
    """
    if not isinstance(call, ToolCall):
        call = ToolCall("", call["name"], call["arguments"])
    return call.arguments_dict()


def _replace_surrogates(text: str) -> str:
    """Return the text without lone surrogates, which files and terminals refuse."""
    # Nearly every text takes this way, and isascii is a flag of the string.
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # Through UTF-16, which joins two halves that a server escaped one by one into their character.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _build_labels(prepared: Prepared) -> list[CallLabel]:
    """Return which prompt of which source each answer belongs to."""
    request = prepared.plan.request
    return [
        {"prompt": index % len(request.prompts), "source": _find_call_source(request, index).identifier}
        for index in range(len(request.source_groups) * len(request.prompts))
    ]


def _decide_status(replies: Sequence[Reply | None]) -> Status:
    answered = [reply is not None and reply.has_content for reply in replies]
    if all(answered):
        return "ok"
    return "partial" if any(answered) else "error"


def _read_structured(
    answers: AnswerFormat | None, replies: Sequence[Reply | None]
) -> tuple[list[Any] | None, list[str | None] | None]:
    """Return for each prompt the typed answer, and the reason where it is missing; (None, None) without a schema."""
    if answers is None:
        return None, None
    values: list[Any] = []
    errors: list[str | None] = []
    for reply in replies:
        value, error = _read_answer(answers, reply)
        values.append(value)
        errors.append(error)
    return values, errors


def _read_answer(answers: AnswerFormat, reply: Reply | None) -> tuple[Any, str | None]:
    # A turn that calls tools has no answer yet that could miss the schema.
    if reply is None or (reply.tool_calls and not reply.text.strip()):
        return None, None
    try:
        return answers.read(reply.text), None
    except schemas.AnswerMismatch as mismatch:
        # The commonest reasons, and those that a user can mend.
        return None, f"{mismatch}{_CUT_NOTES.get(reply.finish_reason or '', '')}"


def _build_raw_response(reply: Reply) -> dict[str, Any]:
    raw = {
        "text": reply.text,
        "usage": reply.usage.to_dict(),
        "reasoning": reply.reasoning,
        "tool_calls": [_build_tool_call(call) for call in reply.tool_calls] if reply.tool_calls else None,
        "response_id": reply.response_id,
        "model": reply.model,
        "finish_reason": reply.finish_reason,
        "raw_finish_reason": reply.raw_finish_reason,
        "service_tier": reply.service_tier,
        "provider_state": reply.provider_state,
        "artifacts": reply.artifacts,
        **{name: dump_findings(getattr(reply, name)) or None for name in FINDING_FIELDS},
    }
    return {name: value for name, value in raw.items() if value is not None}


def _keep_if_any(values: list[Any]) -> list[Any] | None:
    return values if any(values) else None


def _build_tool_calls(replies: Sequence[Reply | None]) -> list[list[ToolCallDict]] | None:
    """Return the tool calls of each prompt; None without any, which saves an empty list a prompt."""
    if not any(reply and reply.tool_calls for reply in replies):
        return None
    return [[_build_tool_call(call) for call in reply.tool_calls] if reply else [] for reply in replies]


def _build_tool_call(call: ToolCall) -> ToolCallDict:
    try:
        parsed = tool_arguments(call)
    except ToolCallParseError:
        parsed = None
    return {"id": call.id, "name": call.name, "arguments": call.arguments, "arguments_parsed": parsed}


def _read_cache_hit(usage: Mapping[str, int]) -> bool | None:
    return usage["cached_tokens"] > 0 if "cached_tokens" in usage else None


def read_cache_mode(plan: Plan) -> CacheMode:
    """Return which caching the calls ask for."""
    if plan.request.options.cache is not None:
        return "persistent"
    return "implicit" if plan.calls and plan.calls[0].options.implicit_caching else "none"


def build_error(error: PolluxError) -> ErrorDict:
    """Return an error as it stands in the envelope."""
    return {
        "type": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "kind": getattr(error, "kind", None),
        "status_code": getattr(error, "status_code", None),
        "retryable": getattr(error, "retryable", False),
        "provider_code": getattr(error, "provider_code", None),
        "source": error.source,
    }


def _build_ledger(outcome: Outcome) -> list[AttemptDict]:
    attempts = tuple(map(_build_attempt, outcome.attempts))
    # A list made from a tuple has no spare room, as one that grew would: over a million prompts that adds up.
    return list(attempts)


def _build_attempt(attempt: Attempt) -> AttemptDict:
    return {
        "started_at": attempt.started_at,
        "duration_s": attempt.duration_s,
        "wait_s": attempt.wait_s,
        "status_code": attempt.status_code,
        "kind": attempt.kind,
        "reason": attempt.reason,
        "request_id": attempt.request_id,
    }


def _sum_usage(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Return the sum over all calls of each count that at least one call reported."""
    totals: dict[str, int] = {}
    for outcome in outcomes:
        for name in USAGE_FIELDS:
            count = getattr(outcome.usage, name)
            if count is not None:
                totals[name] = totals.get(name, 0) + count
    return totals


def _build_states(prepared: Prepared, replies: Sequence[Reply | None]) -> list[dict[str, Any] | None]:
    """Return the conversation state of each prompt, where the caller opted in or gave tools."""
    options = prepared.plan.request.options
    # With tools the next step is continue_tool, and a paused answer is continued: both need the state whether or not
    # it was asked for.
    is_wanted = options.wants_conversation or bool(options.functions)
    return [
        build_state(call, reply, prepared.provider)
        if reply and (is_wanted or reply.tool_calls or reply.finish_reason == "paused")
        else None
        for call, reply in zip(prepared.plan.calls, replies, strict=False)  # an interrupt leaves no replies
    ]
