"""Earlier turns made fit to be sent again, for every provider alike: what came from a wire goes back to one.

Two stages. When a call is planned, tool results are put behind the calls that they answer, in their order, and what
does not pair is refused or completed. When it is encoded, texts, arguments and ids become what services accept; the
stored conversation keeps what was said.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING

import attrs

from pollux_sync.data.request import Turn
from pollux_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pollux_sync.data.reply import ToolCall
    from pollux_sync.data.request import Call

_PAIRING_HINT = "give one {'role': 'tool', 'tool_call_id': ..., 'content': ...} for each call, after the turn with it"
#: What the model is told of a call that nobody answered.
_NO_RESULT = "There is no result: the conversation was interrupted before this call was carried out."
#: How much of unusable arguments the model is shown.
_MAX_SHOWN = 500


def pair_tool_results(turns: Sequence[Turn], *, completes: bool) -> tuple[Turn, ...]:
    """Return the turns with all results of tools behind the turn that called them, in the order of its calls.

    ``completes`` adds a failed result for a call without one, as an interrupted run leaves it. Raises
    ConfigurationError for such a call otherwise, for a result that no call asked for, and for a second one.
    """
    if not any(turn.role == "tool" or turn.tool_calls for turn in turns):
        return tuple(turns)
    paired: list[Turn] = []
    for answer, others in _split_at_answers(turns):
        results = [turn for turn in others if turn.role == "tool"]
        paired += [answer] if answer else []
        paired += _order_results(answer.tool_calls if answer else (), results, completes=completes)
        paired += [turn for turn in others if turn.role != "tool"]
    return tuple(paired)


def _split_at_answers(turns: Sequence[Turn]) -> Iterator[tuple[Turn | None, list[Turn]]]:
    """Yield each answer of the model with the turns up to the next one: ids of calls repeat in later answers.

    The first turns may have no answer before them.
    """
    answer: Turn | None = None
    others: list[Turn] = []
    for turn in turns:
        if turn.role == "assistant" or turn.tool_calls:
            yield answer, others
            answer, others = turn, []
        else:
            others.append(turn)
    yield answer, others


def _order_results(calls: Sequence[ToolCall], results: Sequence[Turn], *, completes: bool) -> Iterator[Turn]:
    waiting: dict[str, deque[Turn]] = {}
    for result in results:
        waiting.setdefault(result.tool_call_id or "", deque()).append(result)
    for call in calls:
        # Several calls of one id, as some servers send them, take their results in turn.
        if found := waiting.get(call.id):
            yield found.popleft()
        elif completes:
            yield Turn(role="tool", tool_call_id=call.id, content=_NO_RESULT, is_error=True)
        else:
            raise ConfigurationError(f"the call {call.id!r} of {call.name!r} has no result", hint=_PAIRING_HINT)
    if surplus := [call_id for call_id, left in waiting.items() if left]:
        called = {call.id for call in calls}
        problem = "has two results" if surplus[0] in called else "is in no turn before its result"
        raise ConfigurationError(f"the call {surplus[0]!r} {problem}", hint=_PAIRING_HINT)


def fit_call(call: Call, call_id_pattern: str | None) -> Call:
    """Return the call with earlier turns and an instruction that a service accepts.

    Blank turns and a blank instruction are left out, arguments of tool calls that are no JSON object become an empty
    one, which their result tells, and ids that do not match ``call_id_pattern`` are replaced.
    """
    instruction = call.options.system_instruction
    if instruction is not None and (not instruction or instruction.isspace()):
        call = attrs.evolve(call, options=attrs.evolve(call.options, system_instruction=None))
    if call.conversation is None:
        return call
    turns = tuple(_fit_turns(call.conversation.turns, call_id_pattern))
    return attrs.evolve(call, conversation=attrs.evolve(call.conversation, turns=turns))


def _fit_turns(turns: Sequence[Turn], call_id_pattern: str | None) -> Iterator[Turn]:
    broken: dict[str, str] = {}
    for turn in turns:
        if turn.role == "tool":
            yield _fit_result(turn, broken.get(turn.tool_call_id or ""), call_id_pattern)
        elif turn.tool_calls:
            broken = {call.id: call.arguments for call in turn.tool_calls if _is_broken(call)}
            yield attrs.evolve(turn, tool_calls=tuple(_fit_tool_call(one, call_id_pattern) for one in turn.tool_calls))
        # A provider's own state may say more than the text, and only its encoder knows.
        elif turn.content.strip() or turn.parts or turn.provider_state:
            yield turn


def _is_broken(call: ToolCall) -> bool:
    return call.arguments_error is not None


def _fit_tool_call(call: ToolCall, call_id_pattern: str | None) -> ToolCall:
    arguments = call.arguments if call.has_arguments and not _is_broken(call) else "{}"
    return attrs.evolve(call, id=_fit_id(call.id, call_id_pattern), arguments=arguments)


def _fit_result(turn: Turn, broken_arguments: str | None, call_id_pattern: str | None) -> Turn:
    content = turn.content
    if broken_arguments is not None:
        shown = broken_arguments[:_MAX_SHOWN]
        content += f"\n\nThe arguments of this call were not a JSON object, perhaps cut off. They began: {shown}"
    return attrs.evolve(turn, tool_call_id=_fit_id(turn.tool_call_id or "", call_id_pattern), content=content)


def _fit_id(call_id: str, pattern: str | None) -> str:
    """Return an id that the service accepts, the same one for a call and its result."""
    if pattern is None or re.fullmatch(pattern, call_id):
        return call_id
    # Nine letters and digits: Mistral's templates accept nothing else.
    import hashlib  # with the first id that does not fit

    return hashlib.sha256(call_id.encode()).hexdigest()[:9]
