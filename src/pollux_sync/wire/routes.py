"""The route to an address: its proxy and its trusted certificates, from the configuration or the environment."""

from __future__ import annotations

import os
import sys
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

import attrs

from pollux_sync._values import Value
from pollux_sync.data.config import SecretUrl
from pollux_sync.errors import ConfigurationError
from pollux_sync.wire.certificates import check_bundle, read_bundle
from pollux_sync.wire.faults import ProxyUnusableError, is_proxy_fault

_PROXY_SCHEMES = frozenset({"http", "https", "socks4", "socks4a", "socks5", "socks5h"})
#: The systems on which `urllib.request.getproxies` looks at more than the environment.
_SYSTEMS_WITH_SETTINGS = frozenset({"darwin", "win32"})
_NO_PROXY_VARIABLES = ("no_proxy", "NO_PROXY")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Route(Value):
    """The way to an address. ``proxy`` and ``bundle`` are None for a direct way and for the usual certificates.

    ``proxy_setting`` and ``bundle_setting`` name what set them, for errors.
    """

    proxy: str | None = attrs.field(default=None, repr=False)
    proxy_setting: str = ""
    bundle: str | None = None
    bundle_setting: str = ""

    @property
    def proxies(self) -> dict[str, str]:
        """The proxy in the form that requests takes."""
        return {"all": self.proxy} if self.proxy else {}

    def check_proxy_fault(self, error: Exception) -> None:
        """Raise ProxyUnusableError in place of a failure that is the proxy's: the server may well be there."""
        if self.proxy and is_proxy_fault(error):
            # Without user and password.
            address = self.proxy.rpartition("//")[2].rpartition("@")[2].rstrip("/")
            raise ProxyUnusableError(address, self.proxy_setting) from error


def resolve_route(base_url: str, *, proxy: str | None = None, ca_bundle: str | None = None) -> Route:
    """Return the route to ``base_url``: as given, else as the environment has it, which is read now.

    ``proxy`` is "" for a direct way, whatever the environment has.
    Raises ConfigurationError for a proxy or a bundle that cannot be used; the error names the setting.
    """
    proxy_setting = "Config(proxy)"
    if proxy is None:
        proxy, proxy_setting = _read_proxy(base_url)
    # Replaced before anything can fail, so that no traceback shows a password.
    proxy = proxy and SecretUrl(proxy)
    bundle, bundle_setting = (ca_bundle, "Config(ca_bundle)") if ca_bundle else read_bundle()
    # A bundle says nothing about an address that is reached without TLS.
    if bundle and base_url.startswith("https:"):
        check_bundle(bundle, bundle_setting)
    if proxy:
        _check_proxy(proxy, proxy_setting)
    return Route(proxy=proxy or None, proxy_setting=proxy_setting, bundle=bundle, bundle_setting=bundle_setting)


def convert_route_errors(error: Exception, route: Route) -> Exception:
    """Return the error of a route that the HTTP libraries refuse, as a ConfigurationError where it is one."""
    # Those of requests and urllib3 for a wrong proxy are ValueErrors too.
    if isinstance(error, ValueError) and route.proxy:
        hint = "pip install 'requests[socks]', or use an HTTP proxy" if "SOCKS" in str(error) else "correct it"
        return ConfigurationError(f"{route.proxy_setting} cannot be used: {error}", hint=f"{hint}, or unset it")
    if isinstance(error, OSError) and route.bundle:
        return ConfigurationError(f"{route.bundle_setting} cannot be used: {error}", hint="correct it, or unset it")
    return error


def _read_proxy(base_url: str) -> tuple[str | None, str]:
    """Return the proxy that the environment sets for an address, and the name of the variable."""
    if not _may_name_proxy() or _is_excepted(base_url):
        return None, ""
    # Imported here: requests takes a quarter of the time that a script needs to start.
    from requests.utils import get_environ_proxies, select_proxy

    try:
        proxy = select_proxy(base_url, get_environ_proxies(base_url))
    except ValueError as error:
        raise ConfigurationError(
            f"the proxy settings of the environment cannot be read: {error}",
            hint="correct HTTP_PROXY, HTTPS_PROXY, ALL_PROXY or NO_PROXY",
        ) from error
    if not proxy:
        return None, ""
    scheme = urlsplit(base_url).scheme
    names = [name for kind in (scheme, "all") for name in (f"{kind}_proxy", f"{kind}_PROXY".upper())]
    setting = next((name for name in names if os.environ.get(name) == proxy), "the system's proxy setting")
    return proxy, setting


def _may_name_proxy() -> bool:
    """Return whether this process may have been given a proxy: by a variable, or by the settings of these systems."""
    return sys.platform in _SYSTEMS_WITH_SETTINGS or any(name.lower().endswith("_proxy") for name in os.environ)


def _is_excepted(base_url: str) -> bool:
    """Return whether NO_PROXY lists the address by a network of either kind, or an IPv6 address in brackets."""
    # requests reads IPv4 networks alone. VPNs and container tools write IPv6 networks too.
    listed = next(filter(None, map(os.environ.get, _NO_PROXY_VARIABLES)), "")
    try:
        host = ip_address(urlsplit(base_url).hostname or "")
    except ValueError:
        return False
    for entry in listed.replace(" ", "").split(","):
        try:
            if host in ip_network(entry.replace("[", "").replace("]", ""), strict=False):
                return True
        except ValueError:  # a name, or an address with a port: requests reads these
            continue
    return False


def _check_proxy(proxy: str, setting: str) -> None:
    # Not shown: it may hold a password.
    if not _is_usable_proxy(proxy):
        raise ConfigurationError(
            f"{setting} is not the address of a proxy", hint="write it as http://host:port, or unset it"
        )


def _is_usable_proxy(proxy: str) -> bool:
    # Imported here: without a proxy nothing needs them.
    from urllib3.exceptions import LocationParseError
    from urllib3.util import parse_url

    address = proxy if "//" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(address)
        # urllib3 is stricter about hosts. Asked here, since its own error shows the whole address.
        parse_url(address)
        return parts.scheme.lower() in _PROXY_SCHEMES and bool(parts.hostname) and parts.port != 0
    except (ValueError, LocationParseError):
        return False
