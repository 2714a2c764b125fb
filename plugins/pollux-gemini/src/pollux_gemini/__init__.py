"""pollux-sync provider for Google's Gemini API.

Everything goes through the core's HTTP client: calls, streams, files, caches and deferred jobs. A google-genai client
passed as ``Config(client=...)`` (Vertex AI, a proxy) carries the same requests.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from pollux_gemini.decoding import decode
from pollux_gemini.encoding import (
    MANAGED_BY,
    MANAGED_FIELDS,
    build_count_request,
    build_vertex_count_request,
    encode,
    find_problem,
)
from pollux_gemini.hosting import DECLARED_FORMS
from pollux_gemini.parts import PROVIDER, url_context
from pollux_sync.plugin import (
    TEXT_FILE_RULE,
    TEXT_RULE,
    Address,
    CacheLabels,
    ConfigOption,
    DeferredLimits,
    HttpRequest,
    InlineLimits,
    Problem,
    ProviderInfo,
    SchemaDialect,
    SourceRule,
    ToolNames,
    declare_hosted_tools,
    find_client_problem,
    hookimpl,
    import_late,
    read_count,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_gemini import batching, caching, files, jobs, paging, services
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
        Fault,
        HttpResponse,
        JobState,
        ModelInfo,
        Plan,
        RemoteCache,
        Reply,
        Source,
    )
else:
    # For the hooks that most scripts do not use: loading the plugin must stay fast.
    batching = import_late("pollux_gemini.batching")
    caching = import_late("pollux_gemini.caching")
    files = import_late("pollux_gemini.files")
    jobs = import_late("pollux_gemini.jobs")
    paging = import_late("pollux_gemini.paging")
    services = import_late("pollux_gemini.services")

__all__ = ["INFO", "JSON_SCHEMA", "GeminiProvider", "url_context"]

#: The JSON Schema that ``response_json_schema`` takes, by the types of google-genai 3.4, read narrowly: only the
#: keywords that are named there, no ``items: false`` after ``prefixItems``, and the formats of the page in ``docs``.
JSON_SCHEMA = SchemaDialect(
    name="gemini-json-schema",
    needs_object_root=True,
    allows_tuples=False,
    allows_any=False,
    allows_one_of=False,
    allows_ref_siblings=False,
    unsupported_keywords={
        *("const", "default", "examples", "allOf", "not", "if", "then", "else"),
        *("minLength", "maxLength", "pattern", "contentEncoding", "contentMediaType"),
        *("exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("uniqueItems", "contains", "minContains", "maxContains"),
        *("patternProperties", "propertyNames", "minProperties", "maxProperties"),
        *("dependentRequired", "dependentSchemas"),
    },
    allowed_formats={"date-time", "date", "time"},
    as_of=date(2026, 11, 21),
    docs="https://ai.google.dev/gemini-api/docs/structured-output#json_schema_support",
)

#: The versions of the API; the first is the default, since Google's published contract describes it.
VERSIONS = ("v1beta", "v1")

#: A request is at most 20 MB long, in base64, which is a third longer than the content.
_INLINE = InlineLimits(
    max_bytes=14_000_000,
    max_request_bytes=14_000_000,
    as_of=date(2026, 11, 25),
    docs="https://ai.google.dev/gemini-api/docs/files",
)

#: By the published contract, which allows 128 characters. Vertex AI's page on function calling had 64 in 2025, and
#: names that begin with a letter or an underscore; it could not be read again. The narrower rule holds for both.
_TOOL_NAMES = ToolNames(
    pattern=r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}",
    about="1 to 64 letters from a to z, digits, underscores, dots, colons and hyphens, first a letter or underscore",
    as_of=date(2026, 11, 26),
    docs="https://ai.google.dev/api/caching#FunctionDeclaration",
)

#: ``displayName`` of a CachedContent, by the published contract of August 2026, read on ``as_of``: "Immutable. [...]
#: Maximum 128 Unicode characters."
_CACHE_LABELS = CacheLabels(
    max_chars=128, as_of=date(2026, 11, 26), docs="https://ai.google.dev/api/caching#CachedContent"
)
#: Google takes input files of 2 GB; a quarter keeps temporary files and repeated uploads bearable. Google publishes no
#: limit on the number of requests; ours bounds memory, since the replies of one job are in memory together when they
#: are read.
_DEFERRED = DeferredLimits(max_requests=100_000, max_bytes=500_000_000)

INFO = ProviderInfo(
    name=PROVIDER,
    docs_url="https://ai.google.dev/api/generate-content",
    key_env=("GEMINI_API_KEY",),
    auth=("x-goog-api-key", "{key}"),
    base_url="https://generativelanguage.googleapis.com",
    base_url_policy="optional",
    # With or without the version: `resolve_address` takes both.
    base_url_example="",
    accepts_client=True,
    options={
        *("system_instruction", "response_schema", "tools", "tool_choice", "temperature", "top_p"),
        *("max_tokens", "reasoning_effort", "reasoning_budget_tokens", "history", "cache"),
        *("stop", "seed", "service_tier", "reasoning_summary"),
        # Its models cache what requests begin with by themselves, without a time that can be chosen.
        "implicit_caching",
    },
    conditions={
        "implicit_caching": "without a time to live",
        "temperature": "up to 2",
        "stop": "up to 5 texts",
        "tool_choice": "`required` with a function",
        "response_schema": "before Gemini 3 not beside tools",
        "reasoning_effort": "models that think",
        "reasoning_budget_tokens": "models that think",
        "reasoning_summary": "`auto` or `none`, of models that think",
    },
    config_options=(
        ConfigOption(
            name="api_version",
            types=(str,),
            about=f"one of: {', '.join(VERSIONS)}; the default is the first, which Google's contract describes",
        ),
    ),
    sources=(
        TEXT_RULE,
        # As text, not as bytes of a type: of the types of text files the service takes only some, and refuses .toml.
        TEXT_FILE_RULE,
        SourceRule(source_types={"file"}, delivery="upload", inline=_INLINE),
        SourceRule(source_types={"stored"}, delivery="stored"),
        SourceRule(source_types={"uri", "arxiv", "youtube"}, delivery="uri"),
    ),
    # https://ai.google.dev/gemini-api/docs/function-calling#multimodal (2026-11)
    result_types=("image/png", "image/jpeg", "image/webp", "application/pdf"),
    managed_fields=MANAGED_FIELDS,
    managed_by=MANAGED_BY,
    tool_names=_TOOL_NAMES,
    hosted_tools=declare_hosted_tools(DECLARED_FORMS),
    cache_labels=_CACHE_LABELS,
    schema_dialect=JSON_SCHEMA,
    has_json_mode=True,
    deferred=_DEFERRED,
)


class GeminiProvider:
    """``generateContent``, either through the core's HTTP client or through the caller's own SDK client."""

    @hookimpl
    def pollux_provider_info(self) -> ProviderInfo:
        return INFO

    @hookimpl
    def pollux_check_config(self, config: ConfigValues) -> Problem | None:
        version = config.provider_options.get("api_version", VERSIONS[0])
        if version not in VERSIONS:
            return Problem(
                f"api_version must be one of {', '.join(VERSIONS)}, got {version!r}", f"leave it out for {VERSIONS[0]}"
            )
        if config.client is not None and "api_version" in config.provider_options:
            return Problem(
                "the client has its own api_version", "pass http_options={'api_version': ...} to genai.Client"
            )
        return find_client_problem(config.client, "google.Client")

    @hookimpl
    def pollux_open(self, config: ConfigValues) -> Client:
        from pollux_gemini.client import open_carrier

        return open_carrier(config, INFO, VERSIONS[0])

    @hookimpl
    def pollux_address(self, config: ConfigValues) -> Address | None:
        if config.client is not None:
            return None
        from pollux_gemini.client import resolve_address

        base_url = "/".join(resolve_address(config, INFO, VERSIONS[0]))
        return Address(base_url=base_url)

    @hookimpl
    def pollux_plan(self, plan: Plan) -> None:
        """Refuse to defer on Vertex AI, before anything is stored. The plan is unchanged."""
        if plan.is_deferred and getattr(plan.request.config.client, "vertexai", False):
            from pollux_gemini.carrier import build_vertex_batch_error

            raise build_vertex_batch_error()

    @hookimpl
    def pollux_validate(self, call: Call) -> Problem | None:
        return find_problem(call)

    @hookimpl
    def pollux_encode(self, call: Call) -> HttpRequest:
        return encode(call)

    @hookimpl
    def pollux_decode(self, response: HttpResponse) -> Reply:
        # A proxy that drops ?alt=sse makes a stream one JSON list of events.
        if isinstance(response.body, list):
            from pollux_gemini.streaming import merge_events

            response = merge_events(response)
        return decode(response)

    @hookimpl
    def pollux_encode_stream(self, request: HttpRequest) -> HttpRequest:
        from pollux_gemini.streaming import encode_stream

        return encode_stream(request)

    @hookimpl
    def pollux_decode_stream(self, stream: EventStream) -> Iterator[Delta | Reply]:
        from pollux_gemini.streaming import decode_stream

        return decode_stream(stream)

    @hookimpl
    def pollux_count_tokens(self, request: HttpRequest, call: Call, client: Any, timeout_s: float) -> int | None:
        build = build_vertex_count_request if getattr(client, "is_vertex", False) else build_count_request
        count_request = build(request, call.model)
        return None if count_request is None else read_count(client.send(count_request, timeout_s).body, "totalTokens")

    @hookimpl
    def pollux_classify_error(self, error: Exception) -> Fault | None:
        return caching.classify_missing_cache(error)

    @hookimpl
    def pollux_upload(self, source: Source, client: Client, timeout_s: float, name: str) -> Asset:
        return files.store_file(client, source, timeout_s, name)

    @hookimpl
    def pollux_inspect_upload(self, asset: Asset, client: Client, timeout_s: float) -> Asset:
        return files.inspect_file(client, asset, timeout_s)

    @hookimpl
    def pollux_delete_upload(self, asset: Asset, client: Client, timeout_s: float) -> bool:
        files.delete_file(client, asset.id, timeout_s)
        return True

    @hookimpl
    def pollux_create_cache(
        self, call: Call, ttl_s: float, client: Client, timeout_s: float, label: str | None
    ) -> RemoteCache:
        return caching.decode_cache(client.send(caching.build_create_request(call, ttl_s, label), timeout_s))

    @hookimpl
    def pollux_extend_cache(self, name: str, ttl_s: float, client: Client, timeout_s: float) -> RemoteCache:
        return caching.decode_cache(client.send(caching.build_extend_request(name, ttl_s), timeout_s))

    @hookimpl
    def pollux_list_caches(self, client: Client, timeout_s: float) -> list[RemoteCache]:
        pages = paging.iter_all_pages(caching.build_list_request, client, timeout_s)
        return [cache for page in pages for cache in caching.decode_caches(page)]

    @hookimpl
    def pollux_delete_cache(self, name: str, client: Client, timeout_s: float) -> bool:
        client.send(caching.build_delete_request(name), timeout_s)
        return True

    @hookimpl
    def pollux_encode_deferred(self, custom_id: str, request: HttpRequest) -> dict[str, Any]:
        return batching.encode_deferred(custom_id, request)

    @hookimpl
    def pollux_submit_deferred(self, batch: DeferredBatch, client: Client, timeout_s: float) -> DeferredJob:
        return jobs.submit(batch, client, timeout_s)

    @hookimpl
    def pollux_find_deferred(self, batch: DeferredBatch, client: Client, timeout_s: float) -> DeferredJob | None:
        return jobs.find(batch, client, timeout_s)

    @hookimpl
    def pollux_find_uploads(self, mark: str, client: Client, timeout_s: float) -> list[Asset]:
        return [asset for _, asset in files.find_files(client, mark, timeout_s)]

    @hookimpl
    def pollux_inspect_deferred(self, job: DeferredJob, client: Client, timeout_s: float) -> JobState:
        return jobs.inspect(job, client, timeout_s)

    @hookimpl
    def pollux_collect_deferred(self, job: DeferredJob, client: Any, timeout_s: float) -> Iterator[DeferredRow]:
        return jobs.collect(job, client, timeout_s)

    @hookimpl
    def pollux_cancel_deferred(self, job: DeferredJob, client: Client, timeout_s: float) -> bool:
        return jobs.cancel(job, client, timeout_s)

    @hookimpl
    def pollux_release_deferred(self, job: DeferredJob, client: Client, timeout_s: float) -> bool:
        return jobs.release(job, client, timeout_s)

    @hookimpl
    def pollux_list_models(self, client: Client, timeout_s: float) -> list[ModelInfo]:
        pages = paging.iter_all_pages(services.build_models_request, client, timeout_s)
        return [model for page in pages for model in services.decode_models(page)]

    @hookimpl
    def pollux_check_ready(self, config: ConfigValues, client: Client, timeout_s: float) -> bool:
        client.send(services.build_model_request(config.model), timeout_s)
        return True
