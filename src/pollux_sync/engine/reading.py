"""Sources -> the parts of calls: text read and introduced, files read or measured. Nothing is sent.

All that is wrong with the sources of a call is reported at once.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from pollux_sync.data.handles import Asset
from pollux_sync.data.payloads import make_printable
from pollux_sync.data.request import AssetPart, InlinePart, Part, TextPart, UploadPart, UriPart
from pollux_sync.data.source import convert_read_errors, describe_source
from pollux_sync.errors import ConfigurationError, PolluxError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pollux_sync.data.provider import ProviderInfo, SourceRule
    from pollux_sync.data.source import Source

#: The part of a source, or the reason why there is none.
ReadPart: TypeAlias = Part | PolluxError

#: A file up to this size is read once, when it is planned.
_MAX_KEPT_BYTES = 1_000_000
#: JSON texts that hold nothing.
_EMPTY_JSON = frozenset({'""', "null"})


def read_sources(sources: Sequence[Source], info: ProviderInfo) -> list[ReadPart]:
    """Return the part of each source, or the SourceError or ConfigurationError that says why it cannot be asked about.

    A source without content is such an error: the model would answer about nothing.
    """
    return [_try_to_read(index, source, info) for index, source in enumerate(sources)]


def _try_to_read(index: int, source: Source, info: ProviderInfo) -> ReadPart:
    try:
        part = read_source(source, info)
    except PolluxError as error:
        return error
    if not _is_empty(part, source):
        return part
    name = repr(source.identifier) if source.identifier.strip() else f"sources[{index}]"
    empty = SourceError(f"{name} is empty", hint="leave it out, or check what should have written it")
    empty.source = source.identifier
    return empty


def read_source(source: Source, info: ProviderInfo) -> Part:
    """Return the part of a source, also of an empty one. Raises SourceError, or ConfigurationError without a rule."""
    try:
        rule = info.find_rule(source)
        if rule is None:
            raise _build_refusal(source, info)
        return _read_text(source) if rule.delivery == "text" else _build_part(source, rule)
    except PolluxError as error:
        error.source = source.identifier
        raise


def read_earlier_source(source: Source, role: str, info: ProviderInfo) -> Part:
    """Return the part of a source of an earlier turn. Raises what `read_source` raises.

    Of what a tool returned, a text says why the model cannot see it: the rounds before are paid for.
    """
    if role != "tool":
        return read_source(source, info)
    rule = info.find_rule(source)
    try:
        if info.takes_result(source) or (rule is not None and rule.delivery == "text"):
            return read_source(source, info)
        reason = "this provider takes no such file from a tool"
    except PolluxError as error:
        reason = error.message
    return TextPart(f"{describe_source(source)} cannot be shown: {reason}")


def _is_empty(part: Part, source: Source) -> bool:
    match part:
        case TextPart(text):
            is_blank = not text or text.isspace()
            return is_blank or (source.source_type == "json" and text in _EMPTY_JSON)
        case InlinePart(_, data):
            return not data
        case UploadPart():
            return not part.size_bytes
    return False


def _build_refusal(source: Source, info: ProviderInfo) -> ConfigurationError:
    takes = sorted(
        {f"{kind} {mime}" for rule in info.sources for kind in rule.source_types for mime in rule.mime_types}
    )
    return ConfigurationError(
        f"provider {info.name!r} cannot take {source.source_type} {source.identifier!r} ({source.mime_type})",
        hint=info.sources_hint or f"it takes: {', '.join(takes)}",
    )


def _read_text(source: Source) -> TextPart:
    try:
        # With "utf-8-sig" the byte order mark of Windows editors does not reach the model.
        text = source.load().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _build_encoding_error(source, f"{error.reason} at byte {error.start}") from error
    # In UTF-16 without its mark each letter of ASCII has a NUL beside it, which UTF-8 admits and no text holds.
    if source.source_type == "file" and "\x00" in text:
        raise _build_encoding_error(source, f"NUL at character {text.index(chr(0))}, as in UTF-16")
    return TextPart(text)


def _build_encoding_error(source: Source, reason: str) -> SourceError:
    return SourceError(
        f"{source.identifier!r} is not UTF-8 text: {reason}",
        hint="convert it to UTF-8, or pass mime_type=... if it is not text",
    )


def _build_part(source: Source, rule: SourceRule) -> Part:
    with convert_read_errors(source):
        if rule.delivery == "inline":
            return InlinePart(source, source.load())
        if rule.delivery == "upload":
            return _build_upload_part(source)
    if rule.delivery == "stored":
        # The service knows it by its id; where that is an address, encoders refer to it by the address.
        uri = source.identifier if "://" in source.identifier else None
        return AssetPart(source, Asset(id=source.identifier, mime_type=source.mime_type, uri=uri))
    return UriPart(source)


def _build_upload_part(source: Source) -> UploadPart:
    # Hashed now, so that equal content is uploaded once. Small content is kept: hashing it, and reading it a second
    # time to see whether it has changed, would cost more than the rest of the call.
    if source.size_bytes <= _MAX_KEPT_BYTES:
        # One byte more, since it may have grown since the source was built.
        data = source.read_beginning(source.size_bytes + 1)
        if len(data) <= source.size_bytes:
            return UploadPart(source, size_bytes=len(data), data=data)
    return UploadPart(source, *source.measure())


def join_errors(errors: Sequence[PolluxError], *, n_sources: int) -> PolluxError:
    """Return one error for all sources that cannot be asked about; its ``source_errors`` are those of each."""
    if len(errors) == 1:
        return errors[0]
    kinds = {type(error) for error in errors}
    kind = kinds.pop() if len(kinds) == 1 else SourceError
    hints = dict.fromkeys(error.hint for error in errors if error.hint)
    reasons = "; ".join(error.message for error in errors)
    joined = kind(f"{len(errors)} of {n_sources} sources cannot be used: {reasons}", hint="; ".join(hints) or None)
    joined.source_errors = tuple(errors)
    return joined


def introduce_texts(sources: Sequence[Source], parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return the parts of a call with each text between tags that name its source; a single text is not changed.

    Without them the model could not tell where one text ends, and which of them says what.
    """
    if sum(isinstance(part, TextPart) for part in parts) <= 1:
        return tuple(parts)
    named = zip(name_sources(sources), parts, strict=True)
    return tuple(_introduce(name, part.text) if isinstance(part, TextPart) else part for name, part in named)


def _introduce(name: str, text: str) -> TextPart:
    # Not escaped: a model reads the name as it stands. A quote would end it.
    return TextPart('<source name="{}">\n{}\n</source>'.format(name.replace('"', "'"), text))


def name_sources(sources: Sequence[Source]) -> Iterator[str]:
    """Yield a name for each source: of a file its own, of others their identifier; with a number where it is repeated.

    Two files of one name in different folders are named by their paths.
    """
    short = [_choose_short_name(source) for source in sources]
    repeated = Counter(short)
    names = [
        make_printable(source.identifier) if repeated[name] > 1 and source.identifier else name
        for name, source in zip(short, sources, strict=True)
    ]
    seen: Counter[str] = Counter()
    for name in names:
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name} ({seen[name]})"


def _choose_short_name(source: Source) -> str:
    name = source.file_name if source.source_type == "file" else make_printable(source.identifier)
    return name.strip() or source.source_type
