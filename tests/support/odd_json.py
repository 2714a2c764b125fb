"""JSON values that a service should not send, in place of any field of a valid body."""

import copy

from hypothesis import strategies as st

#: What JSON text can hold and Python's parser takes: it reads NaN, and integers of up to 4300 digits.
ODD_VALUES = [
    *(None, True, False, 0, -1, 3, 10**400, -(10**400), 0.5, 1e308, float("nan"), float("inf"), float("-inf")),
    *("", "3", "x", "9" * 5000, "1e5", "\ud800", "٣", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"),
    *([], [None], [[]], [3], ["x"], [{}], {}, {"": None}, {"id": {}}, {"error": {"error": [{"message": []}]}}),
]
odd_values = st.sampled_from(ODD_VALUES) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


def iter_paths(value, path=()):
    """Yield the path of every part of a JSON value, the whole included."""
    yield path
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from iter_paths(part, (*path, key))


def replace_part(value, path, part):
    """Return a JSON value with another part at this path."""
    if not path:
        return part
    changed = copy.copy(value)
    changed[path[0]] = replace_part(value[path[0]], path[1:], part)
    return changed


def change_one_field(body):
    """Any body that differs from a valid one in the value of one field, or is another value altogether."""
    paths = st.sampled_from(list(iter_paths(body)))
    return st.builds(lambda path, part: replace_part(body, path, part), paths, odd_values)
