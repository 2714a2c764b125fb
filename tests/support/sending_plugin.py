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


class Deadly:
    """Ends every process that sends with it."""

    @hookimpl
    def pollux_send(self, request, client, timeout_s):
        os._exit(3)


def _import_elsewhere():
    raise ImportError("not here")


class Homesick:
    """Cannot be unpickled."""

    @hookimpl
    def pollux_send(self, request, client, timeout_s):
        raise NotImplementedError

    def __reduce__(self):
        return _import_elsewhere, ()
