"""The models: the requests about them, and what Gemini tells of them. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pollux_gemini.encoding import full_name
from pollux_sync.data.models import ModelInfo
from pollux_sync.data.provider import HttpRequest
from pollux_sync.wire.fields import as_text, read_count

if TYPE_CHECKING:
    from pollux_sync.data.provider import HttpResponse

#: What stands before a name in lists, of the Gemini API and of Vertex AI.
_PREFIX = re.compile(r"(publishers/google/)?models/")
#: The largest page that the service gives.
_PAGE = 1000


def listing(page: str | None) -> HttpRequest:
    """The request for one page of all models."""
    return HttpRequest(method="GET", path=f"/models?pageSize={_PAGE}" + (f"&pageToken={quote(page)}" if page else ""))


def look(model: str) -> HttpRequest:
    """The request for one model."""
    return HttpRequest(method="GET", path=f"/{quote(full_name(model), safe='/@:')}")


def models_in(response: HttpResponse) -> list[ModelInfo]:
    """The models on a page, which is an object without a list when there are none."""
    body = response.body if isinstance(response.body, dict) else {}
    listed = body.get("models") or body.get("publisherModels") or ()
    return [_model(item) for item in listed if isinstance(item, dict) and as_text(item.get("name"))]


def _model(item: dict[str, Any]) -> ModelInfo:
    return ModelInfo(
        id=_PREFIX.sub("", item["name"], count=1),
        display_name=as_text(item.get("displayName")),
        context_tokens=read_count(item, "inputTokenLimit"),
        max_output_tokens=read_count(item, "outputTokenLimit"),
    )
