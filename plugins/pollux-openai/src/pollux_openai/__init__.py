"""pollux-sync provider for OpenAI's Responses API.

Everything goes through the core's HTTP client: calls, streams, files and deferred jobs. The caller's own SDK client,
``Config(client=...)`` (for Azure, a proxy), carries the same requests.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import attrs

from pollux_openai.decoding import decode
from pollux_openai.encoding import (
    MANAGED_BY,
    MANAGED_FIELDS,
    build_count_request,
    encode,
    find_background_problem,
)
from pollux_openai.hosting import FORMS
from pollux_sync.plugin import (
    STRICT_SCHEMAS,
    TEXT_FILE_RULE,
    TEXT_RULE,
    DeferredLimits,
    HttpRequest,
    HttpResponse,
    InlineLimits,
    LongEnumLimit,
    PrefixCaching,
    Problem,
    ProviderInfo,
    SchemaLimits,
    SourceRule,
    ToolNames,
    declare_hosted_tools,
    find_client_problem,
    find_json_word_problem,
    find_strict_problem,
    hookimpl,
    import_late,
    read_count,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_openai import batching, files, jobs, services
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
        Reply,
        Source,
    )
else:
    # For the hooks that most scripts do not use: loading the plugin must stay fast.
    batching = import_late("pollux_openai.batching")
    files = import_late("pollux_openai.files")
    jobs = import_late("pollux_openai.jobs")
    services = import_late("pollux_openai.services")

#: The schemas that strict mode accepts, as documented on the page ``docs`` on the day ``as_of``.
STRICT = attrs.evolve(
    STRICT_SCHEMAS,
    name="openai-strict",
    limits=SchemaLimits(max_depth=10, max_properties=5000, max_enum_values=1000, max_name_chars=120_000),
    long_enums=LongEnumLimit(above_values=250, max_chars=15_000),
    as_of=date(2026, 11, 1),
    docs="https://platform.openai.com/docs/guides/structured-outputs#supported-schemas",
)

#: The types of documents that the service itself downloads from an address.
_REMOTE_DOCUMENTS = (
    "application/pdf",
    "text/*",
    "application/json",
    "application/msword",
    "application/vnd.openxmlformats-officedocument.*",
    "application/vnd.ms-*",
    "application/rtf",
)
_WEB = ("http", "https")
#: What a request may hold, 50 MB by the documentation, of which base64 leaves three quarters; a little is kept for the
#: rest of the request.
_INLINE = InlineLimits(
    max_bytes=36_000_000,
    max_request_bytes=36_000_000,
    as_of=date(2026, 11, 25),
    docs="https://platform.openai.com/docs/guides/pdf-files",
)
#: The images that the models read, by https://platform.openai.com/docs/guides/images-vision (2026-11).
_IMAGES = ("image/png", "image/jpeg", "image/webp", "image/gif")
#: The types that a request may hold; others are stored.
_INLINE_TYPES = (*_IMAGES, "application/pdf")

#: By the published contract, which allows 64 characters in Chat Completions and, since 2026, 128 in Responses. The
#: smaller number holds for every model and for compatible servers.
_TOOL_NAMES = ToolNames(
    pattern=r"[a-zA-Z0-9_-]{1,64}",
    about="1 to 64 letters from a to z, digits, underscores and hyphens",
    as_of=date(2026, 11, 26),
    docs="https://platform.openai.com/docs/api-reference/responses/create#responses-create-tools",
)

#: No time to live: older models keep a prefix for minutes, without a promise, and newer ones for 30 minutes at least.
#: Neither is a time that the option has. As known on the day: the page could not be read again.
_PREFIX_CACHING = PrefixCaching(
    min_tokens={"*": 1024}, as_of=date(2026, 11, 27), docs="https://platform.openai.com/docs/guides/prompt-caching"
)

INFO = ProviderInfo(
    name="openai",
    docs_url="https://platform.openai.com/docs/api-reference/responses",
    key_env=("OPENAI_API_KEY",),
    base_url="https://api.openai.com/v1",
    base_url_policy="optional",
    not_found_hint="for a server that has only Chat Completions take the provider 'local': pip install pollux-local",
    header_env={"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"},
    accepts_client=True,
    # By the published contract of the Responses API, for call_id of a function's output.
    call_id_pattern=r".{1,64}",
    # By the same contract, for the output of a function.
    result_types=_INLINE_TYPES,
    options={
        *("system_instruction", "response_schema", "tools", "tool_choice", "temperature", "top_p"),
        *("max_tokens", "reasoning_effort", "history", "parallel_tool_calls", "service_tier"),
        *("reasoning_summary", "implicit_caching"),
    },
    conditions={
        "response_schema": "yes; `dict` with the word JSON in the texts",
        "implicit_caching": "without a time to live",
    },
    sources=(
        TEXT_RULE,
        TEXT_FILE_RULE,
        SourceRule(source_types={"file"}, mime_types=_INLINE_TYPES, delivery="upload", inline=_INLINE),
        # Files of every other type are uploaded: which of them a model reads, the service decides.
        SourceRule(source_types={"file"}, excluded_types=("image/*",), delivery="upload"),
        SourceRule(source_types={"stored"}, delivery="stored"),
        SourceRule(source_types={"arxiv"}, delivery="uri"),
        SourceRule(source_types={"uri"}, mime_types=_IMAGES, uri_schemes=_WEB, delivery="uri"),
        SourceRule(source_types={"uri"}, mime_types=_REMOTE_DOCUMENTS, uri_schemes=_WEB, delivery="uri"),
    ),
    sources_hint="it takes text, files, and http(s) addresses of images, PDFs, text and office documents; images must "
    "be PNG, JPEG, WebP or GIF; convert others, and download other content and pass Source.from_file",
    managed_fields=MANAGED_FIELDS,
    managed_by=MANAGED_BY,
    tool_names=_TOOL_NAMES,
    hosted_tools=declare_hosted_tools(FORMS),
    prefix_caching=_PREFIX_CACHING,
    schema_dialect=STRICT,
    has_json_mode=True,
    # The documented limits of one input file: 50,000 requests and 200 MB.
    deferred=DeferredLimits(max_requests=50_000, max_bytes=200_000_000),
)


class OpenAIProvider:
    """The hooks of the provider ``openai``: the Responses, Files, Batches and Models APIs."""

    @hookimpl
    def pollux_provider_info(self) -> ProviderInfo:
        return INFO

    @hookimpl
    def pollux_check_config(self, config: ConfigValues) -> Problem | None:
        return find_client_problem(config.client, "openai.OpenAI", "openai.SyncAPIClient")

    @hookimpl
    def pollux_open(self, config: ConfigValues) -> Client:
        from pollux_openai.client import open_carrier

        return open_carrier(config, INFO)

    @hookimpl
    def pollux_validate(self, call: Call) -> Problem | None:
        return (
            find_background_problem(call)
            or find_json_word_problem(call)
            or find_strict_problem(call.options.functions, STRICT)
        )

    @hookimpl
    def pollux_encode(self, call: Call) -> HttpRequest:
        return encode(call, STRICT)

    @hookimpl
    def pollux_decode(self, response: HttpResponse, call: Call) -> Reply:
        return decode(response, call, STRICT)

    @hookimpl
    def pollux_decode_stream(self, stream: EventStream, call: Call) -> Iterator[Delta | Reply]:
        from pollux_openai.streaming import decode_stream

        return decode_stream(stream, lambda response: decode(response, call, STRICT))

    @hookimpl
    def pollux_count_tokens(self, request: HttpRequest, client: Client, timeout_s: float) -> int | None:
        return read_count(client.send(build_count_request(request), timeout_s).body, "input_tokens")

    @hookimpl
    def pollux_encode_deferred(self, custom_id: str, request: HttpRequest, mark: str) -> dict[str, Any]:
        return batching.encode_deferred(custom_id, request)

    @hookimpl
    def pollux_submit_deferred(self, batch: DeferredBatch, client: Client, timeout_s: float) -> DeferredJob:
        return jobs.submit(batch, client, timeout_s)

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
    def pollux_release_deferred(self, job: DeferredJob, client: Client, timeout_s: float) -> bool:
        return jobs.release(job, client, timeout_s)

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
    def pollux_list_models(self, client: Client, timeout_s: float) -> list[ModelInfo]:
        return services.decode_models(client.send(services.MODELS_REQUEST, timeout_s))

    @hookimpl
    def pollux_check_ready(self, config: ConfigValues, client: Client, timeout_s: float) -> bool:
        # Azure has no list of deployments: reaching its list of models shows that address and key are right.
        has_list = not services.is_azure(config.client)
        request = services.build_model_request(config.model) if has_list else services.MODELS_REQUEST
        client.send(request, timeout_s)
        return True
