"""Call -> the tokens that it is expected to take, where no plugin knows better."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pollux_sync.data.limits import TokenEstimate
from pollux_sync.data.request import InlinePart, TextPart, UploadPart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.data.request import Call, Part

#: Of English text a token has about four bytes, of most other languages and of code three. Too many is the safe side.
_BYTES_A_TOKEN = 3.5
#: An answer whose length nothing limits.
_EXPECTED_OUTPUT = 256
#: An image of usual size: 1,105 tokens in GPT-4o's high detail, 1,600 at the most for Claude, 258 a tile for Gemini.
_TOKENS_AN_IMAGE = 1_200
#: A page of a PDF has some 50 kB and costs 1,500 to 3,000 tokens, text and image of the page together.
_BYTES_A_PAGE, _TOKENS_A_PAGE = 50_000, 2_000
#: Audio has 16 kB a second, and costs 32 tokens a second.
_BYTES_A_SECOND, _TOKENS_A_SECOND = 16_000, 32


def estimate_tokens(call: Call) -> TokenEstimate:
    """Return an estimate by the lengths of the texts and the sizes of the files of a call."""
    n_bytes = sum(len(text.encode("utf-8", "replace")) for text in _iter_texts(call))
    files = sum(map(_estimate_file, call.all_parts))
    limit = call.options.max_tokens
    return TokenEstimate(
        input_tokens=int(n_bytes / _BYTES_A_TOKEN) + files + 8,
        output_tokens=min(limit or _EXPECTED_OUTPUT, _EXPECTED_OUTPUT),
        max_output_tokens=limit,
    )


def _iter_texts(call: Call) -> Iterator[str]:
    yield call.prompt or ""
    yield call.options.system_instruction or ""
    for turn in call.conversation.turns if call.conversation else ():
        yield turn.content
        yield from (tool_call.arguments for tool_call in turn.tool_calls)
    yield from (part.text for part in call.all_parts if isinstance(part, TextPart))
    if call.response_schema or call.options.tools:
        yield json.dumps([call.response_schema, call.options.tools], default=repr)


def _estimate_file(part: Part) -> int:
    if isinstance(part, TextPart):
        return 0
    kind = part.source.mime_type
    if kind.startswith("image/"):
        return _TOKENS_AN_IMAGE
    n_bytes = part.size_bytes if isinstance(part, UploadPart) else len(part.data) if isinstance(part, InlinePart) else 0
    if kind.startswith(("audio/", "video/")):
        return n_bytes // _BYTES_A_SECOND * _TOKENS_A_SECOND
    # What is fetched or stored elsewhere has at least one page.
    return (n_bytes // _BYTES_A_PAGE + 1) * _TOKENS_A_PAGE
