"""The models: the requests about them, and what OpenAI tells of them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pollux_sync.data.models import ModelInfo
from pollux_sync.data.provider import HttpRequest
from pollux_sync.wire.fields import as_text, read_count
from pollux_sync.wire.lists import objects_in

if TYPE_CHECKING:
    from pollux_sync.data.provider import HttpResponse

#: The request for all models.
LISTING = HttpRequest(method="GET", path="/models")


def look(model: str) -> HttpRequest:
    """The request for one model."""
    return HttpRequest(method="GET", path=f"/models/{quote(model, safe=':')}")


def models_in(response: HttpResponse) -> list[ModelInfo]:
    """The models that an answer lists."""
    listed = objects_in(response, "data")
    return [
        ModelInfo(id=model_id, created_at=read_count(item, "created"))
        for item in listed
        if (model_id := as_text(item.get("id")))
    ]


def is_azure(client: Any) -> bool:
    """Whether models go by names of the user's own, deployments, which no list has."""
    return any(base.__name__ == "BaseAzureClient" for base in type(client).__mro__)
