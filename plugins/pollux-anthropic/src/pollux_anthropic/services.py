"""The Models API: its requests, and the decoding of its answers. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from pollux_anthropic.batching import parse_timestamp, read_objects
from pollux_anthropic.encoding import VERSION, VERSION_HEADER
from pollux_sync.plugin import HttpRequest, ModelInfo, as_text, read_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pollux_sync.plugin import HttpResponse

_PATH = "/v1/models"
#: The largest page that the service returns; by default it would return 20 models.
_PAGE_SIZE = "1000"
#: The base classes of SDK clients for clouds that have no list of models.
_WITHOUT_LIST = frozenset({"BaseBedrockClient", "BaseVertexClient", "BaseFoundryClient"})


def build_models_request(query: Mapping[str, str]) -> HttpRequest:
    """Return the request for one page of all models. ``query`` holds what `build_next_query` returned."""
    return _build_get(f"{_PATH}?{urlencode({'limit': _PAGE_SIZE} | dict(query))}")


def build_model_request(model: str) -> HttpRequest:
    """Return the request for one model, by its name or an alias."""
    return _build_get(f"{_PATH}/{quote(model, safe='')}")


def decode_models(response: HttpResponse) -> Iterator[ModelInfo]:
    """Yield the models on one page. Raises ReplyError for an answer that is not a list."""
    for item in read_objects(response.body):
        model_id = as_text(item.get("id"))
        if model_id:
            yield ModelInfo(
                id=model_id,
                display_name=as_text(item.get("display_name")),
                context_tokens=read_count(item, "max_input_tokens"),
                max_output_tokens=read_count(item, "max_tokens"),
                created_at=parse_timestamp(item.get("created_at")) or None,  # the epoch stands for "unknown"
            )


def has_model_list(client: Any) -> bool:
    """Return whether the service behind the caller's SDK client lists its models."""
    # Classes are compared by name, so that the SDK need not be imported.
    return not any(base.__name__ in _WITHOUT_LIST for base in type(client).__mro__)


def _build_get(path: str) -> HttpRequest:
    return HttpRequest(method="GET", path=path, headers={VERSION_HEADER: VERSION})
