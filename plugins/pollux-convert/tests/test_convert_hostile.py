"""Files that are broken, wrongly named, encrypted or malicious: each is an error that says what to do, at once."""

import sys
from io import BytesIO
from zipfile import ZipFile

import pytest

from documents import (
    DRAWING,
    HTML,
    build_documents,
    build_docx,
    build_epub,
    build_odf,
    build_pdf,
    build_source,
    build_xlsx,
    build_zip,
    read,
)
from pollux_convert import Convert
from pollux_convert.bounding import read_apart
from pollux_convert.tasks import ReadError, Task
from pollux_sync import SourceError
from pollux_sync.plugin import TEXT_RULE

DOCUMENTS = build_documents()
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
ENTITIES = "".join(f'<!ENTITY e{number} "{f"&e{number - 1};" * 10}">' for number in range(1, 10))
BOMB = f'<!DOCTYPE x [<!ENTITY e0 "ha">{ENTITIES}]><x>&e9;</x>'
FILE_READER = '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/hostname">]><x>&f;</x>'


def refuse(data, kind, **limits):
    """Return the error of a document that is to be converted."""
    with pytest.raises(SourceError) as caught:
        Convert(**limits).pollux_convert(build_source(data, kind), (TEXT_RULE,))
    assert caught.value.message.startswith(f"'a.{kind}' cannot be converted: ")
    assert caught.value.hint
    return caught.value


def find_reason(data, kind):
    """Return why a document cannot be read, without a process of its own."""
    with pytest.raises(ReadError) as caught:
        read(data, kind)
    assert caught.value.hint
    return caught.value.reason


def claim_size(data, size):
    """Return an archive whose directory says of its last file that it has this size."""
    stream = BytesIO(data)
    with ZipFile(stream, "a") as archive:
        archive.filelist[-1].file_size = size
        archive.comment = b"written anew"
    return stream.getvalue()


def test_zip_bomb():
    assert "as a zip bomb does" in refuse(claim_size(build_xlsx(), 4_000_000_000), "xlsx").message


def test_zip_bomb_that_claims_to_be_small():
    body = f"<text:p>{'a' * 50_000_000}</text:p>"
    assert "damaged" in refuse(claim_size(build_odf("text", body), 500), "odt").message


def test_archive_of_too_many_files():
    members = {f"{number}.xml": "" for number in range(20_001)}
    assert "20,001 files" in refuse(build_zip(members), "docx").message


def test_nested_archives_are_not_opened():
    inner = b"x" * 1000
    for _ in range(50):
        inner = build_zip({"inner.zip": inner})
    assert "is no Word document" in refuse(inner, "docx").message
    assert read(build_docx(**{"word/embeddings/inner.zip": inner}), "docx") == read(build_docx(), "docx")


@pytest.mark.parametrize("xml", [BOMB, FILE_READER, BOMB.encode("utf-16")], ids=["bomb", "file", "bomb in UTF-16"])
@pytest.mark.parametrize(
    ("kind", "build"),
    [
        ("docx", lambda xml: build_docx(**{"word/document.xml": xml})),
        ("odt", lambda xml: build_odf("text", "", **{"content.xml": xml})),
        ("epub", lambda xml: build_epub(**{"OPS/c 0.xhtml": xml})),
    ],
)
def test_xml_with_entities(kind, build, xml):
    with pytest.raises(ReadError, match="declares XML entities"):
        read(build(xml), kind)


def test_page_of_a_book_with_a_doctype_is_no_bomb():
    page = '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.1//EN" "http://example.org/xhtml11.dtd"><html><p>fine</p></html>'
    assert "fine" in read(build_epub(**{"OPS/c 0.xhtml": page}), "epub")[0]


def test_entities_of_a_saved_page_are_not_read():
    page = f"{FILE_READER.replace('<x>&f;</x>', '')}<html><body><p>a &f; b</p></body></html>".encode()
    assert "a &f; b" in read(page, "html")[0]


def test_million_rows():
    rows = "<row><c><v>1</v></c></row>" * 1_000_000
    spaces = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    sheet = f'<worksheet xmlns="{spaces}"><dimension ref="A1:A1000000"/><sheetData>{rows}</sheetData></worksheet>'
    book = replace_member(build_xlsx(), "xl/worksheets/sheet1.xml", sheet)
    assert "more than 10,000 characters" in refuse(book, "xlsx", max_output_chars=10_000).message


def replace_member(data, name, content):
    with ZipFile(BytesIO(data)) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    return build_zip(members | {name: content})


