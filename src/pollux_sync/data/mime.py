"""The MIME type of a file, guessed from its name, or else from its first bytes."""

from __future__ import annotations

import mimetypes
from functools import lru_cache

OCTET_STREAM = "application/octet-stream"

#: Suffixes that the standard table lacks, or for which its answer differs from one machine to the next.
_BY_SUFFIX = {
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

#: (offset, magic bytes, type) of the formats that providers take. The first match wins: the general "ftyp" stands
#: behind the brands of the same container.
_BY_MAGIC = (
    (0, b"%PDF-", "application/pdf"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (4, b"ftypheic", "image/heic"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftypqt", "video/quicktime"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"\x1f\x8b", "application/gzip"),
)

#: Kinds of RIFF containers; the kind is written at offset 8.
_BY_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}

_BY_ENCODING = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}

#: The number of first bytes that `guess_mime_type` needs.
HEAD_BYTES = 512


def guess_mime_type(name: str, head: bytes = b"") -> str:
    """Return the MIME type of a file called ``name`` that starts with ``head``; octet-stream if it is unknown."""
    # The last two suffixes tell: one may name the compression of the other, as in .tar.gz.
    guessed = _guess_by_suffixes(".".join(name.rsplit(".", 2)[1:]))
    return guessed or _guess_by_content(head) or ("text/plain" if _is_text(head) else OCTET_STREAM)


# The standard library takes longer than a small file takes to be read, and the files of a program have few suffixes.
@lru_cache
def _guess_by_suffixes(suffixes: str) -> str | None:
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


def _guess_by_content(head: bytes) -> str | None:
    if head.startswith(b"RIFF"):
        return _BY_RIFF.get(head[8:12])
    if head.startswith(b"BM") and head[6:10] == bytes(4):  # two letters prove little: the reserved bytes must be zero
        return "image/bmp"
    return next((mime for at, magic, mime in _BY_MAGIC if head[at:].startswith(magic)), None)
