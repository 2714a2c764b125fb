"""The MIME type of a file: that of its first bytes where they are known, else guessed from its name."""

from __future__ import annotations

from functools import lru_cache

OCTET_STREAM = "application/octet-stream"

#: Suffixes that the standard table lacks, or for which its answer differs from one machine to the next.
_BY_SUFFIX = {
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".docm": "application/vnd.ms-word.document.macroenabled.12",
    ".xlsm": "application/vnd.ms-excel.sheet.macroenabled.12",
    ".pptm": "application/vnd.ms-powerpoint.presentation.macroenabled.12",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odp": "application/vnd.oasis.opendocument.presentation",
    ".epub": "application/epub+zip",
    ".rtf": "application/rtf",
    ".ics": "text/calendar",
    ".xhtml": "application/xhtml+xml",
    ".csv": "text/csv",
    ".jsonl": "application/jsonl",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".py": "text/x-python",
    ".eml": "text/x-eml",
    ".ipynb": "application/x-ipynb+json",
    ".php": "text/x-php",
    ".pl": "text/x-perl",
    ".rb": "text/x-ruby",
    ".sh": "text/x-sh",
    ".sql": "text/x-sql",
    ".toml": "application/toml",
    ".ts": "text/x-typescript",
    ".tex": "application/x-tex",
    ".bib": "application/x-bibtex",
    ".webp": "image/webp",
    ".heic": "image/heic",
    ".m4a": "audio/mp4",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".wav": "audio/wav",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}

#: The first bytes of formats and their types, by the first byte of all; the first match wins. Bytes that are letters
#: alone end with one that prose does not have there, since a type that is found here overrules the name.
_BY_MAGIC: dict[bytes, tuple[tuple[bytes, str], ...]] = {
    b"%": ((b"%PDF-", "application/pdf"),),
    b"\x89": ((b"\x89PNG\r\n\x1a\n", "image/png"),),
    b"G": ((b"GIF87a", "image/gif"), (b"GIF89a", "image/gif")),
    b"I": (
        (b"II*\x00", "image/tiff"),
        (b"ID3\x02", "audio/mpeg"),
        (b"ID3\x03", "audio/mpeg"),
        (b"ID3\x04", "audio/mpeg"),
    ),
    b"M": ((b"MM\x00*", "image/tiff"),),
    b"8": ((b"8BPS\x00\x01", "image/vnd.adobe.photoshop"),),
    b"\xff": (
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"\xff\x0a", "image/jxl"),
        (b"\xff\xf1", "audio/aac"),
        (b"\xff\xf9", "audio/aac"),
        (b"\xff\xfb", "audio/mpeg"),
        (b"\xff\xf3", "audio/mpeg"),
        (b"\xff\xf2", "audio/mpeg"),
        (b"\xff\xfa", "audio/mpeg"),
    ),
    b"\x00": (
        (b"\x00\x00\x00\x0cjP  ", "image/jp2"),
        (b"\x00\x00\x00\x0cJXL ", "image/jxl"),
        (b"\x00\x00\x01\x00", "image/vnd.microsoft.icon"),
        (b"\x00\x00\x01\xba", "video/mpeg"),
        (b"\x00\x00\x01\xb3", "video/mpeg"),
    ),
    b"\x1a": ((b"\x1aE\xdf\xa3", "video/webm"),),
    b"f": ((b"fLaC\x00", "audio/flac"), (b"fLaC\x80", "audio/flac")),
    b"O": ((b"OggS\x00", "audio/ogg"),),
    b"P": ((b"PK\x03\x04", "application/zip"),),
    b"\x1f": ((b"\x1f\x8b", "application/gzip"),),
    b"\xd0": ((b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),),
}

#: Kinds of RIFF containers; the kind is written at offset 8.
_BY_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}

#: Brands of the container of ISO/IEC 14496-12, by https://mp4ra.org/registered-types/brands (2026-11). The kinds of
#: HEIF come first: such a file may have a general major brand (mif1), and name its codec among the compatible ones.
_BY_BRAND = {
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis"), "image/heic"),
    **dict.fromkeys((b"hevc", b"hevx", b"hevm", b"hevs"), "image/heic-sequence"),
    b"mif1": "image/heif",
    b"msf1": "image/heif-sequence",
    b"crx ": "image/x-canon-cr3",
    **dict.fromkeys((b"M4A ", b"M4B ", b"M4P "), "audio/mp4"),
    b"qt  ": "video/quicktime",
}
_HEIF_BRANDS = frozenset({b"mif1", b"mif2", b"msf1", b"miaf"})

