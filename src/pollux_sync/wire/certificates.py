"""The trusted certificates that a configuration or the environment names. Needs no HTTP library."""

from __future__ import annotations

import os
from pathlib import Path
from ssl import PROTOCOL_TLS_CLIENT, SSLContext, SSLError

from pollux_sync.data.config import CA_BUNDLE_VARIABLES
from pollux_sync.errors import ConfigurationError


def read_bundle() -> tuple[str | None, str]:
    """Return the trusted certificates that the environment names, and the name of the variable; None without any."""
    return next(((os.environ[name], name) for name in CA_BUNDLE_VARIABLES if os.environ.get(name)), (None, ""))


def check_bundle(bundle: str, setting: str) -> None:
    """Raise ConfigurationError for certificates that cannot be read; ``setting`` is what names them."""
    hint = "name a PEM file, or unset it"
    try:
        if not Path(bundle).is_dir():
            SSLContext(PROTOCOL_TLS_CLIENT).load_verify_locations(bundle)
    except SSLError as error:
        raise ConfigurationError(
            f"{setting} names {bundle!r}, which holds no certificate, or a broken one: {error}", hint=hint
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{setting} names the certificates {bundle!r}, which cannot be read: {error}", hint=hint
        ) from error
