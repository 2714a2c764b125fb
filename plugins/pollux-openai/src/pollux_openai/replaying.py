"""The output items that a turn keeps, for a conversation that cannot continue from a response id. No I/O.

An id leads nowhere if the service stored nothing, or after files, which are deleted when their call ends. Then the
items carry the model's reasoning and the phase of a message, and OpenAI wants both in every later request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_openai.items import iter_tool_calls, list_contents, read_text
from pollux_sync.plugin import as_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pollux_openai.items import Item
    from pollux_sync.plugin import Conversation, Turn

# Keys of a turn's provider state. They are in stored conversations, so they never change.
#: The output items of the answer.
OUTPUT = "openai_output"
#: The model that wrote them.
MODEL = "openai_model"
#: False if the service cannot continue from the answer's id.
STORED = "openai_stored"


def build_provider_state(body: Mapping[str, Any], items: list[Item], model: str) -> dict[str, Any] | None:
    """Return the provider state of an answer; None if its text and tool calls are enough to replay it."""
    is_stored = body.get("store")
    is_lost = is_stored is False or not as_text(body.get("id"))
    state: dict[str, Any] = {STORED: False} if is_lost else {}
    # The last item of an answer that was cut off may be incomplete, so none of its items are replayed.
    is_complete = body.get("status") == "completed"
    if is_complete and _has_hidden_items(items) and (is_stored is True or _is_encrypted(items)):
        state |= {OUTPUT: items, MODEL: model}
    return state or None


def _has_hidden_items(items: list[Item]) -> bool:
    """Return whether the items hold something that a turn of text and tool calls does not."""
    return any(item.get("type") == "reasoning" or item.get("phase") for item in items)


def _is_encrypted(items: list[Item]) -> bool:
    """Return whether the service can read the reasoning again although it did not store it."""
    return all(item.get("encrypted_content") for item in items if item.get("type") == "reasoning")


def find_previous_response(conversation: Conversation) -> str | None:
    """Return the id of the response to continue from; None if the service does not have it."""
    is_stored = (conversation.provider_state or {}).get(STORED) is not False
    return conversation.response_id if is_stored else None


def read_replay_items(turn: Turn, model: str) -> list[Item]:
    """Return the output items that a turn kept; empty if it was edited since, or another model is called."""
    state = turn.provider_state or {}
    output = state.get(OUTPUT)
    items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    # The caller may edit a stored history. Then the kept items no longer say what the turn says.
    kept = read_text(list_contents(items)), [call.id for call in iter_tool_calls(items)]
    is_unchanged = kept == (turn.content, [call.id for call in turn.tool_calls])
    # Reasoning goes only to the model that wrote it: one that does not reason may refuse it.
    return items if is_unchanged and any(kept) and state.get(MODEL) == model else []
