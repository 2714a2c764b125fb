"""The plugin: a source that the provider does not take as it is -> text or pictures that it takes."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import attrs

from pollux_convert.bounding import read_apart
from pollux_convert.keeping import PartsCache
from pollux_convert.kinds import KINDS, Kind, find_kind
from pollux_convert.tasks import ReadError, Task
from pollux_sync.plugin import TEXT_RULE, BytesLoader, ConfigurationError, Source, SourceError, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pollux_convert.tasks import Part
    from pollux_sync.plugin import SourceRule

__all__ = ["KINDS", "Convert", "Kind"]

#: The types of pictures that pages become: the first that the provider takes.
_PICTURES = ("image/jpeg", "image/png")
_HEAD_BYTES = 8
#: Of the whole process: a plugin may be built anew for each configuration.
_KEPT = PartsCache(max_bytes=200_000_000)


def _check_positive(_convert: Convert, field: attrs.Attribute[Any], value: object) -> None:
    is_whole = isinstance(field.default, int)
    if isinstance(value, bool) or not isinstance(value, int if is_whole else int | float) or not value > 0:
        kind = "a whole number" if is_whole else "a number"
        raise ConfigurationError(f"{field.name} must be {kind} above 0, got {value!r}", hint=f"e.g. {field.default}")


def _limit(default: Any) -> Any:
    return attrs.field(default=default, validator=_check_positive)


@attrs.frozen(kw_only=True)
class Convert:
    """Convert documents that a provider does not take as they are, within these limits.

    A document beyond a limit is refused, never cut. ``max_pages`` is of PDFs; ``image_dpi`` is the resolution of pages
    that become pictures.
    """

    max_seconds: float = _limit(60.0)
    max_input_bytes: int = _limit(100_000_000)
    max_output_chars: int = _limit(2_000_000)
    max_pages: int = _limit(500)
    max_memory_bytes: int = _limit(2_000_000_000)
    image_dpi: int = _limit(150)

    @hookimpl
    def pollux_convert(self, source: Source, accepted: tuple[SourceRule, ...]) -> tuple[Source, ...] | None:
        kind = find_kind(source.mime_type) if source.source_type == "file" else None
        # A provider that takes no text of ours would refuse it anyway, with its own reason.
        if kind is None or not _is_taken(_build_text("", source, kind), accepted):
            return None
        if kind.first_bytes and not source.read_beginning(_HEAD_BYTES).startswith(kind.first_bytes):
            return None
        image_type = next((mime for mime in _PICTURES if _is_taken(_build_picture(b"", source, mime), accepted)), "")
        return self._convert(source, kind, image_type)

    def convert_to_text(self, source: Source) -> Source:
        """Return a document as text, also for a provider that takes it as it is. Raises SourceError."""
        converted = self.pollux_convert(source, (TEXT_RULE,))
        if converted is None:
            known = ", ".join(kind.name for kind in KINDS)
            raise SourceError(
                f"{source.identifier!r} ({source.mime_type}) is none of the kinds that are converted",
                hint=f"pass it as it is, or one of: {known}",
            )
        return converted[0]

    def _convert(self, source: Source, kind: Kind, image_type: str) -> tuple[Source, ...]:
        try:
            _check_packages(kind)
            parts = self._read(source, kind, image_type)
        except ReadError as error:
            raise SourceError(f"{source.identifier!r} cannot be converted: {error.reason}", hint=error.hint) from error
        return tuple(
            _build_text(part, source, kind) if isinstance(part, str) else _build_picture(part, source, image_type)
            for part in parts
        )

    def _read(self, source: Source, kind: Kind, image_type: str) -> tuple[Part, ...]:
        self._check_size(source.size_bytes)
        data = source.load()
        self._check_size(len(data))
        task = Task(
            kind=kind.name,
            image_type=image_type,
            image_dpi=self.image_dpi,
            max_pages=self.max_pages,
            max_output_chars=self.max_output_chars,
            max_memory_bytes=self.max_memory_bytes,
        )
        key = hashlib.sha256(data).digest(), task
        return _KEPT.get(key, lambda: tuple(read_apart(data, task, self.max_seconds)))

    def _check_size(self, n_bytes: int) -> None:
        if n_bytes > self.max_input_bytes:
            raise ReadError(
                f"it has {n_bytes / 1e6:,.1f} MB, and max_input_bytes is {self.max_input_bytes / 1e6:,.1f} MB",
                hint="pass a part of it, or raise Convert(max_input_bytes=...)",
            )


def _check_packages(kind: Kind) -> None:
    if any(find_spec(name) is None for name in kind.packages):
        # Text would have been sent without the plugin.
        is_text = kind.mime_types[0].startswith("text/")
        other = ", or pass mime_type='text/plain' to send it as it is" if is_text else ""
        raise ReadError(
            f"the reader of a {kind.title} is not installed",
            hint=f"pip install 'pollux-convert[{kind.extra}]'{other}",
        )


def _is_taken(source: Source, accepted: Iterable[SourceRule]) -> bool:
    return any(rule.matches(source) for rule in accepted)


def _build_text(text: str, source: Source, kind: Kind) -> Source:
    return attrs.evolve(Source.from_text(text, identifier=source.identifier), mime_type=kind.becomes)


def _build_picture(data: bytes, source: Source, mime_type: str) -> Source:
    return Source("file", source.identifier, mime_type, len(data), BytesLoader(data))
