"""The kinds of documents that are converted: their MIME types, the package that reads them, and what they become."""

from __future__ import annotations

import codecs
from typing import NamedTuple

_OFFICE = "application/vnd.openxmlformats-officedocument"
_OPEN = "application/vnd.oasis.opendocument"


class Kind(NamedTuple):
    """A kind of document; ``suffixes`` are those of its files, without the dot.

    ``packages`` are what reads it, by the names that are imported; ``extra`` installs them. ``contents`` says what
    becomes of it, for the documentation. ``becomes`` is the type of the text. A kind with ``first_bytes`` is sent as it
    is unless it begins with one of them.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    mime_types: tuple[str, ...]
    contents: str
    packages: tuple[str, ...] = ()
    becomes: str = "text/markdown"
    first_bytes: tuple[bytes, ...] = ()

    @property
    def extra(self) -> str | None:
        """The extra of pollux-convert that installs the packages; None for a kind that needs none."""
        return self.name if self.packages else None


KINDS = (
    Kind(
        name="pdf",
        title="PDF",
        suffixes=("pdf",),
        mime_types=("application/pdf",),
        contents="the text of each page below `[Page 1]`; a page without text becomes a picture if the provider takes "
        "pictures",
        packages=("pypdfium2", "PIL"),
    ),
    Kind(
        name="docx",
        title="Word document",
        suffixes=("docx", "docm"),
        mime_types=(f"{_OFFICE}.wordprocessingml.document", "application/vnd.ms-word.document.macroenabled.12"),
        contents="headings, paragraphs, lists, tables and footnotes",
        packages=("mammoth",),
    ),
    Kind(
        name="xlsx",
        title="Excel workbook",
        suffixes=("xlsx", "xlsm"),
        mime_types=(f"{_OFFICE}.spreadsheetml.sheet", "application/vnd.ms-excel.sheet.macroenabled.12"),
        contents="a table for each sheet below its name; formulas are the values that are stored with them, or "
        "themselves where none is stored",
        packages=("openpyxl",),
    ),
    Kind(
        name="pptx",
        title="PowerPoint presentation",
        suffixes=("pptx", "pptm"),
        mime_types=(
            f"{_OFFICE}.presentationml.presentation",
            "application/vnd.ms-powerpoint.presentation.macroenabled.12",
        ),
        contents="for each slide its title, texts, lists, tables, the figures of charts, and the speaker's notes",
        packages=("pptx",),
    ),
    Kind(
        name="html",
        title="saved web page",
        suffixes=("html", "htm", "xhtml"),
        mime_types=("text/html", "application/xhtml+xml"),
        contents="the main content, without menus, scripts and styles",
        packages=("trafilatura",),
    ),
    Kind(
        name="rtf",
        title="RTF document",
        suffixes=("rtf",),
        mime_types=("application/rtf", "text/rtf"),
        contents="the text; cells of tables stand between `|`",
        packages=("striprtf",),
        becomes="text/plain",
    ),
    Kind(
        name="odt",
        title="OpenDocument text",
        suffixes=("odt",),
        mime_types=(f"{_OPEN}.text",),
        contents="headings, paragraphs, lists, tables and footnotes",
    ),
    Kind(
        name="ods",
        title="OpenDocument spreadsheet",
        suffixes=("ods",),
        mime_types=(f"{_OPEN}.spreadsheet",),
        contents="a table for each sheet below its name, with the values as shown",
    ),
    Kind(
        name="epub",
        title="EPUB book",
        suffixes=("epub",),
        mime_types=("application/epub+zip",),
        contents="title, author, and the chapters in reading order, with headings, lists and tables",
    ),
    Kind(
        name="eml",
        title="mail",
        suffixes=("eml", "mht", "mhtml"),
        mime_types=("message/rfc822", "text/x-eml"),
        contents="sender, recipients, date, subject, the text, and the names of attachments; web pages that "
        "were saved as one file (`.mhtml`) are read the same way",
    ),
    Kind(
        name="ics",
        title="calendar",
        suffixes=("ics",),
        mime_types=("text/calendar",),
        contents="a heading for each event and task, with its dates, place and text",
    ),
    Kind(
        name="csv",
        title="CSV or TSV",
        suffixes=("csv", "tsv"),
        mime_types=("text/csv", "text/tab-separated-values"),
        contents="stays as it is; UTF-16, which Excel writes, becomes UTF-8",
        becomes="text/csv",
        first_bytes=(codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    ),
)

_BY_TYPE = {mime_type: kind for kind in KINDS for mime_type in kind.mime_types}
_BY_NAME = {kind.name: kind for kind in KINDS}


def find_kind(mime_type: str) -> Kind | None:
    """Return the kind of a MIME type, without regard to its parameters; None if it is not converted."""
    return _BY_TYPE.get(mime_type.partition(";")[0].rstrip())


def get_kind(name: str) -> Kind:
    """Return the kind of this name."""
    return _BY_NAME[name]
