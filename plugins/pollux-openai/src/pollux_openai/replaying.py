"""What a turn keeps for a conversation that goes on without its response's id: the output as it came. Pure.

An id is of no use where the service stored nothing, and after files, which are gone when a call ends. The items then
carry the reasoning on, and the phase of a message; OpenAI asks for both in every later request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_openai.items import contents_in, text_in, tool_calls_in
from pollux_sync.wire.fields import as_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pollux_openai.items import Item
    from pollux_sync.data.request import Conversation, Turn

#: Keys of a turn's provider state: its output, the model whose it is, and False where no id leads to it.
OUTPUT = "openai_output"
MODEL = "openai_model"
STORED = "openai_stored"


def state_of(body: Mapping[str, Any], items: list[Item], model: str) -> dict[str, Any] | None:
    """The provider state of an answer; None for one that its text and calls say whole."""
    is_stored = body.get("store")
    is_lost = is_stored is False or not as_text(body.get("id"))
    state: dict[str, Any] = {STORED: False} if is_lost else {}
    is_whole = body.get("status") == "completed"
    if is_whole and _says_more(items) and (is_stored is True or _is_encrypted(items)):
        state |= {OUTPUT: items, MODEL: model}
    return state or None


def _says_more(items: list[Item]) -> bool:
    return any(item.get("type") == "reasoning" or item.get("phase") for item in items)


def _is_encrypted(items: list[Item]) -> bool:
    """Whether the service can read the reasoning again without having stored it."""
    return all(item.get("encrypted_content") for item in items if item.get("type") == "reasoning")


def previous_response(conversation: Conversation) -> str | None:
    """The response from which the conversation goes on; None where the service does not have it."""
    is_stored = (conversation.provider_state or {}).get(STORED) is not False
    return conversation.response_id if is_stored else None


def kept_items(turn: Turn, model: str) -> list[Item]:
    """The turn's output as it came; none if the turn was changed since, or another model is asked.

    Reasoning goes to no model but its own: one that does not reason may refuse it.
    """
    state = turn.provider_state or {}
    output = state.get(OUTPUT)
    items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    said = text_in(contents_in(items)), [call.id for call in tool_calls_in(items)]
    is_same = said == (turn.content, [call.id for call in turn.tool_calls])
    return items if is_same and any(said) and state.get(MODEL) == model else []
