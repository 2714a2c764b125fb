"""pollux-sync provider for OpenRouter, through the core's HTTP client."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from pollux_openrouter.attribution import build_attribution_headers, find_attribution_problem
from pollux_openrouter.catalogue import (
    ACCOUNT_REQUEST,
    MODELS_REQUEST,
    Catalogue,
    build_model_request,
    decode_models,
    fetch_models,
)
from pollux_openrouter.chatting import DIALECT, HOSTED_TOOLS, MANAGED_BY, OPENAI_MODELS, STRICT, decode, encode
from pollux_openrouter.explaining import classify_openrouter_error
from pollux_sync.plugin import (
    CHAT_AUDIO_TYPES,
    CHAT_FIELDS,
    TEXT_FILE_RULE,
    TEXT_RULE,
    Address,
    ConfigOption,
    ConfigurationError,
    HttpRequest,
    HttpResponse,
    Problem,
    ProviderInfo,
    SourceRule,
    ToolNames,
    declare_hosted_tools,
    find_json_word_problem,
    find_spelling_problem,
    hookimpl,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.plugin import Call, ConfigValues, Delta, EventStream, Fault, HttpClient, ModelInfo, Plan, Reply

#: The images that it takes, by https://openrouter.ai/docs/features/multimodal/images (2026-11).
_IMAGES = ("image/png", "image/jpeg", "image/webp", "image/gif")
_INLINE = (*_IMAGES, "application/pdf", *CHAT_AUDIO_TYPES)

#: By the published contract of Chat Completions, for the name of a function.
_TOOL_NAMES = ToolNames(
    pattern=r"[a-zA-Z0-9_-]{1,64}",
    about="1 to 64 letters from a to z, digits, underscores and hyphens",
    as_of=date(2026, 11, 26),
    docs="https://openrouter.ai/docs/api-reference/chat-completion",
)

INFO = ProviderInfo(
    name="openrouter",
    docs_url="https://openrouter.ai/docs/api-reference/chat-completion",
    key_env=("OPENROUTER_API_KEY",),
    base_url="https://openrouter.ai/api/v1",
    base_url_policy="optional",
    options={
        *("system_instruction", "response_schema", "tools", "tool_choice", "temperature", "top_p"),
        *("max_tokens", "reasoning_effort", "reasoning_budget_tokens", "history"),
        *("stop", "seed", "parallel_tool_calls", "service_tier", "reasoning_summary", "implicit_caching"),
    },
    conditions={
        "response_schema": "yes; `dict` of OpenAI's models with the word JSON in the texts",
        "implicit_caching": "without a time to live",
    },
    config_options=(
        ConfigOption(name="site_url", types=(str,), about="your site's address, for OpenRouter's rankings"),
        ConfigOption(name="app_name", types=(str,), about="your program's name, for OpenRouter's rankings"),
        ConfigOption(
            name="check_catalogue",
            types=(bool,),
            about="refuse before sending what a model cannot do by OpenRouter's list of models; by default False",
        ),
    ),
    sources=(
        TEXT_RULE,
        TEXT_FILE_RULE,
        SourceRule(source_types={"file"}, mime_types=_INLINE, delivery="inline"),
        SourceRule(source_types={"arxiv"}, delivery="uri"),
        SourceRule(
            source_types={"uri"},
            mime_types=(*_IMAGES, "application/pdf"),
            uri_schemes=("http", "https"),
            delivery="uri",
        ),
    ),
    sources_hint="it takes text, PNG, JPEG, WebP and GIF images, PDFs, wav and mp3 files, and http(s) addresses of "
    "such images and PDFs; convert other content to one of these",
    managed_fields=CHAT_FIELDS,
    managed_by=MANAGED_BY,
    tool_names=_TOOL_NAMES,
    hosted_tools=declare_hosted_tools(HOSTED_TOOLS),
    schema_dialect=STRICT,
    has_json_mode=True,
)


class OpenRouterProvider:
    """Calls OpenRouter, which serves every vendor's models as Chat Completions."""

    def __init__(self) -> None:
        self._catalogue = Catalogue(lambda config: fetch_models(config, INFO))

    @hookimpl
    def pollux_provider_info(self) -> ProviderInfo:
        return INFO

    @hookimpl
    def pollux_check_config(self, config: ConfigValues) -> Problem | None:
        return find_attribution_problem(config.provider_options)

    @hookimpl
    def pollux_open(self, config: ConfigValues) -> HttpClient:
        from pollux_sync.plugin import open_client

        return open_client(config, INFO, headers=build_attribution_headers(config.provider_options))

    @hookimpl
    def pollux_address(self, config: ConfigValues, info: ProviderInfo) -> Address:
        headers = build_attribution_headers(config.provider_options)
        return Address(base_url=info.resolve_base_url(config.base_url), headers=headers)

    @hookimpl
    def pollux_plan(self, plan: Plan) -> None:
        """Refuse what the catalogue rules out, if the configuration has ``check_catalogue``. The plan is unchanged."""
        # A dry run sends nothing, not even the request for the catalogue.
        is_enabled = plan.request.config.provider_options.get("check_catalogue") and not plan.is_dry_run
        problem = self._catalogue.find_problem(plan) if is_enabled else None
        if problem is not None:
            raise ConfigurationError(problem.message, hint=problem.hint)

    @hookimpl
    def pollux_validate(self, call: Call) -> Problem | None:
        problem = find_json_word_problem(call) if call.model.startswith(OPENAI_MODELS) else None
        return problem or find_spelling_problem(call, INFO.name, DIALECT)

    @hookimpl
    def pollux_encode(self, call: Call) -> HttpRequest:
        return encode(call)

    @hookimpl
    def pollux_decode(self, response: HttpResponse, call: Call) -> Reply:
        return decode(response, call)

    @hookimpl
    def pollux_encode_stream(self, request: HttpRequest) -> HttpRequest:
        from pollux_sync.plugin import encode_chat_stream

        return encode_chat_stream(request)

    @hookimpl
    def pollux_decode_stream(self, stream: EventStream, call: Call) -> Iterator[Delta | Reply]:
        from pollux_sync.plugin import decode_chat_stream

        return decode_chat_stream(stream, lambda response: decode(response, call))

    @hookimpl
    def pollux_classify_error(self, error: Exception) -> Fault | None:
        return classify_openrouter_error(error)

    @hookimpl
    def pollux_list_models(self, client: HttpClient, timeout_s: float) -> list[ModelInfo]:
        return decode_models(client.send(MODELS_REQUEST, timeout_s))

    @hookimpl
    def pollux_check_ready(self, config: ConfigValues, client: HttpClient, timeout_s: float) -> bool:
        # The list of models is public, so only the first request checks the key.
        client.send(ACCOUNT_REQUEST, timeout_s)
        client.send(build_model_request(config.model), timeout_s)
        return True
