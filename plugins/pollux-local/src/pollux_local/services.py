"""The models of a local server, and whether it is up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_sync.data.models import ModelInfo
from pollux_sync.data.provider import HttpRequest
from pollux_sync.errors import APIError
from pollux_sync.wire.faults import HttpError, ReplyError
from pollux_sync.wire.fields import as_text, read_count
from pollux_sync.wire.lists import read_objects

if TYPE_CHECKING:
    from pollux_sync.data.provider import HttpResponse
    from pollux_sync.wire.http import HttpClient

#: The request for all models.
MODELS_REQUEST = HttpRequest(method="GET", path="/models")
#: llama.cpp says here whether it is still loading; other servers know no such path.
HEALTH_REQUEST = HttpRequest(method="GET", path="/health")
_LOADING = 503


def decode_models(response: HttpResponse) -> list[ModelInfo]:
    """The models that a server lists; llama.cpp and vLLM say how much they read.

    When a model was made no server says: most write down the time of the question.
    """
    return [
        ModelInfo(id=model_id, context_tokens=_read_context_tokens(item))
        for item in read_objects(response, "data")
        if (model_id := as_text(item.get("id")))
    ]


def _read_context_tokens(item: dict[str, Any]) -> int | None:
    meta = item.get("meta")
    found = (read_count(meta, "n_ctx"), read_count(meta, "n_ctx_train"), read_count(item, "max_model_len"))
    return next(filter(None, found), None)


def check_server(client: HttpClient, model: str, timeout_s: float) -> None:
    """Raise what is in the way of asking the model: the wire's exceptions, APIError for one that is not there."""
    _check_health(client, timeout_s)
    response = client.send(MODELS_REQUEST, timeout_s)
    listed = [listed.id for listed in decode_models(response)]
    if not {model, f"{model}:latest"} & {*listed} and not _is_single_model_llama_cpp(
        response
    ):  # the suffix is Ollama's default
        raise APIError(
            f"the server has no model {model!r}",
            kind="not_found",
            hint=f"load it, or take one of: {', '.join(listed) or 'none is loaded'}",
        )


def _check_health(client: HttpClient, timeout_s: float) -> None:
    try:
        client.send(HEALTH_REQUEST, timeout_s)
    except HttpError as error:
        if error.response.status == _LOADING:
            raise
    except ReplyError:
        return


def _is_single_model_llama_cpp(response: HttpResponse) -> bool:
    """Whether it is llama.cpp with one model, which answers whatever it is called."""
    return [item.get("owned_by") for item in read_objects(response, "data")] == ["llamacpp"]
