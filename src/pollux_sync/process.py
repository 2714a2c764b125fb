"""The state of this process between calls: pooled clients, and the context of one call."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from pollux_sync.builtin.opening import open_hooks
from pollux_sync.data.config import read_way_variables
from pollux_sync.engine.preparing import UploadScope
from pollux_sync.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pollux_sync.data.config import ConfigValues
    from pollux_sync.engine.delivering import FileStorage
    from pollux_sync.hooks.relay import Hooks

    #: What one call runs on: the hooks with an open client, and the place where its files are stored.
    CallContext: TypeAlias = tuple[Hooks, FileStorage]


class PooledClient:
    """The hooks of one configuration with their open client, and how many calls use them now."""

    def __init__(self, hooks: Hooks) -> None:
        self.hooks = hooks
        self.users = 0


class ClientPool:
    """Open clients by configuration and way, so that a call in a loop pays for connecting once.

    The way is what the environment says of proxies and certificates: once it has changed, a call opens a new client.
    At most ``capacity`` clients are kept where that is possible: the least recently used idle one is closed to
    make room, one in use never is.
    """

    def __init__(self, open_hooks: Callable[[ConfigValues], Hooks], *, capacity: int = 16) -> None:
        self._open_hooks = open_hooks
        self._capacity = capacity
        # Re-entrant: while hooks are opened under the lock, the garbage collector may end an abandoned stream in this
        # very thread, which releases its client.
        self._lock = threading.RLock()
        self._clients: OrderedDict[tuple[object, ...], PooledClient] = OrderedDict()
        # Of sessions that have ended, the oldest first. Another session goes on with their connections.
        self._spares: list[tuple[tuple[object, ...], Hooks]] = []

    def lease(self, config: ConfigValues) -> Lease:
        """Return a context manager over the configuration's hooks, which keeps their client open."""
        return Lease(self, config)

    @contextmanager
    def lease_alone(self, config: ConfigValues) -> Iterator[Hooks]:
        """Give hooks with a client that nobody else uses before the block ends, so that they can be aborted."""
        if config.use_mock:
            # What a mock stores is in its client, and all see the same.
            with self.lease(config) as shared:
                hooks = self._open_hooks(config)
                hooks.borrow(shared.client)
                yield hooks
            return
        key = _build_key(config)
        with self._lock:
            found = next((spare for spare in reversed(self._spares) if spare[0] == key), None)
            if found is not None:
                self._spares.remove(found)
            hooks = found[1] if found is not None else self._open_hooks(config)
        try:
            yield hooks
        finally:
            self._keep_spare(key, hooks)

    def _keep_spare(self, key: tuple[object, ...], hooks: Hooks) -> None:
        with self._lock:
            if not hooks.is_aborted:
                self._spares.append((key, hooks))
            surplus = [self._spares.pop(0)[1]] if len(self._spares) > self._capacity else []
        for idle in [hooks] if hooks.is_aborted else surplus:
            idle.close()

    def acquire(self, config: ConfigValues) -> PooledClient:
        """Return the configuration's client, in use until it is passed to `release`."""
        key = _build_key(config)
        with self._lock:
            # Opened under the lock: two threads with a new configuration must not open two clients. It is quick, since
            # a connection is made only when the first request needs it.
            client = self._clients.get(key)
            if client is None:
                client = self._clients[key] = PooledClient(self._open_hooks(config))
            client.users += 1
            self._clients.move_to_end(key)
            surplus = self._pop_surplus()
        # Closing may block on the network, so it happens outside the lock.
        for idle in surplus:
            idle.hooks.close()
        return client

    def release(self, client: PooledClient) -> None:
        """End one use of a client that `acquire` returned."""
        with self._lock:
            client.users -= 1

    def _pop_surplus(self) -> list[PooledClient]:
        excess = len(self._clients) - self._capacity
        if excess <= 0:
            return []
        # Ordered by last use, so the first idle ones are the oldest.
        idle = [key for key, client in self._clients.items() if not client.users]
        return [self._clients.pop(key) for key in idle[:excess]]

    def close(self) -> None:
        """Close every client; the next call opens a new one."""
        with self._lock:
            clients, self._clients = self._clients, OrderedDict()
            spares, self._spares = self._spares, []
        for hooks in [*(client.hooks for client in clients.values()), *(spare for _, spare in spares)]:
            hooks.close()

    def forget(self) -> None:
        """Drop every client without closing it.

        For a forked child: the sockets belong to the parent, and the lock may be held by a thread that was not
        copied.
        """
        self._lock = threading.RLock()
        self._clients = OrderedDict()
        self._spares = []


def _build_key(config: ConfigValues) -> tuple[object, ...]:
    """Return what a client can be shared by: the configuration and the way. A mock has no way."""
    # What a mock stores must outlive a change of the way.
    return (config, *(() if config.use_mock else read_way_variables()))


class Lease:
    """One use of a pooled client, entered once. A class, since a generator-based context costs every call more."""

    def __init__(self, pool: ClientPool, config: ConfigValues) -> None:
        self._pool = pool
        self._config = config

    def __enter__(self) -> Hooks:
        self._client = self._pool.acquire(self._config)
        return self._client.hooks

    def __exit__(self, *_: object) -> None:
        self._pool.release(self._client)


@contextmanager
def open_call_context(config: ConfigValues) -> Iterator[CallContext]:
    """Lease a client and open an upload scope; files that the call uploads are deleted when the block ends."""
    with clients.lease(config) as hooks, UploadScope(hooks) as uploads:
        yield hooks, uploads


class _SignalAtTeardown:
    """Ends the process by SIGINT when it is destroyed, which is when the interpreter tears its modules down.

    By then every exit handler has run, whoever registered it, and the standard streams are flushed.
    """

    def __init__(self, number: int) -> None:
        self._number = number

    def __del__(
        self,
        # Bound as defaults: during teardown the modules may be gone.
        kill: Callable[[int, int], None] = os.kill,
        getpid: Callable[[], int] = os.getpid,
    ) -> None:
        kill(getpid(), self._number)


def _end_by_signal_if_interrupted() -> None:
    """Arrange that an unhandled Interrupted ends the process by SIGINT, as Python does for a KeyboardInterrupt.

    Python does so for the exact class only. A shell that sees another exit assumes that the script has dealt with
    Ctrl-C, and goes on with its loop. An interactive interpreter keeps the last error, but lives on.
    """
    if issubclass(getattr(sys, "last_type", None) or object, Interrupted) and not hasattr(sys, "ps1"):
        import signal  # for the few scripts that end so

        # Set here, while the signal module is whole. A second Ctrl-C during the remaining handlers ends at once.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        # In the namespace of sys, which is always emptied, and after all others. A list of this module would be kept
        # alive by a daemon thread whose plugin was written in the script: its globals lead to this module's.
        vars(sys)["_pollux_sync_signal"] = _SignalAtTeardown(signal.SIGINT)


#: The open clients of this process: closed at exit, never shared with a forked child.
clients = ClientPool(open_hooks)
if os.name == "posix":
    atexit.register(_end_by_signal_if_interrupted)
atexit.register(clients.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=clients.forget)
