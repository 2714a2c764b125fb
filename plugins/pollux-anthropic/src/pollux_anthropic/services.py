"""The models: the requests about them, and what Anthropic tells of them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from pollux_anthropic.batching import parse_timestamp, read_objects
from pollux_anthropic.encoding import VERSION, VERSION_HEADER
from pollux_sync.data.models import ModelInfo
from pollux_sync.data.provider import HttpRequest
from pollux_sync.wire.fields import as_text, read_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pollux_sync.data.provider import HttpResponse

_PATH = "/v1/models"
#: The largest page that the service gives.
_PAGE = "1000"
#: The SDK's clients for clouds that have no such list.
_WITHOUT_LIST = frozenset({"BaseBedrockClient", "BaseVertexClient", "BaseFoundryClient"})


def build_models_request(cursor: Mapping[str, str]) -> HttpRequest:
    """The request for one page of all models."""
    return _get(f"{_PATH}?{urlencode({'limit': _PAGE} | dict(cursor))}")


def build_model_request(model: str) -> HttpRequest:
    """The request for one model, by its name or an alias."""
    return _get(f"{_PATH}/{quote(model, safe='')}")


def decode_models(response: HttpResponse) -> Iterator[ModelInfo]:
    """The models on a page. Raises ReplyError for what is no list."""
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
    """Whether the service behind a client that was handed over lists its models."""
    return not any(base.__name__ in _WITHOUT_LIST for base in type(client).__mro__)


def _get(path: str) -> HttpRequest:
    return HttpRequest(method="GET", path=path, headers={VERSION_HEADER: VERSION})
