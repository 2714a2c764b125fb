"""The result of a call -> what `run_tools` takes: texts, data and files, within limits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from mcp_types import AudioContent, EmbeddedResource, ImageContent, ResourceLink, TextContent, TextResourceContents

from pollux_sync.plugin import OCTET_STREAM, Source, SourceError, ToolFailure

if TYPE_CHECKING:
    from mcp_types import BlobResourceContents, CallToolResult, ContentBlock

    from pollux_mcp.settings import Limits

#: A part of a result.
Part: TypeAlias = "str | Source"


def convert_call_result(result: CallToolResult, limits: Limits) -> Any:
    """Return the text of a result, or its texts and files in their order. An error is a ToolFailure."""
    parts = [_convert_block(block) for block in result.content]
    if result.structured_content is not None and not _holds_data(parts, result.structured_content):
        parts.append(json.dumps(result.structured_content, ensure_ascii=False))
    fitting = _cut_texts(_leave_out_files(parts, limits.max_file_bytes), limits.max_result_chars)
    if all(isinstance(part, str) for part in fitting):
        value: Any = "\n\n".join(str(part) for part in fitting) or "(the tool returned nothing)"
    else:
        value = fitting
    return ToolFailure(value) if result.is_error else value


def _convert_block(block: ContentBlock) -> Part:
    match block:
        case TextContent():
            return block.text
        case ImageContent() | AudioContent():
            return _build_file(block.data, block.mime_type, block.type)
        case ResourceLink():
            facts = (block.mime_type, f"{block.size} bytes" if block.size else None, block.description)
            return f"[resource {block.name!r} at {block.uri}{''.join(f', {fact}' for fact in facts if fact)}]"
        case EmbeddedResource():
            return _convert_resource(block.resource)


def _convert_resource(held: TextResourceContents | BlobResourceContents) -> Part:
    if isinstance(held, TextResourceContents):
        return f"[resource {held.uri}]\n{held.text}"
    return _build_file(held.blob, held.mime_type or OCTET_STREAM, str(held.uri))


def _build_file(data: str, mime_type: str, name: str) -> Part:
    stored = {"source_type": "file", "identifier": name, "mime_type": mime_type, "data": data}
    try:
        return Source.from_dict(stored)
    except SourceError as error:
        return f"[{name} left out: {error.message}]"


def _holds_data(parts: list[Part], data: dict[str, Any]) -> bool:
    """Return whether the texts say what the data says, as servers repeat it for clients that read texts alone."""
    # Servers wrap whatever is no object in one of a single key. The official package writes a text for each item.
    wrapped = [*data.values()] if len(data) == 1 else []
    texts = [part for part in parts if isinstance(part, str)]
    return any(said == value for value in (data, *wrapped) for said in (texts, *texts, *map(_read_json, texts)))


def _read_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _leave_out_files(parts: list[Part], max_bytes: int) -> list[Part]:
    """Replace files by a note from the one on that makes them too large together."""
    size = 0
    fitting: list[Part] = []
    for part in parts:
        if isinstance(part, Source):
            size += part.size_bytes
            fitting.append(part if size <= max_bytes else f"[{part.identifier} left out: {part.size_bytes} bytes]")
        else:
            fitting.append(part)
    return fitting


def _cut_texts(parts: list[Part], max_chars: int) -> list[Part]:
    """Cut the texts where they become too long together, with a note."""
    left = max_chars
    fitting: list[Part] = []
    for part in parts:
        if isinstance(part, str) and len(part) > left:
            fitting.append(f"{part[:left]}\n[cut: {left} of {len(part)} characters are shown]")
            left = 0
        else:
            left -= len(part) if isinstance(part, str) else 0
            fitting.append(part)
    return fitting
