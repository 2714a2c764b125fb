"""The trusted certificates that a configuration or the environment names. Needs no HTTP library."""

from __future__ import annotations

import os
from ssl import PROTOCOL_TLS_CLIENT, SSLContext, SSLError, TLSVersion, create_default_context

from pollux_sync.data.config import CA_BUNDLE_VARIABLES
from pollux_sync.errors import ConfigurationError


def read_bundle() -> tuple[str | None, str]:
    """Return the trusted certificates that the environment names, and the name of the variable; None without any."""
    return next(((os.environ[name], name) for name in CA_BUNDLE_VARIABLES if os.environ.get(name)), (None, ""))


def check_bundle(bundle: str, setting: str) -> None:
    """Raise ConfigurationError for certificates that cannot be read; ``setting`` is what names them."""
    hint = "name a PEM file, or unset it"
    try:
        if not os.path.isdir(bundle):  # noqa: PTH112 - pathlib is slow to import
            SSLContext(PROTOCOL_TLS_CLIENT).load_verify_locations(bundle)
    except SSLError as error:
        raise ConfigurationError(
            f"{setting} names {bundle!r}, which holds no certificate, or a broken one: {error}", hint=hint
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{setting} names the certificates {bundle!r}, which cannot be read: {error}", hint=hint
        ) from error


def build_tls(bundle: str | None) -> SSLContext:
    """Return the context for connections with TLS, which trusts ``bundle``, a file or folder; None is certifi's.

    Raises SSLError if it cannot be read.
    """
    # Imported here: it looks for its file.
    from certifi import where

    trusted = bundle or where()
    is_folder = os.path.isdir(trusted)  # noqa: PTH112
    try:
        context = create_default_context(cafile=None if is_folder else trusted, capath=trusted if is_folder else None)
    except OSError as error:
        raise SSLError(f"the certificates {trusted!r} cannot be read: {error}") from error
    context.minimum_version = TLSVersion.TLSv1_2
    # Certificates have named their hosts elsewhere for decades (RFC 2818), and so does urllib3 read them.
    context.hostname_checks_common_name = False
    context.set_alpn_protocols(["http/1.1"])
    return context
