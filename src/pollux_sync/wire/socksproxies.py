"""Connections through a SOCKS proxy, with the deadline of all others. Needs PySocks, as requests does."""

from __future__ import annotations

import socket
import time
from math import inf
from typing import TYPE_CHECKING, Any

import socks
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.contrib.socks import SOCKSConnection, SOCKSHTTPSConnection

from pollux_sync.wire.connections import ClosingPoolMixin, DeadlineMixin, find_family

if TYPE_CHECKING:
    from pollux_sync.wire.connections import Address


class _DeadlineSocket(socks.socksocket):
    """A socket whose negotiation with the proxy ends at ``deadline``, however slowly the proxy answers."""

    deadline = inf

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        # PySocks reads the proxy's answers in pieces, and a socket gives each read its whole time-out.
        if self.deadline < inf:
            left_s = self.deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("the SOCKS proxy did not answer within the time limit")
            # Not PySocks' own, which waits for the end of the negotiation.
            socket.socket.settimeout(self, left_s)
        return super().recv_into(*args, **kwargs)


class _SocksMixin(DeadlineMixin):
    """Mixin of urllib3's SOCKS connections, which connects to the proxy and has it connect to the server."""

    _socks_options: Any

    def find_peer(self) -> tuple[str, int]:
        """Return host and port of the proxy."""
        return self._socks_options["proxy_host"].strip("[]"), self._socks_options["proxy_port"] or 1080

    def open_socket(self, address: Address, timeout_s: float) -> socket.socket:
        """Connect to the server through the proxy at this address. Raises OSError."""
        host, port = address[:2]
        options = self._socks_options
        sock = _DeadlineSocket(find_family(address))
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(timeout_s)
            sock.set_proxy(
                options["socks_version"], host, port, options["rdns"], options["username"], options["password"]
            )
            sock.deadline = time.monotonic() + timeout_s
            sock.connect((self._dns_host, self.port))
            sock.deadline = inf
        except socks.ProxyError as error:
            sock.close()
            if isinstance(error.socket_err, TimeoutError):
                raise error.socket_err from error
            raise
        except BaseException:
            sock.close()
            raise
        return sock


class _SocksHTTPConnection(_SocksMixin, SOCKSConnection):
    pass


class _SocksHTTPSConnection(_SocksMixin, SOCKSHTTPSConnection):
    pass


class _SocksHTTPPool(ClosingPoolMixin, HTTPConnectionPool):
    ConnectionCls = _SocksHTTPConnection


class _SocksHTTPSPool(ClosingPoolMixin, HTTPSConnectionPool):
    ConnectionCls = _SocksHTTPSConnection


#: The pools by scheme, for ``pool_classes_by_scheme`` of urllib3's manager of a SOCKS proxy.
SOCKS_POOL_CLASSES = {"http": _SocksHTTPPool, "https": _SocksHTTPSPool}
