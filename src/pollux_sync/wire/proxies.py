"""Connections through a proxy, as requests makes them. Loaded only where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from requests import PreparedRequest
from requests.adapters import HTTPAdapter

from pollux_sync.wire.connections import POOL_CLASSES
from pollux_sync.wire.routes import convert_route_errors

if TYPE_CHECKING:
    from pollux_sync.wire.connections import ClosingPoolMixin
    from pollux_sync.wire.routes import Route


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
        return POOL_CLASSES
    # Imported here: the package behind it is optional.
    from pollux_sync.wire.socksproxies import SOCKS_POOL_CLASSES

    return SOCKS_POOL_CLASSES
