"""JSON mode, where the answer is any JSON object: what OpenAI's services demand of its calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollux_sync.data.provider import Problem
from pollux_sync.data.request import TextPart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pollux_sync.data.request import Call


def find_json_word_problem(call: Call) -> Problem | None:
    """Return the problem of a call in JSON mode whose texts lack the word JSON, else None.

    OpenAI refuses it: https://platform.openai.com/docs/guides/structured-outputs#json-mode (2026-11).
    """
    if not call.options.wants_json_object or any("json" in text.lower() for text in _iter_texts(call)):
        return None
    return Problem(
        "JSON mode needs the word JSON in the prompt, the instruction or a text before it",
        "say in the prompt what to answer, such as 'Answer as JSON with the keys name and age'",
    )


def _iter_texts(call: Call) -> Iterator[str]:
    yield call.prompt or ""
    yield call.options.system_instruction or ""
    yield from (part.text for part in call.all_parts if isinstance(part, TextPart))
    yield from (turn.content for turn in (call.conversation.turns if call.conversation else ()))
