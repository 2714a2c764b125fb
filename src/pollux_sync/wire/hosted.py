"""Tools that the provider runs, written in its own form. The forms are rows of data, by the kinds of `HostedTool`."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import attrs

from pollux_sync._values import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pollux_sync.data.hosted import HostedTool

#: The kind of a `RawTool`.
_RAW = "raw"
#: The kind of location that all providers take: one near which the user is.
_APPROXIMATE = {"type": "approximate"}


@attrs.frozen(eq=False, repr=False)
class HostedForm(Value):
    """The form of one tool: what is always in it, and where each field of ours goes, as a path of names."""

    fixed: Mapping[str, Any]
    paths: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)


def declare_hosted_tools(forms: Mapping[str, HostedForm]) -> dict[str, frozenset[str]]:
    """Return the `ProviderInfo.hosted_tools` of a provider with these forms, which also sends any tool of its own."""
    return {_RAW: frozenset(), **{kind: frozenset(form.paths) for kind, form in forms.items()}}


def encode_hosted_tool(tool: HostedTool, forms: Mapping[str, HostedForm]) -> dict[str, Any]:
    """Return a tool in its provider's form."""
    if tool.kind == _RAW:
        return dict(dict(tool.iter_set())["fields"])
    return fill_form(forms[tool.kind], dict(tool.iter_set()))


def fill_form(form: HostedForm, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a form with those of the fields that have a place in it."""
    filled = copy.deepcopy(dict(form.fixed))
    for name, (*outer, last) in form.paths.items():
        if name not in fields:
            continue
        place = filled
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = _encode_value(name, fields[name])
    return filled


def _encode_value(name: str, value: Any) -> Any:
    if name == "user_location":
        return _APPROXIMATE | dict(value)
    return [*value] if isinstance(value, tuple) else value
