"""What becomes of answers over time: fields that a decoder does not know, and fields that are gone."""

import attrs

NEWS = "news"


def add_unknown_fields(value, own=()):
    """The same from a service that has learnt new fields; what stands under a name in ``own`` is the model's own."""
    if isinstance(value, list):
        return [add_unknown_fields(item, own) for item in value]
    if not isinstance(value, dict):
        return value
    grown = {name: item if name in own else add_unknown_fields(item, own) for name, item in value.items()}
    return grown | {NEWS: {"a": [1]}}


def remove_unknown_fields(reply):
    """The reply without the new fields in what it keeps verbatim."""
    kept = {name: _shrunk(getattr(reply, name)) for name in ("provider_state", "artifacts")}
    return attrs.evolve(reply, **kept)


def _shrunk(value):
    if isinstance(value, list):
        return [_shrunk(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: _shrunk(item) for name, item in value.items() if name != NEWS}


def iter_field_removals(value):
    """The value again and again: each time one field of one of its objects is gone, or null."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(value, dict):
            yield {name: other for name, other in value.items() if name != key}
            yield value | {key: None}
        for less in iter_field_removals(item):
            yield value | {key: less} if isinstance(value, dict) else [*value[:key], less, *value[key + 1 :]]
