"""Parts, the elements of every content: those of a question encoded, those of an answer read. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from pollux_sync.plugin import (
    OCTET_STREAM,
    AssetPart,
    ConfigurationError,
    InlinePart,
    ProviderHint,
    Source,
    SourceError,
    TextPart,
    UriPart,
)

if TYPE_CHECKING:
    from pollux_sync.plugin import Part

Json = dict[str, Any]

PROVIDER = "gemini"
_URL_CONTEXT = "url_context"
_FILES_ROOT = "https://generativelanguage.googleapis.com/v1beta"
_VIDEO_FIELDS = {"start_offset": "startOffset", "end_offset": "endOffset", "fps": "fps"}


def url_context(url: str) -> Source:
    """Return a source for a web page that Gemini reads itself while it answers, with its URL-context tool.

    Raises SourceError for an address that is not http or https.
    """
    source = Source.from_uri(url, mime_type="text/html")
    if urlsplit(url.strip()).scheme not in {"http", "https"}:
        raise SourceError(f"not the address of a web page: {url!r}", hint="pass an address that starts with https://")
    return attrs.evolve(source, provider_hints=(ProviderHint(PROVIDER, _URL_CONTEXT, "{}"),))


def is_url_context(part: Part) -> bool:
    """Return whether the part is a web page to be read with the URL-context tool."""
    return isinstance(part, UriPart) and _URL_CONTEXT in (part.source.provider_hints_for(PROVIDER) or {})


def encode_part(part: Part) -> Json:
    """Encode a source as a part of a question. Raises ConfigurationError for one that the API cannot carry."""
    if isinstance(part, TextPart):
        return {"text": part.text}
    if isinstance(part, UriPart):
        # The tool reads every address in the text of the prompt; it takes no list of addresses.
        return {"text": part.uri} if is_url_context(part) else _encode_file(part.source, part.uri)
    if isinstance(part, AssetPart):
        # Gemini refers to a file by its address, of which the id is the end.
        return _encode_file(part.source, part.asset.uri or f"{_FILES_ROOT}/{part.asset.id}")
    if isinstance(part, InlinePart):
        inline = {"inlineData": {"mimeType": part.mime_type, "data": part.base64}}
        return inline | _encode_video(part.source)
    raise ConfigurationError(
        f"generateContent cannot carry {part.source.identifier!r} as {type(part).__name__}",
        hint="pass it with Source.from_file",
    )


def _encode_file(source: Source, uri: str) -> Json:
    part: Json = {"fileData": {"fileUri": uri}}
    # This is the type of content whose type is not known, so it is left out.
    if source.mime_type != OCTET_STREAM:
        part["fileData"]["mimeType"] = source.mime_type
    return part | _encode_video(source)


def _encode_video(source: Source) -> Json:
    video = source.gemini_video_settings_for(PROVIDER)
    return {"videoMetadata": {_VIDEO_FIELDS[name]: value for name, value in video.items()}} if video else {}


def as_object(value: Any) -> Json:
    """Return ``value`` if it is an object, else an empty object."""
    return value if isinstance(value, dict) else {}


def read_objects(value: Any) -> list[Json]:
    """Return the objects in a list, or an empty list for any other value."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def read_texts(parts: list[Json], *, is_thought: bool) -> list[str]:
    """Return the texts of the answer, or those of the thoughts that came with it."""
    texts = (part.get("text") for part in parts if bool(part.get("thought")) == is_thought)
    return [text for text in texts if isinstance(text, str) and text]


def read_function_calls(parts: list[Json]) -> list[Json]:
    """Return the function calls that have a name."""
    calls = (part.get("functionCall") for part in parts)
    return [call for call in calls if isinstance(call, dict) and isinstance(call.get("name"), str)]
