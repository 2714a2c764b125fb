"""Record -> Reply: the answer as it came, decoded anew."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pollux_sync.plugin import Call, ConfigurationError, HttpResponse, Options, open_hooks

if TYPE_CHECKING:
    from pollux_log.records import Record
    from pollux_sync.plugin import ConfigValues, Reply


def decode_record(record: Record, config: ConfigValues) -> Reply:
    """Return the reply in the raw answer of a record, as the provider of ``config`` decodes it now.

    Raises ConfigurationError for a record without a raw answer, or of another provider.
    """
    if record.raw is None:
        raise ConfigurationError(f"record {record.id} has no raw answer", hint='log with fields=[..., "raw"]')
    hooks = open_hooks(config)
    if hooks.info.name != record.provider:
        raise ConfigurationError(
            f"record {record.id} is an answer of {record.provider!r}, not {hooks.info.name!r}",
            hint="pass a config of that provider",
        )
    response = HttpResponse(status=200, body=json.loads(record.raw), content=record.raw)
    return hooks.decode(response, Call(index=0, model=record.model, prompt=record.prompt, options=Options()))
