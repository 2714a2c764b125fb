"""The state of this process between calls: pooled clients, and the context of one call."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

import attrs

from pollux_sync._values import Value
from pollux_sync.builtin.opening import open_hooks
from pollux_sync.data.config import is_mock_account, read_way_variables, redact_credentials
from pollux_sync.engine.preparing import UploadScope
from pollux_sync.engine.requesting import require_config
from pollux_sync.errors import ConfigurationError, Interrupted
from pollux_sync.hooks.config import Config
from pollux_sync.hooks.loading import PROVIDERS, load
from pollux_sync.hooks.relay import Hooks, read_provider_info

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pollux_sync.data.config import ConfigValues
    from pollux_sync.data.handles import CacheHandle
    from pollux_sync.data.jobs import DeferredHandle
    from pollux_sync.engine.delivering import FileStorage

    #: What one call runs on: the hooks with an open client, and the place where its files are stored.
    CallContext: TypeAlias = tuple[Hooks, FileStorage]


@attrs.define
class PooledClient:
    """The hooks of one configuration with their open client, and how many calls use them now."""

    hooks: Hooks
    users: int = 0


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


@attrs.frozen(kw_only=True, eq=False, repr=False)
class HandleHints(Value):
    """The hints of errors about a handle that a configuration does not fit, in the words of its user.

    ``address`` is a format string with ``{address}``.
    """

    mock: str = "pass the config with use_mock=True"
    not_mock: str = "pass a config without use_mock"
    address: str = "pass config=Config(..., base_url={address!r}) with the key that belongs there"
    account: str = (
        "pass the config that the handle was made with; if only its key was renewed, pass "
        "attrs.evolve(handle, account=None), or delete the handle's account in the job file"
    )


def resolve_config(
    handle: CacheHandle | DeferredHandle, config: Config | None, hints: HandleHints | None = None
) -> Config:
    """Return the configuration that reaches what a handle stands for: the one given, else the environment's.

    A handle is data, which may come from anywhere. Where it says that the job is does not decide where a key is sent:
    the configuration does. Raises ConfigurationError for a configuration of another provider, address or account.
    """
    hints = hints or HandleHints()
    if config is None:
        # Before the key is looked for, since a mock needs none.
        _check_mode(handle, use_mock=False, hints=hints)
        resolved = Config(provider=handle.provider, model=handle.model)
        _check_address(handle, resolved, hints)
    else:
        resolved = require_config(config)
        _check_provider(handle, resolved)
        _check_mode(handle, use_mock=resolved.use_mock, hints=hints)
    _check_account(handle, resolved, hints)
    return resolved


def _check_mode(handle: CacheHandle | DeferredHandle, *, use_mock: bool, hints: HandleHints) -> None:
    if is_mock_account(handle.account) and not use_mock:
        raise ConfigurationError("the handle was made by the mock", hint=hints.mock)
    # Without an account nothing is known, as with a handle of a release that did not mark those of the mock.
    if use_mock and handle.account is not None and not is_mock_account(handle.account):
        raise ConfigurationError("the handle was not made by the mock", hint=hints.not_mock)


def _check_provider(handle: CacheHandle | DeferredHandle, config: Config) -> None:
    if config.provider.rpartition(":")[2] != handle.provider:
        raise ConfigurationError(
            f"the handle belongs to provider {handle.provider!r}, the config to {config.provider!r}",
            hint="pass the config that the handle was made with",
        )


def _check_address(handle: CacheHandle | DeferredHandle, config: Config, hints: HandleHints) -> None:
    info = read_provider_info(load(PROVIDERS, config.provider))
    wanted, reached = map(info.resolve_base_url, (handle.base_url, config.base_url))
    if wanted != reached:
        address = redact_credentials(wanted)
        raise ConfigurationError(
            f"the handle belongs to the address {address!r}, the key in the environment to {reached!r}",
            hint=hints.address.format(address=address),
        )


def _check_account(handle: CacheHandle | DeferredHandle, config: Config, hints: HandleHints) -> None:
    # Unknown on one side is no proof of a difference: a client handed over may hide its key.
    if None not in {handle.account, config.account} and handle.account != config.account:
        raise ConfigurationError("the handle belongs to another account", hint=hints.account)


class _SignalAtTeardown:
    """Ends the process by SIGINT when it is destroyed, which is when the interpreter tears its modules down.

    By then every exit handler has run, whoever registered it, and the standard streams are flushed.
    """

    def __del__(
        self,
        # Bound as defaults: during teardown the modules may be gone.
        kill: Callable[[int, int], None] = os.kill,
        getpid: Callable[[], int] = os.getpid,
        number: int = signal.SIGINT,
    ) -> None:
        kill(getpid(), number)


def _end_by_signal_if_interrupted() -> None:
    """Arrange that an unhandled Interrupted ends the process by SIGINT, as Python does for a KeyboardInterrupt.

    Python does so for the exact class only. A shell that sees another exit assumes that the script has dealt with
    Ctrl-C, and goes on with its loop. An interactive interpreter keeps the last error, but lives on.
    """
    if issubclass(getattr(sys, "last_type", None) or object, Interrupted) and not hasattr(sys, "ps1"):
        # Set here, while the signal module is whole. A second Ctrl-C during the remaining handlers ends at once.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        # In the namespace of sys, which is always emptied, and after all others. A list of this module would be kept
        # alive by a daemon thread whose plugin was written in the script: its globals lead to this module's.
        vars(sys)["_pollux_sync_signal"] = _SignalAtTeardown()


#: The open clients of this process: closed at exit, never shared with a forked child.
clients = ClientPool(open_hooks)
if os.name == "posix":
    atexit.register(_end_by_signal_if_interrupted)
atexit.register(clients.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=clients.forget)
