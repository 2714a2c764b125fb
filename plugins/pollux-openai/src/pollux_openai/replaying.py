"""The output items that a turn keeps, for a conversation that cannot continue from a response id. No I/O.

An id leads nowhere if the service stored nothing, or after files, which are deleted when their call ends. Then the
items carry the model's reasoning and the phase of a message, and OpenAI wants both in every later request.

OpenAI confirms with "store": true that it keeps an answer. Compatible servers that keep nothing, as llama.cpp, send an
id too, and refuse it or forget the conversation when a later request names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pollux_openai.items import iter_tool_calls, list_contents, read_text
from pollux_sync.plugin import as_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pollux_openai.items import Item
    from pollux_sync.plugin import Call, Turn

# Keys of a turn's provider state. They are in stored conversations, so they never change.
#: The output items of the answer.
OUTPUT = "openai_output"
#: The model that wrote them.
MODEL = "openai_model"
#: False unless the service confirmed that it can continue from the answer's id.
STORED = "openai_stored"
#: The field of a request that asks whether the answer is stored, and the field of the answer that confirms it.
_STORE = "store"


def build_provider_state(body: Mapping[str, Any], items: list[Item], call: Call) -> dict[str, Any] | None:
    """Return the provider state of an answer; None if its text and tool calls are enough to replay it."""
    # Some servers answer "store": true whatever was asked.
    is_stored = body.get(_STORE) is True and _asks_to_store(call)
    state: dict[str, Any] = {} if is_stored and as_text(body.get("id")) else {STORED: False}
    # The last item of an answer that was cut off may be incomplete, so none of its items are replayed.
    is_complete = body.get("status") == "completed"
    if is_complete and _has_hidden_items(items) and (is_stored or _is_encrypted(items)):
        state |= {OUTPUT: items, MODEL: call.model}
    return state or None


def _asks_to_store(call: Call) -> bool:
    return call.options.read_raw_fields("openai").get(_STORE) is not False


def _has_hidden_items(items: list[Item]) -> bool:
    """Return whether the items hold something that a turn of text and tool calls does not."""
    return any(item.get("type") == "reasoning" or item.get("phase") for item in items)


def _is_encrypted(items: list[Item]) -> bool:
    """Return whether the service can read the reasoning again although it did not store it."""
    return all(item.get("encrypted_content") for item in items if item.get("type") == "reasoning")


def find_previous_response(call: Call) -> str | None:
    """Return the id of the response to continue from; None unless the service confirmed that it has it.

    None too for a call that shall not be stored: whoever asks for that wants to depend on nothing that is.
    """
    conversation = call.conversation
    if conversation is None or not _asks_to_store(call):
        return None
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
