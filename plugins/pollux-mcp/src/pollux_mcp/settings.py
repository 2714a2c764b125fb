"""The settings of one server, checked before anything is started."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - attrs reads it
from pathlib import PurePath
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

import attrs

from pollux_sync.plugin import ConfigurationError

#: Decides on one call: ``approve(server, tool, arguments)``; only True lets it run.
Approval: TypeAlias = "Callable[[str, str, dict[str, Any]], bool] | Literal['all'] | None"


@attrs.frozen(kw_only=True)
class Limits:
    """The most that a server may send. What is above is refused, or cut with a note.

    ``max_result_chars`` is the length of a result's text, ``max_file_bytes`` the size of all its files,
    ``max_schema_bytes`` that of one tool's schema, and ``max_message_bytes`` that of one message: a server that sends a
    longer one is ended.
    """

    max_tools: int = 128
    max_schema_bytes: int = 65_536
    max_result_chars: int = 100_000
    max_file_bytes: int = 10_000_000
    max_message_bytes: int = 16_777_216

    def __attrs_post_init__(self) -> None:
        for name, value in attrs.asdict(self).items():
            if type(value) is not int or value < 1:
                raise ConfigurationError(f"{name} must be a whole number from 1 on, got {value!r}", hint="such as 128")


@attrs.frozen(kw_only=True)
class ServerSettings:
    """The settings of one server: see `pollux_mcp.MCPServer`."""

    command: tuple[str, ...]
    url: str | None
    # Both hold secrets.
    headers: dict[str, str] = attrs.field(repr=False)
    env: dict[str, str] = attrs.field(repr=False)
    cwd: str | None
    name: str
    prefix: str
    only: frozenset[str] | None
    without: frozenset[str]
    approve: Approval
    start_timeout_s: float
    call_timeout_s: float
    limits: Limits

    def list_secrets(self) -> tuple[str, ...]:
        """Return the texts that no log and no error may show."""
        values = [*self.headers.values(), *self.env.values()]
        # "Bearer abc" is a secret, and so is "abc" alone.
        words = [word for value in self.headers.values() for word in value.split()[1:]]
        query = urlsplit(self.url or "").query
        return (*values, *words, *([query] if query else []))


def check_settings(settings: ServerSettings) -> ServerSettings:
    """Return the settings. Raises ConfigurationError for any that cannot work."""
    if bool(settings.command) == (settings.url is not None):
        raise ConfigurationError("a server has either a command or a url", hint='MCPServer("npx", ["-y", "..."])')
    _check_texts("command, args, name and prefix", [*settings.command, settings.name, settings.prefix])
    for name, texts in (("headers", settings.headers), ("env", settings.env)):
        _check_texts(name, [*texts.keys(), *texts.values()])
    if settings.url is not None:
        _check_url(settings.url)
    approve: object = settings.approve
    if approve is not None and approve != "all" and not callable(approve):
        raise ConfigurationError(f"approve {approve!r} is not known", hint="pass a function, 'all' or nothing")
    for name in ("start_timeout_s", "call_timeout_s"):
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise ConfigurationError(f"{name} must be a number of seconds, got {value!r}", hint="such as 30")
    return settings


def build_command(command: str | None, args: Any) -> tuple[str, ...]:
    """Return a program and its arguments. Raises ConfigurationError if these are one text."""
    if isinstance(args, str):
        raise ConfigurationError("args must be a list of strings", hint=f"args={args.split()!r}")
    return () if command is None else (command, *args)


def check_names(name: str, names: Any) -> frozenset[str]:
    """Return the names of tools as a set. Raises ConfigurationError unless they are a list of texts."""
    if isinstance(names, str) or not all(isinstance(one, str) for one in names):
        raise ConfigurationError(f"{name} must be a list of names of tools, got {names!r}", hint=f'{name}=["search"]')
    return frozenset(names)


def choose_name(command: str | None, url: str | None) -> str:
    """Return the name of a server that was given none: that of its program or its host."""
    return urlsplit(url).hostname or "server" if url is not None else PurePath(str(command)).name


def _check_texts(name: str, texts: Any) -> None:
    if not all(isinstance(text, str) for text in texts):
        raise ConfigurationError(f"{name} must be strings", hint="pass str(value)")


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError("url must begin with http:// or https:// and a host", hint="http://localhost:8000/mcp")
    if parts.username or parts.password:
        raise ConfigurationError("url holds a user or a password", hint="pass headers={'Authorization': ...}")