#: The types that the name may choose where the first bytes only show a container, which holds many formats. A type that
#: ends with * is any of its kind that has no first bytes of its own.
_BY_CONTAINER = {
    # Of Office and OpenDocument, before and since they use zip.
    "application/zip": frozenset({"application/*"}),
    "application/x-ole-storage": frozenset({"application/*"}),
    "application/gzip": frozenset({"application/*"}),
    # The raw formats of cameras.
    "image/tiff": frozenset({"image/*"}),
    "video/mp4": frozenset({"audio/mp4", "audio/mp4a-latm", "audio/x-m4a", "video/x-m4v", "video/3gpp", "video/3gpp2"}),
    "video/webm": frozenset({"audio/webm", "audio/x-matroska", "video/x-matroska"}),
    "audio/ogg": frozenset({"audio/opus", "video/ogg", "application/ogg"}),
}

#: The types that are known by their first bytes.
_TOLD_BY_BYTES = frozenset(
    {mime for rows in _BY_MAGIC.values() for _, mime in rows}
    | {*_BY_RIFF.values(), *_BY_BRAND.values()}
    | {"image/bmp", "video/mp4"}
)

_BY_ENCODING = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}

#: The number of first bytes that `guess_mime_type` needs.
HEAD_BYTES = 512


def guess_mime_type(name: str, head: bytes = b"") -> str:
    """Return the MIME type of a file called ``name`` that starts with ``head``; octet-stream if it is unknown.

    The first bytes are believed before the name, which may be wrong: services check them, and refuse a JPEG that is
    declared a PNG. Where they show nothing, or only a container, the name decides.
    """
    # The last two suffixes tell: one may name the compression of the other, as in .tar.gz.
    named = _guess_by_suffixes(".".join(name.rsplit(".", 2)[1:]))
    told = _read_type(head)
    if told is None:
        return named or ("text/plain" if _is_text(head) else OCTET_STREAM)
    return named if named and told in _BY_CONTAINER and _may_be_inside(named, told) else told


def _may_be_inside(named: str, container: str) -> bool:
    """Return whether a file of the type ``named`` may begin as ``container`` does."""
    kinds = _BY_CONTAINER[container]
    return named in kinds or (f"{named.partition('/')[0]}/*" in kinds and named not in _TOLD_BY_BYTES)


# The standard library takes longer than a small file takes to be read, and the files of a program have few suffixes.
@lru_cache
def _guess_by_suffixes(suffixes: str) -> str | None:
    import mimetypes  # with the first file

    by_name, encoding = mimetypes.guess_type(f"name.{suffixes}", strict=False)
    last = "." + suffixes.rsplit(".", 1)[-1].lower()
    return _BY_ENCODING.get(encoding or "") or _BY_SUFFIX.get(last) or by_name


def _is_text(head: bytes) -> bool:
    """Return whether a file that starts with ``head`` is UTF-8 text; its last character may be cut off."""
    if not head or b"\x00" in head:
        return False
    try:
        head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Only a head of full length is cut; in a shorter file an incomplete character is an error.
        return error.end == len(head) == HEAD_BYTES and error.reason == "unexpected end of data"
    return True


def _read_type(head: bytes) -> str | None:
    """Return the type that the first bytes show, None if they show none."""
    if head[4:8] == b"ftyp":
        return _read_brand(head)
    if head.startswith(b"RIFF"):
        return _BY_RIFF.get(head[8:12])
    if head.startswith(b"BM") and head[6:10] == bytes(4):  # two letters prove little: the reserved bytes must be zero
        return "image/bmp"
    # A loop, which costs half of what a generator costs.
    for magic, mime in _BY_MAGIC.get(head[:1], ()):
        if head.startswith(magic):
            return mime
    return None


def _read_brand(head: bytes) -> str:
    """Return the type of a file of ISO boxes, by its major brand and, for a general one of HEIF, the others."""
    major = head[8:12]
    if major in _HEIF_BRANDS:
        # After the major brand come its version and the compatible brands, to the end of the box.
        end = min(int.from_bytes(head[:4], "big"), len(head))
        brands = {head[at : at + 4] for at in range(16, end, 4)} | {major}
        return next((mime for brand, mime in _BY_BRAND.items() if brand in brands), "image/heif")
    if major.startswith(b"3g"):
        return "video/3gpp2" if major.startswith(b"3g2") else "video/3gpp"
    return _BY_BRAND.get(major, "video/mp4")
