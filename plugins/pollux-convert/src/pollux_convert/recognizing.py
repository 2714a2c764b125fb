"""The kind of a file by its content: a wrong name is found before a reader fails on it."""

from __future__ import annotations

from pollux_convert import archives
from pollux_convert.kinds import get_kind
from pollux_convert.tasks import ReadError

_OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
#: The name of the stream that holds an encrypted document, as such a file spells it.
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_HEAD_BYTES = 1024
#: Kinds that are text: any content without NUL may be one of them.
_TEXTS = frozenset({"html", "eml", "ics"})


def check_content(data: bytes, kind: str) -> None:
    """Raise ReadError unless a file may be of this kind, by its content."""
    found = _recognize(data)
    if found == kind or (found is None and kind in _TEXTS and b"\x00" not in data[:_HEAD_BYTES]) or kind == "csv":
        return
    title = get_kind(kind).title
    if found is None:
        raise ReadError(f"it is no {title}, or a damaged one", hint="check what wrote it, and pass its true mime_type")
    raise ReadError(
        f"it is no {title}: its content is that of a {get_kind(found).title}",
        hint=f"name it *.{found}, or pass mime_type={get_kind(found).mime_types[0]!r}",
    )


def _recognize(data: bytes) -> str | None:
    """Return the kind that the content shows, None if it shows none. Raises ReadError for a kind that has no reader."""
    head = data[:_HEAD_BYTES]
    if head.lstrip().startswith(b"%PDF-"):
        return "pdf"
    if head.startswith(b"{\\rtf"):
        return "rtf"
    if head.startswith(_OLE_MAGIC):
        raise _refuse_ole(data)
    if not head.startswith(archives.MAGIC):
        return None
    with archives.open_archive(data) as archive:
        archives.check_xml(archive)
        return archives.name_contents(archive)


def _refuse_ole(data: bytes) -> ReadError:
    if _ENCRYPTED in data:
        return ReadError("it is encrypted", hint="save a copy without a password")
    return ReadError("it is of a format from before 2007", hint="save it as .docx, .xlsx or .pptx")
