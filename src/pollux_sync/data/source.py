"""Sources, the content that a question is about: text, JSON, a file, a URI, a paper, a video."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from io import SEEK_SET, BytesIO, RawIOBase
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self, cast
from urllib.parse import SplitResult, unquote, urlsplit

import attrs

from pollux_sync._values import Value
from pollux_sync.data.converter import load_value
from pollux_sync.data.files import open_file, read_beginning, read_file
from pollux_sync.data.mime import HEAD_BYTES, guess_mime_type
from pollux_sync.data.payloads import make_printable
from pollux_sync.errors import ConfigurationError, PolluxError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from os import PathLike

SourceType = Literal["text", "file", "youtube", "arxiv", "uri", "json", "stored"]

# Patterns are compiled when they are first used: few sources need them.
#: An id of today, such as 1706.03762v5, or one from before 2007, such as hep-th/9901001.
_ARXIV_ID = r"(?ai)(\d{4}\.\d{4,5}|[a-z][a-z-]*(\.[a-z]{2})?/\d{7})(v\d+)?"
ARXIV_HOSTS = {"arxiv.org", "www.arxiv.org"}
_YOUTUBE_HOSTS = ("youtube.com", "youtu.be", "youtube-nocookie.com")
#: The one provider that takes settings for videos, and the name of the hint that carries them.
_VIDEO_PROVIDER, _VIDEO_HINT = "gemini", "video_metadata"
_CHUNK_BYTES = 256 * 1024
#: Gemini's limit.
_MAX_VIDEO_FPS = 24


#: A type, a subtype and parameters, in the characters of RFC 9110. Spaces may stand around a semicolon.
_WORD = r"[!#$%&'*+.^_`|~0-9a-z-]+"
_MIME_TYPE = rf'{_WORD}/{_WORD}( *; *{_WORD}=({_WORD}|"[ !#-\[\]-~]*"))*'


#: Names of types that are written often, but not registered, and refused by services: Anthropic takes image/jpeg only.
_REGISTERED_TYPES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}


def _normalize_mime(mime_type: object) -> str:
    """Return a MIME type in lower case, by its registered name.

    Raises SourceError for one that no header could carry.
    """
    text = _normalize_type(mime_type) if isinstance(mime_type, str) else None
    if text is None:
        raise SourceError(f"mime_type is no MIME type: {mime_type!r}", hint="e.g. mime_type='application/pdf'")
    return text


# Cached, since the files of a program have few types.
@lru_cache
def _normalize_type(mime_type: str) -> str | None:
    text = mime_type.strip().lower()
    return _REGISTERED_TYPES.get(text, text) if re.fullmatch(_MIME_TYPE, text) else None


@attrs.frozen(eq=False, repr=False)
class BytesLoader(Value):
    """A loader of content that is already in memory."""

    content: bytes = attrs.field(repr=False)

    def __call__(self) -> bytes:
        """Return the content."""
        return self.content


@attrs.frozen(eq=False, repr=False)
class FileLoader(Value):
    """A loader of a file's content, which reads the file when it is called and not before."""

    path: Path

    def __call__(self) -> bytes:
        """Return the file's current content. Raises OSError."""
        return read_file(self.path)


@attrs.frozen(eq=False, repr=False)
class _PinnedLoader(Value):
    """A loader of content that must still be the one with this hex SHA-256."""

    loader: Callable[[], bytes]
    sha256: str
    is_stopped: Callable[[], bool] | None = attrs.field(default=None, eq=False)

    def __call__(self) -> bytes:
        """Return the content. Raises SourceError if it cannot be loaded or has changed."""
        self.check_stop()
        content = _load(self.loader, _describe_loader(self.loader))
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise _build_change_error(_describe_loader(self.loader))
        return content

    def check_stop(self) -> None:
        """Raise ConnectionAbortedError if the content shall not be sent any more."""
        if self.is_stopped is not None and self.is_stopped():
            raise ConnectionAbortedError("the upload was stopped")


