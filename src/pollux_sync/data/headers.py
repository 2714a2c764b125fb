"""Header fields that callers give: which are refused, which are secret, and how layers of them become one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

#: The text that stands for a secret.
REDACTED = "[REDACTED]"
# Patterns as texts, which `re` compiles at their first use and keeps: many scripts give no headers.
#: The names that RFC 9110 allows for a header.
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
#: Names of headers whose values are secrets, such as Authorization, X-Api-Key and Cookie.
_SENSITIVE_NAME = (
    # Whole words: X-Tokenizer and X-Monkey hide nothing.
    r"(?<![a-z])(api|access|auth|o)?(auth|authorization|authentication|key|token|secret|cookie|password|credential)s?"
    r"(?![a-z])"
)
#: The headers that say where a body ends and what it is, which the client writes itself.
_BODY_NAMES = frozenset({"content-length", "content-type", "transfer-encoding"})
#: The headers of a single request that the client or its connection writes. Another Accept would ask for an answer in
#: a form that no decoder reads.
_TRANSPORT_NAMES = frozenset(
    {"host", "user-agent", "accept", "accept-encoding", "content-encoding", "connection", "keep-alive", "expect"}
    | {"te", "trailer", "upgrade", "proxy-connection"}  # codespell:ignore te
)
#: The headers that carry a key, with any provider or gateway.
_KEY_NAMES = r"(proxy-)?authorization|cookie|(.*-)?api-key"


def check_headers(field: str, headers: Mapping[str, Any]) -> None:
    """Check the names and values of headers; ``field`` is their place in an error, which never shows a value."""
    names = [str(name).lower() for name in headers]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigurationError(
            f"{field} holds {', '.join(repeated)} more than once, in upper and lower case", hint="keep one of them"
        )
    for name, value in headers.items():
        # A line break in either would begin another header. Values are not shown: they may be secrets.
        if not re.fullmatch(_NAME, str(name)):
            raise ConfigurationError(f"{field}: {name!r} is not a valid header name", hint="e.g. X-Team")
        if str(name).lower() in _BODY_NAMES:
            raise ConfigurationError(
                f"{field} holds {name!r}, which belongs to the body of each request", hint="leave it out"
            )
        if not isinstance(value, str):
            raise ConfigurationError(
                f"{field}: the value of {name!r} must be a string, got {type(value).__name__}", hint="pass a string"
            )
        if not (value.isascii() and value.isprintable()):
            raise ConfigurationError(
                f"{field}: the value of {name!r} must be printable ASCII", hint="pass one line of text"
            )


def check_call_headers(field: str, headers: Mapping[str, Any]) -> None:
    """Check the headers of single calls as `check_headers` does; those of the key and the connection are refused."""
    check_headers(field, headers)
    for name in headers:
        if re.fullmatch(_KEY_NAMES, name.lower()):
            raise build_key_error(field, name)
        if name.lower() in _TRANSPORT_NAMES:
            raise ConfigurationError(f"{field} holds {name!r}, which the client writes itself", hint="leave it out")


def build_key_error(field: str, name: str) -> ConfigurationError:
    """Return the error of a header that carries the key."""
    return ConfigurationError(
        f"{field} holds {name!r}, which carries the key",
        hint="leave it out: credentials belong in Config(api_key=...) or Config(headers=...)",
    )


def is_secret(name: str) -> bool:
    """Return whether the name of a header suggests that its value is a secret."""
    return bool(re.search(_SENSITIVE_NAME, name, re.IGNORECASE))


def iter_secrets(headers: Mapping[str, str]) -> Iterator[str]:
    """Yield the values of the headers that are secret by their names."""
    return (value for name, value in headers.items() if is_secret(name))


def redact_values(headers: Mapping[str, str]) -> str:
    """Return a repr of headers with their names alone."""
    return repr(dict.fromkeys(headers, REDACTED))


def redact_secrets(headers: Mapping[str, str]) -> str:
    """Return a repr of headers without the values that are secret by their names."""
    return repr({name: REDACTED if is_secret(name) else value for name, value in headers.items()})


def merge_headers(*layers: Mapping[str, str], lists: Collection[str] = ()) -> dict[str, str]:
    """Return all headers. Of those with one name, whatever its case, the last counts: both would be sent.

    The values of ``lists``, names in lower case, are joined in place of that.
    """
    merged: dict[str, tuple[str, str]] = {}
    for layer in layers:
        for name, value in layer.items():
            place = name.lower()
            if place in merged and place in lists:
                first, before = merged[place]
                merged[place] = first, join_values(before, value)
            else:
                merged[place] = name, value
    return dict(merged.values())


def join_values(*values: str) -> str:
    """Return comma-separated lists as one, each item once."""
    items = (item.strip() for value in values for item in value.split(","))
    return ",".join(dict.fromkeys(filter(None, items)))
