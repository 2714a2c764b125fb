"""Call -> HttpRequest: the provider's encoding, with the caller's raw fields beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pollux_sync.engine.fitting import fit_call

if TYPE_CHECKING:
    from pollux_sync.data.provider import HttpRequest
    from pollux_sync.data.request import Call
    from pollux_sync.hooks.relay import Hooks


def encode_request(call: Call, hooks: Hooks) -> HttpRequest:
    """Encode a call as the provider's request, with the caller's ``provider_options``.

    A raw field that is an object is merged into the object that the encoder wrote there.
    """
    call = fit_call(call, hooks.info.call_id_pattern)
    request = hooks.encode(call)
    raw_fields = (call.options.provider_options or {}).get(hooks.info.name)
    if not raw_fields:
        return request
    # A copy: encoders may return a body that they share between calls.
    body = dict(request.fields or {})
    for name, value in raw_fields.items():
        encoded = body.get(name)
        body[name] = {**encoded, **value} if isinstance(encoded, dict) and isinstance(value, dict) else value
    return attrs.evolve(request, body=body)
