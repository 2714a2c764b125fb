"""pollux-sync provider for Anthropic's Messages API.

Everything goes through the core's HTTP client: calls, streams, files and deferred jobs. The caller's own SDK client,
``Config(client=...)`` (for a proxy, a workspace, a cloud), carries the same requests.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import attrs

from pollux_anthropic.decoding import decode
from pollux_anthropic.encoding import (
    BETA_HEADER,
    MANAGED_BY,
    MANAGED_FIELDS,
    build_count_request,
    encode,
    find_problem,
)
from pollux_anthropic.hosting import DECLARED_FORMS
from pollux_sync.plugin import (
    TEXT_FILE_RULE,
    TEXT_RULE,
    DeferredLimits,
    HttpRequest,
    HttpResponse,
    InlineLimits,
    PrefixCaching,
    Problem,
    ProviderInfo,
    SchemaDialect,
    SchemaLimits,
    SourceRule,
    ToolNames,
    declare_hosted_tools,
    find_client_problem,
    hookimpl,
    import_late,
    iter_pages,
    read_count,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from pollux_anthropic import batching, files, jobs, services
    from pollux_sync.plugin import (
        Asset,
        Call,
        Client,
        ConfigValues,
        DeferredBatch,
        DeferredJob,
        DeferredRow,
        Delta,
        EventStream,
        JobState,
        ModelInfo,
        Plan,
        RateLimits,
        Reply,
        Source,
    )
else:
    # For the hooks that most scripts do not use: loading the plugin must stay fast.
    batching = import_late("pollux_anthropic.batching")
    files = import_late("pollux_anthropic.files")
    jobs = import_late("pollux_anthropic.jobs")
    services = import_late("pollux_anthropic.services")

#: The schemas that structured outputs accept, as documented on the page ``docs`` on the day ``as_of``.
STRICT = SchemaDialect(
    name="anthropic-strict",
    needs_object_root=True,
    closes_objects=True,
    allows_open_maps=False,
    allows_tuples=False,
    allows_any=False,
    allows_recursion=False,
    allows_one_of=False,
    allows_ref_siblings=False,
    unsupported_keywords={
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "pattern", "contentEncoding", "contentMediaType"),
        *("maxItems", "uniqueItems", "contains", "minContains", "maxContains"),
        *("patternProperties", "propertyNames", "minProperties", "maxProperties"),
        *("allOf", "not", "dependentRequired", "dependentSchemas", "if", "then", "else"),
        *("default", "examples", "title"),
    },
    allowed_formats={
        *("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"),
    },
    min_items_max=1,
    limits=SchemaLimits(max_optional=24, max_unions=16),
    as_of=date(2026, 11, 21),
    docs="https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations",
)

#: The types of files and addresses that the models read.
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_READABLE = (*_IMAGES, "application/pdf")
_LIMITS_DOCS = "https://platform.claude.com/docs/en/build-with-claude/vision#request-limits"
#: A request is at most 32 MB long, and an image 5 MB, both in base64, which is a third longer than the content.
_INLINE_IMAGE = InlineLimits(
    max_bytes=3_750_000, max_request_bytes=23_000_000, as_of=date(2026, 11, 25), docs=_LIMITS_DOCS
)
_INLINE_PDF = attrs.evolve(_INLINE_IMAGE, max_bytes=23_000_000)

#: By the published contract, which allows 128 characters. Bedrock, which has the same models, allows 64 by its
#: API reference (ToolSpecification): the smaller number holds for both.
_TOOL_NAMES = ToolNames(
    pattern=r"[a-zA-Z0-9_-]{1,64}",
    about="1 to 64 letters from a to z, digits, underscores and hyphens",
    as_of=date(2026, 11, 26),
    docs="https://platform.claude.com/docs/en/api/messages#body-tools",
)

#: The times are those of the published contract. The lengths are as known on the day: the page could not be read again.
#: A model that is not listed is newer, or behind a compatible server.
_PREFIX_CACHING = PrefixCaching(
    ttls={"5m", "1h"},
    min_tokens={
        "*claude-haiku-4-5*": 4096,
        "*claude-opus-4-[56]*": 4096,
        "*claude-opus-4-7*": 2048,
        "*claude-3-5-haiku*": 2048,
        "*claude-opus-4*": 1024,
        "*claude-sonnet-[45]*": 1024,
    },
    as_of=date(2026, 11, 27),
    docs="https://platform.claude.com/docs/en/build-with-claude/prompt-caching#cache-limitations",
)

INFO = ProviderInfo(
    name="anthropic",
    docs_url="https://platform.claude.com/docs/en/api/messages",
    key_env=("ANTHROPIC_API_KEY",),
    # As the SDK does (anthropic 2.11.0, _client.py): the token counts only without a key. That release sends keys as
    # Bearer too; x-api-key is the documented way, and the one that compatible servers know.
    token_env="ANTHROPIC_AUTH_TOKEN",  # noqa: S106 - the name of a variable
    auth=("x-api-key", "{key}"),
    base_url="https://api.anthropic.com",
    base_url_policy="optional",
    version_path="/v1",
    not_found_hint="for a server without Anthropic's Messages API take the provider 'local': pip install pollux-local",
    headers_env="ANTHROPIC_CUSTOM_HEADERS",
    accepts_client=True,
    # By the published contract of the Messages API, for ids of tool_use blocks.
    call_id_pattern=r"[a-zA-Z0-9_-]+",
    # By the same contract, for the content of tool_result blocks.
    result_types=_READABLE,
    # The API takes 256 MB in one body; some room is left. It is streamed from disk, so its size costs no memory.
    deferred=DeferredLimits(max_requests=100_000, max_bytes=250_000_000),
    options={
        *("system_instruction", "response_schema", "tools", "tool_choice", "temperature", "top_p"),
        *("max_tokens", "reasoning_effort", "reasoning_budget_tokens", "implicit_caching", "history"),
        *("stop", "parallel_tool_calls", "service_tier", "reasoning_summary"),
    },
    conditions={
        "response_schema": "yes, except `dict`",
        "temperature": "up to 1",
        "top_p": "from Claude 4.5 on not beside temperature",
        "reasoning_effort": "models that think",
        "reasoning_budget_tokens": "models that think",
        "reasoning_summary": "`auto` or `none`, of models that think",
        "service_tier": "`auto` or `default`",
    },
    sources=(
        TEXT_RULE,
        TEXT_FILE_RULE,
        SourceRule(source_types={"file"}, mime_types=_IMAGES, delivery="upload", inline=_INLINE_IMAGE),
        SourceRule(source_types={"file"}, mime_types=("application/pdf",), delivery="upload", inline=_INLINE_PDF),
        SourceRule(source_types={"stored"}, delivery="stored"),
        SourceRule(source_types={"arxiv"}, delivery="uri"),
        SourceRule(
            source_types={"uri"},
            mime_types=(*_IMAGES, "application/pdf"),
            uri_schemes=("http", "https"),
            delivery="uri",
        ),
    ),
    sources_hint="it takes text, and files and http(s) addresses of JPEG, PNG, GIF and WebP images and of PDFs; "
    "convert other content and pass Source.from_file",
    managed_fields=MANAGED_FIELDS,
    managed_by=MANAGED_BY,
    list_headers={BETA_HEADER},
    tool_names=_TOOL_NAMES,
    hosted_tools=declare_hosted_tools(DECLARED_FORMS),
    prefix_caching=_PREFIX_CACHING,
    schema_dialect=STRICT,
)


class AnthropicProvider:
    """The hooks of the provider ``anthropic``: the Messages, Files, Message Batches and Models APIs."""

    @hookimpl
    def pollux_provider_info(self) -> ProviderInfo:
        return INFO

    @hookimpl
    def pollux_check_config(self, config: ConfigValues) -> Problem | None:
        return find_client_problem(config.client, "anthropic.Anthropic", "anthropic.SyncAPIClient")

    @hookimpl
    def pollux_open(self, config: ConfigValues) -> Client:
        from pollux_anthropic.client import open_carrier

        return open_carrier(config, INFO)

    @hookimpl(wrapper=True)
    def pollux_plan(self, plan: Plan) -> Generator[None, Plan, Plan]:
        """Switch caching on for a plan of one call, unless the option or the configuration decides it."""
        # Writing a cache costs extra. The calls of a fan-out run side by side, so each would write its own; with the
        # option the first goes ahead, which the caller must want.
        planned = yield
        if planned.is_deferred or len(planned.calls) != 1 or planned.calls[0].options.implicit_caching is not None:
            return planned
        if "implicit_caching" in planned.request.config.excluded_options:
            return planned
        (call,) = planned.calls
        cached = attrs.evolve(call, options=attrs.evolve(call.options, implicit_caching=True))
        return attrs.evolve(planned, calls=(cached,))

    @hookimpl
    def pollux_validate(self, call: Call) -> Problem | None:
        return find_problem(call, STRICT)

    @hookimpl
    def pollux_encode(self, call: Call) -> HttpRequest:
        return encode(call, STRICT)

    @hookimpl
    def pollux_rate_limits(self, response: HttpResponse) -> RateLimits | None:
        from pollux_anthropic.ratelimits import read_rate_limits

        return read_rate_limits(response)

    @hookimpl
    def pollux_decode(self, response: HttpResponse, call: Call) -> Reply:
        return decode(response, call, STRICT)

    @hookimpl
    def pollux_decode_stream(self, stream: EventStream, call: Call) -> Iterator[Delta | Reply]:
        from pollux_anthropic.streaming import decode_stream

        return decode_stream(stream, call, STRICT)

    @hookimpl
    def pollux_count_tokens(self, request: HttpRequest, client: Client, timeout_s: float) -> int | None:
        return read_count(client.send(build_count_request(request), timeout_s).body, "input_tokens")

    @hookimpl
    def pollux_encode_deferred(self, custom_id: str, request: HttpRequest, mark: str) -> dict[str, Any]:
        return batching.encode_deferred(custom_id, request, mark)

    @hookimpl
    def pollux_submit_deferred(self, batch: DeferredBatch, client: Client, timeout_s: float) -> DeferredJob:
        return jobs.submit(batch, client, timeout_s)

    @hookimpl
    def pollux_bookmark_deferred(self, client: Client, timeout_s: float) -> str | None:
        return jobs.bookmark(client, timeout_s)

    @hookimpl
    def pollux_find_deferred(self, batch: DeferredBatch, client: Client, timeout_s: float) -> DeferredJob | None:
        return jobs.find(batch, client, timeout_s)

    @hookimpl
    def pollux_inspect_deferred(self, job: DeferredJob, client: Client, timeout_s: float) -> JobState:
        return jobs.inspect(job, client, timeout_s)

    @hookimpl
    def pollux_collect_deferred(self, job: DeferredJob, client: Client, timeout_s: float) -> Iterator[DeferredRow]:
        return jobs.collect(job, client, timeout_s)

    @hookimpl
    def pollux_cancel_deferred(self, job: DeferredJob, client: Client, timeout_s: float) -> bool:
        return jobs.cancel(job, client, timeout_s)

    @hookimpl
    def pollux_release_deferred(self) -> bool:
        # Only answers are stored for a batch, and the core deletes the uploads.
        return True

    @hookimpl
    def pollux_upload(self, source: Source, client: Client, timeout_s: float, name: str, lifetime_s: float) -> Asset:
        return files.store_source(source, client, timeout_s, name, lifetime_s)

    @hookimpl
    def pollux_delete_upload(self, asset: Asset, client: Client, timeout_s: float) -> bool:
        return files.delete_upload(asset, client, timeout_s)

    @hookimpl
    def pollux_find_uploads(self, mark: str, client: Client, timeout_s: float) -> list[Asset]:
        return files.find_uploads(mark, client, timeout_s)

    @hookimpl
    def pollux_list_models(self, config: ConfigValues, client: Client, timeout_s: float) -> list[ModelInfo] | None:
        return list(_iter_models(client, timeout_s)) if services.has_model_list(config.client) else None

    @hookimpl
    def pollux_check_ready(self, config: ConfigValues, client: Client, timeout_s: float) -> bool | None:
        # Without a list there is no request that costs nothing, so the core says that it cannot be checked.
        if not services.has_model_list(config.client):
            return None
        client.send(services.build_model_request(config.model), timeout_s)
        return True


def _iter_models(client: Client, timeout_s: float) -> Iterator[ModelInfo]:
    def fetch_page(query: tuple[tuple[str, str], ...] | None) -> HttpResponse:
        return client.send(services.build_models_request(dict(query or ())), timeout_s)

    for page in iter_pages(fetch_page, lambda page: batching.build_next_query(page.body)):
        yield from services.decode_models(page)
