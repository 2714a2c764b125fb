"""Middleware that keeps answers in a SQLite file: a call that was answered before costs nothing."""

from pollux_cache.caching import Cache

__all__ = ["Cache"]
