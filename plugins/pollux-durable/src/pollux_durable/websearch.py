"""A tool with which a model searches the web, over Tavily or a function of yours."""

from __future__ import annotations

import os
from collections.abc import Callable  # noqa: TC003 - attrs reads it
from typing import TYPE_CHECKING, Any, Literal

import attrs
import requests

from pollux_durable.errors import PayloadError
from pollux_durable.tools import DurableTool
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from pollux_durable.contexts import WorkflowContext
    from pollux_durable.data.runs import JsonObject

#: https://docs.tavily.com/documentation/api-reference/endpoint/search
TAVILY_URL = "https://api.tavily.com/search"
KEY_VARIABLE = "TAVILY_API_KEY"
_TIMEOUT_S = 30.0
_FIELDS = ("title", "url", "content", "score", "published_date")


@attrs.frozen(kw_only=True)
class WebSearchConfig:
    """The options of a web search: by ``search(query, options)`` if it is given, else by Tavily.

    ``api_key`` is by default that of TAVILY_API_KEY, read when a search is made. ``options`` for a function of yours
    are ``max_results`` and ``topic``.
    """

    search: Callable[[str, JsonObject], Any] | None = None
    api_key: str | None = attrs.field(default=None, repr=False)
    max_results: int = 5
    topic: Literal["general", "news", "finance"] = "general"
    base_url: str = TAVILY_URL

    def __attrs_post_init__(self) -> None:
        if self.max_results < 1:
            raise ConfigurationError(f"max_results is {self.max_results!r}", hint="use a whole number from 1 on")


def create_web_search_tool(config: WebSearchConfig | None = None, name: str = "web_search") -> DurableTool:
    """Return a tool that searches the web. Each search is a step of the agent's run, so it is made once."""
    settings = config or WebSearchConfig()

    def web_search(_: WorkflowContext, query: str) -> Any:
        """Search the web and return the best results with their addresses.

        Args:
            query: What to search for.

        """
        options = {"max_results": settings.max_results, "topic": settings.topic}
        return settings.search(query, options) if settings.search is not None else _ask_tavily(settings, query, options)

    web_search.__annotations__ = {"query": str}
    return DurableTool(web_search, id=name, step=True)


def _ask_tavily(settings: WebSearchConfig, query: str, options: JsonObject) -> list[JsonObject]:
    key = settings.api_key or os.environ.get(KEY_VARIABLE)
    if not key:
        raise PayloadError("the web cannot be searched without a key", hint=f"set {KEY_VARIABLE}, or pass api_key")
    try:
        response = requests.post(
            settings.base_url,
            json={"query": query, **options},
            headers={"Authorization": f"Bearer {key}"},
            timeout=_TIMEOUT_S,
            allow_redirects=False,
        )
        response.raise_for_status()
        results = response.json()["results"]
        return [{name: result[name] for name in _FIELDS if name in result} for result in results]
    # Their messages name the address and never the header with the key.
    except (requests.RequestException, KeyError, TypeError, ValueError) as error:
        raise RuntimeError(f"the search failed: {type(error).__name__}: {error}") from None
