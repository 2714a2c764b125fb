"""Zip archives of office documents and books: malicious ones are refused before a reader sees them."""

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING
from xml.etree.ElementTree import Element, ParseError, fromstring
from xml.parsers import expat
from zipfile import BadZipFile, ZipFile

from pollux_convert.tasks import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"PK\x03\x04"
#: What an archive may hold: a book of ten thousand pages has a tenth of that.
_MAX_MEMBERS, _MAX_BYTES = 20_000, 500_000_000
_XML_SUFFIXES = frozenset({".xml", ".rels", ".xhtml", ".html", ".htm", ".opf", ".ncx"})
_OFFICE_TYPE = re.compile(
    rb"application/vnd\.(?:openxmlformats-officedocument\.(\w+)ml|ms-(word|excel|powerpoint))[^\"']*main\+xml"
)
_OFFICE_NAMES = {
    b"wordprocessing": "docx",
    b"word": "docx",
    b"spreadsheet": "xlsx",
    b"excel": "xlsx",
    b"presentation": "pptx",
    b"powerpoint": "pptx",
}
_DECLARED_NAMES = {
    b"application/vnd.oasis.opendocument.text": "odt",
    b"application/vnd.oasis.opendocument.spreadsheet": "ods",
    b"application/epub+zip": "epub",
}


@contextmanager
def open_archive(data: bytes) -> Iterator[ZipFile]:
    """Open a zip archive. Raises ReadError for one that is broken, encrypted, or larger than any document."""
    try:
        with ZipFile(BytesIO(data)) as archive:
            _check_size(archive)
            yield archive
    except BadZipFile as error:
        raise ReadError(f"it is damaged: {error}", hint="open it in its program, and save it again") from error


def _check_size(archive: ZipFile) -> None:
    # zipfile never unpacks more of a member than the directory says that there is.
    members = archive.infolist()
    size = sum(member.file_size for member in members)
    if size > _MAX_BYTES or len(members) > _MAX_MEMBERS:
        raise ReadError(
            f"it unpacks to {size / 1e6:,.0f} MB in {len(members):,} files, as a zip bomb does",
            hint=f"pass a document of at most {_MAX_BYTES / 1e6:,.0f} MB and {_MAX_MEMBERS:,} files",
        )
    if any(member.flag_bits & 1 for member in members):
        raise ReadError("it is encrypted", hint="save a copy without a password")


def name_contents(archive: ZipFile) -> str | None:
    """Return the kind of document that an archive holds, by name; None for another one."""
    names = set(archive.namelist())
    if "[Content_Types].xml" in names:
        match = _OFFICE_TYPE.search(archive.read("[Content_Types].xml"))
        return _OFFICE_NAMES.get(match[1] or match[2]) if match else None
    if "mimetype" in names:
        return _DECLARED_NAMES.get(archive.read("mimetype").strip())
    return None


def check_xml(archive: ZipFile) -> None:
    """Raise ReadError for an archive with XML that declares entities: they grow without end, or read other files."""
    for member in archive.infolist():
        if PurePosixPath(member.filename).suffix.lower() in _XML_SUFFIXES:
            with archive.open(member) as stream:
                _check_prolog(stream, member.filename)


def _check_prolog(stream: IO[bytes], name: str) -> None:
    def refuse(*_: object) -> None:
        raise ReadError(
            f"{name} in it declares XML entities, as an XML bomb does", hint="open it in its program, and save it again"
        )

    def stop(*_: object) -> None:
        raise _RootReached

    parser = expat.ParserCreate()
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = stop
    # What is no XML declares nothing: the chapters of a book may be HTML.
    with suppress(_RootReached, expat.ExpatError):
        while piece := stream.read(4096):
            parser.Parse(piece)


class _RootReached(Exception):  # noqa: N818 - no error: entities can only be declared before it
    pass


def parse_xml(content: bytes, name: str) -> Element:
    """Return the root element of an XML file. Raises ReadError for one that is broken or declares entities."""
    try:
        return fromstring(content)  # noqa: S314 - entities were refused by check_xml
    except ParseError as error:
        raise ReadError(
            f"{name} in it is damaged: {error}", hint="open it in its program, and save it again"
        ) from error
