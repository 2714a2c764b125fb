"""What a tool returned -> what the model is shown: text, data, and files."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from pollux_sync.plugin import BytesLoader, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcp.types import CallToolResult

_ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif", "audio/wav": "wav"}


def convert_result(result: CallToolResult, max_chars: int) -> list[str | Source]:
    """Return texts and files in their order. A text beyond the limit is cut, which its end says."""
    parts = [*_iter_parts(result)]
    # Servers repeat the data as text, for clients that know no data.
    if result.structured_content is not None and not any(isinstance(part, str) for part in parts):
        parts.insert(0, json.dumps(result.structured_content, ensure_ascii=False))
    return [*_limit(parts, max_chars)]


def join_texts(result: CallToolResult, max_chars: int) -> str:
    """Return the texts of a result as one, such as those of an error."""
    return "\n".join(part for part in convert_result(result, max_chars) if isinstance(part, str))


def _iter_parts(result: CallToolResult) -> Iterator[str | Source]:
    for number, block in enumerate(result.content, start=1):
        yield _convert_block(block, number)


def _convert_block(block: Any, number: int) -> str | Source:
    match block.type:
        case "text":
            return str(block.text)
        case "image" | "audio":
            return _build_file(block.data, block.mime_type, number)
        case "resource" if hasattr(block.resource, "text"):
            return f"{block.resource.uri}:\n{block.resource.text}"
        case "resource":
            return _build_file(block.resource.blob, block.resource.mime_type or "application/octet-stream", number)
        case "resource_link":
            return f"[{block.name}]({block.uri})"
        case other:
            return f"(content of the type {other!r}, which is not shown)"


def _build_file(data: str, mime_type: str, number: int) -> Source:
    content = base64.b64decode(data)
    name = f"result-{number}.{_ENDINGS.get(mime_type, mime_type.rpartition('/')[2])}"
    return Source("file", name, mime_type, len(content), BytesLoader(content))


def _limit(parts: list[str | Source], max_chars: int) -> Iterator[str | Source]:
    left = max_chars
    for part in parts:
        size = part.size_bytes if isinstance(part, Source) else len(part)
        if size > left and isinstance(part, str):
            yield f"{part[: max(left, 0)]}\n(cut off: the text has {size:,} characters)"
            return
        # Files are shown in their own way: their size counts against ten times the limit of text.
        if isinstance(part, Source) and size > 10 * max_chars:
            yield f"(left out: {part.identifier} has {size:,} bytes)"
            continue
        left -= size if isinstance(part, str) else 0
        yield part
