"""The two commonest mistakes in a base url, read from the address itself after a server answered 404."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pollux_sync.data.config import redact_credentials

#: The path of a version of an API, such as /v1 or /v1beta.
_VERSION = re.compile(r"/v\d+\w*")
#: The ends of addresses that are copied from examples of whole requests. The providers add them.
_OPERATIONS = ("/chat/completions", "/completions", "/responses", "/messages", "/models")


def find_address_hint(base_url: str, usual: str) -> str | None:
    """Return how to mend a base url, None if it has the form of ``usual``, an address that is right."""
    path, usual_path = (urlsplit(url).path.rstrip("/") for url in (base_url, usual))
    versions = _VERSION.findall(path)
    for operation in _OPERATIONS:
        if path.endswith(operation):
            return f"leave {operation} out of base_url: the provider adds it"
    if len(versions) > 1 and versions[-1] == versions[-2]:
        return f"base_url holds {versions[-1]} twice: leave one out"
    wanted = _VERSION.search(usual_path)
    if wanted is None and versions:
        return f"leave {versions[-1]} out of base_url: the provider adds it"
    if wanted is not None and not versions:
        return f"base_url usually ends in {wanted[0]}: {redact_credentials(base_url.rstrip('/'))}{wanted[0]}"
    return None
