"""The tools that a server offers: all pages of its list, within limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_sync.plugin import ConfigurationError

if TYPE_CHECKING:
    from mcp import Client
    from mcp_types import Tool

    from pollux_mcp.settings import ServerSettings

_MAX_PAGES = 100


async def list_tools(client: Client, settings: ServerSettings) -> list[Tool]:
    """Return the tools that were chosen, each name once.

    Raises ConfigurationError for too many, and for names in ``only`` that the server does not offer.
    """
    chosen: dict[str, Tool] = {}
    cursor: str | None = None
    for _ in range(_MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            if _is_chosen(tool.name, settings):
                chosen.setdefault(tool.name, tool)
        _check_number(len(chosen), settings)
        cursor = page.next_cursor
        if cursor is None:
            break
    missing = sorted((settings.only or frozenset()) - chosen.keys())
    if missing:
        raise ConfigurationError(
            f"the MCP server {settings.name!r} offers no tool {missing[0]!r}", hint="list what it offers without only="
        )
    return [*chosen.values()]


def _is_chosen(name: str, settings: ServerSettings) -> bool:
    return name not in settings.without and (settings.only is None or name in settings.only)


def _check_number(number: int, settings: ServerSettings) -> None:
    if number > settings.limits.max_tools:
        raise ConfigurationError(
            f"the MCP server {settings.name!r} offers more than {settings.limits.max_tools} tools",
            hint="choose some: only=[...], or limits=Limits(max_tools=...)",
        )
