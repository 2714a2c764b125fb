"""Middleware for senders, in a module of its own, so that they can import it."""

import os

from pollux_sync import hookimpl


class PidHeader:
    """Names the process that sends a request, and prints, as a careless plugin may."""

    @hookimpl(wrapper=True)
    def pollux_send(self, request, client, timeout_s):
        print("sending")  # noqa: T201
        request.headers["X-Pid"] = str(os.getpid())
        return (yield)


class StrangeError(Exception):
    """An error that does not survive pickling, as those of many libraries."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class Strange:
    """Raises what no classifier knows."""

    @hookimpl
    def pollux_send(self, request, client, timeout_s):
        raise StrangeError("a", "b")
