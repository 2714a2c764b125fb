"""The argument of ``-s`` -> its `Source`."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from pollux_sync.cli.terminal import read_stdin
from pollux_sync.data.source import ARXIV_HOSTS, Source
from pollux_sync.errors import SourceError

#: Two letters at least before the colon: one letter is a Windows drive.
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_ARXIV = "arxiv:"
_STORED = "stored:"


def parse_source(word: str) -> Source:
    """Return the source that ``word`` names. Raises SourceError.

    It names standard input (``-``), a paper, a file that is stored at the provider, a video, a URL or a local file.
    """
    if word == "-":
        return Source.from_text(read_stdin(), identifier="stdin")
    if word.lower().startswith(_ARXIV):
        return Source.from_arxiv(word[len(_ARXIV) :])
    if word.lower().startswith(_STORED):
        return _parse_stored(word[len(_STORED) :])
    return _parse_url(word) if _URL.match(word) else _parse_path(word)


def _parse_stored(text: str) -> Source:
    # The type first: no type contains a colon, but an id may be a URL.
    mime_type, _, file_id = text.partition(":")
    if "/" not in mime_type or not file_id:
        raise SourceError(
            f"stored:{text} does not name a type and an id", hint="write it as stored:application/pdf:file-abc123"
        )
    return Source.from_file_id(file_id, mime_type=mime_type)


def _parse_url(url: str) -> Source:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise SourceError(f"not a URL: {url!r}", hint="start with https:// and a host") from error
    if parts.hostname in ARXIV_HOSTS:
        return Source.from_arxiv(url)
    try:
        return Source.from_youtube(url)
    except SourceError:  # from_youtube knows YouTube's hosts; a second list here would go stale
        return Source.from_uri(url)


def _parse_path(word: str) -> Source:
    if Path(word).is_dir():
        raise SourceError(f"{word} is a directory", hint=f"name its files one by one: -s {Path(word, 'FILE')} -s ...")
    return Source.from_file(word)
