"""Sources -> sources that the provider takes: what it cannot take as it is, plugins may convert. Nothing is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pollux_sync._values import Value
from pollux_sync.data.request import Conversion
from pollux_sync.errors import PolluxError, SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pollux_sync.data.source import Source
    from pollux_sync.hooks.relay import Hooks


@attrs.frozen(eq=False, repr=False)
class Converted(Value):
    """The sources as they are sent, what was converted, and the errors of those whose conversion failed, by index."""

    sources: tuple[Source, ...]
    conversions: tuple[Conversion, ...] = ()
    errors: Mapping[int, PolluxError] = attrs.field(factory=dict)


def convert_sources(sources: Sequence[Source], hooks: Hooks) -> Converted:
    """Return the sources with those converted that the provider cannot take.

    One that no plugin converts stays, and is refused when it is read.
    """
    if not hooks.can_convert:
        return Converted(tuple(sources))
    errors: dict[int, PolluxError] = {}
    pairs = [(source, _try_to_convert(index, source, hooks, errors)) for index, source in enumerate(sources)]
    conversions = [Conversion(before, after) for before, after in pairs if after is not before]
    return Converted(tuple(after for _, after in pairs), tuple(conversions), errors)


def _try_to_convert(index: int, source: Source, hooks: Hooks, errors: dict[int, PolluxError]) -> Source:
    if hooks.info.find_rule(source):
        return source
    try:
        return _convert(source, hooks)
    except PolluxError as error:
        error.source = source.identifier
        errors[index] = error
        return source


def _convert(source: Source, hooks: Hooks) -> Source:
    converted = hooks.convert(source)
    if converted is not None and hooks.info.find_rule(converted) is None:
        raise SourceError(
            f"a plugin has converted {source.identifier!r} to {converted.source_type} of type {converted.mime_type}, "
            f"which provider {hooks.info.name!r} does not take either",
            hint="report this to the plugin's author",
        )
    return source if converted is None else converted
