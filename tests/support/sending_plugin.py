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


class Quitting:
    """Ends the script at two prompts: with a status, and with an object that does not survive pickling."""

    @hookimpl
    def pollux_send(self, request, client, timeout_s):
        prompt = request.body["messages"][-1]["content"]
        if prompt == "quit":
            raise SystemExit(7)
        if prompt == "complain":
            raise SystemExit(StrangeError("no", "licence"))


class Interrupting:
    """Raises what Ctrl-C raises."""

    @hookimpl
    def pollux_send(self, request, client, timeout_s):
        raise KeyboardInterrupt


def _import_elsewhere():
    raise ImportError("not here")


class Homesick:
    """Cannot be unpickled."""

    @hookimpl
    def pollux_send(self, request, client, timeout_s):
        raise NotImplementedError

    def __reduce__(self):
        return _import_elsewhere, ()
