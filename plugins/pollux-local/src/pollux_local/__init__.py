"""pollux-sync provider for OpenAI-compatible servers, and for GGUF models in this process."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from pollux_local.dialects import DECLARED_OPTIONS, DIALECT, SCHEMAS, choose_dialect, find_problem, mark_calls
from pollux_local.explaining import classify_local_error
from pollux_local.provider import ChatProvider
from pollux_sync.plugin import (
    CHAT_AUDIO_TYPES,
    CHAT_FIELDS,
    CHAT_MANAGED_BY,
    TEXT_FILE_RULE,
    TEXT_RULE,
    ConfigOption,
    ConfigurationError,
    HttpRequest,
    Problem,
    ProviderInfo,
    SourceRule,
    declare_hosted_tools,
    encode_chat,
    hookimpl,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from pollux_sync.plugin import Call, ConfigValues, Fault, HttpClient, ModelInfo, Plan

#: The images that local servers read: llama.cpp decodes them with stb_image (JPEG, PNG, GIF, BMP), Ollama with Go's
#: decoders (JPEG, PNG, WebP), vLLM with Pillow (all of these), each by its source code (2026-11). None reads HEIC.
_IMAGES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp")

#: An address as most local servers have it.
_EXAMPLE = "http://127.0.0.1:8080/v1"
INFO = ProviderInfo(
    name="local",
    docs_url="https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
    # Optional: most local servers take any key, those of a company want theirs.
    key_env=("POLLUX_LOCAL_API_KEY",),
    needs_key=False,
    placeholder_key="local",
    base_url_policy="optional",
    base_url_env="POLLUX_LOCAL_BASE_URL",
    base_url_example=_EXAMPLE,
    options={
        *("system_instruction", "response_schema", "tools", "tool_choice", "temperature", "top_p"),
        *("max_tokens", "reasoning_effort", "history", "stop", "seed", "parallel_tool_calls", "service_tier"),
        # llama.cpp, vLLM and SGLang keep what requests begin with by themselves, for as long as it fits.
        "implicit_caching",
    },
    conditions={
        "response_schema": "yes; `dict` at OpenAI's own hosts with the word JSON in the texts",
        "implicit_caching": "without a time to live",
        **{name: f"with `takes_{name}`" for name in DECLARED_OPTIONS},
    },
    config_options=(
        ConfigOption(
            name="takes_reasoning_effort",
            types=(bool,),
            about="the server and the model's template use reasoning_effort, which is refused by default",
        ),
        ConfigOption(
            name="takes_service_tier",
            types=(bool,),
            about="the server has tiers and takes service_tier, which is refused by default",
        ),
        ConfigOption(
            name="takes_max_completion_tokens",
            types=(bool,),
            about="the limit is sent as max_completion_tokens in place of max_tokens, by default False",
        ),
        ConfigOption(
            name="n_ctx",
            types=(int,),
            minimum=64,
            about="embedded model: tokens of context, by default the model's own",
        ),
        ConfigOption(
            name="n_threads",
            types=(int,),
            minimum=1,
            maximum=512,
            about="embedded model: CPU threads, by default all but one",
        ),
        ConfigOption(
            name="n_parallel",
            types=(int,),
            minimum=1,
            maximum=64,
            about="embedded model: requests at once, by default 4",
        ),
        ConfigOption(
            name="chat_template",
            types=(str,),
            about="embedded model: Jinja text in place of the model's own",
            changes_answers=True,
        ),
    ),
    sources=(
        TEXT_RULE,
        TEXT_FILE_RULE,
        SourceRule(source_types={"file"}, mime_types=(*_IMAGES, *CHAT_AUDIO_TYPES), delivery="inline"),
        SourceRule(source_types={"uri"}, mime_types=_IMAGES, uri_schemes=("http", "https"), delivery="uri"),
    ),
    sources_hint="local servers take text, JSON, text files, PNG, JPEG, WebP, GIF and BMP images, wav and mp3; convert "
    "other files to one of these",
    managed_fields=CHAT_FIELDS,
    managed_by=CHAT_MANAGED_BY,
    # Which tools a server runs, its own guide says.
    hosted_tools=declare_hosted_tools({}),
    schema_dialect=SCHEMAS,
    has_json_mode=True,
    resends_stale=True,
)


class LocalProvider(ChatProvider):
    """Calls an OpenAI-compatible server at ``base_url``; without one, loads the GGUF file that ``model`` names."""

    def __init__(self) -> None:
        super().__init__(INFO, DIALECT)

    @hookimpl
    def pollux_check_config(self, config: ConfigValues) -> Problem | None:
        return None if config.base_url else _find_embedded_problem(config.model)

    @hookimpl
    def pollux_open(self, config: ConfigValues) -> HttpClient | None:
        if config.base_url:
            return None
        from pollux_local.embedded import open_embedded_client

        return open_embedded_client(Path(config.model), config, INFO)

    @hookimpl(wrapper=True)
    def pollux_plan(self, plan: Plan) -> Generator[None, Plan, Plan]:
        """Refuse what the server would ignore or refuse, and mark the calls of a server with the newer dialect."""
        planned = yield
        problem = find_problem(planned)
        if problem is not None:
            raise ConfigurationError(problem.message, hint=problem.hint)
        return mark_calls(planned)

    @hookimpl
    def pollux_encode(self, call: Call) -> HttpRequest:
        return encode_chat(call, choose_dialect(call))

    @hookimpl
    def pollux_classify_error(self, error: Exception) -> Fault | None:
        return classify_local_error(error)

    @hookimpl
    def pollux_list_models(self, config: ConfigValues, client: HttpClient, timeout_s: float) -> list[ModelInfo]:
        from pollux_local.services import MODELS_REQUEST, decode_models

        models = decode_models(client.send(MODELS_REQUEST, timeout_s))
        # The embedded server lists the file by its stem; a Config needs the path.
        return models if config.base_url else [attrs.evolve(model, id=config.model) for model in models]

    @hookimpl
    def pollux_check_ready(self, config: ConfigValues, client: HttpClient, timeout_s: float) -> bool:
        """Check the server. A model in this process is ready, since it was loaded when its client was opened."""
        if config.base_url:
            from pollux_local.services import check_server

            check_server(client, config.model, timeout_s)
        return True


def _find_embedded_problem(model: str) -> Problem | None:
    """Return the reason why ``model`` cannot be loaded into this process, or None if it can be."""
    if not model.lower().endswith(".gguf"):
        return Problem(
            "provider 'local' needs a base_url",
            f"pass base_url={_EXAMPLE!r}, set {INFO.base_url_env}, or name a .gguf file as the model",
        )
    if not Path(model).is_file():
        return Problem(f"no model file at {model}", "check the path, which is relative to the working directory")
    # Looked for, not imported: building a Config must not load llama.cpp.
    if find_spec("xllamacpp") is None:
        return Problem("loading a GGUF file needs llama.cpp", "pip install 'pollux-local[embedded]'")
    return None
