"""Heads of requests and of answers: the first line and the header fields of HTTP/1.1 (RFC 9112)."""

from __future__ import annotations

import re
from http.client import HTTPException, LineTooLong
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    class LineReader(Protocol):
        """A buffered file."""

        def peek(self) -> bytes:
            """Return what is buffered, after one read if that is nothing."""

        def read(self, size: int, /) -> bytes:
            """Return so many bytes."""

        def readline(self, limit: int, /) -> bytes:
            """Return the next line, or its beginning."""


#: The limits of http.client.
_MAX_LINE_BYTES = 65_536
_MAX_FIELDS = 100
_BLANK_LINES = {b"\r\n", b"\n", b""}
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: [^\r\n]*)?\r\n")
#: The beginning of a line that continues the field before.
_FOLD = re.compile(r"(?:\A|\n)[ \t]")
#: What a path and a query may hold as it is (RFC 3986).
_TARGET_CHARS = "/?:@!$&'()*+,;=-._~"
_PLAIN_TARGET = re.compile(rf"[A-Za-z0-9{re.escape(_TARGET_CHARS)}]*")
#: A percent sign that begins no escape.
_LONE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
#: The name of a method or of a field (RFC 9110).
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD_VALUE = re.compile("[\t\x20-\x7e\x80-\xff]*")


class Head(NamedTuple):
    """The head of an answer. ``minor`` is the digit after "HTTP/1."; fields have lower-case names."""

    minor: int
    status: int
    fields: dict[str, str]


def encode_first_line(method: str, target: str) -> bytes:
    """Return the first line of a request. ``target`` is a path with its query, or a whole address for a proxy.

    Characters that HTTP does not allow there become escapes. Raises ConfigurationError for a method that HTTP does not
    allow.
    """
    if not _TOKEN.fullmatch(method):
        raise ConfigurationError(f"no method is called {method!r}", hint="such as POST")
    if not _PLAIN_TARGET.fullmatch(target):
        sent = _LONE_PERCENT.sub("%25", target.partition("#")[0])
        target = quote(sent, safe=_TARGET_CHARS + "%", errors="surrogatepass")
    return f"{method} {target} HTTP/1.1\r\n".encode()


def encode_fields(fields: Mapping[str, str]) -> bytes:
    """Return the bytes of header fields.

    Raises ConfigurationError for a field that HTTP cannot carry, without its value, which may be a key.
    """
    for name, value in fields.items():
        if not _TOKEN.fullmatch(name):
            raise ConfigurationError(f"no header can be called {name!r}", hint="use letters, digits and hyphens")
        if not _FIELD_VALUE.fullmatch(value):
            raise ConfigurationError(
                f"the value of the header {name!r} cannot be sent",
                hint="a line break or a character outside Latin-1 may have got into it, perhaps with a copied key",
            )
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode("latin-1")


def parse_head(reader: LineReader) -> Head | None:
    """Read the head of an answer at once, if it has arrived whole and is plain; else return None and read nothing."""
    buffered = reader.peek()
    end, first = buffered.find(b"\r\n\r\n"), _STATUS_LINE.match(buffered)
    if first is None or end < first.end():
        return None
    text = buffered[first.end() : end].decode("iso-8859-1")
    lines = text.split("\r\n")
    # A field over several lines, or a line that ends otherwise.
    if len(lines) > _MAX_FIELDS or text.count("\n") >= len(lines) or _FOLD.search(text):
        return None
    reader.read(end + 4)
    return Head(int(first[1]), int(first[2]), _collect_fields(lines))


def read_fields(reader: LineReader) -> dict[str, str]:
    """Read header fields up to the blank line. A line that begins with white space continues the one before."""
    lines: list[str] = []
    # One byte more than allowed tells a line that is too long from one that just fits.
    while (line := reader.readline(_MAX_LINE_BYTES + 1)) not in _BLANK_LINES:
        if len(line) > _MAX_LINE_BYTES:
            raise LineTooLong("header line")
        if len(lines) == _MAX_FIELDS:
            raise HTTPException(f"got more than {_MAX_FIELDS} headers")
        text = line.decode("iso-8859-1").rstrip("\r\n")
        if text[:1] in {" ", "\t"} and lines:
            lines[-1] += " " + text.strip()
        else:
            lines.append(text)
    return _collect_fields(lines)


def _collect_fields(lines: list[str]) -> dict[str, str]:
    """Return the fields by lower-case name. Of those with one name the last counts; a line without a colon does not."""
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            continue
        name, value = name.strip().lower(), value.strip()
        # Nobody can tell where such an answer ends (RFC 9112, section 6.3).
        if name == "content-length" and fields.get(name, value) != value:
            raise HTTPException("the answer has two lengths")
        fields[name] = value
    return fields