class _PinnedReader(RawIOBase):
    """A stream of content that must be the one with a known size and hash.

    The last piece is handed out only when all that came before and it have that hash, so that content which changed
    while it was read is never complete anywhere. Raises SourceError.
    """

    def __init__(self, stream: BinaryIO, source: Source, loader: _PinnedLoader) -> None:
        self._stream = stream
        self._name = source.identifier
        self._size = source.size_bytes
        self._loader = loader
        self._digest = hashlib.sha256()
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    # To the beginning and to the end only: libraries measure a file so, and rewind it before they send it.
    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        self._position = self._stream.seek(offset, whence)
        self._digest = hashlib.sha256()
        return self._position

    def tell(self) -> int:
        return self._position

    # Not left to RawIOBase, which would have each piece copied twice by way of a buffer.
    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return self.readall()
        # What asks once more after the end has sent all: the provider may have stored it, and only its answer names it.
        if self._position < self._size or not self._position:
            self._loader.check_stop()
        piece = self._stream.read(min(size, max(self._size - self._position, 0)))
        self._position += len(piece)
        self._digest.update(piece)
        if self._position < self._size and not piece:
            raise _build_change_error(self._name)
        if self._position == self._size and (piece or not self._size):
            self._require_unchanged()
        return piece

    def readinto(self, buffer: Any) -> int:
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def _require_unchanged(self) -> None:
        # One more byte: a file that is being written to has grown.
        if self._stream.read(1) or self._digest.hexdigest() != self._loader.sha256:
            raise _build_change_error(self._name)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _build_path_error(path: str | PathLike[str], error: Exception) -> SourceError:
    """Return the error of a path that leads to no file, or to one that cannot be opened."""
    with suppress(OSError, ValueError, TypeError):
        if not Path(path).exists():
            hint = "check the path; it is relative to the working directory"
            return SourceError(f"file not found: {path}", hint=hint)
        if not Path(path).is_file():
            return SourceError(f"not a file: {path}", hint="pass one Source.from_file for each file of a directory")
    return SourceError(f"cannot read {path!r}: {error}", hint="check the path and its permissions")


def _build_change_error(name: str) -> SourceError:
    """Return the error of content that changed between its planning and its sending."""
    return SourceError(
        f"{name!r} changed while it was sent", hint="ask again when nothing writes to it; what was sent is not used"
    )


def _load(loader: Callable[[], bytes], name: str) -> bytes:
    """Return what a loader, perhaps the caller's own, returns. Raises SourceError that names the source."""
    try:
        content: object = loader()
    except PolluxError:
        raise
    except OSError as error:
        raise _build_read_error(name, error) from error
    except Exception as error:
        raise SourceError(
            f"loading {name!r} failed: {type(error).__name__}: {error}", hint="check the source's content_loader"
        ) from error
    if not isinstance(content, bytes | bytearray | memoryview):
        raise SourceError(
            f"the loader of {name!r} returned {type(content).__name__}, not bytes", hint="encode text with .encode()"
        )
    return bytes(content)


def _build_read_error(name: str, error: OSError) -> SourceError:
    return SourceError(f"cannot read {name!r}: {error}", hint="check that the file still exists")


def _describe_loader(loader: Callable[[], bytes]) -> str:
    """Return the name of a loader's content for errors."""
    return str(loader.path) if isinstance(loader, FileLoader) else "the content"


@attrs.frozen(eq=False, repr=False)
class ProviderHint(Value):
    """A setting of one source that only one provider understands; ``payload`` is JSON text."""

    provider: str
    name: str
    payload: str


