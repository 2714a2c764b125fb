"""Settings for all tests, those of the plugins included."""

import os
import tempfile
from pathlib import Path

import certifi
import pytest

pytest.register_assert_rewrite("pollux_sync.testing.contract")

_END = "-----END CERTIFICATE-----\n"


def pytest_configure(config):
    """Let clients trust one authority only: no test uses TLS, and loading all takes each client 75 ms."""
    first = Path(certifi.where()).read_text(encoding="utf-8").partition(_END)
    with tempfile.NamedTemporaryFile("w", suffix=".pem", delete=False) as file:
        file.write(first[0] + first[1])
    config.add_cleanup(lambda: Path(file.name).unlink(missing_ok=True))
    os.environ["SSL_CERT_FILE"] = file.name
