"""The models of a local server, and its readiness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_sync.plugin import (
    APIError,
    HttpError,
    HttpRequest,
    ModelInfo,
    ReplyError,
    as_text,
    list_objects,
    read_count,
    read_objects,
)

if TYPE_CHECKING:
    from pollux_sync.plugin import HttpClient, HttpResponse

#: The request for all models.
MODELS_REQUEST = HttpRequest(method="GET", path="/models")
#: The request that llama.cpp answers with 503 while it loads the model. Other servers do not have the path.
HEALTH_REQUEST = HttpRequest(method="GET", path="/health")
_LOADING = 503
#: The sizes of vLLM, Together, Groq and Mistral.
_CONTEXT_FIELDS = ("max_model_len", "context_length", "context_window", "max_context_length")


def decode_models(response: HttpResponse) -> list[ModelInfo]:
    """Decode the list of models. llama.cpp and vLLM list the context sizes too, and Together, whose list is bare."""
    # created_at is left out: most servers fill it with the time of the request.
    return [
        ModelInfo(id=model_id, context_tokens=_read_context_tokens(item))
        for item in _read_items(response)
        if (model_id := as_text(item.get("id")))
    ]


def _read_items(response: HttpResponse) -> list[dict[str, Any]]:
    return list_objects(response.body) if isinstance(response.body, list) else read_objects(response, "data")


def _read_context_tokens(item: dict[str, Any]) -> int | None:
    meta = item.get("meta")
    # llama.cpp: the context in use, else the one that the model was trained with.
    sizes = (read_count(meta, "n_ctx"), read_count(meta, "n_ctx_train"))
    return next(filter(None, (*sizes, *(read_count(item, name) for name in _CONTEXT_FIELDS))), None)


def check_server(client: HttpClient, model: str, timeout_s: float) -> None:
    """Raise the wire's exceptions for a server that is not ready, APIError for a model that it does not list."""
    _check_health(client, timeout_s)
    response = client.send(MODELS_REQUEST, timeout_s)
    listed = [listed.id for listed in decode_models(response)]
    # Ollama lists a model without a tag under its default tag.
    is_listed = bool({model, f"{model}:latest"} & {*listed})
    if not is_listed and not _is_single_model_llama_cpp(response):
        raise APIError(
            f"the server has no model {model!r}",
            kind="not_found",
            hint=f"load it, or use one of: {', '.join(listed) or 'no model is loaded now'}",
        )


def _check_health(client: HttpClient, timeout_s: float) -> None:
    try:
        client.send(HEALTH_REQUEST, timeout_s)
    except HttpError as error:
        # Other servers answer 404, which says nothing about their readiness.
        if error.response.status == _LOADING:
            raise
    # Other servers may answer the path with something that is not JSON.
    except ReplyError:
        return


def _is_single_model_llama_cpp(response: HttpResponse) -> bool:
    """Return whether the server is llama.cpp with one model, which answers under any model name."""
    return [item.get("owned_by") for item in read_objects(response, "data")] == ["llamacpp"]
