"""Middleware that limits the requests and tokens of a minute, for all threads of a process."""

from pollux_limit.limiting import Limit

__all__ = ["Limit"]
