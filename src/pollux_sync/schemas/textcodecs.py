"""Codecs of Python types that JSON holds as text: one row a type, without loss in both directions.

The parsers accept only the form in the schema; those of the standard library accept other spellings as well.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from uuid import UUID

import attrs

from pollux_sync.errors import ConfigurationError
from pollux_sync.schemas.keywords import walk_schemas

if TYPE_CHECKING:
    from collections.abc import Callable

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?(Z|[+-][0-9]{2}:[0-9]{2}(:[0-9.]+)?)?")
_DECIMAL = re.compile(r"-?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+)?")
_DURATION = re.compile(
    r"(?P<sign>[+-]?)P(?:(?P<weeks>[0-9]+)W)?(?:(?P<days>[0-9]+)D)?"
    r"(?:T(?:(?P<hours>[0-9]+)H)?(?:(?P<minutes>[0-9]+)M)?"
    r"(?:(?P<seconds>[0-9]+)(?:[.](?P<fraction>[0-9]+))?S)?)?"
)


@attrs.frozen(kw_only=True)
class TextCodec:
    """The text of one type. ``parse`` raises ValueError for a text in any other form than that of the schema."""

    schema: dict[str, Any]
    parse: Callable[[str], Any]
    write: Callable[[Any], str]
    # Few texts have a specific form by chance, so a union tries it before str.
    is_specific: bool = True
    # A JSON number is accepted too, as the text of its repr.
    takes_numbers: bool = False


def parse_datetime(text: str) -> datetime:
    """Parse an ISO 8601 date and time, with or without an offset. Raises ValueError, for a bare date too."""
    day, separator, clock = text[:10], text[10:11], text[11:].upper()
    if not (_DATE.fullmatch(day) and separator in ("T", "t", " ") and _TIME.fullmatch(clock)):
        raise ValueError(f"{text!r} is not an ISO 8601 date and time")
    return datetime.fromisoformat(f"{day}T{clock}")


def parse_date(text: str) -> date:
    """Parse a date ``YYYY-MM-DD``. Raises ValueError."""
    # date.fromisoformat accepts 20240101 and 2024-W01-1 as well.
    if not _DATE.fullmatch(text):
        raise ValueError(f"{text!r} is not a date YYYY-MM-DD")
    return date.fromisoformat(text)


def parse_time(text: str) -> time:
    """Parse a time of day ``HH:MM[:SS[.f]]``, with or without an offset. Raises ValueError."""
    if not _TIME.fullmatch(text.upper()):
        raise ValueError(f"{text!r} is not an ISO 8601 time")
    return time.fromisoformat(text.upper())


def parse_duration(text: str) -> timedelta:
    """Parse an ISO 8601 duration of weeks, days, hours, minutes and seconds. Raises ValueError.

    Years and months are refused, since they have no fixed length.
    """
    match = _DURATION.fullmatch(text)
    # The pattern makes every part optional, so it accepts a bare P and a T that nothing follows.
    if not match or text[-1] in "PT":
        raise ValueError(f"{text!r} is not an ISO 8601 duration such as P1DT2H or PT1.5S")
    sign, fraction = match.groupdict()["sign"], match["fraction"] or "0"
    names = ("weeks", "days", "hours", "minutes", "seconds")
    try:
        length = timedelta(**{name: int(match[name] or 0) for name in names})
        # Digits, not a float of seconds: a float is not exact to the microsecond in a long duration.
        length += timedelta(microseconds=int(fraction[:6].ljust(6, "0")))
    except OverflowError as error:
        raise ValueError(f"the duration {text!r} is too long for a timedelta") from error
    return -length if sign == "-" else length


def write_duration(length: timedelta) -> str:
    """Return the duration as days and seconds, exact to the microsecond."""
    sign, length = ("-", -length) if length < timedelta() else ("", length)
    days = f"{length.days}D" if length.days else ""
    fraction = f".{length.microseconds:06}" if length.microseconds else ""
    clock = f"T{length.seconds}{fraction}S" if length.seconds or fraction or not days else ""
    return f"{sign}P{days}{clock}"


def parse_uuid(text: str) -> UUID:
    """Parse a UUID with dashes. Raises ValueError."""
    # UUID() accepts braces, a urn: prefix and no dashes as well.
    value = UUID(text)
    if str(value) != text.lower():
        raise ValueError(f"{text!r} is not a UUID with dashes")
    return value


def parse_decimal(text: str) -> Decimal:
    """Parse a finite decimal number. Raises ValueError."""
    # Decimal() accepts NaN, Infinity, underscores and digits of other scripts as well.
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"{text!r} is not a decimal number")
    return Decimal(text)


def _write_decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise ConfigurationError(
            f"the decimal {value} has no JSON form", hint="replace it with None or a finite number"
        )
    return str(value)


def _parse_bytes(text: str) -> bytes:
    # Without validate, b64decode skips every character outside the alphabet.
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"the text is not base64: {error}") from error


def _write_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


TEXT_CODECS: dict[type, TextCodec] = {
    datetime: TextCodec(
        schema={"type": "string", "format": "date-time"}, parse=parse_datetime, write=datetime.isoformat
    ),
    date: TextCodec(schema={"type": "string", "format": "date"}, parse=parse_date, write=date.isoformat),
    time: TextCodec(schema={"type": "string", "format": "time"}, parse=parse_time, write=time.isoformat),
    timedelta: TextCodec(schema={"type": "string", "format": "duration"}, parse=parse_duration, write=write_duration),
    UUID: TextCodec(schema={"type": "string", "format": "uuid"}, parse=parse_uuid, write=str),
    Decimal: TextCodec(
        schema={"type": "string", "pattern": f"^{_DECIMAL.pattern}$"},
        parse=parse_decimal,
        write=_write_decimal,
        takes_numbers=True,
    ),
    bytes: TextCodec(
        schema={"type": "string", "contentEncoding": "base64"},
        parse=_parse_bytes,
        write=_write_bytes,
        is_specific=False,
    ),
}


def holds_decimals(schema: Any) -> bool:
    """Return whether a schema is that of a type with Decimals; a field of numbers or texts counts as one."""
    return any(isinstance(inner, dict) and _is_decimal(inner) for _, inner in walk_schemas(schema))


def _is_decimal(schema: dict[str, Any]) -> bool:
    # Pydantic declares a Decimal so: a number, or a text.
    types = {branch.get("type") for branch in schema.get("anyOf", ()) if isinstance(branch, dict)}
    return {"number", "string"} <= types or schema.get("pattern") == TEXT_CODECS[Decimal].schema["pattern"]


def find_text_codec(cls: type) -> TextCodec | None:
    """Return the codec of exactly this class, or of any path class; None if it has none."""
    # Not of subclasses: a parsed text would be an instance of the base.
    if issubclass(cls, PurePath):
        return TextCodec(schema={"type": "string", "format": "path"}, parse=cls, write=str, is_specific=False)
    return TEXT_CODECS.get(cls)


def find_inherited_text_codec(cls: type) -> TextCodec | None:
    """Return the codec of the class or of its nearest base, which also writes instances of subclasses."""
    return next((codec for base in cls.__mro__ if (codec := find_text_codec(base))), None)
