import mimetypes

import pytest

from pollux_sync.data.mime import HEAD_BYTES, _guess_by_suffixes, guess_mime_type

PNG = b"\x89PNG\r\n\x1a\n"
ZIP = b"PK\x03\x04"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def _box(*brands):
    """Return the beginning of a file of ISO boxes with these brands, the major one first."""
    content = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    return (len(content) + 4).to_bytes(4, "big") + content + b"\x00\x00\x01\x00meta"


@pytest.mark.parametrize(
    ("name", "mime_type"),
    [
        ("paper.pdf", "application/pdf"),
        ("photo.JPG", "image/jpeg"),
        ("photo.png", "image/png"),
        ("photo.webp", "image/webp"),
        ("page.html", "text/html"),
        ("notes.txt", "text/plain"),
        ("notes.md", "text/markdown"),
        ("table.csv", "text/csv"),
        ("rows.jsonl", "application/jsonl"),
        ("data.json", "application/json"),
        ("setup.py", "text/x-python"),
        ("app.ts", "text/x-typescript"),
        ("conf.yml", "application/yaml"),
        ("song.mp3", "audio/mpeg"),
        ("song.wav", "audio/wav"),
        ("talk.m4a", "audio/mp4"),
        ("film.mp4", "video/mp4"),
        ("archive.v2.pdf", "application/pdf"),
        ("meeting.ics", "text/calendar"),
        ("letter.rtf", "application/rtf"),
    ],
)
def test_type_is_known_by_the_name(name, mime_type):
    assert guess_mime_type(name) == mime_type


@pytest.mark.parametrize(
    ("head", "mime_type"),
    [
        (b"%PDF-1.7", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x10\x00\x00\x00WEBP", "image/webp"),
        (b"RIFF\x10\x00\x00\x00WAVE", "audio/wav"),
        (b"RIFF\x10\x00\x00\x00AVI LIST", "video/x-msvideo"),
        (b"BM\x36\x00\x0c\x00\x00\x00\x00\x00\x36\x00", "image/bmp"),
        (b"II*\x00", "image/tiff"),
        (b"MM\x00*", "image/tiff"),
        *((_box(brand), "image/heic") for brand in (b"heic", b"heix", b"heim", b"heis")),
        *((_box(brand), "image/heic-sequence") for brand in (b"hevc", b"hevx")),
        *((_box(brand), "image/avif") for brand in (b"avif", b"avis")),
        (_box(b"mif1", b"mif1", b"heic"), "image/heic"),
        (_box(b"mif1", b"mif1", b"avif", b"miaf"), "image/avif"),
        (_box(b"mif1", b"mif1", b"miaf"), "image/heif"),
        (_box(b"msf1", b"msf1", b"hevc"), "image/heic-sequence"),
        (_box(b"msf1", b"msf1"), "image/heif-sequence"),
        (_box(b"3gp4"), "video/3gpp"),
        (b"\x00\x00\x00\x18ftypM4A ", "audio/mp4"),
        (b"\x00\x00\x00\x18ftypqt  ", "video/quicktime"),
        (b"\x00\x00\x00\x18ftypisom", "video/mp4"),
        (b"\x1aE\xdf\xa3", "video/webm"),
        (b"ID3\x04", "audio/mpeg"),
        (b"\xff\xfb\x90", "audio/mpeg"),
        (b"\xff\xf1\x50", "audio/aac"),
        (b"fLaC\x00", "audio/flac"),
        (b"OggS\x00", "audio/ogg"),
        (b"PK\x03\x04", "application/zip"),
        (b"\x1f\x8b\x08", "application/gzip"),
    ],
)
def test_type_is_known_by_the_first_bytes(head, mime_type):
    assert guess_mime_type("download", head[:HEAD_BYTES]) == mime_type


@pytest.mark.parametrize(
    ("name", "head", "mime_type"),
    [
        ("photo.jpg", PNG, "image/png"),
        ("image.png", b"\xff\xd8\xff\xe0", "image/jpeg"),
        ("IMG_1.jpg", _box(b"heic"), "image/heic"),
        ("film.mp4", _box(b"avif"), "image/avif"),
        ("photo.heic", b"\xff\xd8\xff\xe1", "image/jpeg"),
        ("page.html", b"%PDF-1.7", "application/pdf"),
        ("notes.txt", PNG, "image/png"),
        ("scan.pdf", ZIP, "application/zip"),
        ("photo.jpg", ZIP, "application/zip"),
        ("song.wav", b"ID3\x04", "audio/mpeg"),
    ],
)
def test_bytes_are_believed_before_the_name(name, head, mime_type):
    assert guess_mime_type(name, head) == mime_type


@pytest.mark.parametrize(
    ("name", "head", "mime_type"),
    [
        ("a.docx", ZIP, "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("a.xlsx", ZIP, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("a.odt", ZIP, "application/vnd.oasis.opendocument.text"),
        ("a.epub", ZIP, "application/epub+zip"),
        ("a.doc", OLE, "application/msword"),
        ("a.xls", OLE, "application/vnd.ms-excel"),
        ("talk.m4a", _box(b"isom"), "audio/mp4"),
        ("film.mp4", _box(b"isom"), "video/mp4"),
    ],
)
def test_name_tells_what_a_container_holds(name, head, mime_type):
    assert guess_mime_type(name, head) == mime_type


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("notes.md", b"ID3 tags are at the beginning of a file"),
        ("notes.md", b"OggS is the mark of a page"),
        ("notes.md", b"fLaC begins so"),
        ("notes.md", b"BMW and other cars"),
        ("notes.md", b"MM and II are the byte orders"),
        ("notes.md", b"RIFF: a container"),
        ("notes.md", b"PK is a name"),
    ],
)
def test_prose_keeps_the_type_of_its_name(name, head):
    assert guess_mime_type(name, head) == "text/markdown"