def test_sheet_that_claims_the_largest_size_is_no_larger_than_its_cells():
    spaces = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    cells = '<row r="1"><c r="A1"><v>7</v></c></row>'
    sheet = f'<worksheet xmlns="{spaces}"><dimension ref="A1:XFD1048576"/><sheetData>{cells}</sheetData></worksheet>'
    (text,) = read(replace_member(build_xlsx(), "xl/worksheets/sheet1.xml", sheet), "xlsx")
    assert "| 7 |\n| --- |" in text


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit the memory of a process")
def test_memory():
    cell = '<table:table-cell table:number-columns-repeated="999999999"><text:p>x</text:p></table:table-cell>'
    sheet = f"<table:table><table:table-row>{cell}</table:table-row></table:table>"
    error = refuse(build_odf("spreadsheet", sheet), "ods", max_memory_bytes=500_000_000)
    assert "takes more than 500 MB of memory" in error.message


def test_time():
    error = refuse(HTML, "html", max_seconds=0.001)
    assert "takes more than 0.001 s" in error.message
    assert "max_seconds" in error.hint


def test_parts_that_are_nested_too_deeply():
    depth = 50_000
    body = f"{'<text:list><text:list-item>' * depth}x{'</text:list-item></text:list>' * depth}"
    assert "nested too deeply" in refuse(build_odf("text", body), "odt").message


def test_page_of_deeply_nested_elements_is_read():
    assert "x" in read(b"<div>" * 20_000 + b"<p>x</p>", "html")[0]


def test_pages_beyond_the_limit():
    error = refuse(build_pdf("a", "b", "c"), "pdf", max_pages=2)
    assert "it has 3 pages, and max_pages is 2" in error.message


def test_size_beyond_the_limit():
    assert "it has 0.0 MB" in refuse(HTML, "html", max_input_bytes=10).message


def test_pdf_of_pictures_for_a_provider_without_pictures():
    assert "recognize the text" in refuse(build_pdf(DRAWING), "pdf").hint


ENCRYPTED_PDF = build_pdf("secret").replace(
    b"/Root 1 0 R",
    b"/Root 1 0 R /ID [<00> <00>] /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <" + b"11" * 32 + b"> /U <"
    + b"22" * 32 + b"> >>",
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("pdf", ENCRYPTED_PDF),
        ("docx", OLE + "EncryptedPackage".encode("utf-16-le")),
        ("odt", build_odf("text", "", **{"META-INF/manifest.xml": "<x><encryption-data/></x>"})),
        ("epub", build_epub(**{"META-INF/encryption.xml": '<x><CipherReference URI="OPS/c 0.xhtml"/></x>'})),
    ],
)
def test_encrypted_file(kind, data):
    assert find_reason(data, kind) == "it is encrypted"


def test_archive_with_an_encrypted_member():
    data = bytearray(build_zip({"a.xml": "a"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert find_reason(bytes(data), "xlsx") == "it is encrypted"


def test_office_file_from_before_2007():
    assert "before 2007" in find_reason(OLE, "xlsx")


@pytest.mark.parametrize("kind", ["pdf", "docx", "xlsx", "pptx", "odt", "ods", "epub"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_file_that_was_cut_off(kind, share):
    data = DOCUMENTS[kind]
    if kind == "pdf":  # pdfium mends what it can
        data = data.replace(b"/Kids", b"/Sdik")
    assert "damaged" in find_reason(data[: int(len(data) * share)], kind)


@pytest.mark.parametrize("kind", ["pdf", "docx", "xlsx", "pptx", "rtf", "odt", "ods", "epub", "eml", "ics"])
def test_file_of_other_content(kind):
    assert "or a damaged one" in find_reason(b"\x01\x02\x00\x03", kind)


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ("docx", "xlsx"),
        ("xlsx", "docx"),
        ("pptx", "odt"),
        ("odt", "ods"),
        ("epub", "pptx"),
        ("html", "pdf"),
        ("pdf", "rtf"),
    ],
)
def test_wrong_name_is_told_the_right_one(kind, other):
    error = refuse(DOCUMENTS[other], kind)
    assert "its content is that of a " in error.message
    assert f"name it *.{other}, or pass mime_type=" in error.hint


def test_mail_and_calendar_of_other_text():
    assert "it is no mail" in find_reason(b"just text", "eml")
    assert "it is no calendar" in find_reason(b"just text", "ics")


@pytest.mark.parametrize(
    "content", ["<broken", "<office:document-content xmlns:office='urn:oasis:names:tc:opendocument:xmlns:office:1.0'/>"]
)
def test_document_whose_content_is_damaged(content):
    assert find_reason(build_odf("text", "", **{"content.xml": content}), "odt").startswith(
        ("content.xml in it is damaged", "its content.xml has no body")
    )


def test_reader_that_crashes():
    with pytest.raises(ReadError, match=r"its reader ended with status 1: KeyError"):
        read_apart(b"", Task("unknown", "", 150, 500, 1000, 2_000_000_000), 60)