@attrs.frozen(eq=False, repr=False)
class Source(Value):
    """A piece of content. Build it with a ``from_...`` constructor; a file is not read before it is needed.

    ``size_bytes`` is 0 for remote content. ``content_loader`` returns the content; for a remote source it returns
    bytes that only identify the content.
    """

    source_type: SourceType
    identifier: str
    mime_type: str = attrs.field(converter=_normalize_mime)
    size_bytes: int
    content_loader: Callable[[], bytes] = attrs.field(repr=False)
    provider_hints: tuple[ProviderHint, ...] = ()

    @classmethod
    def from_text(cls, text: str, *, identifier: str | None = None) -> Self:
        """Return a source of plain text; the identifier defaults to its first 50 characters.

        Raises SourceError if ``text`` is not a string.
        """
        if not isinstance(text, str):
            raise SourceError(
                f"text must be a string, got {type(text).__name__}",
                hint="use Source.from_json for other data",
            )
        content = _encode_text(text)
        return cls("text", _choose_identifier(identifier, text[:50]), "text/plain", len(content), BytesLoader(content))

    @classmethod
    def from_json(cls, data: Any, *, identifier: str | None = None) -> Self:
        """Return a source of data as JSON text; an object with ``model_dump()`` is dumped first.

        Raises SourceError if the data has no JSON form.
        """
        try:
            plain = data.model_dump() if hasattr(data, "model_dump") else data
            # Not escaped to ASCII: escapes would cost tokens.
            content = _encode_text(json.dumps(plain, ensure_ascii=False, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise SourceError(
                f"data cannot be written as JSON: {error}", hint="pass dicts, lists, strings and numbers only"
            ) from error
        return cls(
            "json", _choose_identifier(identifier, "json-data"), "application/json", len(content), BytesLoader(content)
        )

    @classmethod
    def from_file(cls, path: str | PathLike[str], *, mime_type: str | None = None) -> Self:
        """Return a source of a local file, which is read when it is sent.

        The default MIME type is that of the first bytes where they are known, or else guessed from the name; it is
        octet-stream if neither helps. Raises SourceError if the path is missing, not a file, or not readable.
        """
        try:
            file = Path(path)
            # Read now, so that a file without permission fails here and not in the middle of a call.
            head, size = read_beginning(file, HEAD_BYTES)
        except (OSError, ValueError, TypeError) as error:
            raise _build_path_error(path, error) from error
        return cls("file", str(path), mime_type or guess_mime_type(file.name, head), size, FileLoader(file))

    @classmethod
    def from_youtube(cls, url: str) -> Self:
        """Return a source of a YouTube video. Raises SourceError if ``url`` is not a YouTube URL."""
        host = _read_host(url)
        # With the dot, so that subdomains match but not another domain that ends alike.
        if not any(host == known or host.endswith("." + known) for known in _YOUTUBE_HOSTS):
            raise SourceError(f"not a YouTube URL: {url!r}", hint="pass e.g. https://www.youtube.com/watch?v=...")
        url = url.strip() if "//" in url else f"https://{url.strip()}"
        return cls("youtube", url, "video/mp4", 0, BytesLoader(_encode_text(f"youtube:{url}")))

    @classmethod
    def from_uri(cls, uri: str, *, mime_type: str | None = None) -> Self:
        """Return a source of content that the provider fetches, e.g. from an https:// or gs:// address.

        The default MIME type is guessed from the last part of the address, else it is octet-stream. Raises
        SourceError if ``uri`` has no scheme.
        """
        parts = _split_url(uri)
        is_empty = parts.scheme in {"http", "https"} and not parts.hostname
        if is_empty or len(parts.scheme) <= 1:  # a scheme of one letter is a drive of Windows, as in C:/file
            raise SourceError(
                f"not a URI: {uri!r}",
                hint="start with https:// or gs://; for a local path use Source.from_file",
            )
        kind = _normalize_mime(mime_type or guess_mime_type(PurePosixPath(parts.path).name, b""))
        return cls("uri", uri, kind, 0, BytesLoader(_encode_text(f"uri:{kind}:{uri}")))

    @classmethod
    def from_arxiv(cls, ref: str) -> Self:
        """Return a source of an arXiv paper's PDF.

        ``ref`` is an id (``1706.03762v5``, ``hep-th/9901001``) or an abs/ or pdf/ URL. Raises TypeError if it is not a
        string, SourceError if it is neither of these.
        """
        if not isinstance(ref, str):
            raise TypeError(f"ref must be a string, got {type(ref).__name__}")
        url = f"https://arxiv.org/pdf/{_parse_arxiv_id(ref)}.pdf"
        return cls("arxiv", url, "application/pdf", 0, BytesLoader(url.encode()))

    @classmethod
    def from_file_id(cls, file_id: str, *, mime_type: str) -> Self:
        """Return a source of a file that is stored at the provider already, by the id or name it has there.

        It is used unchanged, and never deleted. ``mime_type`` is the type of its content, since some providers ask for
        images in another way than for documents. Raises SourceError if either is not a non-blank string.
        """
        examples = {"file_id": "file-abc123", "mime_type": "application/pdf"}
        for name, value in (("file_id", file_id), ("mime_type", mime_type)):
            text: object = value
            if not isinstance(text, str) or not text.strip():
                raise SourceError(
                    f"{name} must be a non-blank string, got {text!r}", hint=f"e.g. {name}={examples[name]!r}"
                )
        return cls("stored", file_id.strip(), mime_type, 0, BytesLoader(_encode_text(f"stored:{file_id.strip()}")))

    def with_gemini_video_settings(
        self, *, start_offset: str | None = None, end_offset: str | None = None, fps: float | None = None
    ) -> Self:
        """Return a copy that requests a clip from Gemini, by offsets such as ``"90s"``, or ``fps`` frames per second.

        Raises SourceError for a source that is neither YouTube nor video/*, without any setting, or unless
        0 < fps <= 24.
        """
        if self.source_type != "youtube" and not self.mime_type.startswith("video/"):
            raise SourceError(
                f"video settings need a video, {self.identifier!r} is {self.mime_type}",
                hint="use a YouTube source or one with mime type video/*",
            )
        settings: dict[str, Any] = {"start_offset": _require_offset("start_offset", start_offset)}
        settings |= {"end_offset": _require_offset("end_offset", end_offset), "fps": _require_fps(fps)}
        settings = {name: value for name, value in settings.items() if value is not None}
        if not settings:
            raise SourceError("no video setting given", hint="pass start_offset, end_offset or fps")
        return self._replace_hint(ProviderHint(_VIDEO_PROVIDER, _VIDEO_HINT, _dump_compact(settings)))

    def _replace_hint(self, hint: ProviderHint) -> Self:
        # Setting a hint again replaces it.
        others = [h for h in self.provider_hints if (h.provider, h.name) != (hint.provider, hint.name)]
        return attrs.evolve(self, provider_hints=(*others, hint))

    def provider_hints_for(self, provider: str | None) -> dict[str, dict[str, Any]] | None:
        """Return the provider's hints as new dicts by hint name, or None if the source has none for it."""
        hints = {h.name: json.loads(h.payload) for h in self.provider_hints if h.provider == provider}
        return hints or None

    def gemini_video_settings_for(self, provider: str | None) -> dict[str, Any] | None:
        """Return the video settings as a new dict, or None without any or if ``provider`` does not take them."""
        if provider != _VIDEO_PROVIDER:
            return None
        return (self.provider_hints_for(provider) or {}).get(_VIDEO_HINT)

    def to_dict(self, *, sha256: str | None = None) -> dict[str, Any]:
        """Return the source as JSON-ready data.

        Text is stored by value, a file by absolute path and content hash, a remote source by address. Pass the file's
        content hash as ``sha256`` if it is known; otherwise the file is read. Raises OSError if it cannot be read.
        """
        item: dict[str, Any] = {"source_type": self.source_type, "identifier": self.identifier}
        item |= {"mime_type": self.mime_type}
        if self.path is not None:
            # Absolute, because the program that loads it may run in another directory.
            item |= {"path": str(self.path.absolute()), "sha256": sha256 or self.content_sha256()}
        elif self.source_type in {"text", "json"}:
            item["text"] = self.load().decode()
        elif self.source_type == "file":
            item["data"] = b64encode(self.load()).decode()
        hints = [[hint.provider, hint.name, hint.payload] for hint in self.provider_hints]
        return item | ({"provider_hints": hints} if hints else {})

    @classmethod
    def from_dict(cls, item: Mapping[str, Any]) -> Self:
        """Return the source that `to_dict` wrote.

        Raises SourceError that names every bad field, or for a file that is gone or has changed since.
        """
        hint = "pass the result of Source.to_dict()"
        try:
            given: object = item
            stored = load_value(dict(item) if isinstance(given, Mapping) else given, _StoredSource, name="source")
        except ConfigurationError as error:
            raise SourceError(error.message, hint=hint) from error
        try:
            loader, size = _build_loader(stored)
            hints = tuple(ProviderHint(*parts) for parts in stored.provider_hints)
        except (TypeError, ValueError) as error:
            raise SourceError(f"not a stored source: {error}", hint=hint) from error
        return cls(stored.source_type, stored.identifier, stored.mime_type, size, loader, hints)

    @property
    def path(self) -> Path | None:
        """The local file of this source, or None."""
        loader = self.content_loader.loader if isinstance(self.content_loader, _PinnedLoader) else self.content_loader
        return loader.path if isinstance(loader, FileLoader) else None

    @property
    def file_name(self) -> str:
        """The last part of the path or address, without characters that a request cannot carry; "" if it has none."""
        if self.source_type == "file":
            return make_printable(PurePath(self.identifier).name)
        return make_printable(PurePosixPath(unquote(_split_url(self.identifier).path)).name)

    def pin(self, *, sha256: str, size_bytes: int, is_stopped: Callable[[], bool] | None = None) -> Self:
        """Return the source bound to content with this hash and size: other content raises SourceError when read.

        Once ``is_stopped`` returns True, reading the opened source raises ConnectionAbortedError.
        """
        loader = _PinnedLoader(self.content_loader, sha256, is_stopped)
        return attrs.evolve(self, size_bytes=size_bytes, content_loader=loader)

    def load(self) -> bytes:
        """Return the content. Raises SourceError if it cannot be read, or if the loader fails or returns no bytes."""
        return _load(self.content_loader, self.identifier)

    def open(self) -> BinaryIO:
        """Open the content as a binary stream; a file is not read into memory as a whole. Raises OSError."""
        path, loader = self.path, self.content_loader
        if not isinstance(loader, _PinnedLoader):
            return BytesIO(self.load()) if path is None else open_file(path)
        stream: BinaryIO = BytesIO(_load(loader.loader, self.identifier)) if path is None else open_file(path)
        return cast("BinaryIO", _PinnedReader(stream, self, loader))

    def read_beginning(self, n_bytes: int) -> bytes:
        """Return up to ``n_bytes`` from the beginning of the content. Raises OSError."""
        if isinstance(self.content_loader, FileLoader):
            return read_beginning(self.content_loader.path, n_bytes)[0]
        with self.open() as stream:
            return stream.read(n_bytes)

    def iter_chunks(self) -> Iterator[bytes]:
        """Yield the content in chunks of 256 KiB. Raises SourceError for content that cannot be read, or changed."""
        with self._open_or_explain() as stream:
            while True:
                with convert_read_errors(self):
                    chunk = stream.read(_CHUNK_BYTES)
                if not chunk:
                    return
                yield chunk

    def _open_or_explain(self) -> BinaryIO:
        with convert_read_errors(self):
            return self.open()

    def measure(self) -> tuple[str, int]:
        """Return the hex SHA-256 and the size of the content; a file is streamed from disk. Raises OSError."""
        with self.open() as stream:
            # file_digest would clear a buffer of this size even for the smallest file.
            digest = hashlib.sha256()
            while piece := stream.read(_CHUNK_BYTES):
                digest.update(piece)
            return digest.hexdigest(), stream.tell()

    def content_sha256(self) -> str:
        """Return the hex SHA-256 of the content; a file is streamed from disk. Raises OSError."""
        return self.measure()[0]

    def cache_identity_hash(self, *, provider: str | None = None) -> str:
        """Return a hex SHA-256 that is equal for equal content and equal hints of ``provider``. Raises OSError."""
        digest = self.content_sha256()
        hints = self.provider_hints_for(provider)
        return hashlib.sha256(f"{digest}|{_dump_compact(hints)}".encode()).hexdigest() if hints else digest


def describe_source(source: Source) -> str:
    """Return the name and the type of a source, for a sentence to the model."""
    return f"{source.file_name or source.identifier} ({source.mime_type})"


@contextmanager
def convert_read_errors(source: Source) -> Iterator[None]:
    """Convert an OSError of the block, which reads ``source``, to a SourceError that names the source."""
    try:
        yield
    except ConnectionError:  # not of a file: the upload was stopped
        raise
    except OSError as error:
        raise _build_read_error(source.identifier, error) from error


@attrs.frozen(kw_only=True, eq=False, repr=False)
class _StoredSource(Value):
    """The layout of a stored source.

    A file has ``path`` and ``sha256``, or ``data`` in base64 if it is in memory; text and JSON have ``text``.
    """

    source_type: SourceType
    identifier: str
    mime_type: str
    path: str | None = None
    sha256: str | None = None
    text: str | None = None
    data: str | None = None
    provider_hints: tuple[tuple[str, ...], ...] = ()


def _build_loader(stored: _StoredSource) -> tuple[Callable[[], bytes], int]:
    """Return the loader of a stored source's content, and the content's size."""
    if stored.path is not None:
        file = Source.from_file(stored.path, mime_type=stored.mime_type)
        if stored.sha256 is None:
            raise ValueError("a file needs path and sha256")
        # The model answered the old content: sending another one now would change the conversation unnoticed.
        if file.content_sha256() != stored.sha256:
            raise SourceError(
                f"{stored.path!r} has changed since it was stored",
                hint="begin a new conversation with the current file",
            )
        return file.content_loader, file.size_bytes
    if stored.text is not None or stored.data is not None:
        content = b64decode(stored.data or "", validate=True) if stored.text is None else _encode_text(stored.text)
        return BytesLoader(content), len(content)
    # The same bytes as the constructors give a remote source, so that its identity survives storing.
    match stored.source_type:
        case "stored":
            return BytesLoader(_encode_text(f"stored:{stored.identifier}")), 0
        case "youtube":
            return BytesLoader(_encode_text(f"youtube:{stored.identifier}")), 0
        case "arxiv":
            return BytesLoader(_encode_text(stored.identifier)), 0
        case "uri":
            return BytesLoader(_encode_text(f"uri:{stored.mime_type}:{stored.identifier}")), 0
    raise ValueError(f"a source of type {stored.source_type!r} needs path, text or data")


def _dump_compact(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _choose_identifier(identifier: object, default: str) -> str:
    if identifier is not None and not isinstance(identifier, str):
        raise SourceError(f"identifier must be a string, got {type(identifier).__name__}", hint="pass a string")
    return default if identifier is None else identifier


def _encode_text(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise SourceError(
            f"text holds a lone surrogate at position {error.start}, which no provider accepts",
            hint="decode the input with errors='replace' before you pass it",
        ) from error


def _split_url(url: object) -> SplitResult:
    try:
        return urlsplit(url.strip() if isinstance(url, str) else "")
    except ValueError:  # such as an IPv6 address without its closing bracket
        return urlsplit("")


def _read_host(url: object) -> str:
    # People copy addresses without a scheme: urlsplit would take the host for a path.
    parts = _split_url(url if not isinstance(url, str) or "//" in url else f"https://{url.strip()}")
    return (parts.hostname or "").lower() if parts.scheme in {"http", "https"} else ""


def _parse_arxiv_id(ref: str) -> str:
    text = ref.strip()
    hint = "pass an id such as 1706.03762 or a https://arxiv.org/abs/... URL"
    if "://" in text:
        parts = _split_url(text)
        if (parts.hostname or "").lower() not in ARXIV_HOSTS:
            raise SourceError(f"not an arXiv URL: {ref!r}", hint=hint)
        kind, _, text = parts.path.strip("/").partition("/")
        if kind not in {"abs", "pdf"}:
            raise SourceError(f"not an arXiv abs/ or pdf/ URL: {ref!r}", hint=hint)
    text = text.strip("/")
    text = text[: -len(".pdf")] if text.lower().endswith(".pdf") else text
    if not re.fullmatch(_ARXIV_ID, text):
        raise SourceError(f"not an arXiv id: {ref!r}", hint=hint)
    return text


def _require_offset(name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise SourceError(f"{name} must be a non-blank string, got {value!r}", hint="seconds with an s, e.g. '90s'")
    return value


def _require_fps(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _MAX_VIDEO_FPS:
        raise SourceError(
            f"fps must be a number above 0 and at most {_MAX_VIDEO_FPS}, got {value!r}", hint="e.g. fps=1"
        )
    return float(value)
