"""Changes of a service's answers over time: new fields, and missing ones."""

import attrs

NEWS = "news"


def add_unknown_fields(value, own=()):
    """Return the answer with new fields everywhere, except below the names in ``own``, which the model writes."""
    if isinstance(value, list):
        return [add_unknown_fields(item, own) for item in value]
    if not isinstance(value, dict):
        return value
    fields = {name: item if name in own else add_unknown_fields(item, own) for name, item in value.items()}
    return fields | {NEWS: {"a": [1]}}


def remove_unknown_fields(reply):
    """Return the reply without the new fields in the values that it keeps verbatim."""
    values = {name: _remove_news(getattr(reply, name)) for name in ("provider_state", "artifacts")}
    return attrs.evolve(reply, **values)


def _remove_news(value):
    if isinstance(value, list):
        return [_remove_news(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: _remove_news(item) for name, item in value.items() if name != NEWS}


def iter_field_removals(value):
    """Return an iterator over copies of the value: in each, one field of one object is missing or null."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(value, dict):
            yield {name: other for name, other in value.items() if name != key}
            yield value | {key: None}
        for less in iter_field_removals(item):
            yield value | {key: less} if isinstance(value, dict) else [*value[:key], less, *value[key + 1 :]]
