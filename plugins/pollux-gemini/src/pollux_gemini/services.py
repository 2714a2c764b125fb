"""The models that the service offers: requests and answers about them. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pollux_gemini.encoding import qualify_model
from pollux_gemini.parts import as_object, read_objects
from pollux_gemini.paths import build_list_path
from pollux_sync.plugin import HttpRequest, ModelInfo, as_text, read_count

if TYPE_CHECKING:
    from pollux_sync.plugin import HttpResponse

#: The prefix of names in lists, of the Gemini API and of Vertex AI. Without it the name can be put into a Config.
_PREFIX = re.compile(r"(publishers/google/)?models/")
#: The largest page size that the service accepts.
_PAGE_SIZE = 1000


def build_models_request(page_token: str | None) -> HttpRequest:
    """Build the request for one page of all models; the first page has no token."""
    return HttpRequest(method="GET", path=build_list_path("/models", _PAGE_SIZE, page_token))


def build_model_request(model: str) -> HttpRequest:
    """Build the request for one model."""
    return HttpRequest(method="GET", path=f"/{quote(qualify_model(model), safe='/@:')}")


def decode_models(response: HttpResponse) -> list[ModelInfo]:
    """Decode a page of the list of models."""
    # An empty page has no list at all. Vertex AI names the list publisherModels.
    body = as_object(response.body)
    models = read_objects(body.get("models") or body.get("publisherModels"))
    return [_decode_model(item) for item in models if as_text(item.get("name"))]


def _decode_model(item: dict[str, Any]) -> ModelInfo:
    return ModelInfo(
        id=_PREFIX.sub("", item["name"], count=1),
        display_name=as_text(item.get("displayName")),
        context_tokens=read_count(item, "inputTokenLimit"),
        max_output_tokens=read_count(item, "outputTokenLimit"),
    )
