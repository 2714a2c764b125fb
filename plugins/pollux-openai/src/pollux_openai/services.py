"""The Models API: its requests, and the decoding of its answers. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pollux_sync.plugin import HttpRequest, ModelInfo, as_text, read_count, read_objects

if TYPE_CHECKING:
    from pollux_sync.plugin import HttpResponse

#: The request for the list of all models. The service sends it in one piece, without pages.
MODELS_REQUEST = HttpRequest(method="GET", path="/models")


def build_model_request(model: str) -> HttpRequest:
    """Return the request for one model."""
    # Names of fine-tuned models hold colons, which a path may hold; a slash would begin another segment.
    return HttpRequest(method="GET", path=f"/models/{quote(model, safe=':')}")


def decode_models(response: HttpResponse) -> list[ModelInfo]:
    """Decode a list of models. Raises ReplyError for an answer without a list."""
    return [
        ModelInfo(id=model_id, created_at=read_count(item, "created"))
        for item in read_objects(response, "data")
        if (model_id := as_text(item.get("id")))
    ]


def is_azure(client: Any) -> bool:
    """Return whether an SDK client is one of Azure's, where a model is named by a deployment that no list has."""
    # Classes are compared by name, so that the SDK need not be imported.
    return any(base.__name__ == "BaseAzureClient" for base in type(client).__mro__)
