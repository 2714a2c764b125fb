"""Connections through a proxy, as requests makes them. Loaded only where there is one."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from pollux_sync.wire.answers import Answer
from pollux_sync.wire.connections import ClosingPoolMixin, DeadlineMixin, TunnelError
from pollux_sync.wire.routes import convert_route_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pollux_sync.wire.routes import Route


class _TunnelMixin(DeadlineMixin):
    """Mixin of urllib3's connections, which may be tunnels."""

    def _build_answer(self, *args: Any, **kwargs: Any) -> Answer:
        # The proxy's answer to CONNECT may drip as any other.
        return Answer(*args, deadline=self.deadline, **kwargs)

    response_class: Any = _build_answer

    def _tunnel(self) -> None:
        try:
            super()._tunnel()  # type: ignore[misc]
        except (OSError, http.client.HTTPException) as error:
            raise TunnelError(f"the proxy did not connect to the server: {error}") from error
        # The proxy may have taken long to answer, and the handshake of TLS follows.
        self.limit_socket(self.sock)


class _DeadlineHTTPConnection(_TunnelMixin, HTTPConnection):
    pass


class _DeadlineHTTPSConnection(_TunnelMixin, HTTPSConnection):
    pass


class _DeadlineHTTPPool(ClosingPoolMixin, HTTPConnectionPool):
    ConnectionCls = _DeadlineHTTPConnection

    @property
    def request_headers(self) -> Mapping[str, str]:  # type: ignore[override]
        """Headers that the proxy wants with every request."""
        return self.proxy_headers


class _TunnelPool(ClosingPoolMixin, HTTPSConnectionPool):
    """Tunnels through a proxy, whose headers go to the proxy itself."""

    ConnectionCls = _DeadlineHTTPSConnection

    def _connect(self, connection: Any) -> None:
        self._prepare_proxy(connection)


#: The pools by scheme, for ``pool_classes_by_scheme`` of a urllib3 pool manager.
_POOL_CLASSES = {"http": _DeadlineHTTPPool, "https": _TunnelPool}


class ProxyAdapter(HTTPAdapter):
    """requests' adapter with connections that keep deadlines. It chooses a tunnel, or whole addresses in the requests.

    Only its connections are used, by `HttpClient`.
    """

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Return the manager of a proxy's connections, with our pools."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _find_pools(proxy)
        return manager

    def close(self) -> None:
        """Close all connections, also those in use."""
        # PoolManager.clear, which requests calls, drops the pools without closing connections in use.
        for manager in self.proxy_manager.values():
            for key in manager.pools.keys():  # noqa: SIM118 - its own container, which does not iterate
                manager.pools[key].close()
        super().close()

    def open_pool(self, base_url: str, route: Route) -> tuple[ClosingPoolMixin, str]:
        """Return the connection pool for ``base_url``, and the prefix of every request path.

        Raises ConfigurationError for a route that cannot be used.
        """
        verify: str | bool = route.bundle or True
        request = PreparedRequest()
        request.prepare_url(base_url, {})
        try:
            pool: Any = self.get_connection_with_tls_context(request, verify, proxies=route.proxies)
            self.cert_verify(pool, base_url, verify, None)  # type: ignore[no-untyped-call]
            return pool, self.request_url(request, route.proxies).rstrip("/")
        except (OSError, ValueError) as error:
            problem = convert_route_errors(error, route)
        # Not chained: the libraries' frames hold the proxy's password.
        raise problem


def _find_pools(proxy: str) -> dict[str, Any]:
    if not proxy.lower().startswith("socks"):
        return _POOL_CLASSES
    # Imported here: the package behind it is optional.
    from pollux_sync.wire.socksproxies import SOCKS_POOL_CLASSES

    return SOCKS_POOL_CLASSES
