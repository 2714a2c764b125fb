"""Decides which requests are answered, and says to browsers what an answer may do."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
_TOKEN_BYTES = 32


@attrs.frozen(kw_only=True)
class Admission:
    """The decision about a request. ``cookie`` is to be set with the answer."""

    is_granted: bool
    cookie: str | None = None


_REFUSED = Admission(is_granted=False)


class Guard:
    """The secrets of one server, and the names under which it is reached.

    ``url_token`` is good for one browser: whoever brings it first is given a cookie with another secret, so that what
    stays in a history or a list of processes opens nothing. ``form_token`` is in each form of the page.
    """

    def __init__(self, address: str, port: int) -> None:
        self.url_token = secrets.token_urlsafe(_TOKEN_BYTES)
        self.form_token = secrets.token_urlsafe(_TOKEN_BYTES)
        self._session = secrets.token_urlsafe(_TOKEN_BYTES)
        # Cookies know no ports: two pages on one machine must not log each other out.
        self._cookie_name = f"pollux_durable_{port}"
        self._address = address
        self._port = port
        self._lock = threading.Lock()
        self._is_used = False

    def admit(self, headers: Mapping[str, str], token: str | None) -> Admission:
        """Return whether a request is answered; ``token`` is that of its URL, None if it has none."""
        if not self._knows_host(headers.get("Host", "")) or (token is not None and not _equals(token, self.url_token)):
            return _REFUSED
        if _equals(_read_cookie(headers.get("Cookie", ""), self._cookie_name), self._session):
            return Admission(is_granted=True)
        if token is None or not self._use():
            return _REFUSED
        return Admission(
            is_granted=True, cookie=f"{self._cookie_name}={self._session}; Path=/; HttpOnly; SameSite=Strict"
        )

    def admits_change(self, headers: Mapping[str, str], form_token: str) -> bool:
        """Return whether an admitted request that changes something comes from this page."""
        origin = headers.get("Origin")
        is_ours = origin is None or origin == f"http://{headers.get('Host', '')}"
        site = headers.get("Sec-Fetch-Site", "same-origin")
        return is_ours and site == "same-origin" and _equals(form_token, self.form_token)

    def _use(self) -> bool:
        with self._lock:
            is_first, self._is_used = not self._is_used, True
        return is_first

    def _knows_host(self, host: str) -> bool:
        """Return whether a request was made for this server: a name of somebody else may lead to this machine."""
        try:
            parts = urlsplit(f"//{host}")
            name, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return False
        if port != self._port or parts.netloc != host or "@" in host:
            return False
        if is_loopback(self._address):
            return name in {*_LOOPBACK_NAMES, self._address.lower()}
        # No DNS leads to an address that is written out.
        return name in {"localhost", self._address.lower(), socket.gethostname().lower()} or _is_address(name)


def is_loopback(address: str) -> bool:
    """Return whether an address is reached only from this machine."""
    return address == "localhost" or (_is_address(address) and ipaddress.ip_address(address).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _equals(given: str, secret: str) -> bool:
    # As bytes: of texts compare_digest takes only ASCII.
    return hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())


def _read_cookie(header: str, name: str) -> str:
    for pair in header.split(";"):
        key, _, value = pair.strip().partition("=")
        if key == name:
            return value
    return ""


def create_nonce() -> str:
    """Return what marks the styles and the script of one answer."""
    return secrets.token_urlsafe(16)


def build_headers(nonce: str) -> dict[str, str]:
    """Return the headers with which every answer is sent."""
    policy = (
        "default-src 'none'",
        f"style-src 'nonce-{nonce}'",
        f"script-src 'nonce-{nonce}'",
        "img-src data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
    return {
        "Content-Security-Policy": "; ".join(policy),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
