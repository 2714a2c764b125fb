"""Call -> the key of its request, by which an answer that is stored can be found again."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

import attrs

from pollux_sync.data.handles import Asset
from pollux_sync.data.headers import is_secret
from pollux_sync.data.provider import encode_json
from pollux_sync.data.request import AssetPart, InlinePart, UploadPart
from pollux_sync.engine.encoding import encode_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pollux_sync.data.provider import ConfigOption, HttpRequest, ProviderInfo
    from pollux_sync.data.request import Call, Part
    from pollux_sync.hooks.relay import Hooks

#: The version of the key, which is part of it. A change of the key makes everybody pay again for what is stored.
KEY_VERSION = 1


def request_key(call: Call, hooks: Hooks) -> str:
    """Return the key of a call's request: a hex SHA-256, equal for requests that ask the same of the same model.

    It covers the version of the key, the provider, the address, the path, the body with its fields in any order,
    the call's ``provider_headers`` without secret ones, and options of the configuration that change answers. A
    file counts by its content, whether it goes inside the request or is stored, under whatever id; one that others
    have stored counts by its id. The key of a mock differs from that of its provider. Raises ConfigurationError for
    a call that cannot be encoded.
    """
    return hash_request(render_request(call, hooks), hooks)


def render_request(call: Call, hooks: Hooks) -> HttpRequest:
    """Return the request that the key of a call is made of.

    It has the hash of a file in place of its id or content, and marks in place of secrets.
    """

    def name(part: Part) -> Part:
        return _name_file(part, hooks.info)

    # Most calls have no files and no secrets.
    call = call.map_parts(name) if call.all_parts else call
    if call.options.secrets:
        call = attrs.evolve(call, options=call.options.hide_secrets())
    return encode_request(call, hooks)


def hash_request(request: HttpRequest, hooks: Hooks) -> str:
    """Return the key of a request from `render_request`."""
    address = "mock" if hooks.config.use_mock else hooks.resolve_address().base_url
    digest = _begin_digest(hooks.info.name, address, request.method, request.path).copy()
    for piece in request.split_content(sort_keys=True):
        digest.update(piece)
    # The encoder's headers follow from the body, the caller's do not: a beta has the model answer the same body
    # otherwise. A secret is of no account, as the key: whoever changes it must not pay again.
    if request.extra_headers:
        asked = sorted((name, value) for name, value in request.extra_headers.items() if not is_secret(name))
        if asked:
            digest.update(encode_json(asked))
    settings = _list_settings(hooks)
    if settings:
        digest.update(encode_json({"provider_options": settings}))
    return digest.hexdigest()


def _list_settings(hooks: Hooks) -> list[tuple[str, object]]:
    """Return the options of the configuration by which the same request is answered otherwise."""
    given = hooks.config.provider_options
    if not given:
        return []
    return [(option.name, given[option.name]) for option in hooks.info.config_options if _counts(option, given)]


def _counts(option: ConfigOption, given: Mapping[str, object]) -> bool:
    return option.changes_answers and option.name in given


# Kept, since the requests of one provider begin alike: bulk work asks for a key with every item.
@lru_cache(maxsize=64)
def _begin_digest(provider: str, address: str | None, method: str, path: str) -> hashlib._Hash:
    return hashlib.sha256(encode_json([KEY_VERSION, provider, address, method, path]))


def _name_file(part: Part, info: ProviderInfo) -> Part:
    """Return a part with its hash in place of its present or later id; parts without one stay."""
    if not isinstance(part, InlinePart | UploadPart | AssetPart) or part.identity is None:
        return part
    rule = info.find_rule(part.source)
    # Only where the provider stores no files are they always sent inside the request.
    if isinstance(part, InlinePart) and (rule is None or rule.delivery != "upload"):
        return part
    name = f"sha256-{part.identity}"
    return AssetPart(part.source, Asset(id=name, mime_type=part.source.mime_type, uri=name), part.identity)
