"""Decoding and encoding of Chat Completions transcripts, the format in which most programs keep conversations."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

from pollux_sync.data.checks import require_mapping
from pollux_sync.data.reply import ToolCall
from pollux_sync.data.source import BytesLoader, Source, convert_read_errors
from pollux_sync.errors import ConfigurationError, SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping

_DATA_URL = re.compile(r"data:(?P<mime>image/(?P<kind>[\w.+-]+));base64,(?P<content>[A-Za-z0-9+/=]+)")
#: The type of an image whose address does not reveal it; most providers look at the image itself.
_DEFAULT_IMAGE_TYPE = "image/jpeg"


def decode_message(data: object, where: str) -> dict[str, Any]:
    """Return the fields of a Message. Raises ConfigurationError, with the place ``where``, for data it cannot hold."""
    fields = _read_object(data, {"role", "content", "tool_calls", "tool_call_id", "name", "refusal"}, where)
    # A missing role then fails the check of roles, with its hint, and not the constructor.
    fields.setdefault("role", None)
    content, calls = fields.get("content"), fields.get("tool_calls")
    if isinstance(content, list | tuple):
        parts = enumerate(content)
        fields["content"] = tuple(_decode_part(part, f"{where}['content'][{index}]") for index, part in parts)
    if isinstance(calls, list | tuple):
        fields["tool_calls"] = tuple(_decode_call(c, f"{where}['tool_calls'][{n}]") for n, c in enumerate(calls))
    return fields


def encode_message(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dict that `decode_message` decodes to these fields of a Message."""
    parts = fields["content"]
    data = {name: value for name, value in fields.items() if value is not None and value != ()}
    data["content"] = [_encode_part(part) for part in parts] if isinstance(parts, tuple) else parts
    if fields["tool_calls"]:
        data["tool_calls"] = [_encode_call(call) for call in fields["tool_calls"]]
    return data


def _read_object(data: object, known: set[str], where: str) -> dict[str, Any]:
    """Return the keys of an object that have a value; refuse keys that are not ``known``."""
    # Programs dump messages with every optional key set to null or empty: such keys carry nothing that could be lost.
    fields = {key: value for key, value in require_mapping(where, data).items() if value not in (None, [], {})}
    unknown = sorted(set(fields) - known)
    if unknown:
        raise ConfigurationError(
            f"{where} holds {', '.join(unknown)}, which cannot be kept",
            hint=f"leave it out; these keys can be kept: {', '.join(sorted(known))}",
        )
    return fields


def _decode_part(data: object, where: str) -> str | Source:
    kind = require_mapping(where, data).get("type")
    if kind == "text":
        return _read_text(_read_object(data, {"type", "text"}, where), "text", where)
    if kind == "image_url":
        image = _read_object(data, {"type", "image_url"}, where).get("image_url")
        return _decode_image(image, f"{where}['image_url']")
    raise ConfigurationError(
        f"{where} is of type {kind!r}, which cannot be read",
        hint="use text and image_url; for other content build Message('user', [Source.from_file(...), 'a text'])",
    )


def _decode_image(data: object, where: str) -> Source:
    image = _read_object(data, {"url", "detail"}, where)
    url = _read_text(image, "url", where)
    # "auto" is OpenAI's default, so leaving it out loses nothing.
    if image.get("detail", "auto") != "auto":
        raise ConfigurationError(f"{where} asks for a detail, which cannot be kept", hint="leave detail out")
    if url.startswith("data:"):
        return _decode_data_url(url, where)
    try:
        source = Source.from_uri(url)
        return source if source.mime_type.startswith("image/") else Source.from_uri(url, mime_type=_DEFAULT_IMAGE_TYPE)
    except SourceError as error:
        raise ConfigurationError(f"{where}: {error.message}", hint=error.hint) from error


def _decode_data_url(url: str, where: str) -> Source:
    match = _DATA_URL.fullmatch(url)
    # The pattern accepts characters only; their number and padding are left to the decoder.
    try:
        content = b64decode(match["content"], validate=True) if match else None
    except ValueError:
        content = None
    if match is None or content is None:
        raise ConfigurationError(
            f"{where} holds a data URL that is not an image in base64",
            hint="write data:image/png;base64,... without line breaks",
        )
    return Source("file", f"image.{match['kind']}", match["mime"], len(content), BytesLoader(content))


def _decode_call(data: object, where: str) -> ToolCall:
    call = _read_object(data, {"id", "type", "function"}, where)
    if call.get("type", "function") != "function":
        raise ConfigurationError(f"{where} is of type {call['type']!r}", hint="use tool calls of type function only")
    function = _read_object(call.get("function"), {"name", "arguments"}, f"{where}['function']")
    name, arguments = (_read_text(function, key, f"{where}['function']") for key in ("name", "arguments"))
    return ToolCall(_read_text(call, "id", where), name, arguments)


def _read_text(data: dict[str, Any], key: str, where: str) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise ConfigurationError(f"{where}[{key!r}] must be a string, got {type(value).__name__}", hint="pass a string")
    return value


def _encode_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _encode_part(part: str | Source) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if part.mime_type.startswith("image/") and part.source_type in {"file", "uri"}:
        return {"type": "image_url", "image_url": {"url": _build_image_url(part)}}
    raise ConfigurationError(
        f"a transcript cannot hold {part.identifier!r} ({part.mime_type})", hint="use only texts and images"
    )


def _build_image_url(image: Source) -> str:
    """Return the address of a remote image, or a data URL with the content of a local one."""
    if image.source_type == "uri":
        return image.identifier
    with convert_read_errors(image):
        return f"data:{image.mime_type};base64,{b64encode(image.content_loader()).decode()}"
