"""Request -> Explanation: planned and encoded as for sending, but not sent."""

from __future__ import annotations

import json
import threading
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

import attrs

from pollux_sync.data.explanation import (
    ExplainedPrefix,
    ExplainedRequest,
    ExplainedSource,
    ExplainedUpload,
    Explanation,
)
from pollux_sync.data.handles import Asset
from pollux_sync.data.headers import merge_headers
from pollux_sync.data.reply import Usage
from pollux_sync.data.request import AssetPart, InlinePart, TextPart
from pollux_sync.engine.delivering import choose_ways, collect_files, read_inline, replace_files
from pollux_sync.engine.encoding import encode_request
from pollux_sync.engine.enveloping import read_cache_mode
from pollux_sync.engine.planning import plan_calls
from pollux_sync.engine.retrying import request_with_retries
from pollux_sync.engine.threads import map_threads
from pollux_sync.engine.warming import number_prefixes
from pollux_sync.errors import ConfigurationError, PolluxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from decimal import Decimal

    from pollux_sync.data.provider import Address, HttpRequest, ProviderInfo
    from pollux_sync.data.request import Call, FileKey, Plan, Request, UploadPart
    from pollux_sync.hooks.relay import Hooks

# A rule of thumb for English text; the exact count needs the provider.
_CHARACTERS_A_TOKEN = 4
#: Stands for a key whose provider declares no environment variable.
_ANY_KEY = "API_KEY"


@attrs.frozen
class _EncodedCall:
    """A rewritten call, the request that would be sent for it, and its input tokens if the provider counted them."""

    call: Call
    request: HttpRequest
    count: int | None = None


def explain_request(request: Request, hooks: Hooks, *, counts_tokens: bool = False) -> Explanation:
    """Return what sending the request would mean. Raises what planning, rewriting and encoding raise.

    With ``counts_tokens`` the provider counts tokens afterwards: APIError when it does not answer.
    """
    if counts_tokens and not hooks.can_count_tokens:
        raise ConfigurationError(
            f"provider {hooks.info.name!r} does not count tokens",
            hint="leave count_tokens out; estimated_input_tokens is a rough guess made offline",
        )
    plan = plan_calls(request, hooks, is_dry_run=True)
    files = collect_files(plan)
    ways = choose_ways(plan, files, hooks)
    stored = (key for key, way in ways.items() if way == "upload")
    uploads = {key: _describe_upload(number, files[key]) for number, key in enumerate(stored, start=1)}
    delivered: dict[FileKey, Asset | InlinePart] = {
        # Files get made-up ids in place of an upload, so that encoders can write the request.
        key: Asset(id=uploads[key].id, mime_type=part.source.mime_type) if key in uploads else read_inline(part)
        for key, part in files.items()
    }
    calls = number_prefixes([replace_files(call, delivered) for call in plan.calls])
    encoded = [_encode_call(call, hooks) for call in calls]
    if counts_tokens:
        encoded = _count_tokens(encoded, hooks)
    answers = plan.answer_format
    explanation = Explanation(
        provider=hooks.info.name,
        model=request.config.model,
        requests=tuple(_describe_requests(encoded, hooks)),
        sources=tuple(_describe_sources(plan, calls, hooks)),
        uploads=tuple(uploads.values()),
        cache_mode=read_cache_mode(plan),
        cache=request.options.cache.name if request.options.cache else None,
        prefixes=tuple(_describe_prefixes(encoded, hooks)),
        response_schema=answers.sent_schema if answers else None,
        findings=tuple(map(str, answers.lowered.findings)) if answers else (),
    )
    # Everything shown is scrubbed: a caller may have put the key into a prompt or a raw field.
    scrubbed: Explanation = _scrub_texts(explanation, hooks.scrub)
    return scrubbed


def _describe_upload(number: int, part: UploadPart) -> ExplainedUpload:
    source = part.source
    return ExplainedUpload(
        id=f"upload-{number}",
        identifier=source.identifier,
        mime_type=source.mime_type,
        size_bytes=source.size_bytes,
        sha256=part.identity,
    )


def _encode_call(call: Call, hooks: Hooks) -> _EncodedCall:
    """Encode a call in its current state. The body is a copy, so that later changes by the caller do not show in it."""
    try:
        call = hooks.rewrite_call(call)
        request = encode_request(call, hooks)
        content = request.content
    except PolluxError as error:
        error.call_idx = call.index
        raise
    return _EncodedCall(call, attrs.evolve(request, body=None if content is None else json.loads(content)))


def _count_tokens(encoded: Sequence[_EncodedCall], hooks: Hooks) -> list[_EncodedCall]:
    counted: list[_EncodedCall | None] = [None] * len(encoded)
    stop = threading.Event()
    map_threads(lambda one: _add_count(one, hooks, stop), encoded, hooks.config.request_concurrency, stop, counted)
    return cast("list[_EncodedCall]", counted)


def _add_count(one: _EncodedCall, hooks: Hooks, stop: threading.Event) -> _EncodedCall:
    """Return the call with its count; without one where it has files, which would have to be uploaded first."""
    if any(isinstance(part, AssetPart) for part in one.call.all_parts):
        return one
    count_tokens = partial(hooks.count_tokens, one.request, one.call, hooks.config.timeout_s)
    try:
        count = request_with_retries(count_tokens, hooks, phase="metadata", stop=stop)
    except PolluxError as error:
        error.call_idx = one.call.index
        raise
    return attrs.evolve(one, count=count)


