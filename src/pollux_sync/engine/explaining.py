"""Request -> Explanation: planned and encoded as for sending, and nothing of it sent."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, cast

import attrs

from pollux_sync.data.explanation import ExplainedRequest, ExplainedSource, ExplainedUpload, Explanation
from pollux_sync.data.reply import Usage
from pollux_sync.data.request import Asset, AssetPart, TextPart
from pollux_sync.engine.enveloping import cache_mode
from pollux_sync.engine.planning import plan_calls
from pollux_sync.engine.preparing import wanted_uploads, with_assets
from pollux_sync.engine.retrying import request_of, with_retries
from pollux_sync.engine.sending import map_threads
from pollux_sync.errors import ConfigurationError, PolluxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from decimal import Decimal

    from pollux_sync.data.provider import Address, HttpRequest
    from pollux_sync.data.request import Call, Request, UploadPart
    from pollux_sync.hooks.relay import Hooks

_CHARACTERS_A_TOKEN = 4
#: Stands for a key whose provider declares no variable.
_ANY_KEY = "API_KEY"


@attrs.frozen
class _Encoded:
    """A call after every rewriting, what would be sent for it, and the input tokens that the provider counted."""

    call: Call
    request: HttpRequest
    count: int | None = None


def explained(request: Request, hooks: Hooks, *, counts_tokens: bool = False) -> Explanation:
    """What sending the request would mean. Raises what planning, rewriting and encoding raise.

    With ``counts_tokens`` the provider is asked once all of that is done: APIError when it does not answer.
    """
    if counts_tokens and not hooks.counts_tokens:
        raise ConfigurationError(
            f"provider {hooks.info.name!r} does not count tokens",
            hint="leave count_tokens out; estimated_input_tokens is a rough guess that asks nobody",
        )
    plan = plan_calls(request, hooks, is_dry_run=True)
    uploads = {key: _upload(number, part) for number, (key, part) in enumerate(wanted_uploads(plan).items(), start=1)}
    stored = {key: Asset(id=upload.id, mime_type=upload.mime_type) for key, upload in uploads.items()}
    calls = [with_assets(call, stored) for call in plan.calls]
    encoded = [_encoded(call, hooks) for call in calls]
    if counts_tokens:
        encoded = _counted(encoded, hooks)
    lowered = plan.answer_format.lowered if plan.answer_format else None
    explanation = Explanation(
        provider=hooks.info.name,
        model=request.config.model,
        requests=tuple(_requests(encoded, hooks)),
        sources=tuple(_sources(request, calls, hooks)),
        uploads=tuple(uploads.values()),
        cache_mode=cache_mode(plan),
        cache=request.options.cache.name if request.options.cache else None,
        response_schema=lowered.schema if lowered else None,
        findings=tuple(map(str, lowered.findings)) if lowered else (),
    )
    scrubbed: Explanation = _scrubbed(explanation, hooks.scrub)
    return scrubbed


def _upload(number: int, part: UploadPart) -> ExplainedUpload:
    source = part.source
    return ExplainedUpload(
        id=f"upload-{number}",
        identifier=source.identifier,
        mime_type=source.mime_type,
        size_bytes=source.size_bytes,
        sha256=part.identity,
    )


def _encoded(call: Call, hooks: Hooks) -> _Encoded:
    """The call's request as it is now: whatever the caller changes later does not show in it."""
    try:
        call = hooks.rewrite_call(call)
        request = request_of(call, hooks)
        content = request.content
    except PolluxError as error:
        error.call_idx = call.index
        raise
    return _Encoded(call, attrs.evolve(request, body=None if content is None else json.loads(content)))


def _counted(encoded: Sequence[_Encoded], hooks: Hooks) -> list[_Encoded]:
    counted: list[_Encoded | None] = [None] * len(encoded)
    stop = threading.Event()
    map_threads(lambda one: _with_count(one, hooks, stop), encoded, hooks.config.request_concurrency, stop, counted)
    return cast("list[_Encoded]", counted)


