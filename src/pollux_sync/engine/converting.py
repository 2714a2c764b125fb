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


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Converted(Value):
    """The sources as they are sent, what was converted, and the errors of those whose conversion failed, by index.

    ``group_sizes`` says as how many of them each of the caller's sources is sent.
    """

    sources: tuple[Source, ...]
    group_sizes: tuple[int, ...]
    conversions: tuple[Conversion, ...] = ()
    errors: Mapping[int, PolluxError] = attrs.field(factory=dict)


def convert_sources(sources: Sequence[Source], hooks: Hooks) -> Converted:
    """Return the sources with those converted that a plugin has something better for.

    One that the provider cannot take and that no plugin converts stays, and is refused when it is read.
    """
    if not hooks.can_convert:
        return Converted(sources=tuple(sources), group_sizes=(1,) * len(sources))
    errors: dict[int, PolluxError] = {}
    groups: list[tuple[Source, ...]] = []
    for source in sources:
        try:
            groups.append(_convert(source, hooks))
        except PolluxError as error:
            error.source = source.identifier
            errors[sum(map(len, groups))] = error
            groups.append((source,))
    return Converted(
        sources=tuple(after for group in groups for after in group),
        group_sizes=tuple(map(len, groups)),
        conversions=tuple(
            Conversion(before, after)
            for before, group in zip(sources, groups, strict=True)
            for after in group
            if after is not before
        ),
        errors=errors,
    )


def _convert(source: Source, hooks: Hooks) -> tuple[Source, ...]:
    if not _may_be_converted(source, hooks):
        return (source,)
    converted = hooks.convert(source)
    if wrong := next((one for one in converted if hooks.info.find_rule(one) is None), None):
        raise SourceError(
            f"a plugin has converted {source.identifier!r} to {wrong.source_type} of type {wrong.mime_type}, "
            f"which provider {hooks.info.name!r} does not take either",
            hint="report this to the plugin's author",
        )
    return converted or (source,)


def _may_be_converted(source: Source, hooks: Hooks) -> bool:
    rule = hooks.info.find_rule(source)
    # A file of text may be full of markup that says nothing to a model, such as a saved page.
    return rule is None or (rule.delivery == "text" and source.source_type == "file")
