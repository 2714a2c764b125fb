"""Call -> HttpRequest: the provider's encoding, with the caller's raw fields and headers in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_sync.data.headers import iter_secrets
from pollux_sync.engine.fitting import fit_call

if TYPE_CHECKING:
    from pollux_sync.data.provider import HttpRequest
    from pollux_sync.data.request import Call
    from pollux_sync.hooks.relay import Hooks


def encode_request(call: Call, hooks: Hooks) -> HttpRequest:
    """Encode a call as the provider's request, with the caller's ``provider_options`` and ``provider_headers``.

    Raises ConfigurationError for those that would replace what the provider has written.
    """
    request = _encode(call, hooks)
    if call.options.has_raw(hooks.info.name):
        from pollux_sync.engine.merging import merge_raw  # for the few calls that need it

        request = merge_raw(request, call.options, hooks.info)
    if request.extra_headers:
        hooks.hide(iter_secrets(request.extra_headers))
    return request


def try_raw(call: Call, hooks: Hooks) -> None:
    """Encode a call without its files, only to find raw fields and headers that `encode_request` would refuse.

    So they are refused before a file is stored. Do nothing for a call without any, or one that cannot be encoded so.
    """
    if not call.options.has_raw(hooks.info.name):
        return
    from pollux_sync.engine.merging import merge_raw

    try:
        request = _encode(call.without_parts(), hooks)
    # An encoder may need what was left out. Then the whole call shows whether it can be encoded, and what is refused.
    except Exception:  # noqa: BLE001
        return
    merge_raw(request, call.options, hooks.info)


def _encode(call: Call, hooks: Hooks) -> HttpRequest:
    # Not only where calls are planned: a middleware may have changed the options, and bulk work has its own plans.
    hooks.hide(call.options.secrets)
    return hooks.encode(fit_call(call, hooks.info.call_id_pattern))
