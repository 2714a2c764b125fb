"""pollux-sync provider for OpenAI's Responses API.

JSON calls and streams go through the core's HTTP client, files and deferred jobs through the openai SDK, which is
imported only then.
A client handed over as ``Config(client=...)`` (Azure, a proxy, an organisation) carries every call.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from pollux_openai.batching import LIMITS, line_of
from pollux_openai.decoding import decode
from pollux_openai.encoding import MANAGED_FIELDS, counting, encode
from pollux_openai.services import LISTING, is_azure, look, models_in
from pollux_sync.data.provider import (
    TEXT_FILE_RULE,
    TEXT_RULE,
    HttpRequest,
    HttpResponse,
    Problem,
    ProviderInfo,
    SourceRule,
    client_problem,
)
from pollux_sync.hooks.specs import hookimpl
from pollux_sync.schemas import SchemaDialect, SchemaLimits
from pollux_sync.wire.fields import read_count
from pollux_sync.wire.tools import strict_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.data.config import ConfigValues
    from pollux_sync.data.handles import DeferredJob, JobState
    from pollux_sync.data.models import ModelInfo
    from pollux_sync.data.reply import Reply
    from pollux_sync.data.request import Asset, Call, DeferredBatch, DeferredRow
    from pollux_sync.data.source import Source
    from pollux_sync.data.streaming import Delta, EventStream

#: Structured outputs in strict mode, as documented on the page named.
STRICT = SchemaDialect(
    name="openai-strict",
    needs_object_root=True,
    all_required=True,
    optional_as_nullable=True,
    closes_objects=True,
    allows_open_maps=False,
    allows_tuples=False,
    allows_any=False,
    allows_one_of=False,
    allows_ref_siblings=False,
    unsupported_keywords={
        *("minLength", "maxLength", "uniqueItems", "default", "examples", "contentEncoding", "contentMediaType"),
        *("patternProperties", "propertyNames", "minProperties", "maxProperties", "title"),
        *("allOf", "not", "dependentRequired", "dependentSchemas", "if", "then", "else"),
    },
    allowed_formats={
        *("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"),
    },
    limits=SchemaLimits(max_depth=10, max_properties=5000, max_enum_values=1000, max_name_chars=120_000),
    as_of=date(2026, 11, 1),
    docs="https://platform.openai.com/docs/guides/structured-outputs#supported-schemas",
)

#: Documents that the service reads from an address.
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

INFO = ProviderInfo(
    name="openai",
    docs_url="https://platform.openai.com/docs/api-reference/responses",
    key_env=("OPENAI_API_KEY",),
    base_url="https://api.openai.com/v1",
    base_url_policy="optional",
    accepts_client=True,
    options={
        *("system_instruction", "response_schema", "tools", "tool_choice", "temperature", "top_p"),
        *("max_tokens", "reasoning_effort", "history"),
    },
    sources=(
        TEXT_RULE,
        TEXT_FILE_RULE,
        SourceRule(source_types={"file"}, delivery="upload"),
        SourceRule(source_types={"arxiv"}, delivery="uri"),
        SourceRule(source_types={"uri"}, mime_types=("image/*",), uri_schemes=_WEB, delivery="uri"),
        SourceRule(source_types={"uri"}, mime_types=_REMOTE_DOCUMENTS, uri_schemes=_WEB, delivery="uri"),
    ),
    sources_hint="it takes text, files, and http(s) addresses of images, PDFs, text and office documents; "
    "download other content and pass Source.from_file",
    managed_fields=MANAGED_FIELDS,
    schema_dialect=STRICT,
    deferred=LIMITS,
)


class OpenAIProvider:
    """The Responses API, either through the core's HTTP client or through the caller's own SDK client."""

    @hookimpl
    def pollux_provider_info(self) -> ProviderInfo:
        return INFO

    @hookimpl
    def pollux_check_config(self, config: ConfigValues) -> Problem | None:
        return client_problem(config.client, "openai.OpenAI", "openai.SyncAPIClient")

    @hookimpl
    def pollux_open(self, config: ConfigValues) -> Any:
        from pollux_openai.client import open_carrier

        return open_carrier(config, INFO)

    @hookimpl
    def pollux_validate(self, call: Call) -> Problem | None:
        return strict_problem(call.options.tools or (), STRICT)

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
    def pollux_count_tokens(self, request: HttpRequest, client: Any, timeout_s: float) -> int | None:
        return read_count(client.send(counting(request), timeout_s).body, "input_tokens")

    @hookimpl
    def pollux_upload(self, source: Source, client: Any, timeout_s: float, name: str, lifetime_s: float) -> Asset:
        asset: Asset = client.upload(source, timeout_s, name, lifetime_s)
        return asset

    @hookimpl
    def pollux_delete_upload(self, asset: Asset, client: Any, timeout_s: float) -> bool:
        client.delete(asset, timeout_s)
        return True

    @hookimpl
    def pollux_encode_deferred(self, custom_id: str, request: HttpRequest, mark: str) -> dict[str, Any]:
        return line_of(custom_id, request)

    @hookimpl
    def pollux_submit_deferred(self, batch: DeferredBatch, client: Any, timeout_s: float) -> DeferredJob:
        job: DeferredJob = client.files.submit(batch, timeout_s)
        return job

    @hookimpl
    def pollux_find_deferred(self, batch: DeferredBatch, client: Any, timeout_s: float) -> DeferredJob | None:
        job: DeferredJob | None = client.files.find(batch, timeout_s)
        return job

    @hookimpl
    def pollux_find_uploads(self, mark: str, client: Any, timeout_s: float) -> list[Asset]:
        assets: list[Asset] = client.files.find_uploads(mark, timeout_s)
        return assets

    @hookimpl
    def pollux_inspect_deferred(self, job: DeferredJob, client: Any, timeout_s: float) -> JobState:
        state: JobState = client.files.inspect(job, timeout_s)
        return state

    @hookimpl
    def pollux_collect_deferred(self, job: DeferredJob, client: Any, timeout_s: float) -> Iterator[DeferredRow]:
        rows: Iterator[DeferredRow] = client.files.collect(job, timeout_s)
        return rows

    @hookimpl
    def pollux_cancel_deferred(self, job: DeferredJob, client: Any, timeout_s: float) -> bool:
        client.files.cancel(job, timeout_s)
        return True

    @hookimpl
    def pollux_release_deferred(self, job: DeferredJob, client: Any, timeout_s: float) -> bool:
        client.files.release(job, timeout_s)
        return True

    @hookimpl
    def pollux_list_models(self, client: Any, timeout_s: float) -> list[ModelInfo]:
        return models_in(client.send(LISTING, timeout_s))

    @hookimpl
    def pollux_check_ready(self, config: ConfigValues, client: Any, timeout_s: float) -> bool:
        client.send(LISTING if is_azure(config.client) else look(config.model), timeout_s)
        return True
