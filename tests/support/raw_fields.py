"""Raw fields in place of those that an encoder has written."""

import pytest

from pollux_sync import ConfigurationError, Options
from pollux_sync.data.provider import HttpRequest
from pollux_sync.engine.merging import merge_raw


def iter_leaves(body, place=()):
    """Yield the path of every value in a body that is no object; an empty object is one."""
    for name, value in body.items():
        if isinstance(value, dict) and value:
            yield from iter_leaves(value, (*place, name))
        else:
            yield (*place, name)


def nest(path, value):
    """Return objects inside one another, with a value at this path."""
    for name in reversed(path):
        value = {name: value}
    return value


def read_hint(path, body, info):
    """Return the hint of the refusal to set what a body holds at a path to something else."""
    options = Options(provider_options={info.name: nest(path, "something else")})
    with pytest.raises(ConfigurationError, match=f" sets {'.'.join(path)}, ") as caught:
        merge_raw(HttpRequest(path="/", body=body), options, info)
    return caught.value.hint


def list_unexplained(body, info):
    """Return the paths in a body of which the hint does not say what writes them."""
    return [path for path in iter_leaves(body) if read_hint(path, body, info) == "leave it out"]
