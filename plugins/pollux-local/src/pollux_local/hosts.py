"""Hosts and servers by name: what each needs to be called, and what it has of Chat Completions.

The rows follow the hosts' own SDKs where they have one, as of 2026-11: groq 1.7.0, together 3.1.1, fireworks-ai 1.2.30,
mistralai 3.7.0, xai-sdk 1.21.0; those of others their guides, at ``docs_url``. An option that a host ignores or refuses
is not in its row, so that it is refused before anything is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pollux_local.dialects import DIALECT, SCHEMAS
from pollux_local.explaining import classify_local_error
from pollux_local.provider import ChatProvider
from pollux_local.services import MODELS_REQUEST, check_server, decode_models
from pollux_sync.plugin import (
    CHAT_AUDIO_TYPES,
    CHAT_FIELDS,
    CHAT_MANAGED_BY,
    STRICT_SCHEMAS,
    TEXT_FILE_RULE,
    TEXT_RULE,
    ChatDialect,
    Problem,
    ProviderInfo,
    SchemaDialect,
    SourceRule,
    declare_hosted_tools,
    find_json_word_problem,
    hookimpl,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pollux_sync.plugin import Call, ConfigValues, Fault, HttpClient, ModelInfo

#: The options of Chat Completions that every host here has.
_COMMON = frozenset(
    {"system_instruction", "tools", "response_schema", "temperature", "top_p", "max_tokens", "history", "stop"}
)
_IMAGES = ("image/png", "image/jpeg", "image/webp", "image/gif")
_NEWER = attrs.evolve(DIALECT, max_tokens_field="max_completion_tokens", names_tool=True)
_NAMING = attrs.evolve(DIALECT, names_tool=True)


@attrs.frozen(kw_only=True)
class Host:
    """A host or server with Chat Completions.

    ``more`` are the options that it has beside the common ones. ``key_env`` is empty for a server that needs no key.
    ``path`` is that of its API below an address that the user gives without it. ``tiers`` are its words for service
    tiers, all that it has. ``images`` and ``audio`` are the types of files that models there may take,
    ``takes_addresses`` says whether it fetches images from their addresses. ``call_ids`` matches the ids of tool calls
    that it takes. ``asks_usage`` is for a host that adds the usage to a stream on request.
    ``has_schemas`` and ``has_json_mode`` are the two forms of JSON that it answers; ``wants_json_word`` demands the
    word JSON in the texts of the latter. ``is_local`` marks a server on one's own machines.
    """

    name: str
    title: str
    docs_url: str
    base_url: str | None
    base_url_env: str | None = None
    base_url_example: str | None = None
    path: str = ""
    key_env: tuple[str, ...] = ()
    token_env: str | None = None
    auth: tuple[str, str] = ("Authorization", "Bearer {key}")
    more: frozenset[str] = frozenset()
    conditions: Mapping[str, str] = attrs.field(factory=dict)
    tiers: Mapping[str, str] = attrs.field(factory=dict)
    images: tuple[str, ...] = _IMAGES
    audio: tuple[str, ...] = ()
    takes_addresses: bool = True
    call_ids: str | None = None
    dialect: ChatDialect = _NAMING
    schemas: SchemaDialect = SCHEMAS
    has_schemas: bool = True
    has_json_mode: bool = True
    wants_json_word: bool = False
    asks_usage: bool = True
    lists_models: bool = True
    is_local: bool = False


HOSTS = (
    Host(
        name="groq",
        title="Groq",
        docs_url="https://console.groq.com/docs/api-reference#chat-create",
        base_url="https://api.groq.com/openai/v1",
        key_env=("GROQ_API_KEY",),
        more=frozenset({"tool_choice", "reasoning_effort", "seed", "parallel_tool_calls", "service_tier"}),
        tiers={"auto": "auto", "default": "on_demand", "flex": "flex", "priority": "performance"},
        dialect=_NEWER,
        schemas=STRICT_SCHEMAS,
        wants_json_word=True,
    ),
    Host(
        name="fireworks",
        title="Fireworks",
        docs_url="https://docs.fireworks.ai/api-reference/post-chatcompletions",
        base_url="https://api.fireworks.ai/inference/v1",
        key_env=("FIREWORKS_API_KEY",),
        more=frozenset({"tool_choice", "reasoning_effort", "seed", "parallel_tool_calls", "service_tier"}),
        # It takes "flex" too, and serves it as "default".
        tiers={"auto": "auto", "default": "default", "priority": "priority"},
    ),
    Host(
        name="together",
        title="Together",
        docs_url="https://docs.together.ai/reference/chat-completions-1",
        base_url="https://api.together.ai/v1",
        key_env=("TOGETHER_API_KEY",),
        more=frozenset({"tool_choice", "reasoning_effort", "seed"}),
    ),
    Host(
        name="deepseek",
        title="DeepSeek",
        docs_url="https://api-docs.deepseek.com/api/create-chat-completion",
        base_url="https://api.deepseek.com",
        key_env=("DEEPSEEK_API_KEY",),
        more=frozenset({"tool_choice", "implicit_caching"}),
        images=(),
        has_schemas=False,
        wants_json_word=True,
    ),
    Host(
        name="mistral",
        title="Mistral",
        docs_url="https://docs.mistral.ai/api/#tag/chat",
        base_url="https://api.mistral.ai/v1",
        key_env=("MISTRAL_API_KEY",),
        more=frozenset({"tool_choice", "reasoning_effort", "seed", "parallel_tool_calls"}),
        dialect=attrs.evolve(_NAMING, seed_field="random_seed"),
        schemas=STRICT_SCHEMAS,
        wants_json_word=True,
        call_ids=r"[a-zA-Z0-9]{9}",
        # Its request has no such field, and streams end with the usage.
        asks_usage=False,
    ),
    Host(
        name="xai",
        title="xAI",
        docs_url="https://docs.x.ai/docs/api-reference#chat-completions",
        base_url="https://api.x.ai/v1",
        key_env=("XAI_API_KEY",),
        more=frozenset({"tool_choice", "reasoning_effort", "seed", "parallel_tool_calls", "implicit_caching"}),
        conditions={"stop": "of models that do not reason"},
        images=("image/png", "image/jpeg"),
        dialect=_NEWER,
        schemas=STRICT_SCHEMAS,
    ),
    Host(
        name="azure",
        title="Azure OpenAI",
        docs_url="https://learn.microsoft.com/en-us/azure/ai-foundry/openai/api-version-lifecycle",
        base_url=None,
        base_url_env="AZURE_OPENAI_ENDPOINT",
        base_url_example="https://RESOURCE.openai.azure.com",
        path="/openai/v1",
        key_env=("AZURE_OPENAI_API_KEY",),
        token_env="AZURE_OPENAI_AD_TOKEN",  # noqa: S106 - a name
        auth=("api-key", "{key}"),
        more=frozenset({"tool_choice", "reasoning_effort", "seed", "parallel_tool_calls", "implicit_caching"}),
        dialect=_NEWER,
        schemas=STRICT_SCHEMAS,
        wants_json_word=True,
    ),
    Host(
        name="vllm",
        title="vLLM",
        docs_url="https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
        base_url="http://127.0.0.1:8000/v1",
        base_url_env="VLLM_BASE_URL",
        key_env=("VLLM_API_KEY",),
        more=frozenset({"tool_choice", "reasoning_effort", "seed", "implicit_caching"}),
        images=(*_IMAGES, "image/bmp"),
        audio=CHAT_AUDIO_TYPES,
        is_local=True,
    ),
    Host(
        name="ollama",
        title="Ollama",
        docs_url="https://docs.ollama.com/api/openai-compatibility",
        base_url="http://127.0.0.1:11434/v1",
        base_url_env="OLLAMA_BASE_URL",
        more=frozenset({"reasoning_effort", "seed", "implicit_caching"}),
        images=("image/png", "image/jpeg", "image/webp"),
        takes_addresses=False,
        is_local=True,
    ),
    Host(
        name="lmstudio",
        title="LM Studio",
        docs_url="https://lmstudio.ai/docs/developer/openai-compat",
        base_url="http://127.0.0.1:1234/v1",
        base_url_env="LMSTUDIO_BASE_URL",
        more=frozenset({"tool_choice", "seed", "implicit_caching"}),
        images=("image/png", "image/jpeg", "image/webp"),
        takes_addresses=False,
        dialect=DIALECT,
        has_json_mode=False,
        is_local=True,
    ),
)
_BY_NAME = {host.name: host for host in HOSTS}


# The entry points name a host each, such as pollux_local.hosts:groq.
def __getattr__(name: str) -> ChatProvider:
    if name not in _BY_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return HostProvider(_BY_NAME[name])


class HostProvider(ChatProvider):
    """Calls one host of the table."""

    def __init__(self, host: Host) -> None:
        dialect = attrs.evolve(host.dialect, path=f"{host.path}{host.dialect.path}", tiers=host.tiers)
        super().__init__(_declare(host), dialect, asks_usage=host.asks_usage)
        self._host = host

    @hookimpl
    def pollux_validate(self, call: Call) -> Problem | None:
        return super().pollux_validate(call) or _find_problem(call, self._host)

    @hookimpl
    def pollux_classify_error(self, error: Exception) -> Fault | None:
        """Return the fault of an error with hints for local servers. That of a service is as the core sees it."""
        return classify_local_error(error) if self._host.is_local else None

    @hookimpl
    def pollux_list_models(self, client: HttpClient, timeout_s: float) -> list[ModelInfo]:
        request = attrs.evolve(MODELS_REQUEST, path=f"{self._host.path}{MODELS_REQUEST.path}")
        return decode_models(client.send(request, timeout_s))

    @hookimpl
    def pollux_check_ready(self, config: ConfigValues, client: HttpClient, timeout_s: float) -> bool:
        """Check that the host answers with this key; of a local server, that it has the model too."""
        if self._host.is_local:
            check_server(client, config.model, timeout_s)
        else:
            self.pollux_list_models(client, timeout_s)
        return True


def _find_problem(call: Call, host: Host) -> Problem | None:
    tier = call.options.service_tier
    if tier is not None and tier not in host.tiers:
        return Problem(f"{host.title} has no service_tier {tier!r}", f"pick one of: {', '.join(host.tiers)}")
    if call.response_schema is not None and not host.has_schemas:
        return Problem(
            f"{host.title} takes no schema of the answer",
            "pass response_schema=dict, and say in the prompt which keys the JSON has; or a tool with this schema",
        )
    return find_json_word_problem(call) if host.wants_json_word else None


def _declare(host: Host) -> ProviderInfo:
    return ProviderInfo(
        name=host.name,
        docs_url=host.docs_url,
        key_env=host.key_env,
        token_env=host.token_env,
        auth=host.auth,
        needs_key=not host.is_local,
        placeholder_key="local" if host.is_local else None,
        base_url=host.base_url,
        base_url_policy="optional" if host.base_url else "required",
        base_url_env=host.base_url_env,
        base_url_example=host.base_url_example,
        version_path=host.path,
        options=_COMMON | host.more,
        conditions=_build_conditions(host),
        sources=(TEXT_RULE, TEXT_FILE_RULE, *_build_file_rules(host)),
        managed_fields=CHAT_FIELDS,
        managed_by=CHAT_MANAGED_BY,
        call_id_pattern=host.call_ids,
        # Which tools a host runs, its own guide says.
        hosted_tools=declare_hosted_tools({}),
        schema_dialect=host.schemas,
        has_json_mode=host.has_json_mode,
        resends_stale=host.is_local,
    )


def _build_conditions(host: Host) -> dict[str, str]:
    tiers = {"service_tier": ", ".join(f"`{tier}`" for tier in host.tiers)} if host.tiers else {}
    caching = {"implicit_caching": "without a time to live"} if "implicit_caching" in host.more else {}
    return {"response_schema": _describe_json(host), **tiers, **caching, **host.conditions}


def _describe_json(host: Host) -> str:
    word = " with the word JSON in the texts" if host.wants_json_word else ""
    if not host.has_schemas:
        return f"`dict` alone,{word}"
    return f"yes; `dict`{word}" if host.has_json_mode else "schemas, but not `dict`"


def _build_file_rules(host: Host) -> list[SourceRule]:
    types = (*host.images, *host.audio)
    if not types:
        return []
    inline = SourceRule(source_types={"file"}, mime_types=types, delivery="inline")
    if not host.takes_addresses:
        return [inline]
    address = SourceRule(source_types={"uri"}, mime_types=host.images, uri_schemes=("http", "https"), delivery="uri")
    return [inline, address]
