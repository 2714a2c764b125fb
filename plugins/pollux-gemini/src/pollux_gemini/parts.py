"""Parts, of which every content is made: reading those of an answer, writing those of a question. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from pollux_sync.data.mime import OCTET_STREAM
from pollux_sync.data.request import AssetPart, TextPart, UriPart
from pollux_sync.data.source import ProviderHint, Source
from pollux_sync.errors import ConfigurationError, SourceError

if TYPE_CHECKING:
    from pollux_sync.data.request import Part

Json = dict[str, Any]

PROVIDER = "gemini"
_URL_CONTEXT = "url_context"
_VIDEO_FIELDS = {"start_offset": "startOffset", "end_offset": "endOffset", "fps": "fps"}


def url_context(url: str) -> Source:
    """A web page that Gemini itself reads while it answers, with its URL-context tool. Raises SourceError."""
    source = Source.from_uri(url, mime_type="text/html")
    if urlsplit(url.strip()).scheme not in {"http", "https"}:
        raise SourceError(f"not the address of a web page: {url!r}", hint="start with https://")
    return attrs.evolve(source, provider_hints=(ProviderHint(PROVIDER, _URL_CONTEXT, "{}"),))


def is_url_context(part: Part) -> bool:
    """Whether the part is an address to be read with the URL-context tool."""
    return isinstance(part, UriPart) and _URL_CONTEXT in (part.source.provider_hints_for(PROVIDER) or {})


def source_part(part: Part) -> Json:
    """A source as a part of the question. Raises ConfigurationError for one that the API cannot carry."""
    if isinstance(part, TextPart):
        return {"text": part.text}
    if isinstance(part, UriPart):
        return {"text": part.uri} if is_url_context(part) else _file(part.source, part.uri)
    if isinstance(part, AssetPart):
        return _file(part.source, part.asset.uri or part.asset.id)
    raise ConfigurationError(
        f"generateContent cannot carry {part.source.identifier!r} as {type(part).__name__}",
        hint="pass it with Source.from_file",
    )


def _file(source: Source, uri: str) -> Json:
    part: Json = {"fileData": {"fileUri": uri}}
    if source.mime_type != OCTET_STREAM:
        part["fileData"]["mimeType"] = source.mime_type
    video = source.gemini_video_settings_for(PROVIDER)
    if video:
        part["videoMetadata"] = {_VIDEO_FIELDS[name]: value for name, value in video.items()}
    return part


def objects_in(value: Any) -> list[Json]:
    """The objects of a list; none where there is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def texts_in(parts: list[Json], *, is_thought: bool) -> list[str]:
    """The texts of the answer, or of the thoughts that came with it."""
    texts = (part.get("text") for part in parts if bool(part.get("thought")) == is_thought)
    return [text for text in texts if isinstance(text, str) and text]


def function_calls_in(parts: list[Json]) -> list[Json]:
    """The calls of functions that have a name."""
    calls = (part.get("functionCall") for part in parts)
    return [call for call in calls if isinstance(call, dict) and isinstance(call.get("name"), str)]
