"""Addresses of servers, read as a client needs them."""

from __future__ import annotations

import re
from typing import NamedTuple

from pollux_sync.errors import ConfigurationError

#: An address as nearly all are, which means what it says: in small letters, without anything to decode.
_USUAL = r"(https?)://([a-z0-9._-]+)(?::([0-9]{1,5}))?((?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]+)*)/?"
_MAX_PORT = 65_535
_DEFAULT_PORTS = {"http": 80, "https": 443}


class ServerAddress(NamedTuple):
    """The parts of a base url. ``path`` has no slash at its end."""

    scheme: str
    host: str
    port: int | None
    path: str

    @property
    def actual_port(self) -> int:
        """The port, also where the address does not name it."""
        return self.port or _DEFAULT_PORTS[self.scheme]

    @property
    def header(self) -> str:
        """The value of the header "Host"."""
        # Without the zone of an IPv6 address, which means nothing to the server.
        host = re.sub("%.*(?=])", "", self.host)
        return host if self.port in {None, _DEFAULT_PORTS[self.scheme]} else f"{host}:{self.port}"


def read_address(base_url: str) -> ServerAddress:
    """Return the parts of an address. Raises ConfigurationError for one that cannot be used."""
    found = re.fullmatch(_USUAL, base_url)
    if found and int(found[3] or 0) <= _MAX_PORT:
        address = ServerAddress(found[1], found[2], int(found[3]) if found[3] else None, found[4])
    else:
        address = _parse_address(base_url)
    if not address.host or address.host.startswith(("*", ".")):
        raise ConfigurationError(
            f"base_url cannot be used: no server is called {address.host!r}", hint="check its host"
        )
    return address


def _parse_address(base_url: str) -> ServerAddress:
    """Return the parts of any address: other letters encoded, and percent signs as they must be."""
    # Imported here: urllib3 takes a fifth of the time that a script needs to start.
    from urllib3.exceptions import LocationParseError
    from urllib3.util import parse_url

    try:
        url = parse_url(base_url)
    except LocationParseError as error:
        raise ConfigurationError(f"base_url cannot be used: {error}", hint="check its host") from error
    if url.scheme not in _DEFAULT_PORTS:
        raise ConfigurationError(f"base_url cannot be used: its scheme is {url.scheme!r}", hint="pass an http(s) URL")
    return ServerAddress(url.scheme, url.host or "", url.port, url.request_uri.rstrip("/"))