def _describe_requests(encoded: Sequence[_EncodedCall], hooks: Hooks) -> Iterator[ExplainedRequest]:
    address, key_header = hooks.resolve_address(), _describe_key_header(hooks)
    for one in encoded:
        estimate = _estimate_tokens(one.call)
        tokens = estimate if one.count is None else one.count
        yield ExplainedRequest(
            method=one.request.method,
            path=one.request.path,
            url=None if address.base_url is None else address.base_url.rstrip("/") + one.request.path,
            # The key is not among them: it is added by the client, and shown by the name of its variable.
            headers=_merge_headers(one.request, address, hooks.info),
            body=one.request.body,
            key_header=None if address.base_url is None else key_header,
            estimated_input_tokens=estimate,
            counted_input_tokens=one.count,
            lowest_price=_find_price(one.call, tokens, 0, hooks),
            highest_price=_find_price(one.call, tokens, one.call.options.max_tokens, hooks),
        )


def _describe_prefixes(encoded: Sequence[_EncodedCall], hooks: Hooks) -> Iterator[ExplainedPrefix]:
    caching = hooks.info.prefix_caching
    for number, group in groupby(encoded, lambda one: one.call.shared_prefix):
        if number is None:
            continue
        members = [*group]
        # Rough as they are, the lengths differ a little. A request that could not be counted has none.
        n_tokens = min((length for one in members if (length := _measure_prefix(one)) is not None), default=None)
        min_tokens = caching.find_min_tokens(members[0].call.model) if caching else None
        yield ExplainedPrefix(
            first=members[0].call.index,
            n_requests=len(members),
            n_tokens=n_tokens,
            min_tokens=min_tokens,
            expected_cached_tokens=_expect_cached_tokens(n_tokens, min_tokens, len(members) - 1),
        )


def _measure_prefix(one: _EncodedCall) -> int | None:
    """Return about how many tokens of a request come before its prompt, None if that is not known."""
    tokens = _estimate_tokens(one.call) if one.count is None else one.count
    return None if tokens is None else max(0, tokens - _count_as_tokens(len(one.call.prompt or "")))


def _expect_cached_tokens(n_tokens: int | None, min_tokens: int | None, n_readers: int) -> int | None:
    if n_tokens is None:
        return None
    return 0 if n_tokens < (min_tokens or 0) else n_tokens * n_readers


def _merge_headers(request: HttpRequest, address: Address, info: ProviderInfo) -> dict[str, str]:
    of_the_body = {} if request.body is None else {"Content-Type": "application/json"}
    return merge_headers(address.headers, request.headers, of_the_body, lists=info.list_headers)


def _describe_key_header(hooks: Hooks) -> str | None:
    """Return the header that carries the key, with the name of the variable in place of the key."""
    header, template = hooks.info.auth
    key = f"${next(iter(hooks.info.key_env), _ANY_KEY)}" if hooks.config.api_key else hooks.info.placeholder_key
    return f"{header}: {template.format(key=key)}" if key else None


def _find_price(call: Call, input_tokens: int | None, output_tokens: int | None, hooks: Hooks) -> Decimal | None:
    if input_tokens is None or output_tokens is None:
        return None
    total = input_tokens + output_tokens
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens, total_tokens=total)
    return hooks.price(call.model, usage, tier=call.options.priced_tier)


def _describe_sources(plan: Plan, calls: Sequence[Call], hooks: Hooks) -> Iterator[ExplainedSource]:
    parts = [part for call in calls for part in call.parts]
    uploaded = {part.source: part.asset.id for part in parts if isinstance(part, AssetPart)}
    inline = {part.source for part in parts if isinstance(part, InlinePart)}
    origins = {conversion.converted: conversion.source.mime_type for conversion in plan.conversions}
    ruled = ((source, hooks.info.find_rule(source)) for source in plan.request.sources)
    for source, delivery in ((source, rule.delivery) for source, rule in ruled if rule):
        yield ExplainedSource(
            identifier=source.identifier,
            source_type=source.source_type,
            mime_type=source.mime_type,
            size_bytes=source.size_bytes,
            delivery="inline" if source in inline else delivery,
            upload=uploaded.get(source),
            converted_from=origins.get(source),
        )


def _estimate_tokens(call: Call) -> int | None:
    """Return a rough estimate, None for a call with more than text."""
    parts = [part for part in call.all_parts if isinstance(part, TextPart)]
    if len(parts) < len(call.all_parts) or call.options.cache is not None:
        return None
    turns = call.conversation.turns if call.conversation else ()
    texts = [call.options.system_instruction, call.prompt, *(part.text for part in parts)]
    texts += [
        text for turn in turns for text in (turn.content, *(tool_call.arguments for tool_call in turn.tool_calls))
    ]
    texts += [json.dumps(item) for item in (*call.options.functions, call.response_schema) if item is not None]
    return _count_as_tokens(sum(len(text) for text in texts if text))


def _count_as_tokens(n_characters: int) -> int:
    return -(-n_characters // _CHARACTERS_A_TOKEN)


def _scrub_texts(value: Any, scrub: Callable[[str], str]) -> Any:
    """Return the value with every text in it passed through ``scrub``."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, dict):
        return {scrub(name): _scrub_texts(inner, scrub) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_scrub_texts(inner, scrub) for inner in value)
    if attrs.has(type(value)):
        fields = attrs.fields(type(value))
        return attrs.evolve(value, **{field.alias: _scrub_texts(getattr(value, field.name), scrub) for field in fields})
    return value
