"""What a service allows, each rule by the page that states it and the day it was read: parts of a declaration."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import attrs

from pollux_sync._values import Value, to_frozenset

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date


@attrs.frozen(kw_only=True, eq=False, repr=False)
class InlineLimits(Value):
    """The limits of content inside a request, by the page ``docs`` on the day ``as_of``.

    ``max_bytes`` is the size of one file and ``max_request_bytes`` that of all files of a request, before they are
    encoded in base64.
    """

    max_bytes: int
    max_request_bytes: int
    as_of: date
    docs: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolNames(Value):
    """The names of tools that a service takes, by the page ``docs`` on the day ``as_of``.

    ``pattern`` matches a whole name; ``about`` says the same in words, as the hint of the error.
    """

    pattern: str
    about: str
    as_of: date
    docs: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CacheLabels(Value):
    """The labels that a service keeps with its caches, by the page ``docs`` on the day ``as_of``.

    A label is a printable text of at most ``max_chars`` characters.
    """

    max_chars: int
    as_of: date
    docs: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PrefixCaching(Value):
    """The rules by which a service caches the beginnings of requests, by the page ``docs`` on the day ``as_of``.

    ``ttls`` are the times that `Options(implicit_caching=...)` may ask it to keep them; none if the service decides.
    ``min_tokens`` are the lengths from which on it caches, by shell-style pattern of the model's name. The first
    pattern that matches counts; no match means that the length is not known.
    """

    ttls: frozenset[str] = attrs.field(default=frozenset(), converter=to_frozenset)
    min_tokens: Mapping[str, int] = attrs.field(factory=dict, hash=False)
    as_of: date
    docs: str

    def find_min_tokens(self, model: str) -> int | None:
        """Return the length from which on the service caches for this model, None if it is not known."""
        return next((tokens for pattern, tokens in self.min_tokens.items() if fnmatchcase(model, pattern)), None)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class DeferredLimits(Value):
    """The limits of one deferred job; ``max_bytes`` is the size of its requests as JSON lines."""

    max_requests: int
    max_bytes: int