def test_unknown_suffix_leaves_it_to_the_bytes():
    assert guess_mime_type("upload.part0042", b"%PDF-1.7") == "application/pdf"


@pytest.mark.parametrize("name", ["", "blob", "blob.", ".", "x.unheard-of"])
def test_unknown_type_is_octet_stream(name):
    assert guess_mime_type(name, b"\x00\x01\x02") == "application/octet-stream"


@pytest.mark.parametrize("name", ["data.json.gz", "notes.txt.gz", "source.tar.gz"])
def test_compressed_file_does_not_have_the_type_of_its_content(name):
    assert guess_mime_type(name, b"\x1f\x8b\x08") == "application/gzip"


def test_prose_that_begins_like_a_bitmap_is_no_image():
    assert guess_mime_type("README", b"BMW and other car") == "text/plain"


def test_four_letters_without_their_container_are_no_image():
    assert guess_mime_type("README", b"What is WEBP?") == "text/plain"


@pytest.mark.parametrize(
    "name", ["LICENSE", "Makefile", "README", "app.log", "setup.cfg", "main.go", "a.kt", "x.proto"]
)
def test_unknown_file_that_reads_as_text_is_text(name):
    assert guess_mime_type(name, "naïve words\n".encode()).startswith("text/")


@pytest.mark.parametrize("head", [b"caf\xe9 au lait", b"a\x00b", b"\xff\xfe"])
def test_unknown_file_that_does_not_read_as_text_is_none(head):
    assert guess_mime_type("blob", head) == "application/octet-stream"


def test_character_cut_at_the_end_of_the_head_does_not_matter():
    head = ("a" + "é" * HEAD_BYTES).encode()[:HEAD_BYTES]
    assert guess_mime_type("README", head) == "text/plain"


def test_office_documents_are_known_where_the_machine_has_no_table_of_types(monkeypatch):
    monkeypatch.setattr("mimetypes._db", mimetypes.MimeTypes(filenames=()))
    _guess_by_suffixes.cache_clear()
    names = ("letter.docx", "prices.xlsx", "talk.pptx", "letter.odt", "prices.ods", "talk.odp", "book.epub")
    assert "application/zip" not in {guess_mime_type(name, ZIP) for name in names}
