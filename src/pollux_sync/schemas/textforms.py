"""How Python values which JSON lacks are written as text: one row a type, lossless both ways."""

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
class TextForm:
    """One type as text: ``parse`` raises ValueError for text which is not exactly of this form."""

    schema: dict[str, Any]
    parse: Callable[[str], Any]
    write: Callable[[Any], str]
    is_specific: bool = True  # few texts have this form by chance, so a union asks it before ``str``
    takes_numbers: bool = False


def parse_datetime(text: str) -> datetime:
    """An ISO 8601 date and time, with or without an offset; a bare date is refused."""
    day, separator, clock = text[:10], text[10:11], text[11:].upper()
    if not (_DATE.fullmatch(day) and separator in ("T", "t", " ") and _TIME.fullmatch(clock)):
        raise ValueError(f"{text!r} is not an ISO 8601 date and time")
    return datetime.fromisoformat(f"{day}T{clock}")


def parse_date(text: str) -> date:
    """A date as ``YYYY-MM-DD``."""
    if not _DATE.fullmatch(text):
        raise ValueError(f"{text!r} is not a date YYYY-MM-DD")
    return date.fromisoformat(text)


def parse_time(text: str) -> time:
    """A time of day as ``HH:MM[:SS[.f]]``, with or without an offset."""
    if not _TIME.fullmatch(text.upper()):
        raise ValueError(f"{text!r} is not an ISO 8601 time")
    return time.fromisoformat(text.upper())


def parse_duration(text: str) -> timedelta:
    """An ISO 8601 duration of weeks, days, hours, minutes and seconds; years and months have no length."""
    found = _DURATION.fullmatch(text)
    if not found or text[-1] in "PT":
        raise ValueError(f"{text!r} is not an ISO 8601 duration such as P1DT2H or PT1.5S")
    sign, fraction = found.groupdict()["sign"], found["fraction"] or "0"
    names = ("weeks", "days", "hours", "minutes", "seconds")
    try:
        length = timedelta(**{name: int(found[name] or 0) for name in names})
        length += timedelta(microseconds=int(fraction[:6].ljust(6, "0")))
    except OverflowError as error:
        raise ValueError(f"{text!r} is too long a duration") from error
    return -length if sign == "-" else length


def write_duration(length: timedelta) -> str:
    """The duration as days and seconds, exact to the microsecond."""
    sign, length = ("-", -length) if length < timedelta() else ("", length)
    days = f"{length.days}D" if length.days else ""
    fraction = f".{length.microseconds:06}" if length.microseconds else ""
    clock = f"T{length.seconds}{fraction}S" if length.seconds or fraction or not days else ""
    return f"{sign}P{days}{clock}"


def parse_uuid(text: str) -> UUID:
    """A UUID in its usual form with dashes."""
    value = UUID(text)
    if str(value) != text.lower():
        raise ValueError(f"{text!r} is not a UUID with dashes")
    return value


def parse_decimal(text: str) -> Decimal:
    """A finite decimal number."""
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"{text!r} is not a decimal number")
    return Decimal(text)


def _write_decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise ConfigurationError(f"{value} has no JSON form", hint="replace it by None or a finite number")
    return str(value)


def _parse_bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error


def _write_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


TEXT_FORMS: dict[type, TextForm] = {
    datetime: TextForm(
        schema={"type": "string", "format": "date-time"}, parse=parse_datetime, write=datetime.isoformat
    ),
    date: TextForm(schema={"type": "string", "format": "date"}, parse=parse_date, write=date.isoformat),
    time: TextForm(schema={"type": "string", "format": "time"}, parse=parse_time, write=time.isoformat),
    timedelta: TextForm(schema={"type": "string", "format": "duration"}, parse=parse_duration, write=write_duration),
    UUID: TextForm(schema={"type": "string", "format": "uuid"}, parse=parse_uuid, write=str),
    Decimal: TextForm(
        schema={"type": "string", "pattern": f"^{_DECIMAL.pattern}$"},
        parse=parse_decimal,
        write=_write_decimal,
        takes_numbers=True,
    ),
    bytes: TextForm(
        schema={"type": "string", "contentEncoding": "base64"},
        parse=_parse_bytes,
        write=_write_bytes,
        is_specific=False,
    ),
}


def text_form(cls: type) -> TextForm | None:
    """The form of exactly this class; paths of every kind have one."""
    if issubclass(cls, PurePath):
        return TextForm(schema={"type": "string", "format": "path"}, parse=cls, write=str, is_specific=False)
    return TEXT_FORMS.get(cls)


def nearest_text_form(cls: type) -> TextForm | None:
    """The form of the class or else of its nearest base, to write instances of subclasses."""
    return next((form for base in cls.__mro__ if (form := text_form(base))), None)
