"""llama.cpp's server in this process: one for each model file and its settings, stopped at exit.

It listens on a free loopback port and requires a key that only this process knows.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import secrets
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import attrs

from pollux_sync.plugin import ConfigurationError, ConfigValues, HttpClient, HttpRequest, SecretHeader, open_client

if TYPE_CHECKING:
    from pollux_sync.plugin import ProviderInfo

_DEFAULT_PARALLEL = 4
_START_TIMEOUT_S = 60.0
#: llama.cpp's log level without any output.
_SILENT_VERBOSITY = -1
#: No proxy, whatever configuration and environment name.
_DIRECT = ""


@attrs.frozen
class _ServerKey:
    """The settings of a server; calls with equal settings share one."""

    path: str
    n_ctx: int
    n_threads: int
    n_parallel: int
    chat_template: str


@attrs.frozen
class _EmbeddedServer:
    """A running server and its clients.

    The server has no stop method: it stops when the last reference to ``server`` is gone.
    """

    server: Any
    url: str
    api_key: str = attrs.field(repr=False)
    pid: int = attrs.field(factory=os.getpid)
    clients: WeakSet[HttpClient] = attrs.field(factory=WeakSet, repr=False)


_servers: dict[_ServerKey, _EmbeddedServer] = {}
_lock = threading.Lock()
_is_process_ending = False


def open_embedded_client(model: Path, config: ConfigValues, info: ProviderInfo) -> HttpClient:
    """Return a client of the server that has ``model`` loaded, and start the server if it is not running yet.

    Raises ConfigurationError when llama.cpp cannot load the file, or when the process is ending.
    """
    options = config.provider_options
    key = _ServerKey(
        path=str(model.resolve()),
        n_ctx=options.get("n_ctx", 0),
        n_threads=options.get("n_threads") or _count_spare_threads(),
        n_parallel=options.get("n_parallel", _DEFAULT_PARALLEL),
        chat_template=options.get("chat_template", ""),
    )
    # Under the lock, so that threads with equal settings load the model once.
    with _lock:
        running = _servers.get(key) or _servers.setdefault(key, _start_server(key))
        # Prompts must not leave the machine for a proxy, which could not reach this server anyway.
        own = attrs.evolve(config, api_key=running.api_key, base_url=f"{running.url}/v1", proxy=_DIRECT)
        client = open_client(own, info)
        running.clients.add(client)
    return client


def _start_server(key: _ServerKey) -> _EmbeddedServer:
    if _is_process_ending:
        raise ConfigurationError("the process is ending, so no model is loaded any more", hint="join threads first")
    from xllamacpp import Server

    api_key = secrets.token_urlsafe()
    try:
        server = Server(_build_parameters(key, api_key))
    except (RuntimeError, ValueError) as error:
        raise ConfigurationError(
            f"llama.cpp cannot load {key.path}: {error}", hint="check that it is a complete GGUF file of a chat model"
        ) from error
    _wait_until_running(server.listening_address, api_key)
    return _EmbeddedServer(server, server.listening_address, api_key)


def _wait_until_running(url: str, api_key: str) -> None:
    """Return once the server's main loop runs."""
    # A server that is stopped before its loop runs never ends. This path is answered by the loop itself.
    client = HttpClient(url, headers={"Authorization": SecretHeader(f"Bearer {api_key}")}, proxy=_DIRECT)
    client.send(HttpRequest(method="GET", path="/slots"), _START_TIMEOUT_S)
    client.close()


def _build_parameters(key: _ServerKey, api_key: str) -> Any:
    from xllamacpp import CommonParams

    parameters = CommonParams()
    parameters.model.path = key.path
    parameters.model_alias = {Path(key.path).stem}
    parameters.hostnames = ["127.0.0.1"]
    # The system chooses a free port.
    parameters.port = 0
    parameters.api_keys = [api_key]
    parameters.verbosity = _SILENT_VERBOSITY
    parameters.warmup = False
    parameters.ui = False
    parameters.n_ctx = key.n_ctx
    parameters.n_parallel = key.n_parallel
    # The slots share the context, so that a single request may use all of it.
    parameters.kv_unified = True
    parameters.chat_template = key.chat_template
    parameters.cpuparams.n_threads = key.n_threads
    parameters.cpuparams_batch.n_threads = key.n_threads
    return parameters


def _count_spare_threads() -> int:
    # llama.cpp's threads wait for each other by spinning. With a single core taken by another process, two threads on
    # two cores were measured to take ten times as long as one, so one core is left free.
    return max(1, _count_usable_cores() - 1)


def _count_usable_cores() -> int:
    # The process may be bound to fewer cores than the machine has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@atexit.register
def _stop_at_exit() -> None:
    """Stop every server for good."""
    # A daemon thread repeats the call that was cut off. A server that it started now would be destroyed with that call
    # in flight, and wait for it for ever.
    global _is_process_ending  # noqa: PLW0603
    _is_process_ending = True
    stop_servers()


def stop_servers() -> None:
    """Stop every server that this process started; the next call starts a new one."""
    # Clients are closed first. llama.cpp waits for requests in flight while it holds the interpreter's lock, so
    # the threads that read the answers could not go on.
    with _lock:
        for key in [key for key, running in _servers.items() if running.pid == os.getpid()]:
            running = _servers.pop(key)
            for client in list(running.clients):
                client.close()


def _share_with_child() -> None:
    """Prepare a forked child to use the parent's servers and never stop them.

    Such a child must leave by ``os._exit``, as those of multiprocessing do.
    """
    # A thread of the parent that was not copied may have held the lock.
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
    for running in _servers.values():
        # The sockets of these clients belong to the parent.
        running.clients.clear()
        # Stopping a server joins its threads, which the child does not have. The extra reference keeps the object
        # alive beyond the end of the child's interpreter.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(running.server))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_share_with_child)