def _with_count(one: _Encoded, hooks: Hooks, stop: threading.Event) -> _Encoded:
    """Without a count where the call has files: they are still to be uploaded."""
    if any(isinstance(part, AssetPart) for part in one.call.all_parts):
        return one

    def attempt() -> tuple[int | None, None]:
        return hooks.count_tokens(one.request, one.call, hooks.config.timeout_s), None

    try:
        count, _ = with_retries(attempt, hooks, stop, phase="metadata")
    except PolluxError as error:
        error.call_idx = one.call.index
        raise
    return attrs.evolve(one, count=count)


def _requests(encoded: Sequence[_Encoded], hooks: Hooks) -> Iterator[ExplainedRequest]:
    address, key_header = hooks.address(), _key_header(hooks)
    for one in encoded:
        estimate = _estimated_tokens(one.call)
        tokens = estimate if one.count is None else one.count
        yield ExplainedRequest(
            method=one.request.method,
            path=one.request.path,
            url=None if address.base_url is None else address.base_url.rstrip("/") + one.request.path,
            headers=_headers(one.request, address),
            body=one.request.body,
            key_header=None if address.base_url is None else key_header,
            estimated_input_tokens=estimate,
            counted_input_tokens=one.count,
            lowest_price=_price(one.call, tokens, 0, hooks),
            highest_price=_price(one.call, tokens, one.call.options.max_tokens, hooks),
        )


def _headers(request: HttpRequest, address: Address) -> dict[str, str]:
    return address.headers | request.headers | ({} if request.body is None else {"Content-Type": "application/json"})


def _key_header(hooks: Hooks) -> str | None:
    """The header that carries the key, with the name of the variable that holds it."""
    header, template = hooks.info.auth
    key = f"${next(iter(hooks.info.key_env), _ANY_KEY)}" if hooks.config.api_key else hooks.info.placeholder_key
    return f"{header}: {template.format(key=key)}" if key else None


def _price(call: Call, input_tokens: int | None, output_tokens: int | None, hooks: Hooks) -> Decimal | None:
    if input_tokens is None or output_tokens is None:
        return None
    total = input_tokens + output_tokens
    return hooks.price(call.model, Usage(input_tokens=input_tokens, output_tokens=output_tokens, total_tokens=total))


def _sources(request: Request, calls: Sequence[Call], hooks: Hooks) -> Iterator[ExplainedSource]:
    parts = (part for call in calls for part in call.parts if isinstance(part, AssetPart))
    uploaded = {part.source: part.asset.id for part in parts}
    ruled = ((source, hooks.info.rule_for(source)) for source in request.sources)
    for source, delivery in ((source, rule.delivery) for source, rule in ruled if rule):
        yield ExplainedSource(
            identifier=source.identifier,
            source_type=source.source_type,
            mime_type=source.mime_type,
            size_bytes=source.size_bytes,
            delivery=delivery,
            upload=uploaded.get(source),
        )


def _estimated_tokens(call: Call) -> int | None:
    """A rough guess, None for a call that holds more than text."""
    parts = [part for part in call.all_parts if isinstance(part, TextPart)]
    if len(parts) < len(call.all_parts) or call.options.cache is not None:
        return None
    turns = call.conversation.turns if call.conversation else ()
    texts = [call.options.system_instruction, call.prompt, *(part.text for part in parts)]
    texts += [text for turn in turns for text in (turn.content, *(called.arguments for called in turn.tool_calls))]
    texts += [json.dumps(told) for told in (*(call.options.tools or ()), call.response_schema) if told is not None]
    return -(-sum(len(text) for text in texts if text) // _CHARACTERS_A_TOKEN)


def _scrubbed(value: Any, scrub: Callable[[str], str]) -> Any:
    """The value with every text in it put through ``scrub``."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, dict):
        return {scrub(name): _scrubbed(inner, scrub) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_scrubbed(inner, scrub) for inner in value)
    if attrs.has(type(value)):
        return attrs.evolve(
            value, **{name: _scrubbed(getattr(value, name), scrub) for name in attrs.fields_dict(type(value))}
        )
    return value
